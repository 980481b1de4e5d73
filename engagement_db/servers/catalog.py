"""What a database has, as the records of ``engagement_db.tables``."""

import re
from copy import copy
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

import peewee

from engagement_db.servers.dialect import Dialect
from engagement_db.servers.driver import execute
from engagement_db.tables import NOW, Check, Column, ColumnType, Default, ForeignKey, Index, Integer, Money, Table

# The name that peewee-migrate gives its history.
HISTORY: Final = "migratehistory"
# The table of the migration lease.
LEASE: Final = "migratelease"
# The type that PostgreSQL writes behind a literal, with a length or quoted.
_CAST: Final = r"(?:::[\w .\"]+(?:\(\d+(?:,\d+)?\))?)?"


@dataclass(frozen=True)
class Dependent:
    """A database object that depends on a table or a column: its kind, its name and, if it has one, its own table."""

    kind: str
    name: str
    table: str = ""

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}{f' of {self.table}' if self.table else ''}"


class Catalog:
    """The catalog of a database, read again at each call. The base class is that of an empty database."""

    def snapshot(self) -> "Catalog":
        """Return the catalog as it is now: each question is asked once, for plans made before anything is changed."""
        return self

    def version(self) -> tuple[int, ...]:
        """Return the server's version."""
        return ()

    def table(self, name: str) -> Table | None:
        """Return the table of this name, or None."""
        return None

    def has_table(self, name: str) -> bool:
        """Return whether there is a table of this name."""
        return self.table(name) is not None

    def column(self, table: str, name: str) -> Column | None:
        """Return the column of this name if the table and the column exist, else None."""
        live = self.table(table)
        return live.column(name) if live else None

    def index(self, table: str, name: str) -> Index | None:
        """Return the index of this name if the table and the index exist, else None."""
        live = self.table(table)
        return live.index(name) if live else None

    def check(self, table: str, name: str) -> Check | None:
        """Return the check of this name if the table and the check exist, else None."""
        live = self.table(table)
        return live.check(name) if live else None

    def foreign_key(self, table: str, column: str) -> ForeignKey | None:
        """Return the foreign key on this column if the table and the key exist, else None."""
        live = self.table(table)
        return live.foreign_key(column) if live else None

    def definition(self, table: str) -> str:
        """Return the text that the table was created with if the server keeps it, else nothing."""
        return ""

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        """Return the labels of the enum type of this name, in order, or None; no labels for another type."""
        return None

    def enum_type_users(self, name: str, besides: str) -> tuple[str, ...]:
        """Return what depends on the enum type of this name, but for the columns of the table ``besides``."""
        return ()

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        """Return the existing object whose name a new table, or a new index, cannot take, or None."""
        return None

    def obstacles(self) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why this session can create no table."""
        return ()

    def read_obstacles(self, table: str) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why this session cannot read the existing table."""
        return ()

    def alter_obstacles(self, added: Table) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why its table cannot take what is to be added."""
        return ()

    def revert_obstacles(self) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why this session can roll back nothing."""
        return ()

    def drop_obstacles(self, table: str) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why this session cannot drop the table."""
        return ()

    def integer_id_statement(self, table: str) -> str | None:
        """Return the statement that makes the ``id``, of another type, an integer that foreign keys can reference.

        None if its values are no whole numbers.
        """
        return None

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        """Return a sentence with its remedy for each reason why no foreign key can reference the table's ``id``."""
        return ()

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        """Return the objects that depend on the table, or on one column of it.

        Views, and foreign keys of other tables; for a column also the indexes, keys, checks and
        triggers that name it, those of the revisions included.
        """
        return ()

    def collations(self, table: str) -> tuple[str, ...]:
        """Return the collations of the text columns, each once; none on a server whose tables have none."""
        return ()

    def size(self, table: str) -> tuple[int, int] | None:
        """Return the number of rows and of bytes as the server estimates them, where it is asked for them."""
        return None

    def count(self, table: str, column: str | None = None) -> int:
        """Return the number of rows, or of rows in which the column is not NULL."""
        return 0

    def count_equal(self, table: str, column: str, value: str) -> int:
        """Return the number of rows in which the column has this value."""
        return 0

    def count_violations(self, table: str, expression: str) -> int:
        """Return the number of rows that violate a check."""
        return 0

    def violating_ids(self, table: str, expression: str) -> tuple[str, ...]:
        """Return the ids of up to ten rows that violate a check."""
        return ()

    def duplicate_ids(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return, for up to ten values that these columns have more than once, the first and the last id."""
        return ()


class Reader(Catalog):
    """The catalog of a live database: the part that all servers share. Never writes."""

    def __init__(self, database: peewee.Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect
        self._answers: dict[tuple[str, tuple[Any, ...]], list[tuple[Any, ...]]] | None = None

    def snapshot(self) -> Self:
        copied = copy(self)
        copied._answers = {}
        return copied

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        if self._answers is None:
            return self._ask(sql, parameters)
        question = (sql, parameters)
        if question not in self._answers:
            self._answers[question] = self._ask(sql, parameters)
        return self._answers[question]

    def _ask(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        cursor = self.database.execute_sql(sql, parameters) if parameters else execute(self.database, sql)
        return list(cursor.fetchall())

    def has_table(self, name: str) -> bool:
        return bool(self.database.table_exists(name))

    def count(self, table: str, column: str | None = None) -> int:
        what = "*" if column is None else self.dialect.quoted(column)
        return int(self.rows(f"SELECT COUNT({what}) FROM {self.dialect.quoted(table)}")[0][0])

    def count_equal(self, table: str, column: str, value: str) -> int:
        place = f"{self.dialect.quoted(table)} WHERE {self.dialect.quoted(column)} = {self.database.param}"
        return int(self.rows(f"SELECT COUNT(*) FROM {place}", value)[0][0])

    def count_violations(self, table: str, expression: str) -> int:
        return int(self.rows(f"SELECT COUNT(*) FROM {self._violations(table, expression)}")[0][0])

    def violating_ids(self, table: str, expression: str) -> tuple[str, ...]:
        found = self.rows(f"SELECT id FROM {self._violations(table, expression)} ORDER BY id LIMIT 10")
        return tuple(str(number) for (number,) in found)

    def _violations(self, table: str, expression: str) -> str:
        return f"{self.dialect.quoted(table)} WHERE NOT ({self.dialect.expression(expression)})"

    def duplicate_ids(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        names = [self.dialect.quoted(column) for column in columns]
        found = self.rows(
            f"SELECT MIN(id), MAX(id) FROM {self.dialect.quoted(table)} "
            f"WHERE {' AND '.join(f'{name} IS NOT NULL' for name in names)} "
            f"GROUP BY {', '.join(names)} HAVING COUNT(*) > 1 ORDER BY 1 LIMIT 10"
        )
        return tuple(f"{first} and {last}" for first, last in found)


def not_unique(table: str) -> str:
    """Return the sentence about an ``id`` that foreign keys cannot reference for want of a unique key."""
    return f"{table}.id is not unique by itself, so no foreign key can reference it; make it the primary key"


def described(name: str, kind: str, owner: str) -> str:
    """Return an object for a message: ``the index feed_posts_user_id of feed_posts``."""
    return f"the {kind} {name}{f' of {owner}' if owner != name else ''}"


def mentions(sql: str, identifier: str) -> bool:
    """Return whether ``sql`` has the identifier as a whole word, whatever its case."""
    return re.search(rf"(?<![\w$]){re.escape(identifier)}(?![\w$])", sql, re.IGNORECASE) is not None


def default_value(kind: ColumnType, expression: str | None) -> Default:
    """Return a column default in the plain spelling of ``engagement_db.tables``, or the expression that it is."""
    if expression is None or re.fullmatch(rf"NULL{_CAST}", expression, re.IGNORECASE):
        return None
    if re.fullmatch(r"current_timestamp(\(\d\))?(\(\))?|now\(\)", expression, re.IGNORECASE):
        return NOW
    text = re.fullmatch(rf"\(?'((?:[^']|'')*)'\)?{_CAST}", expression)
    value = text[1].replace("''", "'") if text else expression
    if isinstance(kind, Money | Integer):
        number = re.fullmatch(rf"\(*(-?\d+(?:\.\d+)?)\)*{_CAST}", value)
        try:
            return format(Decimal(number[1] if number else value).normalize(), "f")
        except InvalidOperation:
            return value
    return value
