"""One revision run: changes executed against a live database, without blocking its writers for long."""

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import peewee

from engagement_db import servers
from engagement_db.errors import MigrationBusy, MigrationError
from engagement_db.schema.lease import held
from engagement_db.servers import Change, Server
from engagement_db.servers.catalog import Catalog
from engagement_db.servers.driver import error_code, execute, server_message

Report = Callable[[str], None]

LOCK_TIMEOUT_SECONDS: Final = 60.0
# Younger transactions of other sessions are not waited for before a lock is requested.
LONG_TRANSACTION_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """Context of one revision run: database, server, catalog and progress callback."""

    database: peewee.Database
    report: Report = logger.info
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    is_online: bool = False
    server: Server = field(init=False)
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        self.server = servers.of(self.database)
        self.catalog = self.server.read(self.database)

    def execute_change(self, change: Change) -> None:
        """Execute one change: atomically, or if the run ``is_online`` in the steps that rewrite no table.

        Raises MigrationBusy if a table stayed locked, MigrationError if rows violate the constraint that the
        change adds, and what the database raises. Inside a transaction, which is retried as a whole, a
        locked table is such an error too.
        """
        if change.rewritten is not None:
            self.report(f"    {self._cost(change.rewritten)}")
        if change.online and self.is_online:
            for part in change.online:
                self.execute_change(part)
        elif self.database.in_transaction() and self.server.transactional_ddl:
            self._execute(change)
        elif change.outside_transaction:
            # Such a statement does not block writers while it waits, so it uses the full timeout in one attempt.
            self._require_lease()
            with self.server.lock_timeout(self.database, self.lock_timeout_seconds):
                self.retry_while_locked(lambda: self._execute(change), timeout_seconds=0)
        else:
            self.retry_while_locked(lambda: self._execute_alone(change), timeout_seconds=self.lock_timeout_seconds)

    def _cost(self, table: str) -> str:
        """Return how the table is changed, and what that costs."""
        if self.is_online:
            return f"changing only the description of {table}, in two statements: if interrupted, run it again"
        rows, size = self.catalog.size(table) or (0, 0)
        return (
            f"rewriting {table} in one atomic statement, about {rows:,} rows and {size / 2**20:,.0f} MB, while writes "
            f"continue: seconds for each million rows; --online rewrites nothing"
        )

    def retry_while_locked(self, work: Callable[[], None], *, timeout_seconds: float) -> None:
        """Retry ``work`` while a table is locked.

        Attempts are short, so that other sessions do not queue behind the lock request. Raises
        MigrationBusy, naming the blocking sessions where the server reports them, at the timeout.
        """
        deadline = time.monotonic() + timeout_seconds
        reported = self._wait_for_open_transactions(deadline, reported=False)
        while True:
            try:
                return work()
            except peewee.DatabaseError as error:
                if error_code(error) not in self.server.lock_timeout_codes:
                    raise
                blocking = self._blocking_transactions()
                if time.monotonic() > deadline:
                    raise MigrationBusy(
                        f"another transaction kept a table locked for {self.lock_timeout_seconds:g} s "
                        f"({server_message(error)}){blocking}; end it, or run the same command again later"
                    ) from error
                if not reported:
                    self.report(f"    a table is locked{blocking}; retrying for {timeout_seconds:g} s")
                    reported = True
                _pause()
                reported = self._wait_for_open_transactions(deadline, reported=reported)

    def _wait_for_open_transactions(self, deadline: float, *, reported: bool) -> bool:
        """Wait for long transactions to end, up to the deadline, without requesting a lock.

        Return whether the wait was reported. If the server does not report whose table they hold, or whether
        there are any, the attempt that follows finds out.
        """
        while self._attempts_stall_writers() and time.monotonic() < deadline:
            transactions = self.server.open_transactions(self.database)
            if not any(transaction.seconds >= LONG_TRANSACTION_SECONDS for transaction in transactions):
                break
            if not reported:
                blocking = self._blocking_transactions()
                self.report(f"    a table may be locked{blocking}; waiting up to {self.lock_timeout_seconds:g} s")
                reported = True
            _pause()
        return reported

    def _attempts_stall_writers(self) -> bool:
        """Whether even the shortest attempt is long enough for writers to notice."""
        return (self.server.lock_attempt_seconds or 0) >= LONG_TRANSACTION_SECONDS

    def _blocking_transactions(self) -> str:
        """Return the oldest open transactions as the end of a sentence."""
        return "".join(f"; {transaction}" for transaction in self.server.open_transactions(self.database))

    def _execute_alone(self, change: Change) -> None:
        """Execute a change that is not part of a transaction: in one of its own, where that limits its wait."""
        self._require_lease()
        seconds = self.server.lock_attempt_seconds
        if seconds is None or not self.server.transactional_ddl:
            self._execute(change)
            return
        with self.database.atomic(), self.server.lock_timeout(self.database, seconds):
            self._execute(change)

    def _require_lease(self) -> None:
        # Within a transaction the lease is checked at the end, because the check would lock its row from here on.
        lease = held(self.database)
        if lease is not None:
            lease.require_held()

    def _execute(self, change: Change) -> None:
        self._execute_all(change.before)
        try:
            self._execute_gently(change)
        except peewee.PeeweeException:
            with suppress(peewee.PeeweeException):
                self._execute_all(change.after)
            raise
        self._execute_all(change.after)
        if change.violations_query is None:
            return
        found = [str(row[0]) for row in execute(self.database, change.violations_query).fetchall()]
        if found:
            if change.on_violation:
                execute(self.database, change.on_violation)
            raise MigrationError(
                f"existing rows violate the constraint added by this step (first ids: {', '.join(found[:10])}). "
                "Fix them, then run the same command again"
            )

    def _execute_gently(self, change: Change) -> None:
        try:
            execute(self.database, change.statement)
            return
        except peewee.DatabaseError as error:
            if change.fallback is None or error_code(error) not in self.server.not_online_codes:
                raise
        # Outside the handler, so that its own error is the one that is reported.
        self.report("    the server cannot change this table instantly: it rebuilds the table while writes continue")
        execute(self.database, change.fallback)

    def _execute_all(self, statements: tuple[str, ...]) -> None:
        for statement in statements:
            execute(self.database, statement)


def _pause() -> None:
    time.sleep(random.uniform(0.1, 0.4))
