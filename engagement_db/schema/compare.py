"""Differences between a declared and a live table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from engagement_db.expressions import same
from engagement_db.servers.dialect import integer_sql
from engagement_db.tables import (
    Check,
    Column,
    ColumnType,
    Enum,
    ForeignKey,
    Id,
    Index,
    Integer,
    Other,
    Table,
    Timestamp,
    Varchar,
)


class Kind(StrEnum):
    """What differs. ``EXTRA`` is an object that only the live table has."""

    TABLE = "table"
    COLUMN = "column"
    TYPE = "type"
    NULL = "nullability"
    DEFAULT = "default"
    KEY = "foreign key"
    INDEX = "index"
    CHECK = "check"
    COLLATION = "collation"
    EXTRA = "extra"


@dataclass(frozen=True)
class Collation:
    """A collation of the text columns of a table; as the wanted one, the character set it must belong to."""

    name: str


Part = Table | Column | ForeignKey | Index | Check | Collation

_INVALID: Final = "it is INVALID: its concurrent build did not finish"


@dataclass(frozen=True)
class Difference:
    """One difference: the declared object ``wanted``, and the live object ``found``.

    ``found`` is None when the table lacks the object, ``wanted`` when the object is not declared.
    """

    table: str
    kind: Kind
    wanted: Part | None
    found: Part | None

    @property
    def name(self) -> str:
        """The name of the object within its table; a foreign key goes by its column."""
        match self.wanted or self.found:
            case ForeignKey(column=name) | Column(name) | Index(name) | Check(name):
                return name
            case _:
                return self.table

    @property
    def missing(self) -> bool:
        """Whether the live table lacks the object, or has it invalid or not validated."""
        match self.wanted, self.found:
            case _, None:
                return True
            case Column(), Column(default=default):
                return self.kind is Kind.DEFAULT and default is None
            case ForeignKey() as key, ForeignKey() as found_key:
                return replace(found_key, validated=True) == key
            case Index() as index, Index() as found_index:
                return replace(found_index, valid=True) == index
            case Check() as check, Check() as found_check:
                return found_check.name == check.name and same_rule(check, found_check)
            case _:
                return False

    @property
    def message(self) -> str:
        """What differs, without the place."""
        return _message(self)

    def __str__(self) -> str:
        return f"{self.table}{'' if self.name == self.table else '.' + self.name}: {self.message}"


def added(before: Table | None, after: Table) -> Table:
    """Return what ``after`` has and ``before`` lacks or defines differently."""
    if before is None:
        return after
    return Table(
        after.name,
        tuple(column for column in after.columns if column not in before.columns),
        tuple(key for key in after.foreign_keys if key not in before.foreign_keys),
        tuple(index for index in after.indexes if index not in before.indexes),
        tuple(check for check in after.checks if check not in before.checks),
    )


def differences(declared: Table, live: Table | None) -> Iterator[Difference]:
    """Yield each difference between the declared and the live table, extra objects last."""
    if live is None:
        yield Difference(declared.name, Kind.TABLE, declared, None)
        return
    for column in declared.columns:
        yield from _column_differences(live.name, column, live.column(column.name))
    yield from _extra(live.name, (column for column in live.columns if declared.column(column.name) is None))
    for key in declared.foreign_keys:
        found_key = live.foreign_key(key.column)
        # A missing column is reported once, and comes with its key.
        if found_key != key and live.column(key.column) is not None:
            yield Difference(live.name, Kind.KEY, key, found_key)
    yield from _extra(live.name, (key for key in live.foreign_keys if declared.foreign_key(key.column) is None))
    for index in declared.indexes:
        found_index = live.index(index.name)
        if found_index != index:
            yield Difference(live.name, Kind.INDEX, index, found_index)
    yield from _extra(live.name, (index for index in live.indexes if declared.index(index.name) is None))
    for check in declared.checks:
        found_check = live.check(check.name)
        if found_check is None or not found_check.validated or not same_rule(check, found_check):
            yield Difference(live.name, Kind.CHECK, check, found_check)
    yield from _extra(live.name, (check for check in live.checks if declared.check(check.name) is None))


def _column_differences(table: str, wanted: Column, found: Column | None) -> Iterator[Difference]:
    if found is None:
        yield Difference(table, Kind.COLUMN, wanted, None)
        return
    if found.type != wanted.type:
        yield Difference(table, Kind.TYPE, wanted, found)
    if found.null != wanted.null:
        yield Difference(table, Kind.NULL, wanted, found)
    if found.default != wanted.default:
        yield Difference(table, Kind.DEFAULT, wanted, found)


def _extra(table: str, parts: Iterator[Part]) -> Iterator[Difference]:
    for part in parts:
        yield Difference(table, Kind.EXTRA, None, part)


def same_rule(one: Check, other: Check) -> bool:
    """Return whether two checks have the same expression, however a server spells it."""
    return same(one.expression, other.expression)


def collation_differences(table: str, collations: tuple[str, ...], charset: str | None) -> Iterator[Difference]:
    """Yield a difference for each collation that is not a binary one of ``charset`` (None: of any)."""
    for collation in collations:
        if not collation.startswith(charset or "") or not collation.endswith("_bin"):
            yield Difference(table, Kind.COLLATION, Collation(charset or ""), Collation(collation))


def describe_type(kind: ColumnType) -> str:
    """Return a type in words."""
    match kind:
        case Varchar(length):
            return f"varchar({length})"
        case Enum(labels):
            return f"enum({', '.join(labels)})"
        case Timestamp(digits):
            return f"timestamp with {digits} fractional digits"
        case Other(spelling):
            return spelling
        case Integer():
            return integer_sql(kind).lower()
        case Id():
            return "id" if kind == Id() else f"{integer_sql(kind).lower()} id"
        case _:
            return type(kind).__name__.lower()


def _message(difference: Difference) -> str:
    match difference.wanted, difference.found:
        case None, found:
            return _describe_extra(found)
        case Table(), None:
            return "the table is missing"
        case Column(), None:
            return "the column is missing"
        case Column() as column, Column() as found_column:
            return _describe_column(difference.kind, column, found_column)
        case ForeignKey() as key, None:
            return f"the foreign key {_target(key)} is missing"
        case ForeignKey() as key, ForeignKey() as found_key:
            return _describe_key(key, found_key)
        case Index() as index, None:
            return f"{_index(index)} is missing"
        case Index() as index, Index() as found_index:
            return _describe_index(index, found_index)
        case Check(expression=expression), None:
            return f"the check {expression} is missing"
        case Check() as check, Check() as found_check:
            return _describe_check(check, found_check)
        case Collation(charset), Collation(collation) if not collation.startswith(charset):
            return (
                f"text is stored as {collation}, which cannot represent every character; "
                f"ALTER TABLE {difference.table} CONVERT TO CHARACTER SET {charset}"
            )
        case _, Collation(collation):
            return f"{collation} is not a binary collation: 'a' may equal 'A'"
        case wanted, found:
            return f"found {found}, expected {wanted}"


def _describe_extra(found: Part | None) -> str:
    match found:
        case Column(null=False, default=None):
            return "an unmanaged column is NOT NULL without a default, so inserts would fail"
        case Column(type=kind):
            return f"an unmanaged column, {describe_type(kind)}"
        case ForeignKey() as key:
            return f"an unmanaged foreign key {_target(key)}"
        case Index() as index:
            return f"an unmanaged index: {_index(index)}"
        case Check(expression=expression):
            return f"an unmanaged check, {expression}"
        case _:
            return f"an unmanaged object, {found}"


def _describe_column(kind: Kind, wanted: Column, found: Column) -> str:
    if kind is Kind.TYPE and isinstance(wanted.type, Id) and isinstance(found.type, Integer):
        return "the id is not auto-incremented; SQLite may then use the id of a deleted row again"
    if kind is Kind.TYPE:
        return f"the type is {describe_type(found.type)}, not {describe_type(wanted.type)}"
    if kind is Kind.NULL:
        return f"the column is {_nullability(found)}, expected {_nullability(wanted)}"
    return f"the default is {_default(found)}, not {_default(wanted)}"


def _nullability(column: Column) -> str:
    return "nullable" if column.null else "NOT NULL"


def _default(column: Column) -> str:
    return "missing" if column.default is None else str(column.default)


def _describe_key(wanted: ForeignKey, found: ForeignKey) -> str:
    if _target(found) != _target(wanted):
        return f"the foreign key is {_target(found)}, not {_target(wanted)}"
    if found.name != wanted.name:
        return f"the foreign key is named {found.name or 'nothing'}, not {wanted.name}"
    return f"the foreign key {wanted.name} is not validated"


def _target(key: ForeignKey) -> str:
    return f"to {key.parent}.{key.parent_column} ON DELETE {key.on_delete} ON UPDATE {key.on_update}"


def _describe_index(wanted: Index, found: Index) -> str:
    if found.name != wanted.name:
        return f"it is named {found.name}"
    if _index(found) == _index(wanted):
        return _INVALID
    return f"it is {_index(found)}, not {_index(wanted)}{'' if found.valid else '; ' + _INVALID}"


def _index(index: Index) -> str:
    return f"{'a unique' if index.unique else 'an'} index over ({', '.join(index.columns)})"


def _describe_check(wanted: Check, found: Check) -> str:
    if found.name != wanted.name:
        return f"it is named {found.name}"
    if not same_rule(wanted, found):
        return f"the check is {found.expression}, not {wanted.expression}"
    return f"the check {wanted.name} is not validated"
