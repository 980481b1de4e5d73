"""Migrations of a database: find the scripts, take the lock, read the history, run what is pending."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import EngagementError, HistoryError, MigrationError, RowsAtStake, StepFailed
from engagement_db.schema import history, script_files
from engagement_db.schema.check import require_present
from engagement_db.schema.execute import Report, Run, logger
from engagement_db.schema.history import MigrationStatus
from engagement_db.schema.inspection import inspect
from engagement_db.schema.lock import TIMEOUT_SECONDS, hold_migration_lock
from engagement_db.schema.revision import Revision
from engagement_db.schema.script_files import BASE, resolve
from engagement_db.schema.simulate import Simulation
from engagement_db.servers.driver import error_code, is_unwritable_file, server_message

_UNWRITABLE: Final = (
    ". Nothing was changed. This user needs to write the file, its folder and the files beside it (-wal, -shm): "
    "allow that."
)
_READ_ONLY: Final = ". This server takes no writes at present: name the primary, or a node that is in its cluster."


def load(directory: Path | None = None) -> tuple[Revision, ...]:
    """Return the revisions of the numbered scripts in ``directory`` (default: the library's own), in order.

    Raises HistoryError for a script whose number does not have three digits or is used twice, or
    whose revision is not named as its file; MigrationError for one of which a step refuses its arguments.
    """
    return tuple(_load_one(path) for path in script_files.paths(directory))


def _load_one(path: Path) -> Revision:
    scope: dict[str, Any] = {}
    try:
        exec(compile(path.read_text("utf-8"), str(path), "exec", dont_inherit=True), scope)
    except ValueError as error:
        raise MigrationError(f"the script {path.name} cannot be loaded: {error}. Nothing was changed.") from error
    revision = scope.get("revision")
    if not isinstance(revision, Revision) or revision.name != path.stem:
        raise HistoryError(
            f"the script {path.name} must define revision = Revision({path.stem!r}, ...). Nothing was changed."
        )
    return revision


def _interrupted(simulation: Simulation) -> list[Revision]:
    """Return the pending revisions of which an interrupted run may have left objects."""
    findings = zip(simulation.revisions, inspect(simulation), strict=True)
    return [revision for revision, finding in findings if not finding.recorded and finding.is_exact]


def _require_none_interrupted(interrupted: Sequence[Revision], applied: Sequence[Revision], last: str) -> None:
    """Raise HistoryError if a revision after ``last``, the oldest to be rolled back, is interrupted."""
    names = [revision.name for revision in interrupted if revision.name > last]
    if names:
        base = max((revision.name for revision in applied if revision.name < names[0]), default=BASE)
        raise HistoryError(
            f"revision {', '.join(names)} is not applied, but the database has objects of it, as after an interrupted "
            "run. Run `engagement-db migrate` to finish it, or "
            f"`engagement-db rollback --to {base}` to undo it. Nothing was changed."
        )


def select_pending(revisions: Sequence[Revision], applied: Collection[str], to: str | None) -> list[Revision]:
    """Return the revisions that are not applied, up to and including ``to``, a name or a number (None: all)."""
    last = None if to is None else resolve(to, _names(revisions))
    pending = [revision for revision in revisions if revision.name not in applied]
    return pending if last is None else [revision for revision in pending if revision.name <= last]


def migrate(
    database: peewee.Database,
    *,
    to: str | None = None,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    prepare: Callable[[peewee.Database], object] | None = None,
    report: Report = logger.info,
) -> tuple[str, ...]:
    """Apply the pending revisions up to and including ``to`` (default: all), and return their names.

    ``to`` is a name or a number. Waits for other deployers and then reads the history again, so that no revision is
    applied twice. ``prepare`` is called under the lock, before the history is read. Raises MigrationBusy, HistoryError,
    SchemaConflict or StepFailed; the same call, made again, resumes. Raises SchemaMissing, before any change, if
    the tables are not those that the history records.
    """
    revisions = load(directory)
    to = None if to is None else resolve(to, _names(revisions))
    done: list[str] = []
    with hold_migration_lock(database, lock_timeout_seconds):
        if prepare is not None:
            prepare(database)
        current = history.status(database, _names(revisions))
        current.require_consistent()
        pending = _names(select_pending(revisions, current.applied, to))
        require_present(database, revisions, current.applied, nothing_pending=not pending)
        if not pending:
            return ()
        run = Run(database, report, lock_timeout_seconds)
        simulation = Simulation(revisions, run.server, run.catalog, current.applied)
        simulation.require_applicable([simulation.revision(name) for name in pending])
        history.create(database)
        for name in pending:
            if done:
                simulation = Simulation(revisions, run.server, run.catalog, [*current.applied, *done])
            revision = simulation.revision(name)
            with _label_errors(revision), database.transaction():
                revision.up(run, simulation.before(revision))
                history.add(database, name)
            done.append(name)
    return tuple(done)


def rollback(
    database: peewee.Database,
    *,
    count: int = 1,
    to: str | None = None,
    discard_rows: bool = False,
    online: bool = False,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    report: Report = logger.info,
) -> tuple[str, ...]:
    """Roll back the last ``count`` revisions (1 or more), or every one after ``to``; return their names.

    ``to`` is a name, a number or BASE, which rolls back all; the same call, made again, resumes. It also
    undoes what an interrupted run left of a pending revision; with ``count`` that is refused.

    ``online`` rewrites no table: MySQL then drops a column in two statements, of which an interrupted run leaves the
    second to the next.

    Raises RowsAtStake, naming the number of rows in each place, if rows would be deleted and
    ``discard_rows`` is not set; otherwise what ``migrate`` raises.
    """
    revisions = load(directory)
    base = None if to is None else resolve(to, _names(revisions))
    done = []
    with hold_migration_lock(database, lock_timeout_seconds):
        current = history.status(database, _names(revisions))
        current.require_consistent()
        run = Run(database, report, lock_timeout_seconds, online)
        simulation = Simulation(revisions, run.server, run.catalog, current.applied)
        applied = [revision for revision in reversed(simulation.revisions) if revision.name in current.applied]
        interrupted = _interrupted(simulation)
        if base is not None:
            begun = [*applied, *interrupted]
            chosen = [item for item in reversed(simulation.revisions) if item.name > base and item in begun]
        else:
            require_applied(count, len(applied))
            chosen = applied[:count]
            _require_none_interrupted(interrupted, applied, chosen[-1].name)
        simulation.require_revertible(chosen)
        losses = [_counted(rows, what) for revision in chosen for what, rows in revision.data_loss(run)]
        if losses and not discard_rows:
            raise RowsAtStake(
                f"rolling back {', '.join(_names(chosen))} would delete {', '.join(losses)}. Nothing was changed. "
                "Back up the data, then add --discard-rows."
            )
        for revision in chosen:
            with _label_errors(revision), database.transaction():
                revision.down(run)
                history.remove(database, revision.name)
            done.append(revision.name)
    return tuple(done)


def require_runnable(
    database: peewee.Database,
    applied: Sequence[str],
    directory: Path,
    *,
    to: str | None = None,
    rollback_count: int | None = None,
) -> None:
    """Raise what ``migrate``, or with a count ``rollback``, raises before its first change. Reads only.

    For another runner of the same scripts. Nothing is looked at if one of them is not a revision of this library.
    """
    try:
        revisions = load(directory)
    except HistoryError:
        return
    run = Run(database)
    simulation = Simulation(revisions, run.server, run.catalog, applied)
    if rollback_count is None:
        pending = select_pending(simulation.revisions, applied, to)
        require_present(database, revisions, applied, nothing_pending=not pending)
        simulation.require_applicable(pending)
        return
    newest = [revision for revision in reversed(simulation.revisions) if revision.name in applied]
    _require_none_interrupted(_interrupted(simulation), newest, newest[rollback_count - 1].name)


def status(database: peewee.Database, directory: Path | None = None) -> MigrationStatus:
    """Return which revisions are applied, pending, unknown to this code, or recorded twice. Reads only."""
    return history.status(database, script_files.names(directory))


def require_applied(count: int, applied: int) -> None:
    """Raise HistoryError if fewer than ``count`` revisions are applied."""
    if count > applied:
        revisions = "1 revision" if count == 1 else f"{count} revisions"
        number = "none is" if not applied else "only 1 is" if applied == 1 else f"only {applied} are"
        raise HistoryError(f"cannot roll back {revisions}: {number} applied. Nothing was changed.")


def _counted(number: int, noun: str) -> str:
    """Return a count with its noun, which is given in the plural: ``rows of feed_posts``."""
    return f"1 {noun.replace('s of ', ' of ', 1)}" if number == 1 else f"{number:,} {noun}"


@contextmanager
def _label_errors(revision: Revision) -> Iterator[None]:
    """Prefix errors from outside a step with the revision name, without masking a step's own error."""
    try:
        yield
    except peewee.PeeweeException as error:
        raise find_migration_error(error) or StepFailed(
            f"{revision.name}: its steps and its row in the history could not be committed: "
            f"{server_message(error).rstrip('.')}. Run the same command again to resume."
        ) from error


def find_migration_error(error: BaseException | None) -> MigrationError | None:
    """Return the MigrationError that ``error`` masks, as when the rollback after a lost connection fails too."""
    while error is not None and not isinstance(error, MigrationError):
        error = error.__context__
    return error


def error_message(error: EngagementError | peewee.PeeweeException) -> str:
    """Return the message of an error, without what it masks."""
    found = error if isinstance(error, EngagementError) else find_migration_error(error)
    if found:
        return str(found)
    advice = ""
    if is_unwritable_file(error):
        advice = _UNWRITABLE
    # What SQLite's codes mean is said above; some are those of other errors on MySQL and MariaDB.
    elif any(error_code(error) in server.not_writable_codes for server in servers.ALL if not server.is_file_based):
        advice = _READ_ONLY
    return f"the database reported: {server_message(error)}{advice}"


def _names(revisions: Sequence[Revision]) -> list[str]:
    return [revision.name for revision in revisions]
