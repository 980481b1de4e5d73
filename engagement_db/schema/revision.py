"""A revision: a name and its steps, run up and down against a live database."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import peewee

from engagement_db import dialects
from engagement_db.dialects import Dialect
from engagement_db.errors import MigrationBusy, MigrationError, SchemaConflict, StepFailed
from engagement_db.schema import catalog as catalogs
from engagement_db.schema.orm import register
from engagement_db.schema.progress import watched
from engagement_db.schema.steps import Change, RequireTables, Step, Tables

Report = Callable[[str], None]

PATIENCE_SECONDS: Final = 60.0

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """One revision on its way through one database: where it stands, and how it speaks."""

    database: peewee.Database
    report: Report = logger.info
    patience_seconds: float = PATIENCE_SECONDS
    dialect: Dialect = field(init=False)
    catalog: catalogs.Catalog = field(init=False)

    def __post_init__(self) -> None:
        self.dialect = dialects.of(self.database)
        self.catalog = catalogs.of(self.database)

    def make(self, change: Change) -> None:
        """Make one change; wait for busy tables in short attempts, so that nobody queues behind us for long.

        Raises MigrationBusy when the table stayed locked, MigrationError when rows break the rule that
        the change brings, and what the database raises; the change is then undone.
        """
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                self._attempt(change)
                break
            except peewee.DatabaseError as error:
                if dialects.error_code(error) not in self.dialect.lock_timeout_codes:
                    raise
                if time.monotonic() > deadline:
                    raise MigrationBusy(
                        f"another transaction kept the table locked for {self.patience_seconds:.0f} s "
                        f"({dialects.server_words(error)}); end it, or run the same command again later."
                    ) from error
                time.sleep(random.uniform(0.1, 0.4))

    def _attempt(self, change: Change) -> None:
        with self._short_lock_wait(change), watched(self.database, self.dialect, self.report):
            if self.database.in_transaction() and self.dialect.rolls_back_ddl:
                with self.database.savepoint():
                    self._execute(change)
            else:
                self._execute(change)

    def _execute(self, change: Change) -> None:
        for statement in change.before:
            self.database.execute_sql(statement)
        try:
            self.database.execute_sql(change.statement)
        except peewee.PeeweeException:
            with suppress(peewee.PeeweeException):
                self._execute_all(change.after)
            raise
        self._execute_all(change.after)
        if change.orphans is None:
            return
        found = [str(row[0]) for row in self.database.execute_sql(change.orphans).fetchall()]
        if found:
            if change.if_orphans:
                self.database.execute_sql(change.if_orphans)
            raise MigrationError(
                f"rows break the rule that this step brings, among them those with id {', '.join(found[:10])}; "
                "mend them, then run the same command again"
            )

    def _execute_all(self, statements: tuple[str, ...]) -> None:
        for statement in statements:
            self.database.execute_sql(statement)

    @contextmanager
    def _short_lock_wait(self, change: Change) -> Iterator[None]:
        # A concurrent build keeps no writer waiting while it waits itself, and dies of a lock timeout.
        if self.dialect.read_lock_wait is None or change.alone:
            yield
            return
        usual = self.database.execute_sql(self.dialect.read_lock_wait).fetchone()[0]
        self.database.execute_sql(self.dialect.set_lock_wait.format(self.dialect.lock_wait))
        try:
            yield
        finally:
            with suppress(peewee.PeeweeException):
                self.database.execute_sql(self.dialect.set_lock_wait.format(usual))


class Revision:
    """A numbered change of the schema, made of steps.

    ``migrate`` and ``rollback`` are what peewee-migrate calls in a script. They work at once rather
    than through ``migrator.run``, since PostgreSQL builds an index beside its writers only outside a
    transaction; when peewee-migrate replays an applied script (``fake``), they only tell its
    migrator which models the revision leaves.
    """

    def __init__(self, name: str, *steps: Step) -> None:
        self.name = name
        self.steps = steps

    def __repr__(self) -> str:
        return f"<Revision {self.name}>"

    def migrate(self, migrator: Any, database: peewee.Database, *, fake: bool = False, **_: Any) -> None:
        """Run the steps up, unless ``fake``; register the tables with peewee-migrate's migrator."""
        register(migrator, self)
        if not fake:
            self.up(Run(_target(database)))

    def rollback(self, migrator: Any, database: peewee.Database, *, fake: bool = False, **_: Any) -> None:
        """Run the steps down, unless ``fake``."""
        if not fake:
            self.down(Run(_target(database)))

    def declared(self, tables: Tables) -> dict[str, Any]:
        """Return the tables as they are after this revision, given those before it."""
        after = dict(tables)
        for step in self.steps:
            after = step.declared(after)
        return after

    def up(self, run: Run) -> None:
        """Bring the database to this revision, from wherever an earlier run left it.

        Raises SchemaConflict, before the first change, when something is there in another shape;
        MigrationBusy or StepFailed when a step did not come through: the message says what stands.
        """
        self._refuse_old_server(run)
        conflicts = [words for step in self.steps for words in step.conflicts(run.catalog, run.dialect)]
        if conflicts:
            raise SchemaConflict(
                f"{self.name} cannot be applied; nothing was changed:",
                conflicts,
                "Rename or drop what is in the way (tables made by Sequelize: `engagement-db adopt` takes them over), "
                "then run the same command again.",
            )
        alone = any(step.runs_alone(run.dialect) for step in self.steps)
        with _own_transactions(run.database) if alone else _given_transaction():
            changes = [(step.title, step.changes(run.catalog, run.dialect)) for step in self.steps]
            self._run(run, changes, in_one=not alone, nothing_left="already there")

    def down(self, run: Run) -> None:
        """Take this revision back, from wherever an earlier run left it.

        Raises SchemaConflict, before the first change, when something else stands on what would go;
        MigrationBusy or StepFailed as ``up`` does.
        """
        leaving = frozenset(step.brings for step in self.steps if step.brings)
        steps = [step for step in reversed(self.steps) if not isinstance(step, RequireTables)]
        conflicts = [words for step in steps for words in step.undo_conflicts(run.catalog, run.dialect, leaving)]
        if conflicts:
            raise SchemaConflict(
                f"{self.name} cannot be taken back; nothing was changed:",
                conflicts,
                "Drop or change these first, then run the same command again.",
            )
        changes = [(f"undo: {step.title}", step.undo_changes(run.catalog, run.dialect)) for step in steps]
        self._run(run, changes, in_one=True, nothing_left="already gone")

    def at_stake(self, run: Run) -> list[tuple[str, int]]:
        """Return (what, how many rows) for everything that ``down`` would throw away."""
        found = [item for step in reversed(self.steps) for item in step.at_stake(run.catalog)]
        return [(what, rows) for what, rows in found if rows]

    def _refuse_old_server(self, run: Run) -> None:
        version, least = run.catalog.version(), run.dialect.least_version
        if version < least:
            raise SchemaConflict(
                f"{self.name} cannot be applied; nothing was changed:",
                [f"{run.dialect.title} {_dotted(version)} is older than {_dotted(least)}"],
                "Upgrade the server first.",
            )

    def _run(self, run: Run, steps: list[tuple[str, Iterator[Change]]], *, in_one: bool, nothing_left: str) -> None:
        committed: list[str] = []
        for number, (title, changes) in enumerate(steps, 1):
            started = time.monotonic()
            made = 0
            try:
                for change in changes:
                    run.make(change)
                    made += 1
            except (peewee.PeeweeException, MigrationError) as error:
                raise self._failure(
                    run, error, f"step {number} of {len(steps)} ({title})", committed, in_one
                ) from error
            committed.append(title)
            taken = f"{time.monotonic() - started:.2f} s" if made else nothing_left
            run.report(f"{self.name}: {title}: {taken}")

    def _failure(self, run: Run, error: Exception, place: str, committed: list[str], in_one: bool) -> MigrationError:
        words = str(error) if isinstance(error, MigrationError) else dialects.server_words(error)
        if in_one and run.dialect.rolls_back_ddl:
            stands = "Nothing of this revision stands: its transaction is rolled back."
        else:
            done = ", ".join(committed) or "no whole step"
            stands = f"Committed before that: {done}; the step itself may be half done."
        kind = MigrationBusy if isinstance(error, MigrationBusy) else StepFailed
        return kind(
            f"{self.name}: {place} failed on {run.dialect.title}: {words.rstrip('.')}.\n{stands} "
            "Once the cause is gone, run the same command again: it finishes what is missing."
        )


def _target(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    return database.obj if isinstance(database, peewee.Proxy) else database


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@contextmanager
def _given_transaction() -> Iterator[None]:
    yield


@contextmanager
def _own_transactions(database: peewee.Database) -> Iterator[None]:
    """Leave the one transaction that a runner opened, and open it again for what the runner does next."""
    depth = database.transaction_depth()
    if depth > 1:
        raise MigrationError(
            "this revision needs transactions of its own, and was called within two; run it outside of yours. "
            "Nothing was changed."
        )
    if not depth:
        yield
        return
    database.commit()
    transaction = database.pop_transaction()
    try:
        yield
    finally:
        with suppress(peewee.PeeweeException):
            database.begin()
        database.push_transaction(transaction)
