"""The exact statements of a run, printed instead of executed."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import peewee
from peewee_migrate import models as peewee_migrate_models

from engagement_db.dialects import Dialect, literal
from engagement_db.schema.catalog import Catalog, Dependent
from engagement_db.schema.history import TABLE
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import Change, Tables
from engagement_db.tables import Enum, Table, enum_type_name

_NOTE: Final = (
    "-- Feed this to the server's own client, while nobody else migrates this database. Stop at the first error:",
    "-- psql -v ON_ERROR_STOP=1, sqlite3 -bail; mysql and mariadb stop by themselves.",
)


class Planned:
    """A catalog that is only imagined: the tables as they will be when the statements so far have run."""

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

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        return ()

    def count(self, table: str, column: str | None = None) -> int:
        return 0

    def holder(self, name: str, *, of_index: bool = False) -> str | None:
        return None

    def count_equal(self, table: str, column: str, value: str) -> int:
        return 0

    def count_breaking(self, table: str, expression: str) -> int:
        return 0

    def collations(self, table: str) -> tuple[str, ...]:
        return ()

    def breaking(self, table: str, rule: str) -> tuple[str, ...]:
        return ()

    def repeated(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def definition(self, table: str) -> str:
        return ""


def script_up(
    dialect: Dialect, revisions: Sequence[Revision], live: Catalog | None = None, applied: Collection[str] = ()
) -> Iterator[str]:
    """Yield the lines that apply ``revisions``: to an empty platform, or to what ``live`` has of our tables.

    Those whose names are in ``applied`` are there already.
    """
    declared: Tables = {}
    for revision in revisions:
        declared = revision.declared(declared) if revision.name in applied else declared
    catalog = Planned({**declared, **_live_tables(revisions, live)}, live)
    yield from _opening(dialect)
    yield f"{_history_table(dialect)};"
    for revision in revisions:
        if revision.name in applied:
            continue
        alone = any(step.runs_alone(dialect) for step in revision.steps)
        changes = []
        for step in revision.steps:
            changes += list(step.changes(catalog, dialect))
            catalog.tables = step.declared(catalog.tables)
        quoted = dialect.quoted(TABLE)
        record = f"INSERT INTO {quoted} (name, migrated_at) VALUES ({literal(revision.name)}, CURRENT_TIMESTAMP)"
        yield from _block(dialect, revision, changes, record, in_one=dialect.rolls_back_ddl and not alone)


def script_down(dialect: Dialect, revisions: Sequence[Revision], live: Catalog | None = None) -> Iterator[str]:
    """Yield the lines that take ``revisions`` back, the last first; a deliberate loss of the rows in them."""
    states: list[Tables] = [{}]
    for step in (step for revision in revisions for step in revision.steps):
        states.append(step.declared(states[-1]))
    catalog = Planned({**states[-1], **_live_tables(revisions, live)}, live)
    yield from _opening(dialect)
    for revision in reversed(revisions):
        changes = []
        for step in reversed(revision.steps):
            changes += list(step.undo_changes(catalog, dialect))
            states.pop()
            catalog.tables = dict(states[-1])
        forget = f"DELETE FROM {dialect.quoted(TABLE)} WHERE name = {literal(revision.name)}"
        yield from _block(dialect, revision, changes, forget, in_one=dialect.rolls_back_ddl)


def _live_tables(revisions: Sequence[Revision], live: Catalog | None) -> dict[str, Table]:
    if live is None:
        return {}
    declared: Tables = {}
    for revision in revisions:
        declared = revision.declared(declared)
    found = {name: live.table(name) for name in declared}
    return {name: table for name, table in found.items() if table is not None}


def _opening(dialect: Dialect) -> Iterator[str]:
    yield f"-- {dialect.title}"
    yield from _NOTE
    for statement in dialect.session:
        yield f"{statement};"


def _history_table(dialect: Dialect) -> str:
    manager: Any = peewee.SchemaManager(peewee_migrate_models.MigrateHistory, dialect.database_class("unused"))
    return str(manager._create_table(safe=True).query()[0])


def _block(
    dialect: Dialect, revision: Revision, changes: Sequence[Change], record: str, *, in_one: bool
) -> Iterator[str]:
    yield ""
    yield f"-- {revision.name}"
    if in_one:
        yield "BEGIN;"
    for change in changes:
        for statement in (*change.before, change.statement, *change.after):
            yield f"{statement};"
        if change.orphans is not None:
            yield "-- This must return no row; rows that it returns break the rule just added:"
            yield f"{change.orphans};"
    yield f"{record};"
    if in_one:
        yield "COMMIT;"
