"""What is unlike between a declared table and a live one, in words that name the place."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engagement_db.schema.catalog import canonical
from engagement_db.tables import Check, Column, ColumnType, Enum, ForeignKey, Index, Other, Table, Time, Varchar


class Kind(StrEnum):
    """What sort of thing differs; ``EXTRA`` is something that only the live table has."""

    TABLE = "table"
    COLUMN = "column"
    TYPE = "type"
    NULL = "nullability"
    DEFAULT = "default"
    KEY = "foreign key"
    INDEX = "index"
    CHECK = "check"
    EXTRA = "extra"


_INVALID: Final = "it is INVALID: its concurrent build did not finish"


@dataclass(frozen=True)
class Difference:
    """One thing that is unlike. ``missing``: the live table simply lacks it; ``extra``: what it has beyond ours."""

    table: str
    kind: Kind
    name: str
    words: str
    missing: bool = False
    extra: Column | ForeignKey | Index | Check | None = None

    def __str__(self) -> str:
        return f"{self.table}{'' if self.name == self.table else '.' + self.name}: {self.words}"


def spelled(kind: ColumnType) -> str:
    """Return a type in words."""
    match kind:
        case Varchar(length):
            return f"varchar({length})"
        case Enum(labels):
            return f"enum({', '.join(labels)})"
        case Time(digits):
            return f"time with {digits} digits of a second"
        case Other(spelling):
            return spelling
        case _:
            return type(kind).__name__.lower()


def differences(declared: Table, live: Table | None) -> Iterator[Difference]:
    """Yield everything in which the live table is unlike the declared one, extras last."""
    if live is None:
        yield Difference(declared.name, Kind.TABLE, declared.name, "the table is missing", missing=True)
        return
    yield from _columns(declared, live)
    yield from _keys(declared, live)
    yield from _indexes(declared, live)
    yield from _checks(declared, live)


def _columns(declared: Table, live: Table) -> Iterator[Difference]:
    for column in declared.columns:
        found = live.column(column.name)
        if found is None:
            yield Difference(live.name, Kind.COLUMN, column.name, "the column is missing", missing=True)
        else:
            yield from _column(live.name, column, found)
    for column in live.columns:
        if declared.column(column.name) is None:
            words = f"a column that is not ours, {spelled(column.type)}"
            yield Difference(live.name, Kind.EXTRA, column.name, words, extra=column)


def _column(table: str, column: Column, found: Column) -> Iterator[Difference]:
    if found.type != column.type:
        words = f"the type is {spelled(found.type)}, not {spelled(column.type)}"
        yield Difference(table, Kind.TYPE, column.name, words)
    if found.null != column.null:
        words = "NULL is allowed, and must not be" if found.null else "NULL is not allowed, and must be"
        yield Difference(table, Kind.NULL, column.name, words)
    if found.default != column.default:
        yield Difference(
            table,
            Kind.DEFAULT,
            column.name,
            f"the default is {_default(found)}, not {_default(column)}",
            missing=found.default is None,
        )


def _default(column: Column) -> str:
    return "missing" if column.default is None else str(column.default)


def _keys(declared: Table, live: Table) -> Iterator[Difference]:
    for key in declared.foreign_keys:
        found = live.foreign_key(key.column)
        if found is None:
            words = f"the foreign key {_target(key)} is missing"
            yield Difference(live.name, Kind.KEY, key.column, words, missing=True)
        elif _target(found) != _target(key):
            words = f"the foreign key is {_target(found)}, not {_target(key)}"
            yield Difference(live.name, Kind.KEY, key.column, words)
        elif found.name != key.name:
            words = f"the foreign key is named {found.name or 'nothing'}, not {key.name}"
            yield Difference(live.name, Kind.KEY, key.column, words)
        elif not found.validated:
            words = f"the foreign key {key.name} was never validated"
            yield Difference(live.name, Kind.KEY, key.column, words, missing=True)
    for key in live.foreign_keys:
        if declared.foreign_key(key.column) is None:
            words = f"a foreign key that is not ours, {_target(key)}"
            yield Difference(live.name, Kind.EXTRA, key.column, words, extra=key)


def _target(key: ForeignKey) -> str:
    return f"to {key.parent}.{key.parent_column} ON DELETE {key.on_delete} ON UPDATE {key.on_update}"


def _indexes(declared: Table, live: Table) -> Iterator[Difference]:
    for index in declared.indexes:
        found = live.index(index.name)
        if found is None:
            yield Difference(live.name, Kind.INDEX, index.name, f"{_index(index)} is missing", missing=True)
        elif (found.columns, found.unique) != (index.columns, index.unique):
            words = f"it is {_index(found)}, not {_index(index)}{'' if found.valid else '; ' + _INVALID}"
            yield Difference(live.name, Kind.INDEX, index.name, words)
        elif not found.valid:
            words = _INVALID
            yield Difference(live.name, Kind.INDEX, index.name, words, missing=True)
    for index in live.indexes:
        if declared.index(index.name) is None:
            words = f"an index that is not ours, {_index(index)}"
            yield Difference(live.name, Kind.EXTRA, index.name, words, extra=index)


def _index(index: Index) -> str:
    return f"{'a unique' if index.unique else 'an'} index over ({', '.join(index.columns)})"


def _checks(declared: Table, live: Table) -> Iterator[Difference]:
    for check in declared.checks:
        found = live.check(check.name)
        if found is None:
            words = f"the check {check.expression} is missing"
            yield Difference(live.name, Kind.CHECK, check.name, words, missing=True)
        elif canonical(found.expression) != canonical(check.expression):
            words = f"the check is {found.expression}, not {check.expression}"
            yield Difference(live.name, Kind.CHECK, check.name, words)
        elif not found.validated:
            words = f"the check {check.name} was never validated"
            yield Difference(live.name, Kind.CHECK, check.name, words, missing=True)
    for check in live.checks:
        if declared.check(check.name) is None:
            words = f"a check that is not ours, {check.expression}"
            yield Difference(live.name, Kind.EXTRA, check.name, words, extra=check)
