"""Settings of the commands: options, then environment variables, then defaults."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import peewee

from engagement_db import servers
from engagement_db.errors import ConfigurationError
from engagement_db.orm.urls import open_database, shown_url
from engagement_db.schema.lock import TIMEOUT_SECONDS

DEFAULT_URL: Final = "sqlite:///engagement.db"
URL_VARIABLE: Final = "DATABASE_URL"
REQUIRE_URL_VARIABLE: Final = "ENGAGEMENT_DB_REQUIRE_URL"
LOCK_TIMEOUT_VARIABLE: Final = "ENGAGEMENT_DB_LOCK_TIMEOUT_SECONDS"
_SWITCHES: Final = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True)
class Target:
    """The database that a command works on; ``is_default``: none was named, so it is the embedded one."""

    url: str
    is_default: bool

    def __str__(self) -> str:
        default = f", the embedded default (neither --database nor {URL_VARIABLE} is set)" if self.is_default else ""
        return f"{shown_url(self.url)}{default}"


def choose_target(option: str | None, *, require_url: bool = False) -> Target:
    """Return the target named by the option or by DATABASE_URL, or the embedded default.

    Raises ConfigurationError if it would be the default and ``require_url`` or the environment
    variable ENGAGEMENT_DB_REQUIRE_URL forbids that.
    """
    url = option or os.environ.get(URL_VARIABLE)
    if url:
        return Target(url, is_default=False)
    if require_url or _is_switched_on(REQUIRE_URL_VARIABLE):
        raise ConfigurationError(
            f"no database is named: set {URL_VARIABLE} or give --database. "
            f"(--require-url or {REQUIRE_URL_VARIABLE} forbids the embedded default {DEFAULT_URL}.)"
        )
    return Target(DEFAULT_URL, is_default=True)


def unconnected(target: Target) -> peewee.Database:
    """Return the database of the target. Raises ConfigurationError if its URL cannot be used."""
    with _parameters_checked(target):
        return open_database(target.url)


def connect(target: Target) -> peewee.Database:
    """Return the database of the target, connected.

    Raises ConfigurationError if its URL or a parameter in it cannot be used, and what the driver
    raises if the server does not answer.
    """
    database = unconnected(target)
    with _parameters_checked(target):
        database.connect()
    return database


def is_missing_file(target: Target) -> bool:
    """Return whether the database is a file that does not exist: connecting would create it."""
    database = unconnected(target)
    is_file = servers.family(database).is_file_based and database.database != ":memory:"
    return is_file and not Path(database.database).exists()


@contextmanager
def _parameters_checked(target: Target) -> Iterator[None]:
    try:
        yield
    # What the drivers raise for an unknown parameter or value.
    except (AttributeError, OSError, TypeError, ValueError) as error:
        names = ", ".join(name for name, _ in parse_qsl(urlsplit(target.url).query)) or "none"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(
            f"cannot connect to {shown_url(target.url)}: {reason}. Check the parameters after the ? ({names})."
        ) from None


def lock_timeout_seconds(option: float | None = None) -> float:
    """Return how long to wait for locks, in seconds: the option, the environment variable or 60.

    Raises ConfigurationError if the variable is not a number.
    """
    if option is not None:
        return option
    text = os.environ.get(LOCK_TIMEOUT_VARIABLE)
    try:
        return TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        raise ConfigurationError(f"{LOCK_TIMEOUT_VARIABLE}={text!r} is not a number of seconds.") from None


def _is_switched_on(variable: str) -> bool:
    text = os.environ.get(variable, "")
    if text.lower() not in _SWITCHES:
        raise ConfigurationError(f"{variable}={text!r} is neither 1 nor 0.")
    return _SWITCHES[text.lower()]
