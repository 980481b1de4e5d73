"""What a migration would do: its steps, and its statements as text (offline mode)."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import peewee

from engagement_db.schema.history import TABLE
from engagement_db.schema.revision import Revision
from engagement_db.schema.simulate import SimulatedCatalog, Simulation
from engagement_db.schema.steps import RequireTables, Tables
from engagement_db.servers import Change, Server
from engagement_db.servers.catalog import Catalog
from engagement_db.sql_tokens import literal

_NOTE: Final = (
    "-- Run with the server's own client, with no other migration in progress. Stop on the first error:",
    "-- psql -v ON_ERROR_STOP=1, sqlite3 -bail; mysql and mariadb stop by default.",
)


def plan(simulation: Simulation, pending: Sequence[Revision]) -> list[tuple[str, str, bool]]:
    """Return the steps of the ``pending`` revisions: (revision, title, whether it is already applied). Reads only.

    Raises SchemaConflict if one of them could not be applied.
    """
    simulation.require_applicable(pending)
    return [
        (revision.name, step.title, not changes)
        for revision in pending
        for step, changes in simulation.changes(revision)
        if not isinstance(step, RequireTables)
    ]


def script_up(
    server: Server, revisions: Sequence[Revision], live: Catalog | None = None, applied: Collection[str] = ()
) -> Iterator[str]:
    """Yield the SQL that applies ``revisions`` except those in ``applied``, line by line.

    Without ``live`` the platform is assumed to have none of the library's tables.
    """
    simulation = Simulation(revisions, server, live, applied)
    yield from _opening(server)
    yield f"{_history_table(server)};"
    for revision in simulation.revisions:
        if revision.name in applied:
            continue
        catalog = simulation.before(revision)
        outside = any(step.runs_outside_transaction(catalog, server) for step in revision.steps)
        changes = [change for _, found in simulation.changes(revision) for change in found]
        values = f"({literal(revision.name)}, CURRENT_TIMESTAMP)"
        record = f"INSERT INTO {server.quoted(TABLE)} (name, migrated_at) VALUES {values}"
        yield from _block(server, revision, changes, record, in_one=server.transactional_ddl and not outside)


def script_down(server: Server, revisions: Sequence[Revision], live: Catalog | None = None) -> Iterator[str]:
    """Yield the SQL that rolls back ``revisions``, newest first. Running it deletes their rows."""
    states: list[Tables] = [{}]
    for step in (step for revision in revisions for step in revision.steps):
        states.append(step.declared(states[-1]))
    found = {name: live.table(name) if live else table for name, table in states[-1].items()}
    catalog = SimulatedCatalog(server, {name: table for name, table in found.items() if table}, live)
    yield from _opening(server)
    for revision in reversed(revisions):
        changes = []
        for step in reversed(revision.steps):
            changes += list(step.revert_changes(catalog, server))
            states.pop()
            catalog.tables = dict(states[-1])
        forget = f"DELETE FROM {server.quoted(TABLE)} WHERE name = {literal(revision.name)}"
        yield from _block(server, revision, changes, forget, in_one=server.transactional_ddl)


def _opening(server: Server) -> Iterator[str]:
    yield f"-- {server.display_name}"
    yield from _NOTE
    for statement in server.session:
        yield f"{statement};"


def _history_table(server: Server) -> str:
    from peewee_migrate import models as peewee_migrate_models

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
        if change.online:
            yield "-- Or these, which rewrite nothing, one after the other; if interrupted, run the rest:"
            yield from (f"-- {part.statement};" for part in change.online)
        if change.fallback is not None:
            yield "-- Where the server refuses that algorithm, run this, which is slower and lets writes continue too:"
            yield f"-- {change.fallback};"
        if change.violations_query is not None:
            yield "-- This must return no row; any row violates the constraint just added:"
            yield f"{change.violations_query};"
    yield f"{record};"
    if in_one:
        yield "COMMIT;"
