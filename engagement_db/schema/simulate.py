"""Revisions applied and rolled back in a simulated catalog: what would be done, and what conflicts."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engagement_db.errors import SchemaConflict
from engagement_db.schema.compare import added
from engagement_db.schema.revision import Revision, stages
from engagement_db.schema.steps import CreateTable, Step
from engagement_db.servers import Change, KeyTypes, Server, ddl
from engagement_db.servers.catalog import Catalog, Dependent
from engagement_db.tables import Enum, Table, enum_type_name, sort


class SimulatedCatalog(Catalog):
    """A catalog with the tables after changes that have not been made, over a live one if there is one."""

    def __init__(self, server: Server, tables: Mapping[str, Table], live: Catalog | None = None) -> None:
        self.server = server
        self.tables = dict(tables)
        self.live = live or Catalog()

    def version(self) -> tuple[int, ...]:
        return self.live.version() or self.server.minimum_version

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        for table in self.tables.values():
            for column in table.columns:
                if isinstance(column.type, Enum) and enum_type_name(table.name, column.name) == name:
                    return column.type.labels
        return self.live.enum_type(name)

    def enum_type_users(self, name: str, besides: str) -> tuple[str, ...]:
        return self.live.enum_type_users(name, besides)

    def definition(self, table: str) -> str:
        shape = self.tables.get(table)
        if shape is None or shape == self.live.table(table):
            return self.live.definition(table)
        return ddl.create_table(self.server, shape)

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        return self.live.existing_object(name, of_index=of_index)

    def obstacles(self) -> tuple[str, ...]:
        return self.live.obstacles()

    def read_obstacles(self, table: str) -> tuple[str, ...]:
        return self.live.read_obstacles(table)

    def alter_obstacles(self, added: Table) -> tuple[str, ...]:
        return self.live.alter_obstacles(added)

    def revert_obstacles(self) -> tuple[str, ...]:
        return self.live.revert_obstacles()

    def drop_obstacles(self, table: str) -> tuple[str, ...]:
        return self.live.drop_obstacles(table)

    def integer_id_statement(self, table: str) -> str | None:
        return self.live.integer_id_statement(table)

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        return self.live.reference_obstacles(table) if self.live.table(table) else ()

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        return self.live.dependents(table, column) if self.live.table(table) else ()

    def collations(self, table: str) -> tuple[str, ...]:
        return self.live.collations(table)

    def count(self, table: str, column: str | None = None) -> int:
        return self.live.count(table, column) if self._has_rows(table, [column] if column else []) else 0

    def count_equal(self, table: str, column: str, value: str) -> int:
        return self.live.count_equal(table, column, value) if self._has_rows(table, [column]) else 0

    def count_violations(self, table: str, expression: str) -> int:
        return self.live.count_violations(table, expression) if self._can_evaluate(table, expression) else 0

    def violating_ids(self, table: str, expression: str) -> tuple[str, ...]:
        return self.live.violating_ids(table, expression) if self._can_evaluate(table, expression) else ()

    def duplicate_ids(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        return self.live.duplicate_ids(table, columns) if self._has_rows(table, columns) else ()

    def _has_rows(self, table: str, columns: Sequence[str]) -> bool:
        live = self.live.table(table)
        return live is not None and all(live.column(column) for column in columns)

    # PostgreSQL refuses to compare with a label that the type does not have yet.
    def _can_evaluate(self, table: str, expression: str) -> bool:
        live, simulated = self.live.table(table), self.tables.get(table)
        if live is None or simulated is None:
            return False
        for name in re.findall(r'"([^"]+)"', expression):
            before, after = live.column(name), simulated.column(name)
            if before is None or after is None or (isinstance(before.type, Enum) and before.type != after.type):
                return False
        return True


@dataclass(frozen=True)
class Simulation:
    """Revisions, of which those named in ``applied`` are applied, over the live catalog as it is now.

    Their ids have the types that they have, or will have, in the live database. Without ``live``, the tables before
    each revision are those that the revisions before it declare.
    ``stubs`` are tables that are created first if they are missing.
    """

    revisions: Sequence[Revision]
    server: Server
    live: Catalog | None = None
    applied: Collection[str] = ()
    stubs: Sequence[Table] = ()

    def __post_init__(self) -> None:
        if self.live is not None:
            object.__setattr__(self, "live", self.live.snapshot())
        types = KeyTypes(self.live or Catalog())
        object.__setattr__(self, "revisions", tuple(revision.fitted(types) for revision in self.revisions))

    def revision(self, name: str) -> Revision:
        """Return the revision of this name."""
        return next(revision for revision in self.revisions if revision.name == name)

    def before(self, revision: Revision) -> SimulatedCatalog:
        """Return the catalog to which ``revision`` is applied.

        Nothing of later revisions is in it; what pending revisions before it will add is.
        """
        number = self.revisions.index(revision)
        tables = stages(self.revisions)
        if self.live is None:
            return SimulatedCatalog(self.server, tables[number])
        pending = [earlier for earlier in range(number) if self.revisions[earlier].name not in self.applied]
        found = {}
        for name, last in tables[-1].items():
            table = self.live.table(name) or next((stub for stub in self.stubs if stub.name == name), None)
            if table is None:
                if any(_creates(self.revisions[earlier], name) for earlier in pending):
                    found[name] = tables[number][name]
                continue
            if name in tables[number + 1]:
                table = _without(table, tables[number + 1][name], last)
            for earlier in pending:
                if name in tables[earlier]:
                    table = _with(table, tables[earlier][name], tables[earlier + 1][name])
            found[name] = table
        return SimulatedCatalog(self.server, found, self.live)

    def changes(self, revision: Revision) -> Iterator[tuple[Step, list[Change]]]:
        """Yield each step of ``revision`` with the changes that it would make."""
        catalog = self.before(revision)
        for step in revision.steps:
            yield step, list(step.changes(catalog, self.server))
            catalog.tables = step.declared(catalog.tables)

    def require_applicable(self, pending: Sequence[Revision]) -> None:
        """Raise SchemaConflict, with all reasons, if one of ``pending`` cannot be applied after those before it."""
        refusals = {revision.name: revision.refusal(self.before(revision), self.server) for revision in pending}
        found = {name: refusal for name, refusal in refusals.items() if refusal is not None}
        if found:
            raise SchemaConflict(
                f"{', '.join(found)} cannot be applied; nothing was changed:",
                list(dict.fromkeys(sentence for refusal in found.values() for sentence in refusal.differences)),
                " ".join(dict.fromkeys(refusal.cure for refusal in found.values())),
            )

    def require_revertible(self, chosen: Sequence[Revision]) -> None:
        """Raise SchemaConflict for the first of ``chosen``, newest first, that cannot be rolled back."""
        assert self.live is not None
        tables = stages(self.revisions)
        pairs = [(tables[number], tables[number + 1]) for number in map(self.revisions.index, chosen)]
        leaving = frozenset(name for old, new in pairs for name in _added_names(old, new))
        live = {name: self.live.table(name) for name in tables[-1]}
        catalog = SimulatedCatalog(self.server, {name: table for name, table in live.items() if table}, self.live)
        for revision, (old, new) in zip(chosen, pairs, strict=True):
            revision.require_revertible(catalog, self.server, leaving)
            for name, table in new.items():
                current = catalog.tables.pop(name, None)
                if current is not None and name in old:
                    catalog.tables[name] = _without(current, old[name], table)


def _creates(revision: Revision, table: str) -> bool:
    return any(isinstance(step, CreateTable) and step.table.name == table for step in revision.steps)


def _added_names(old: Mapping[str, Table], new: Mapping[str, Table]) -> Iterator[str]:
    for table in new.values():
        if table.name not in old:
            yield table.name
        part = added(old.get(table.name), table)
        yield from _object_names(part)
        # SQLite reports a foreign key by its column.
        for key in part.foreign_keys:
            yield key.column


def _object_names(table: Table) -> set[str]:
    keys = {key.name for key in table.foreign_keys}
    return keys | {index.name for index in table.indexes} | {check.name for check in table.checks}


def _without(live: Table, old: Table, new: Table) -> Table:
    """Return the live table without what was added or changed between ``old`` and ``new``."""
    part = added(old, new)
    columns = []
    for column in live.columns:
        after, previous = part.column(column.name), old.column(column.name)
        if after is None:
            columns.append(column)
        elif previous is not None:
            columns.append(replace(column, type=previous.type) if column.type == after.type else column)
    names = {column.name for column in columns}
    gone = _object_names(part)
    return replace(
        live,
        columns=tuple(columns),
        foreign_keys=tuple(key for key in live.foreign_keys if key.name not in gone and key.column in names),
        indexes=tuple(item for item in live.indexes if item.name not in gone and names.issuperset(item.columns)),
        checks=tuple(check for check in live.checks if check.name not in gone),
    )


def _with(live: Table, old: Table, new: Table) -> Table:
    """Return the live table with what was added or changed between ``old`` and ``new``."""
    part = added(old, new)
    columns = []
    for column in live.columns:
        after, previous = part.column(column.name), old.column(column.name)
        is_changed = after is not None and previous is not None and column.type == previous.type
        columns.append(replace(column, type=after.type) if after is not None and is_changed else column)
    columns += [column for column in part.columns if live.column(column.name) is None]
    keys = [key for key in part.foreign_keys if live.foreign_key(key.column) is None]
    indexes = [index for index in part.indexes if live.index(index.name) is None]
    checks = [check for check in part.checks if live.check(check.name) is None]
    return sort(
        Table(
            live.name,
            tuple(columns),
            (*live.foreign_keys, *keys),
            (*live.indexes, *indexes),
            (*live.checks, *checks),
        )
    )
