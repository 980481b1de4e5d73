"""The stock command `pw_migrate`, as safe as `engagement-db`: its conf.py calls ``open_database``."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import peewee
from peewee_migrate.logs import logger as peewee_migrate_logger

from engagement_db.errors import EngagementError
from engagement_db.orm import urls
from engagement_db.schema import history, runner
from engagement_db.schema.lock import exclusive
from engagement_db.schema.runner import error_message
from engagement_db.schema.settings import chosen_url, lock_timeout_seconds
from engagement_db.schema.stub_tables import create_stub_tables

_CHANGING: Final = ("migrate", "rollback", "merge")


def open_database() -> peewee.Database:
    """Return the database of the running `pw_migrate` command.

    An explicit ``--database`` wins, then DATABASE_URL, then the file engagement.db, which gets stub
    tables for those of the platform. A command that changes the database holds the migration lock
    until it ends, and is refused if the history lists unknown or duplicate revisions.
    """
    context = click.get_current_context(silent=True)
    try:
        url, is_default = chosen_url(context.params.get("database") if context else None)
        database = urls.open_database(url)
        if context is not None:
            _hide_own_tracebacks()
            context.with_resource(_errors_without_traceback())
            if context.command.name in _CHANGING:
                context.with_resource(exclusive(database, lock_timeout_seconds()))
                if is_default:
                    create_stub_tables(database)
                history.status(database, runner.names(Path(context.params["directory"]))).require_consistent()
    except (EngagementError, peewee.PeeweeException) as error:
        if context is None:
            raise
        raise click.ClickException(error_message(error)) from None
    return database


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
