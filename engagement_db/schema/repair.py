"""The statements that a person may run where `adopt --align` changes nothing: repairs in place, or rename and copy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engagement_db.schema.compare import Kind
from engagement_db.schema.severity import ClassifiedDifference, Severity
from engagement_db.servers import Catalog, Change, Server
from engagement_db.tables import Check, Column, Enum, ForeignKey, Index, Integer, Table, Text, Varchar

BATCH_ROWS: Final = 1000
_SUFFIX: Final = "_before"


@dataclass(frozen=True)
class Recipe:
    """Rename what cannot be changed, let `engagement-db migrate` create it again, then copy the rows with their ids.

    ``copy`` are the statements that follow `migrate`; an INSERT among them copies one batch, and is repeated until it
    copies no row. A question mark stands for a value to be chosen. Nothing of the library reads ``old_tables``.
    """

    rename: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    old_tables: tuple[str, ...] = ()


def in_place(item: ClassifiedDifference, declared: Table, catalog: Catalog, server: Server) -> list[str]:
    """Return the statements that remove a difference where it is; none if the server has none or `--align` removes it.

    A question mark stands for a value to be chosen.
    """
    is_left = item.severity is Severity.BREAKING or item.violations
    changes = _repair(item, declared, catalog, server) if is_left else ()
    return [statement for change in changes for statement in (*change.before, change.statement, *change.after)]


def _repair(item: ClassifiedDifference, declared: Table, catalog: Catalog, server: Server) -> Iterator[Change]:
    difference = item.difference
    table = difference.table
    match difference.wanted, difference.found:
        case Column() as wanted, None:
            yield from server.add_column(table, Column(wanted.name, wanted.type, null=True), None)
        case Column(name), Column() if difference.kind is Kind.NULL and item.violations:
            place, column = server.quoted(table), server.quoted(name)
            yield Change(f"UPDATE {place} SET {column} = ? WHERE {column} IS NULL")
        case Column() as wanted, Column() as found:
            yield from _of_unknown_labels(item, wanted, found, catalog, server)
            yield from server.create_types(catalog, Table(table, (wanted,)))
            yield from server.alter_column(table, wanted, found)
        case ForeignKey() as wanted_key, found_key:
            yield from _of_orphans(table, wanted_key, declared, catalog, server)
            if isinstance(found_key, ForeignKey):
                yield from server.drop_key(table, found_key.name)
            yield from server.add_validated_key(table, wanted_key)
        case Check(expression=expression), _ if item.violations:
            place, column = server.quoted(table), server.expression(expression.split()[0])
            yield Change(f"UPDATE {place} SET {column} = ? WHERE NOT ({server.expression(expression)})")
        case Check() as wanted_check, Check() as found_check:
            yield from server.drop_check(table, found_check)
            yield from server.add_check(table, wanted_check, None)
        case Index(columns=columns), _ if item.duplicates:
            yield from _of_equal_rows(item, [declared.column(column) for column in columns], server)
        case Index(), Index(name):
            yield from server.drop_index(table, name)
        case None, Column() as extra:
            yield from server.alter_column(table, Column(extra.name, extra.type, null=True), extra)
        case None, ForeignKey(name):
            yield from server.drop_key(table, name)
        case None, Index(name):
            yield from server.drop_index(table, name)
        case _ if difference.kind is Kind.COLLATION:
            yield Change(f"{server.alter(table)} CONVERT TO CHARACTER SET {server.charset}")


def _of_unknown_labels(
    item: ClassifiedDifference, wanted: Column, found: Column, catalog: Catalog, server: Server
) -> Iterator[Change]:
    """Yield the change of the rows with a label that the column will no longer have."""
    place, column = server.quoted(item.difference.table), server.quoted(wanted.name)
    match wanted.type, found.type:
        case Enum(labels), Enum(others):
            unknown = [label for label in others if label not in labels]
            has_rows = any(catalog.count_equal(item.difference.table, wanted.name, label) for label in unknown)
            condition = f"{column} IN ({', '.join(map(server.literal, unknown))})"
        case Enum(labels), Text() | Varchar():
            known = f"IN ({', '.join(map(server.literal, labels))})"
            has_rows = catalog.count_violations(item.difference.table, f'"{wanted.name}" {known}') > 0
            condition = f"{column} NOT {known}"
        case _:
            return
    if has_rows:
        yield Change(f"UPDATE {place} SET {column} = ? WHERE {condition}")


def _of_orphans(table: str, key: ForeignKey, declared: Table, catalog: Catalog, server: Server) -> Iterator[Change]:
    """Yield the change of the rows whose parent is gone, as the deletion of the parent would have changed them."""
    child, parent = server.quoted(key.column), f'SELECT "{key.parent_column}" FROM "{key.parent}"'
    if not catalog.count_violations(table, f'"{key.column}" IS NULL OR "{key.column}" IN ({parent})'):
        return
    place = server.quoted(table)
    # MySQL reads the table that it changes through a derived table only.
    condition = f"{child} NOT IN (SELECT * FROM ({server.expression(parent)}) AS parents)"
    match key.on_delete:
        case "CASCADE":
            yield Change(f"DELETE FROM {place} WHERE {condition}")
        case "SET NULL":
            yield Change(f"UPDATE {place} SET {child} = NULL WHERE {condition}")
        case _:
            yield Change(f"UPDATE {place} SET {child} = ? WHERE {condition}")


def _of_equal_rows(item: ClassifiedDifference, columns: list[Column | None], server: Server) -> Iterator[Change]:
    """Yield the changes of rows that a unique index would refuse: another value, or no row if all are references."""
    place = server.quoted(item.difference.table)
    texts = [column for column in columns if column is not None and not isinstance(column.type, Integer)]
    for first, last in (pair.split(" and ") for pair in item.duplicates):
        if texts:
            yield Change(f"UPDATE {place} SET {server.quoted(texts[0].name)} = ? WHERE id = {last}")
        else:
            yield Change(f"DELETE FROM {place} WHERE id = {first}")


def recipe(
    items: Sequence[ClassifiedDifference], created: Mapping[str, Table], catalog: Catalog, server: Server
) -> Recipe:
    """Return how to remove differences that no statement removes in place.

    ``created`` are the tables that revisions create, parents first; of any other table only a column is renamed.
    """
    rename: list[str] = []
    copy: list[str] = []
    broken = {item.difference.table for item in items} & created.keys()
    for table in created.values():
        if any(key.parent in broken for key in table.foreign_keys):
            broken.add(table.name)
    old_tables = []
    for table in created.values():
        live = catalog.table(table.name) if table.name in broken else None
        if live is not None:
            old_tables.append(table.name + _SUFFIX)
            rename += _rename_table(table, live, catalog, server)
            copy += _copy_rows(table, live, server)
    for table in created.values():
        if catalog.table(table.name) is None:
            rename += [change.statement for change in server.rename_types(catalog, table, _SUFFIX)]
    for item in items:
        wanted = item.difference.wanted
        live = catalog.table(item.difference.table)
        if isinstance(wanted, ForeignKey) and live is not None and live.name not in created:
            rename += _rename_column(live, wanted.column, server)
            copy += _copy_column(live.name, wanted.column, server)
    return Recipe(tuple(rename), tuple(copy), tuple(reversed(old_tables)))


def _rename_table(declared: Table, live: Table, catalog: Catalog, server: Server) -> Iterator[str]:
    """Yield the statements that free the name of the table and those of its indexes, keys, checks and types."""
    old = live.name + _SUFFIX
    yield f"{server.alter(live.name)} RENAME TO {server.quoted(old)}"
    changes = list(server.rename_types(catalog, declared, _SUFFIX))
    for key in live.foreign_keys:
        if server.has_inline_indexes and key.name in {own.name for own in declared.foreign_keys}:
            changes += server.drop_key(old, key.name)
    for check in live.checks:
        if server.has_inline_indexes and declared.check(check.name) is not None:
            changes += server.drop_check(old, check)
    for index in live.indexes:
        if not server.has_inline_indexes and declared.index(index.name) is not None:
            changes += server.drop_index(old, index.name)
    yield from (change.statement for change in changes)


def _copy_rows(declared: Table, live: Table, server: Server) -> Iterator[str]:
    own = [column for column in declared.columns if live.column(column.name) is not None or column.needs_value]
    names = ", ".join(server.quoted(column.name) for column in own)
    values = ", ".join(_value(declared.name, column, live.column(column.name), server) for column in own)
    new, old, key = server.quoted(declared.name), server.quoted(live.name + _SUFFIX), server.quoted("id")
    yield (
        f"INSERT INTO {new} ({names}) SELECT {values} FROM {old} "
        f"WHERE {key} > (SELECT COALESCE(MAX({key}), 0) FROM {new}) ORDER BY {key} LIMIT {BATCH_ROWS}"
    )
    yield from (change.statement for change in server.advance_ids(declared.name))


def _value(table: str, column: Column, found: Column | None, server: Server) -> str:
    return "?" if found is None else server.converted(table, column, found)


def _rename_column(live: Table, column: str, server: Server) -> Iterator[str]:
    for index in live.indexes:
        if column in index.columns:
            yield from (change.statement for change in server.drop_index(live.name, index.name))
    old, new = server.quoted(column), server.quoted(column + _SUFFIX)
    yield f"{server.alter(live.name)} RENAME COLUMN {old} TO {new}"


def _copy_column(table: str, column: str, server: Server) -> Iterator[str]:
    place, new, old = server.quoted(table), server.quoted(column), server.quoted(column + _SUFFIX)
    yield f"UPDATE {place} SET {new} = {old} WHERE {old} IS NOT NULL"
    yield f"{server.alter(table)} DROP COLUMN {old}"
