"""Bringing a database to a revision: find the scripts, lock, read the history again, plan, run."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import peewee

from engagement_db import dialects
from engagement_db.errors import HistoryError, MigrationError, RowsAtStake, StepFailed
from engagement_db.schema import history
from engagement_db.schema.history import Standing
from engagement_db.schema.lock import TIMEOUT_SECONDS, exclusive
from engagement_db.schema.revision import Report, Revision, Run, logger
from engagement_db.tables import Table

# What sorts before every revision: a database that was rolled back to it has none.
NOTHING: Final = "000"

_SCRIPT: Final = re.compile(r"\d{3}_\w+\.py")


def scripts_directory() -> Path:
    """Return the folder of the numbered scripts: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def load(directory: Path | None = None) -> tuple[Revision, ...]:
    """Return the revisions of the numbered scripts in ``directory`` (by default our own), in order.

    Raises HistoryError for a script that no runner would find or that two would take for one: a
    number that has not three digits or is used twice, a name that is not its file's.
    """
    return tuple(_load_one(path) for path in _scripts(directory or scripts_directory()))


def names(directory: Path | None = None) -> tuple[str, ...]:
    """Return the names of the numbered scripts, in order; raises what ``load`` raises for strange ones."""
    return tuple(path.stem for path in _scripts(directory or scripts_directory()))


def _scripts(directory: Path) -> list[Path]:
    paths = sorted(path for path in directory.glob("*.py") if path.name[0].isdigit())
    strange = [path.name for path in paths if not _SCRIPT.fullmatch(path.name)]
    numbers = [path.name[:3] for path in paths]
    strange += [path.name for path in paths if numbers.count(path.name[:3]) > 1]
    if strange:
        raise HistoryError(
            f"the script {strange[0]} would not run: a name is three digits of its own, an underscore and a word, "
            "as in 004_more_reactions.py. Rename it. Nothing was changed."
        )
    return paths


def _load_one(path: Path) -> Revision:
    scope: dict[str, Any] = {}
    exec(compile(path.read_text("utf-8"), str(path), "exec", dont_inherit=True), scope)
    revision = scope.get("revision")
    if not isinstance(revision, Revision) or revision.name != path.stem:
        raise HistoryError(
            f"the script {path.name} must define revision = Revision({path.stem!r}, ...). Nothing was changed."
        )
    return revision


def declared(revisions: Sequence[Revision]) -> dict[str, Table]:
    """Return the tables as these revisions leave them: the contract."""
    tables: dict[str, Table] = {}
    for revision in revisions:
        tables = revision.declared(tables)
    return tables


def migrate(
    database: peewee.Database,
    *,
    to: str | None = None,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    prepare: Callable[[peewee.Database], object] | None = None,
    report: Report = logger.info,
) -> tuple[str, ...]:
    """Apply every pending revision, up to and with ``to``, and return their names.

    Waits for other deployers and then looks again, so that what they did is not done twice; does
    nothing when nothing is pending. ``prepare`` is called under the lock, before the history is read.
    Raises MigrationBusy, HistoryError, SchemaConflict or StepFailed; the same call, made again,
    finishes what is missing.
    """
    revisions = load(directory)
    _refuse_unknown_name(to, revisions)
    done = []
    with exclusive(database, lock_timeout_seconds):
        if prepare is not None:
            prepare(database)
        standing = history.standing(database, _names(revisions))
        standing.refuse_doubt()
        pending = [revision for revision in revisions if revision.name in standing.pending]
        if to is not None:
            pending = [revision for revision in pending if revision.name <= to]
        if pending:
            history.create(database)
        for revision in pending:
            with _told_by_name(revision), database.transaction():
                revision.up(Run(database, report, lock_timeout_seconds))
                history.add(database, revision.name)
            done.append(revision.name)
    return tuple(done)


def rollback(
    database: peewee.Database,
    *,
    count: int = 1,
    to: str | None = None,
    discard_rows: bool = False,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    report: Report = logger.info,
) -> tuple[str, ...]:
    """Take back the last ``count`` revisions (1 or more), or every one after ``to``; return their names.

    With ``to`` the same call can be made again, whatever became of the first: NOTHING takes back all.

    Raises RowsAtStake, with the number of rows in each place, when anything would be thrown away
    and ``discard_rows`` is not set; otherwise what ``migrate`` raises.
    """
    revisions = load(directory)
    _refuse_unknown_name(None if to == NOTHING else to, revisions)
    done = []
    with exclusive(database, lock_timeout_seconds):
        standing = history.standing(database, _names(revisions))
        standing.refuse_doubt()
        applied = [revision for revision in reversed(revisions) if revision.name in standing.applied]
        if to is not None:
            going = [revision for revision in applied if revision.name > to]
        elif count > len(applied):
            raise HistoryError(f"only {len(applied)} revisions are applied, not {count}. Nothing was changed.")
        else:
            going = applied[:count]
        run = Run(database, report, lock_timeout_seconds)
        stake = [f"{rows:,} {what}" for revision in going for what, rows in revision.at_stake(run)]
        if stake and not discard_rows:
            raise RowsAtStake(
                f"rolling back {', '.join(revision.name for revision in going)} would throw away {', '.join(stake)}. "
                "Nothing was changed. Save them first, then run it again with --discard-rows."
            )
        for revision in going:
            with _told_by_name(revision), database.transaction():
                revision.down(run)
                history.remove(database, revision.name)
            done.append(revision.name)
    return tuple(done)


def status(database: peewee.Database, directory: Path | None = None) -> Standing:
    """Return which revisions are applied, pending, unknown to this code, or recorded twice. Reads only."""
    return history.standing(database, names(directory))


def _refuse_unknown_name(name: str | None, revisions: Sequence[Revision]) -> None:
    if name is not None and name not in _names(revisions):
        known = ", ".join(_names(revisions))
        raise HistoryError(f"there is no revision {name}; the revisions are {known}. Nothing was changed.")


@contextmanager
def _told_by_name(revision: Revision) -> Iterator[None]:
    """Make an error outside of every step say whose it is, and let none hide the error of a step."""
    try:
        yield
    except peewee.PeeweeException as error:
        raise step_error(error) or StepFailed(
            f"{revision.name}: its steps and its row in the history could not be brought to an end: "
            f"{dialects.server_words(error).rstrip('.')}. Run the same command again: it finishes what is missing."
        ) from error


def step_error(error: BaseException | None) -> MigrationError | None:
    """Return the error of ours on whose heels ``error`` came, as a lost connection fails to roll back too."""
    while error is not None and not isinstance(error, MigrationError):
        error = error.__context__
    return error


def _names(revisions: Sequence[Revision]) -> list[str]:
    return [revision.name for revision in revisions]
