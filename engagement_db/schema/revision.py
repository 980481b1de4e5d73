"""A revision: a name and its steps, run up and down against a live database."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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
Plan = list[tuple[str, Iterator[Change]]]

PATIENCE_SECONDS: Final = 60.0
OLD_TRANSACTION_SECONDS: Final = 0.5

_ANOTHER_DATABASE: Final = (
    "The revisions add to a database of the platform, beside its users, projects and gigs: name that database, "
    "or let the platform's own migrations run first. Then run the same command again."
)
_IN_THE_WAY: Final = (
    "Rename or drop what is in the way (tables made by Sequelize: `engagement-db adopt` takes them over), "
    "then run the same command again."
)
_BLOCKING: Final = (
    "This table cannot be changed so while it is written to (a FULLTEXT index is the usual cause). At an hour when "
    "writers may wait, run the statement that `engagement-db sql` prints, without its ALGORITHM and LOCK. "
)

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
        """Make one change, which is whole or not at all.

        Raises MigrationBusy when a table stayed locked, MigrationError when rows break the rule that the
        change brings, and what the database raises. In a transaction that will be run again as a whole,
        a busy table is such an error too.
        """
        if self.database.in_transaction() and self.dialect.rolls_back_ddl:
            self._execute(change)
        elif change.alone:
            # It keeps no writer waiting while it waits itself, so it waits once, and for as long as it may.
            with self.lock_wait(f"{max(1, int(self.patience_seconds * 1000))}ms"):
                self.patiently(lambda: self._execute(change), patience_seconds=0)
        else:
            self.patiently(lambda: self._execute(change), patience_seconds=self.patience_seconds)

    def patiently(self, work: Callable[[], None], *, patience_seconds: float) -> None:
        """Do ``work``, and again for as long as a table is busy, in short attempts: nobody queues behind us for long.

        Raises MigrationBusy, naming who holds the table where the server tells, when it stayed busy.
        """
        deadline = time.monotonic() + patience_seconds
        told = self._let_old_transactions_end(deadline, told=False)
        while True:
            try:
                return work()
            except peewee.DatabaseError as error:
                if dialects.error_code(error) not in self.dialect.lock_timeout_codes:
                    raise
                holders = self._holders()
                if time.monotonic() > deadline:
                    raise MigrationBusy(
                        f"another transaction kept a table locked for {self.patience_seconds:g} s "
                        f"({dialects.server_words(error)}){holders}; end it, or run the same command again later"
                    ) from error
                if not told:
                    self.report(f"    a table is busy{holders}; trying again for {patience_seconds:g} s")
                    told = True
                _pause()
                told = self._let_old_transactions_end(deadline, told=told)

    def _let_old_transactions_end(self, deadline: float, *, told: bool) -> bool:
        """Wait until the deadline, asking for no lock, for old transactions to end; return whether one was told of.

        Where the server does not tell whose table they hold, or whether there are any, the attempt that
        follows finds out.
        """
        while self.dialect.looks_before_waiting and time.monotonic() < deadline:
            if not any(float(row[3] or 0) >= OLD_TRANSACTION_SECONDS for row in self._open_transactions()):
                break
            if not told:
                self.report(f"    a table may be busy{self._holders()}; waiting up to {self.patience_seconds:g} s")
                told = True
            _pause()
        return told

    def _holders(self) -> str:
        """Return the oldest transactions that are in the way, as the end of a sentence."""
        return "".join(
            f"; session {session} ({user} from {host}) has been in a transaction for {float(seconds or 0):.0f} s"
            f"{f' and holds {tables}' if tables else ''}"
            for session, user, host, seconds, tables in self._open_transactions()
        )

    def _open_transactions(self) -> list[tuple[Any, ...]]:
        if self.dialect.lock_holders is not None:
            with suppress(peewee.PeeweeException):
                return list(self.database.execute_sql(self.dialect.lock_holders).fetchall())
        return []

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
    def lock_wait(self, longest: str) -> Iterator[None]:
        """Inside the block no statement waits longer than this for a table."""
        if self.dialect.read_lock_wait is None:
            yield
            return
        usual = self.database.execute_sql(self.dialect.read_lock_wait).fetchone()[0]
        self.database.execute_sql(self.dialect.set_lock_wait.format(longest))
        try:
            yield
        finally:
            with suppress(peewee.PeeweeException):
                self.database.execute_sql(self.dialect.set_lock_wait.format(usual))


@dataclass
class _Course:
    """How far the steps of a revision have come."""

    place: str = "the start"
    done: list[str] = field(default_factory=list)
    trouble: Exception | None = None


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
        register(migrator, self.steps)
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
        found = [(step, list(step.conflicts(run.catalog, run.dialect))) for step in self.steps]
        conflicts = [words for _, sentences in found for words in sentences]
        if conflicts:
            lacking = [step for step, sentences in found if sentences and isinstance(step, RequireTables)]
            raise SchemaConflict(
                f"{self.name} cannot be applied; nothing was changed:",
                conflicts,
                _ANOTHER_DATABASE if lacking else _IN_THE_WAY,
            )
        alone = any(step.runs_alone(run.dialect) for step in self.steps)
        with _own_transactions(run.database) if alone else nullcontext():

            def plan() -> Plan:
                return [(step.title, step.changes(run.catalog, run.dialect)) for step in self.steps]

            self._run(run, plan, in_one=not alone, nothing_left="already there")

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

        def plan() -> Plan:
            return [(f"undo: {step.title}", step.undo_changes(run.catalog, run.dialect)) for step in steps]

        self._run(run, plan, in_one=True, nothing_left="already gone")

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

    def _run(self, run: Run, plan: Callable[[], Plan], *, in_one: bool, nothing_left: str) -> None:
        course = _Course()
        whole = in_one and run.dialect.rolls_back_ddl
        try:
            with run.lock_wait(run.dialect.lock_wait), watched(run.database, run.dialect, run.report):
                if whole:
                    # All of it again, not one statement: waiting, we would keep the locks of those before it.
                    run.patiently(
                        lambda: self._take_whole(run, course, plan(), nothing_left),
                        patience_seconds=run.patience_seconds,
                    )
                else:
                    self._take(run, course, plan(), nothing_left, run.report)
        except (peewee.PeeweeException, MigrationError) as error:
            # Where the connection is lost, undoing fails too: the first error says more.
            first = error if isinstance(error, MigrationError) else course.trouble or error
            raise self._failure(run, first, course, whole) from error

    def _take_whole(self, run: Run, course: _Course, steps: Plan, nothing_left: str) -> None:
        course.done.clear()
        lines: list[str] = []
        with run.database.atomic():
            self._take(run, course, steps, nothing_left, lines.append)
        for line in lines:
            run.report(line)

    def _take(self, run: Run, course: _Course, steps: Plan, nothing_left: str, report: Report) -> None:
        for number, (title, changes) in enumerate(steps, 1):
            started = time.monotonic()
            course.place = f"step {number} of {len(steps)} ({title})"
            made = 0
            try:
                for change in changes:
                    run.make(change)
                    made += not change.only_looks
            except peewee.PeeweeException as error:
                course.trouble = error
                raise
            course.done.append(title)
            taken = f"{time.monotonic() - started:.2f} s" if made else nothing_left
            report(f"{self.name}: {title}: {taken}")

    def _failure(self, run: Run, error: Exception, course: _Course, whole: bool) -> MigrationError:
        words = str(error) if isinstance(error, MigrationError) else dialects.server_words(error)
        if whole and run.database.transaction_depth() > 1:
            stands = "Nothing of this run stands, whichever revision: it is one transaction, and rolled back."
        elif whole:
            stands = "Nothing of this revision stands: its transaction is rolled back."
        else:
            done = ", ".join(course.done) or "no whole step"
            stands = f"Committed before that: {done}; the step itself may be half done."
        kind = MigrationBusy if isinstance(error, MigrationBusy) else StepFailed
        return kind(
            f"{self.name}: {course.place} failed on {run.dialect.title}: {words.rstrip('.')}.\n{stands} "
            f"{_BLOCKING if dialects.error_code(error) in run.dialect.not_online_codes else ''}"
            "Once the cause is gone, run the same command again: it finishes what is missing."
        )


def _pause() -> None:
    time.sleep(random.uniform(0.1, 0.4))


def _target(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    return database.obj if isinstance(database, peewee.Proxy) else database


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


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
