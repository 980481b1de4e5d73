"""Tables and their parts as frozen records, independent of any server.

Migration scripts declare them, models derive them, a catalog reads them from a live server. So two tables from
different sources are compared with ``==``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from engagement_db.expressions import is_understood


@dataclass(frozen=True)
class Id:
    """The auto-incremented integer primary key, of ``bits`` 32 or 64; only MySQL and MariaDB have unsigned ones."""

    bits: int = 32
    is_unsigned: bool = False


@dataclass(frozen=True)
class Integer:
    """An integer of ``bits`` 32 or 64; only MySQL and MariaDB have unsigned ones.

    One that holds the ids of another table names it in ``ids_of``, and has the type of that table's ``id`` wherever
    it is created; as declared it has the usual type of an ``id``. Two integers of one type are equal, whatever they
    hold.
    """

    bits: int = 32
    is_unsigned: bool = False
    ids_of: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Text:
    """Text of at most 65,535 bytes."""


@dataclass(frozen=True)
class Varchar:
    """Text of at most ``length`` characters."""

    length: int


@dataclass(frozen=True)
class Enum:
    """One of ``labels``, in this order."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class Timestamp:
    """A timestamp in UTC with ``digits`` fractional digits of a second."""

    digits: int = 6


@dataclass(frozen=True)
class Json:
    """A JSON document."""


@dataclass(frozen=True)
class Money:
    """An exact amount of 18 digits, four of them after the decimal point."""


@dataclass(frozen=True)
class Other:
    """A type that no revision uses, in the server's spelling."""

    spelling: str


ColumnType = Id | Integer | Text | Varchar | Enum | Timestamp | Json | Money | Other


@dataclass(frozen=True)
class Now:
    """The current time as a default, with ``digits`` fractional digits of a second, or the fewer of its column."""

    digits: int = 6

    def __str__(self) -> str:
        return "the current time" if self.digits else "the current time in whole seconds"


NOW = Now()
Default = Now | str | None


@dataclass(frozen=True)
class Column:
    """A column. ``default`` is NOW, a literal in its plain spelling (``"public"``, ``"0"``), or None."""

    name: str
    type: ColumnType
    null: bool = False
    default: Default = None

    @property
    def needs_value(self) -> bool:
        """Whether each new row has to give a value."""
        return not self.null and self.default is None and not isinstance(self.type, Id)


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key from ``column`` to ``parent``'s ``parent_column``.

    If it is not ``validated``, existing rows may violate it.
    """

    name: str
    column: str
    parent: str
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    parent_column: str = "id"
    validated: bool = True


@dataclass(frozen=True)
class Index:
    """An index over ``columns``; not ``valid`` if its concurrent build was interrupted."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    valid: bool = True


@dataclass(frozen=True)
class Check:
    """A check constraint; ``expression`` is SQL with double-quoted column names.

    If it is not ``validated``, existing rows may violate it.
    """

    name: str
    expression: str
    validated: bool = True


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, its foreign keys, indexes and checks sorted by name."""

    name: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def index(self, name: str) -> Index | None:
        """Return the index of this name, or None."""
        return next((index for index in self.indexes if index.name == name), None)

    def check(self, name: str) -> Check | None:
        """Return the check of this name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    def foreign_key(self, column: str) -> ForeignKey | None:
        """Return the foreign key on this column, or None."""
        return next((key for key in self.foreign_keys if key.column == column), None)


def covers(labels: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether ``labels`` has all the wanted ones, in their order; it may have more."""
    remaining = iter(labels)
    return all(label in remaining for label in wanted)


def snake_case(name: str) -> str:
    """Return ``name`` in snake_case: ``createdAt`` becomes ``created_at``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def index_name(table: str, columns: Iterable[str]) -> str:
    """Return the name of an index over these columns: ``feed_posts_user_id_created_at``."""
    return "_".join([table, *map(snake_case, columns)])


def foreign_key_name(table: str, column: str) -> str:
    """Return the name of the foreign key on this column: ``feed_posts_user_id_fkey``."""
    return f"{table}_{snake_case(column)}_fkey"


def check_name(table: str, column: str) -> str:
    """Return the name of the check on this column: ``escrow_transactions_amount_check``."""
    return f"{table}_{snake_case(column)}_check"


def enum_type_name(table: str, column: str) -> str:
    """Return the name of a column's enum type: ``enum_feed_posts_visibility``."""
    return f"enum_{table}_{column}"


@dataclass(frozen=True)
class ReferenceSpec:
    """A foreign key column, as ``references`` declares it."""

    column: Column
    parent: str
    on_delete: str
    on_update: str


@dataclass(frozen=True)
class CheckSpec:
    """A check, as ``check`` declares it."""

    column: str
    expression: str


@dataclass(frozen=True)
class IndexSpec:
    """An index, as ``index`` and ``unique`` declare it."""

    columns: tuple[str, ...]
    unique: bool


Part = Column | ReferenceSpec | CheckSpec | IndexSpec


def key() -> Column:
    """Declare the primary key ``id``."""
    return Column("id", Id())


def integer(name: str, *, null: bool = False, default: int | None = None, ids_of: str | None = None) -> Column:
    """Declare a four byte integer column, or one that holds ids of a table without a foreign key to it."""
    return Column(name, Integer(ids_of=ids_of), null, None if default is None else str(default))


def text(name: str, *, null: bool = False) -> Column:
    """Declare a text column of at most 65,535 bytes."""
    return Column(name, Text(), null)


def varchar(name: str, length: int, *, null: bool = False, default: str | None = None) -> Column:
    """Declare a text column of at most ``length`` characters."""
    return Column(name, Varchar(length), null, default)


def enum(name: str, labels: Iterable[str], *, null: bool = False, default: str | None = None) -> Column:
    """Declare an enum column with these ``labels``."""
    return Column(name, Enum(tuple(labels)), null, default)


def time(name: str, *, null: bool = False, default: Now | None = None) -> Column:
    """Declare a timestamp column."""
    return Column(name, Timestamp(), null, default)


def json(name: str, *, null: bool = False) -> Column:
    """Declare a JSON column."""
    return Column(name, Json(), null)


def money(name: str, *, null: bool = False, default: int | None = None) -> Column:
    """Declare a column for an amount of money."""
    return Column(name, Money(), null, None if default is None else str(default))


def references(
    name: str, parent: str, *, on_delete: str, on_update: str = "NO ACTION", null: bool = False
) -> ReferenceSpec:
    """Declare a column that references ``parent``'s ``id``, and has its type."""
    return ReferenceSpec(Column(name, Integer(ids_of=parent), null), parent, on_delete, on_update)


def index(*columns: str) -> IndexSpec:
    """Declare an index over these columns."""
    return IndexSpec(columns, unique=False)


def unique(*columns: str) -> IndexSpec:
    """Declare a unique index over these columns."""
    return IndexSpec(columns, unique=True)


def check(column: str, expression: str) -> CheckSpec:
    """Declare a check that is named after ``column``; ``expression`` double-quotes its column names.

    Raises ValueError for an expression that could not be recognized in what a server reports, as a subquery is, or of
    which the servers would compare another part first.
    """
    if not is_understood(expression):
        raise ValueError(
            f"the check {expression} cannot be recognized in the spellings of all servers; use comparisons, AND, OR, "
            "NOT, IN, BETWEEN, LIKE, IS NULL, arithmetic, CASE and functions, with parentheses around a comparison "
            "that is compared in turn"
        )
    return CheckSpec(column, expression)


def table(name: str, *parts: Part) -> Table:
    """Return the table that these parts declare, with the usual names for its keys, indexes and checks.

    Raises ValueError if no index starts with a foreign key column: the server would create one (MySQL) or
    scan the table at each deletion of a parent (the others).
    """
    columns = tuple(
        part.column if isinstance(part, ReferenceSpec) else part
        for part in parts
        if isinstance(part, Column | ReferenceSpec)
    )
    keys = [
        ForeignKey(
            foreign_key_name(name, part.column.name),
            part.column.name,
            part.parent,
            part.on_delete,
            part.on_update,
        )
        for part in parts
        if isinstance(part, ReferenceSpec)
    ]
    indexes = [
        Index(index_name(name, part.columns), part.columns, part.unique)
        for part in parts
        if isinstance(part, IndexSpec)
    ]
    checks = [Check(check_name(name, part.column), part.expression) for part in parts if isinstance(part, CheckSpec)]
    leading = {item.columns[0] for item in indexes}
    bare = [foreign_key.column for foreign_key in keys if foreign_key.column not in leading]
    if bare:
        raise ValueError(f"{name}: no index starts with the foreign key column {', '.join(bare)}; declare one")
    return sort(Table(name, columns, tuple(keys), tuple(indexes), tuple(checks)))


def sort(shape: Table) -> Table:
    """Return the same table with keys, indexes and checks in the order of their names."""
    return replace(
        shape,
        foreign_keys=tuple(sorted(shape.foreign_keys, key=lambda item: item.name)),
        indexes=tuple(sorted(shape.indexes, key=lambda item: item.name)),
        checks=tuple(sorted(shape.checks, key=lambda item: item.name)),
    )
