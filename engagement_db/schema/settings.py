"""Settings of the commands: options, then environment variables, then defaults."""

import os
from typing import Final

from engagement_db.errors import ConfigurationError
from engagement_db.schema.lock import TIMEOUT_SECONDS

DEFAULT_URL: Final = "sqlite:///engagement.db"
URL_VARIABLE: Final = "DATABASE_URL"
LOCK_TIMEOUT_VARIABLE: Final = "ENGAGEMENT_DB_LOCK_TIMEOUT_SECONDS"


def chosen_url(option: str | None) -> tuple[str, bool]:
    """Return the database URL and whether it is the embedded default: the option, DATABASE_URL or the default."""
    url = option or os.environ.get(URL_VARIABLE)
    return (url, False) if url else (DEFAULT_URL, True)


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
