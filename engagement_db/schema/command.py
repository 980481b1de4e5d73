"""What `pw_migrate` needs to be as safe as `engagement-db`: its conf.py calls ``open_database``."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import peewee
from peewee_migrate.logs import logger as peewee_migrate_logger

from engagement_db import dialects
from engagement_db.errors import ConfigurationError, EngagementError
from engagement_db.orm import urls
from engagement_db.schema import history, runner
from engagement_db.schema.lock import TIMEOUT_SECONDS, exclusive
from engagement_db.schema.platform import create_stand_ins

DEFAULT_URL: Final = "sqlite:///engagement.db"
LOCK_TIMEOUT_VARIABLE: Final = "ENGAGEMENT_DB_LOCK_TIMEOUT_SECONDS"
_CHANGING: Final = ("migrate", "rollback", "merge")


def chosen_url(option: str | None) -> tuple[str, bool]:
    """Return the URL to work on and whether it is the embedded default: the option, DATABASE_URL, the default."""
    url = option or os.environ.get("DATABASE_URL")
    return (url, False) if url else (DEFAULT_URL, True)


def open_database() -> peewee.Database:
    """Return the database that the running command is to work on, locked for it where it changes anything.

    An explicit ``--database`` wins, then DATABASE_URL, then the file engagement.db, which gets
    stand-ins for the platform's tables. Inside a `pw_migrate` command that changes the database the
    migration lock is held until the command ends, and a history that cannot be trusted is refused.
    """
    context = click.get_current_context(silent=True)
    try:
        url, is_default = chosen_url(context.params.get("database") if context else None)
        database = urls.open_database(url)
        if context is not None:
            _speak_plainly()
            context.with_resource(_errors_without_traceback())
            if context.command.name in _CHANGING:
                context.with_resource(exclusive(database, lock_timeout_seconds()))
                if is_default:
                    create_stand_ins(database)
                history.standing(database, runner.names(Path(context.params["directory"]))).refuse_doubt()
    except (EngagementError, peewee.PeeweeException) as error:
        if context is None:
            raise
        raise click.ClickException(words_of(error)) from None
    return database


def lock_timeout_seconds() -> float:
    """Return how long to wait for the migration lock, in seconds, from the environment or 60."""
    text = os.environ.get(LOCK_TIMEOUT_VARIABLE)
    try:
        return TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        raise ConfigurationError(f"{LOCK_TIMEOUT_VARIABLE}={text!r} is not a number of seconds.") from None


def words_of(error: EngagementError | peewee.PeeweeException) -> str:
    """Return an error as a person should read it."""
    found = error if isinstance(error, EngagementError) else runner.step_error(error)
    return str(found) if found else f"the database says: {dialects.server_words(error)}"


@contextmanager
def _errors_without_traceback() -> Iterator[None]:
    try:
        yield
    except (EngagementError, peewee.PeeweeException) as error:
        raise click.ClickException(words_of(error)) from None


def _speak_plainly() -> None:
    """Keep tracebacks of our own errors, which say all there is to say, out of peewee-migrate's log."""
    if _without_traceback not in peewee_migrate_logger.filters:
        peewee_migrate_logger.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], EngagementError | peewee.PeeweeException):
        record.exc_info = None
    return True
