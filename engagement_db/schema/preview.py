"""Offline mode: the statements of a migration, as text."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import peewee
from peewee_migrate import models as peewee_migrate_models

from engagement_db.expressions import literal
from engagement_db.schema import runner
from engagement_db.schema.history import TABLE
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import Tables
from engagement_db.servers import Change, Server
from engagement_db.servers.catalog import Catalog
from engagement_db.tables import Enum, Table, enum_type_name

_NOTE: Final = (
    "-- Run with the server's own client, with no other migration in progress. Stop on the first error:",
    "-- psql -v ON_ERROR_STOP=1, sqlite3 -bail; mysql and mariadb stop by default.",
)


class SimulatedCatalog(Catalog):
    """Simulated catalog: the tables as they will be after the statements printed so far."""

    def __init__(self, tables: Tables, live: Catalog | None = None) -> None:
        self.tables = dict(tables)
        self.live = live

    def version(self) -> tuple[int, ...]:
        return (0,) if self.live is None else self.live.version()

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        for table in self.tables.values():
            for column in table.columns:
                if isinstance(column.type, Enum) and enum_type_name(table.name, column.name) == name:
                    return column.type.labels
        return None if self.live is None else self.live.enum_type(name)


def script_up(
    server: Server, revisions: Sequence[Revision], live: Catalog | None = None, applied: Collection[str] = ()
) -> Iterator[str]:
    """Yield the SQL that applies ``revisions`` except those in ``applied``, line by line.

    Without ``live`` the platform is assumed to have none of the library's tables.
    """
    live_tables = _live_tables(revisions, live)
    declared = runner.declared([revision for revision in revisions if revision.name in applied])
    catalog = SimulatedCatalog({**declared, **live_tables}, live)
    yield from _opening(server)
    yield f"{_history_table(server)};"
    for revision in revisions:
        if revision.name in applied:
            continue
        outside = any(step.runs_outside_transaction(server) for step in revision.steps)
        changes = []
        for step in revision.steps:
            changes += list(step.changes(catalog, server))
            catalog.tables = step.declared(catalog.tables)
        quoted = server.quoted(TABLE)
        record = f"INSERT INTO {quoted} (name, migrated_at) VALUES ({literal(revision.name)}, CURRENT_TIMESTAMP)"
        yield from _block(server, revision, changes, record, in_one=server.transactional_ddl and not outside)


def script_down(server: Server, revisions: Sequence[Revision], live: Catalog | None = None) -> Iterator[str]:
    """Yield the SQL that rolls back ``revisions``, newest first. Running it deletes their rows."""
    live_tables = _live_tables(revisions, live)
    states: list[Tables] = [{}]
    for step in (step for revision in revisions for step in revision.steps):
        states.append(step.declared(states[-1]))
    catalog = SimulatedCatalog({**states[-1], **live_tables}, live)
    yield from _opening(server)
    for revision in reversed(revisions):
        changes = []
        for step in reversed(revision.steps):
            changes += list(step.revert_changes(catalog, server))
            states.pop()
            catalog.tables = dict(states[-1])
        forget = f"DELETE FROM {server.quoted(TABLE)} WHERE name = {literal(revision.name)}"
        yield from _block(server, revision, changes, forget, in_one=server.transactional_ddl)


def _live_tables(revisions: Sequence[Revision], live: Catalog | None) -> dict[str, Table]:
    declared = runner.declared(revisions)
    if live is None:
        return {}
    found = {name: live.table(name) for name in declared}
    return {name: table for name, table in found.items() if table is not None}


def _opening(server: Server) -> Iterator[str]:
    yield f"-- {server.display_name}"
    yield from _NOTE
    for statement in server.session:
        yield f"{statement};"


def _history_table(server: Server) -> str:
    manager: Any = peewee.SchemaManager(peewee_migrate_models.MigrateHistory, server.database_class("unused"))
    return str(manager._create_table(safe=True).query()[0])


def _block(
    server: Server, revision: Revision, changes: Sequence[Change], record: str, *, in_one: bool
) -> Iterator[str]:
    yield ""
    yield f"-- {revision.name}"
    if in_one:
        yield "BEGIN;"
    for change in changes:
        for statement in (*change.before, change.statement, *change.after):
            yield f"{statement};"
        if change.violations_query is not None:
            yield "-- This must return no row; any row violates the constraint just added:"
            yield f"{change.violations_query};"
    yield f"{record};"
    if in_one:
        yield "COMMIT;"
