"""Waiting for what a test needs, however fast the machine is.

No test guesses how long something takes: it waits for a condition, and the limit is for the test that fails.
"""

import time
from collections.abc import Callable
from typing import Final

from platform_database import family, query

TIMEOUT_SECONDS: Final = 120
# InnoDB shows the same again to those who ask more often than every tenth of a second.
INNODB_PAUSE_SECONDS: Final = 0.15

_BLOCKED_ON_INNODB = (
    "SELECT 1 FROM information_schema.innodb_trx x JOIN information_schema.processlist p "
    "ON p.id = x.trx_mysql_thread_id WHERE x.trx_state = 'LOCK WAIT' AND p.db = DATABASE()"
)
_BLOCKED = {
    "postgres": "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    "mariadb": _BLOCKED_ON_INNODB,
    "mysql": _BLOCKED_ON_INNODB,
}


def wait_until(is_so: Callable[[], object], what: str, seconds: float = TIMEOUT_SECONDS, pause: float = 0.05) -> None:
    """Wait until a function returns a true value."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:g} s until {what}"
        time.sleep(pause)


def wait_until_blocked(url: str) -> None:
    """Wait until a session of the database waits for a row that another has locked.

    SQLite does not say who waits, and has one writer at a time in any case: there it returns at once.
    """
    if family(url) != "sqlite":
        is_blocked = _BLOCKED[family(url)]
        wait_until(lambda: query(url, is_blocked), "a session waits for a row", pause=INNODB_PAUSE_SECONDS)
