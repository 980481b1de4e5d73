"""Revisions applied and rolled back in a simulated catalog: what would be done, and what conflicts."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from engagement_db.schema.compare import added
from engagement_db.schema.revision import Revision, declared
from engagement_db.schema.steps import Step
from engagement_db.servers import Change, Server, ddl
from engagement_db.servers.catalog import Catalog, Dependent
from engagement_db.tables import Column, Enum, Table, enum_type_name

# A revision, the tables before it and the tables after it.
Reversal = tuple[Revision, Mapping[str, Table], Mapping[str, Table]]


class SimulatedCatalog(Catalog):
    """A catalog with the tables after changes that have not been made, over a live one if there is one."""

    def __init__(self, server: Server, tables: Mapping[str, Table], live: Catalog | None = None) -> None:
        self.server = server
        self.tables = dict(tables)
        self.live = live or Catalog()
        self.is_offline = live is None

    def version(self) -> tuple[int, ...]:
        return self.server.minimum_version if self.is_offline else self.live.version()

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        for table in self.tables.values():
            for column in table.columns:
                if isinstance(column.type, Enum) and enum_type_name(table.name, column.name) == name:
                    return column.type.labels
        return self.live.enum_type(name)

    def definition(self, table: str) -> str:
        shape = self.tables.get(table)
        if shape is None or shape == self.live.table(table):
            return self.live.definition(table)
        return ddl.create_table(self.server, shape)

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        return self.live.existing_object(name, of_index=of_index)

    def obstacles(self) -> tuple[str, ...]:
        return self.live.obstacles()

    def alter_obstacles(self, table: str) -> tuple[str, ...]:
        return self.live.alter_obstacles(table)

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        return self.live.reference_obstacles(table)

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        return self.live.dependents(table, column) if self.live.table(table) else ()

    def collations(self, table: str) -> tuple[str, ...]:
        return self.live.collations(table)

    def count_equal(self, table: str, column: str, value: str) -> int:
        return self.live.count_equal(table, column, value) if self._has_rows(table, [column]) else 0

    def count_violations(self, table: str, expression: str) -> int:
        is_known = self._has_rows(table, _columns_in(expression))
        return self.live.count_violations(table, expression) if is_known else 0

    def violating_ids(self, table: str, expression: str) -> tuple[str, ...]:
        is_known = self._has_rows(table, _columns_in(expression))
        return self.live.violating_ids(table, expression) if is_known else ()

    def duplicate_ids(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        return self.live.duplicate_ids(table, columns) if self._has_rows(table, columns) else ()

    def _has_rows(self, table: str, columns: Sequence[str]) -> bool:
        live = self.live.table(table)
        return live is not None and all(live.column(column) for column in columns)


def _columns_in(expression: str) -> list[str]:
    return re.findall(r'"([^"]+)"', expression)


def simulated(
    server: Server, revisions: Sequence[Revision], live: Catalog | None, applied: Collection[str]
) -> SimulatedCatalog:
    """Return a catalog with the live tables of ``revisions``; without ``live``, with those of the ``applied`` ones."""
    tables = declared(revisions)
    if live is None:
        return SimulatedCatalog(server, declared([revision for revision in revisions if revision.name in applied]))
    found = {name: live.table(name) for name in tables}
    return SimulatedCatalog(server, {name: table for name, table in found.items() if table is not None}, live)


def changes_up(
    revisions: Sequence[Revision], catalog: SimulatedCatalog
) -> Iterator[tuple[Revision, list[tuple[Step, list[Change]]]]]:
    """Yield for each revision the changes of its steps, and leave ``catalog`` as it is after them."""
    for revision in revisions:
        steps = []
        for step in revision.steps:
            steps.append((step, list(step.changes(catalog, catalog.server))))
            catalog.tables = step.declared(catalog.tables)
        yield revision, steps


def require_applicable(revisions: Sequence[Revision], catalog: SimulatedCatalog) -> None:
    """Raise SchemaConflict for the first of ``revisions`` that could not be applied after those before it."""
    for revision in revisions:
        revision.require_applicable(catalog, catalog.server)
        catalog.tables = revision.declared(catalog.tables)


def require_revertible(reversals: Sequence[Reversal], catalog: SimulatedCatalog) -> None:
    """Raise SchemaConflict for the first of ``reversals``, newest first, that could not be made after those before."""
    leaving = frozenset(name for _, before, after in reversals for name in _added_names(before, after))
    for revision, before, after in reversals:
        revision.require_revertible(catalog, catalog.server, leaving)
        for name, table in after.items():
            live = catalog.tables.pop(name, None)
            if live is not None and name in before:
                catalog.tables[name] = _reverted(live, before[name], table)


def _added_names(before: Mapping[str, Table], after: Mapping[str, Table]) -> Iterator[str]:
    for table in after.values():
        if table.name not in before:
            yield table.name
        part = added(before.get(table.name), table)
        yield from _object_names(part)
        # SQLite reports a foreign key by its column.
        for key in part.foreign_keys:
            yield key.column


def _object_names(table: Table) -> set[str]:
    keys = {key.name for key in table.foreign_keys}
    return keys | {index.name for index in table.indexes} | {check.name for check in table.checks}


def _reverted(live: Table, before: Table, after: Table) -> Table:
    """Return the live table without what was added between ``before`` and ``after``."""
    part = added(before, after)
    columns = tuple(_reverted_columns(live, before, after))
    names = {column.name for column in columns}
    gone = _object_names(part)
    return replace(
        live,
        columns=columns,
        foreign_keys=tuple(key for key in live.foreign_keys if key.name not in gone and key.column in names),
        indexes=tuple(item for item in live.indexes if item.name not in gone and names.issuperset(item.columns)),
        checks=tuple(check for check in live.checks if check.name not in gone),
    )


def _reverted_columns(live: Table, before: Table, after: Table) -> Iterator[Column]:
    for column in live.columns:
        old, new = before.column(column.name), after.column(column.name)
        if old is not None and new is not None and column.type == new.type:
            yield replace(column, type=old.type)
        elif old is not None or new is None:
            yield column
