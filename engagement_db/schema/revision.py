"""A revision: a name and its steps, applied to and rolled back from a live database."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import peewee

from engagement_db.errors import MigrationBusy, MigrationError, SchemaConflict, StepFailed
from engagement_db.schema import history
from engagement_db.schema.execute import Report, Run
from engagement_db.schema.orm import register
from engagement_db.schema.progress import watched
from engagement_db.schema.steps import RequireTables, Step, Tables
from engagement_db.servers import Change, KeyTypes, Server
from engagement_db.servers.catalog import Catalog
from engagement_db.servers.driver import error_code, server_message
from engagement_db.tables import Table

Plan = list[tuple[str, Iterator[Change]]]

_ANOTHER_DATABASE: Final = (
    "The revisions add tables to a database of the platform, which has users, projects and gigs: name that database, "
    "or let the platform's own migrations run first. Then run the same command again."
)
LACKING: Final = "Change the platform's tables as these sentences say, then run the same command again."
_CONFLICTS: Final = "Run `engagement-db adopt`: it records what another tool has created, and says what else to do."
_THEN_AGAIN: Final = "Then run the same command again."
_NOT_ONLINE: Final = (
    "This table cannot be altered online (usual cause: a FULLTEXT index). In a maintenance window, run the statement "
    "that `engagement-db sql` prints, without its ALGORITHM and LOCK. "
)


@dataclass
class _RunState:
    """Progress of one revision run."""

    place: str = "the start"
    done: list[str] = field(default_factory=list)
    first_error: Exception | None = None


class Revision:
    """A numbered change of the schema, made of steps.

    ``migrate`` and ``rollback`` are what peewee-migrate calls in a script. They execute at once rather
    than through ``migrator.run``, because PostgreSQL builds an index concurrently only outside a
    transaction. When peewee-migrate replays an applied script (``fake``), they only register the models
    that the revision leaves.
    """

    def __init__(self, name: str, *steps: Step) -> None:
        self.name = name
        self.steps = steps

    def __repr__(self) -> str:
        return f"<Revision {self.name}>"

    def migrate(self, migrator: Any, database: peewee.Database, *, fake: bool = False, **_: Any) -> None:
        """Apply the steps, unless ``fake``; register the tables with peewee-migrate's migrator."""
        register(migrator, self.steps)
        if not fake:
            run = Run(_unwrapped(database))
            self.fitted(KeyTypes(run.catalog)).up(run)
            history.require_held(run.database)

    def rollback(self, migrator: Any, database: peewee.Database, *, fake: bool = False, **_: Any) -> None:
        """Revert the steps, unless ``fake``."""
        if not fake:
            run = Run(_unwrapped(database))
            self.down(run)
            history.require_held(run.database)

    def fitted(self, types: KeyTypes) -> "Revision":
        """Return the revision with the types that its ids have in one database."""
        return Revision(self.name, *(step.fitted(types) for step in self.steps))

    def declared(self, tables: Tables) -> dict[str, Table]:
        """Return the tables after this revision, given those before it."""
        after = dict(tables)
        for step in self.steps:
            after = step.declared(after)
        return after

    def up(self, run: Run, before: Catalog | None = None) -> None:
        """Apply this revision, resuming an interrupted run if there was one.

        ``before`` is the catalog without what later revisions added, by default the live one.
        Raises SchemaConflict, before the first change, if an object exists with another definition;
        MigrationBusy or StepFailed if a step fails: the message says which steps are completed.
        """
        self.require_applicable(before or run.catalog, run.server)
        outside = any(step.runs_outside_transaction(run.catalog, run.server) for step in self.steps)
        with _autocommit_block(run.database) if outside else nullcontext():

            def plan() -> Plan:
                return [(step.title, step.changes(run.catalog, run.server)) for step in self._changing_steps]

            self._run(run, plan, in_one=not outside, nothing_left="already applied")

    def down(self, run: Run) -> None:
        """Roll back this revision, resuming an interrupted rollback if there was one.

        Raises SchemaConflict, before the first change, if another object depends on an object to be dropped;
        MigrationBusy or StepFailed as ``up`` does.
        """
        self.require_revertible(run.catalog, run.server)
        steps = self._changing_steps[::-1]

        def plan() -> Plan:
            return [(step.revert_title, step.revert_changes(run.catalog, run.server)) for step in steps]

        self._run(run, plan, in_one=True, nothing_left="already reverted")

    def require_applicable(self, catalog: Catalog, server: Server) -> None:
        """Raise SchemaConflict if the server or the session cannot apply it, or an object exists in another shape."""
        refusal = self.refusal(catalog, server)
        if refusal is not None:
            raise refusal

    def refusal(self, catalog: Catalog, server: Server) -> SchemaConflict | None:
        """Return the error that ``require_applicable`` raises, if there is one."""
        headline = f"{self.name} cannot be applied; nothing was changed:"
        version, minimum = catalog.version(), server.minimum_version
        if version < minimum:
            too_old = f"{server.display_name} {_dotted(version)} is older than {_dotted(minimum)}"
            return SchemaConflict(headline, [too_old], "Upgrade the server first.")
        obstacles = catalog.obstacles()
        if obstacles:
            return SchemaConflict(headline, obstacles, _THEN_AGAIN)
        missing = {name for step in self.steps if isinstance(step, RequireTables) for name in step.missing(catalog)}
        # A missing table of the platform is reported once.
        steps = [step for step in self.steps if getattr(step, "table", None) not in missing]
        found = [(step, list(step.conflicts(catalog, server))) for step in steps]
        conflicts = [sentence for _, sentences in found for sentence in sentences]
        if not conflicts:
            return None
        lacking = [step for step, sentences in found if sentences and isinstance(step, RequireTables)]
        advice = LACKING if lacking else _CONFLICTS
        if any(step.is_any_missing(catalog) for step in lacking):
            advice = _ANOTHER_DATABASE
        return SchemaConflict(headline, conflicts, advice)

    def require_revertible(self, catalog: Catalog, server: Server, leaving: frozenset[str] = frozenset()) -> None:
        """Raise SchemaConflict if an object depends on one to be dropped, except those named in ``leaving``."""
        obstacles = catalog.revert_obstacles()
        if obstacles:
            raise SchemaConflict(f"{self.name} cannot be rolled back; nothing was changed:", obstacles, _THEN_AGAIN)
        leaving |= {step.creates for step in self.steps if step.creates}
        steps = self._changing_steps[::-1]
        conflicts = [sentence for step in steps for sentence in step.revert_conflicts(catalog, server, leaving)]
        if conflicts:
            raise SchemaConflict(
                f"{self.name} cannot be rolled back; nothing was changed:",
                conflicts,
                "Drop or change these first, then run the same command again.",
            )

    def data_loss(self, run: Run) -> list[tuple[str, int]]:
        """Return (what, how many) for the rows and values that ``down`` would delete."""
        found = [item for step in reversed(self.steps) for item in step.data_loss(run.catalog)]
        return [(what, rows) for what, rows in found if rows]

    @property
    def _changing_steps(self) -> list[Step]:
        return [step for step in self.steps if not isinstance(step, RequireTables)]

    def _run(self, run: Run, plan: Callable[[], Plan], *, in_one: bool, nothing_left: str) -> None:
        state = _RunState()
        is_atomic = in_one and run.server.transactional_ddl
        attempt_seconds = run.server.lock_attempt_seconds or 0
        try:
            with (
                run.server.lock_timeout(run.database, attempt_seconds),
                watched(run.database, run.server, run.report),
            ):
                if is_atomic:
                    # Retry the whole transaction, because waiting inside it would hold the locks already taken.
                    run.retry_while_locked(
                        lambda: self._execute_in_transaction(run, state, plan(), nothing_left),
                        timeout_seconds=run.lock_timeout_seconds,
                    )
                else:
                    self._execute(run, state, plan(), nothing_left, run.report)
        except (peewee.PeeweeException, MigrationError) as error:
            # After a lost connection the rollback fails too; the first error says more.
            first = error if isinstance(error, MigrationError) else state.first_error or error
            raise self._failure(run, first, state, is_atomic) from error

    def _execute_in_transaction(self, run: Run, state: _RunState, plan: Plan, nothing_left: str) -> None:
        state.done.clear()
        lines: list[str] = []
        with run.database.atomic():
            self._execute(run, state, plan, nothing_left, lines.append)
        for line in lines:
            run.report(line)

    def _execute(self, run: Run, state: _RunState, plan: Plan, nothing_left: str, report: Report) -> None:
        for number, (title, changes) in enumerate(plan, 1):
            started = time.monotonic()
            state.place = f"step {number} of {len(plan)} ({title})"
            executed = 0
            try:
                for change in changes:
                    run.execute_change(change)
                    executed += not change.is_read_only
            except peewee.PeeweeException as error:
                state.first_error = error
                raise
            state.done.append(title)
            report(f"{self.name}: {title}: {f'{time.monotonic() - started:.2f} s' if executed else nothing_left}")

    def _failure(self, run: Run, error: Exception, state: _RunState, is_atomic: bool) -> MigrationError:
        message = str(error) if isinstance(error, MigrationError) else server_message(error)
        if is_atomic and run.database.transaction_depth() > 1:
            left = "The whole run is one transaction and was rolled back; no revision was changed."
        elif is_atomic:
            left = "The revision is one transaction and was rolled back."
        else:
            left = f"Completed steps: {', '.join(state.done) or 'none'}. The failed step may be partially applied."
        kind = MigrationBusy if isinstance(error, MigrationBusy) else StepFailed
        return kind(
            f"{self.name}: {state.place} failed on {run.server.display_name}: {message.rstrip('.')}.\n{left} "
            f"{_NOT_ONLINE if error_code(error) in run.server.not_online_codes else ''}"
            "Fix the cause, then run the same command again to resume."
        )


def declared(revisions: Sequence[Revision]) -> dict[str, Table]:
    """Return the tables after these revisions: the contract."""
    return stages(revisions)[-1]


def stages(revisions: Sequence[Revision]) -> list[dict[str, Table]]:
    """Return the tables before the first revision (none) and after each of them."""
    found: list[dict[str, Table]] = [{}]
    for revision in revisions:
        found.append(revision.declared(found[-1]))
    return found


def _unwrapped(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    return database.obj if isinstance(database, peewee.Proxy) else database


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@contextmanager
def _autocommit_block(database: peewee.Database) -> Iterator[None]:
    """Suspend the runner's transaction inside the block and reopen it afterwards."""
    depth = database.transaction_depth()
    if depth > 1:
        raise MigrationError(
            "this revision cannot run inside a nested transaction. Call it outside your own transaction. "
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
