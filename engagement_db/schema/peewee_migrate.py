"""The stock command `pw_migrate`, as safe as `engagement-db`: its conf.py calls ``open_database``."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import peewee
from peewee_migrate.logs import logger as peewee_migrate_logger

from engagement_db.errors import ConfigurationError, EngagementError, HistoryError
from engagement_db.schema import history, runner, script_files, settings, skeleton
from engagement_db.schema.lock import hold_migration_lock
from engagement_db.schema.output import unfailing_output
from engagement_db.schema.runner import error_message
from engagement_db.schema.stub_tables import create_stub_tables

_CHANGING: Final = ("migrate", "rollback")


def open_database() -> peewee.Database:
    """Return the database of the running `pw_migrate` command.

    An explicit ``--database`` wins, then DATABASE_URL, then the file engagement.db, which gets stub
    tables for those of the platform. A command that changes the database holds the migration lock
    until it ends, and is refused if the history lists unknown or duplicate revisions.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return settings.unconnected(settings.choose_target(None))
    try:
        return _prepare(context)
    except (EngagementError, peewee.PeeweeException) as error:
        raise click.ClickException(error_message(error)) from None


def _prepare(context: click.Context) -> peewee.Database:
    command, directory = context.command.name, Path(context.params["directory"])
    if command == "merge":
        raise ConfigurationError(
            "`pw_migrate merge` would delete the numbered scripts and empty the history; released revisions are "
            "never merged. Nothing was changed."
        )
    context.with_resource(unfailing_output())
    _hide_own_tracebacks()
    context.with_resource(_errors_without_traceback())
    target = settings.choose_target(context.params.get("database"))
    if command == "create":
        context.with_resource(_acceptable_script(directory, context.params["name"], context.params["auto"]))
        return settings.unconnected(target)
    click.echo(f"Database: {target}")
    database = settings.connect(target)
    context.call_on_close(database.close)
    if command in _CHANGING:
        context.with_resource(hold_migration_lock(database, settings.lock_timeout_seconds()))
        if target.is_default:
            create_stub_tables(database)
        status = history.status(database, script_files.names(directory))
        status.require_consistent()
        if command == "rollback":
            count = context.params["count"]
            runner.require_applied(count, len(status.applied))
            runner.require_runnable(database, status.applied, directory, rollback_count=count)
        else:
            name = context.params["name"]
            if name is not None:
                _require_exact_name(name, script_files.names(directory))
            if not context.params["fake"]:
                runner.require_runnable(database, status.applied, directory, to=name)
        if command == "migrate" and status.pending:
            history.create(database)
    return database


def _require_exact_name(name: str, known: Sequence[str]) -> None:
    # peewee-migrate applies every revision if none has the name.
    if name != (found := script_files.resolve(name, known)):
        raise HistoryError(f"`pw_migrate` takes the full name of a revision: --name {found}. Nothing was changed.")


@contextmanager
def _acceptable_script(directory: Path, name: str, is_detected: bool) -> Iterator[None]:
    """Replace the script that the command creates by one that `engagement-db` accepts."""
    skeleton.require_name(name)
    number = len(script_files.names(directory)) + 1
    path = directory / f"{number:03}_{name}.py"
    if number != skeleton.next_number(directory):
        raise ConfigurationError(
            f"`pw_migrate create` would take the number {number:03}, and a higher one exists. "
            f"Run `engagement-db new {name} --directory {directory}` instead. Nothing was written."
        )
    yield
    if path.exists():
        _, _, detected = path.read_text("utf-8").partition("def migrate(")
        notes = f"Detected by peewee-migrate, to be written as steps:\n\ndef migrate({detected}" if is_detected else ""
        path.write_text(skeleton.skeleton(path.stem, notes=notes), "utf-8")
        click.echo(f"Created {path}. Edit it, then run `pw_migrate migrate`.")


@contextmanager
def _errors_without_traceback() -> Iterator[None]:
    try:
        yield
    except (EngagementError, peewee.PeeweeException) as error:
        raise click.ClickException(error_message(error)) from None


def _hide_own_tracebacks() -> None:
    """Keep the tracebacks of the library's own errors out of peewee-migrate's log."""
    if _without_traceback not in peewee_migrate_logger.filters:
        peewee_migrate_logger.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], EngagementError | peewee.PeeweeException):
        record.exc_info = None
    return True
