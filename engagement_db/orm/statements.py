"""Statements whose SQL is built once for each kind of server and executed with other values each time.

Building a statement takes peewee longer than everything else that a verb does in Python. A verb whose statements never
change keeps each in a ``Statement``; queries that callers can narrow stay peewee queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import peewee

from engagement_db import servers
from engagement_db.orm.bound import current
from engagement_db.orm.fields import MoneyField
from engagement_db.orm.loading import loader
from engagement_db.servers.driver import error_code


@dataclass(frozen=True)
class _Placeholder:
    name: str
    convert: Callable[[Any], Any] | None


@dataclass(frozen=True)
class _Built:
    """A statement for one kind of server: what is sent, and what makes the rows of its models from so many columns."""

    sql: str
    items: list[Any]
    loaders: list[tuple[int, Callable[[Sequence[Any]], Any]]]


class Parameter(peewee.Value):
    """A value that a ``Statement`` gets when it is executed, under ``name``.

    ``convert`` turns it into what the driver takes, as a field's ``db_value`` does.
    """

    def __init__(self, name: str, convert: Callable[[Any], Any] | None = None) -> None:
        super().__init__(_Placeholder(name, convert), converter=False, unpack=False)


def parameters(*fields: peewee.Field) -> dict[peewee.Field, Parameter]:
    """Return a parameter for each field, under the field's name and converted by it: what INSERT and UPDATE take.

    Amounts are not made exact again: pass what ``MoneyField.exact`` returned.
    """
    return {
        field: Parameter(field.name, field.bound if isinstance(field, MoneyField) else field.db_value)
        for field in fields
    }


class Statement:
    """A query that is built when it is first executed on a kind of server; ``build`` returns it.

    ``models`` are those whose columns a SELECT names first, all of them and in their order: ``columns_of``.
    ``unique`` are the columns of the unique key for ``insert``.
    """

    def __init__(
        self, build: Callable[[], Any], *models: type[peewee.Model], unique: tuple[peewee.Field, ...] = ()
    ) -> None:
        self._build = build
        self._models = models
        self._unique = unique
        self._built: dict[tuple[type, str], _Built] = {}

    def execute(self, **values: Any) -> Any:
        """Execute the statement with these values and return the cursor."""
        return self.execute_on(current(), **values)

    def execute_on(self, database: peewee.Database, /, **values: Any) -> Any:
        """Execute the statement on this database, to which its models are bound."""
        built = self._on(database)
        return database.execute_sql(built.sql, [_value(item, values) for item in built.items])

    def count(self, **values: Any) -> int:
        """Execute the statement and return the number of rows that it changed."""
        changed: int = current().rows_affected(self.execute(**values))
        return changed

    def first(self, **values: Any) -> list[Any] | None:
        """Execute the SELECT and return its first row or None: a row of each model, then the other columns."""
        database = current()
        found = self.execute_on(database, **values).fetchone()
        if found is None:
            return None
        columns = iter(found)
        return [*(load(list(islice(columns, width))) for width, load in self._on(database).loaders), *columns]

    def insert(self, row: Any) -> bool:
        """Execute the INSERT of ``row`` and give it its id; return False if its unique key is already taken.

        An INSERT from a SELECT returns False too if the SELECT has no row. Raises IntegrityError for any other
        constraint. After False the transaction can go on.
        """
        server = servers.of(current())
        try:
            cursor = self.execute(**values_of(row))
        except peewee.IntegrityError as error:
            if error_code(error) not in server.duplicate_codes or server.is_duplicate_id(error):
                raise
            return False
        if server.names_conflict_target:
            inserted = cursor.fetchone()
        else:
            # Without a row lastrowid is that of an earlier statement.
            inserted = (cursor.lastrowid,) if cursor.rowcount else None
        if inserted is None:
            return False
        row.id = int(inserted[0])
        # Columns that were not given are NULL now, as in a row that is read.
        row.__data__ = dict.fromkeys(row._meta.sorted_field_names) | row.__data__
        row._dirty.clear()
        return True

    def _on(self, database: peewee.Database) -> _Built:
        server = servers.of(database)
        key = type(database), server.name
        if key not in self._built:
            query = self._build()
            if self._unique and server.names_conflict_target:
                query = query.on_conflict(action="IGNORE", conflict_target=self._unique)
            loaders = [(len(model._meta.sorted_fields), loader(model, columns_of(model))) for model in self._models]
            sql, items = database.get_sql_context().sql(query).query()
            self._built[key] = _Built(sql, items, loaders)
        return self._built[key]


def columns_of(*models: type[peewee.Model]) -> list[peewee.Field]:
    """Return all fields of these models, in the order in which ``Statement`` reads them."""
    return [field for model in models for field in model._meta.sorted_fields]


def values_of(row: peewee.Model) -> dict[str, Any]:
    """Return the value of each column of a row by its field's name; None for one that was never set."""
    return {**dict.fromkeys(row._meta.sorted_field_names), **row.__data__}


def _value(item: Any, values: dict[str, Any]) -> Any:
    if not isinstance(item, _Placeholder):
        return item
    value = values[item.name]
    if isinstance(value, peewee.Node) and not isinstance(value, peewee.Model):
        raise TypeError(f"{item.name} is an SQL expression; pass the value. Nothing was changed.")
    return value if item.convert is None else item.convert(value)
