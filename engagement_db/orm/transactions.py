"""Transactions that are retried when they lose a race, and reads that lock."""

import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import peewee

from engagement_db import servers
from engagement_db.errors import ConnectionLost, Contention
from engagement_db.orm.bound import current, refuse_writes, scope, target
from engagement_db.orm.failures import failure, prepare
from engagement_db.orm.sessions import has_isolation, is_async, is_asyncpg
from engagement_db.servers.driver import is_from_driver, own_code, server_message

Result = TypeVar("Result")


RETRIES: Final = 8

logger = logging.getLogger(__name__)


def transaction(
    work: Callable[[], Result],
    *,
    retries: int = RETRIES,
    database: peewee.Database | peewee.Proxy | None = None,
) -> Result:
    """Run ``work`` in one transaction and return its result. The models are bound to its database meanwhile.

    ``database`` is by default the one to which the models are bound here.

    Inside a caller's transaction of that database ``work`` joins it, behind a savepoint, and runs once: only the
    outermost transaction can be run again as a whole. Outside, a transaction that loses to another
    (deadlock, serialization failure, lock wait) is run again, at most ``retries`` times (0 or more),
    after a growing, random pause; so ``work`` must have no effect outside the database. A connection that turns out
    to be lost when the transaction begins is replaced, once.

    Raises what ``work`` raises, everything rolled back; Contention when the retries ran out, when the server's time
    limit canceled a statement, or when the transaction of the caller has to be run again; ConnectionLost, and
    OutcomeUnknown where the server did not answer the commit; NotWritable; ConfigurationError, before any statement,
    when the models are bound to several databases.
    """
    if database is None:
        database = current()
    else:
        database = target(database)
        prepare(database)
    refuse_writes(database)
    with scope(database):
        return _join(work, database) if database.in_transaction() else _retry(work, retries, database)


def _join(work: Callable[[], Result], database: peewee.Database) -> Result:
    before = sys.exc_info()[1]
    try:
        with database.atomic():
            return work()
    except Exception as error:
        found = failure(database, error, may_be_committed=False)
        if found is not None:
            raise found from error
        if _lost_race(database, error, before) or _was_canceled(database, error, before):
            raise Contention(
                f"the transaction around this call has to be run again as a whole: {server_message(error)}. "
                "Roll it back first."
            ) from error
        raise


def _retry(work: Callable[[], Result], retries: int, database: peewee.Database) -> Result:
    before = sys.exc_info()[1]
    lost, reconnected = 0, False
    while True:
        attempt = _Attempt()
        try:
            return attempt.run(work, database)
        except Exception as error:
            if attempt.is_committed:
                raise
            found = failure(database, error, may_be_committed=attempt.is_finished)
            if isinstance(found or error, ConnectionLost) and not attempt.has_begun and not reconnected:
                reconnected = True
                logger.info("replaced a lost connection: %s", server_message(error))
                continue
            if found is not None:
                raise found from error
            if _was_canceled(database, error, before):
                raise Contention(
                    f"the server canceled a statement: {server_message(error)}. Nothing was changed; try again."
                ) from error
            if isinstance(error, ConnectionLost) or not _lost_race(database, error, before):
                raise
            if lost == retries:
                logger.warning("gave up a transaction after %d attempts: %s", retries + 1, server_message(error))
                raise Contention(
                    f"gave up after {retries + 1} attempts, each lost to another transaction: "
                    f"{server_message(error)}. Nothing was changed; try again."
                ) from error
            logger.info("retrying a transaction, %d of %d: %s", lost + 1, retries, server_message(error))
        _pause(database, random.uniform(0.5, 1.0) * 0.01 * 2**lost)
        lost += 1


class _Attempt:
    """One attempt of a transaction, and its progress."""

    has_begun = is_finished = is_committed = False

    def run(self, work: Callable[[], Result], database: peewee.Database) -> Result:
        with _outermost(database):
            self.has_begun = True
            database.after_commit(self._note_commit)
            result = work()
            self.is_finished = True
        return result

    def _note_commit(self) -> None:
        # What fails from here on is work of the caller after the commit.
        self.is_committed = True


def _outermost(database: peewee.Database) -> Any:
    """Return the transaction block to enter, at the server's usual isolation."""
    begin = servers.family(database).begin
    if is_asyncpg(database):
        # asyncpg takes the level as a keyword, in its own spelling: "read_committed".
        return database.atomic(isolation=begin[0].lower().replace(" ", "_"))
    return database.atomic() if has_isolation(database) else database.atomic(*begin)


def _lost_race(database: peewee.Database, error: BaseException, before: BaseException | None) -> bool:
    server = servers.family(database)
    return any(isinstance(link, Contention) or server.lost_race(link) for link in _errors_since(before, error))


def _was_canceled(database: peewee.Database, error: BaseException, before: BaseException | None) -> bool:
    codes = servers.family(database).canceled_codes
    return any(own_code(link) in codes for link in _errors_since(before, error))


def _errors_since(before: BaseException | None, error: BaseException) -> Iterator[BaseException]:
    """Yield the error that ended an attempt, and those behind it that the attempt raised itself.

    A deadlock on MySQL and MariaDB undoes the savepoints too; peewee then rolls back to one that no longer exists, and
    that error masks the first. ``before`` is the error that the caller was handling.
    """
    link: BaseException | None = error
    if not (isinstance(error, peewee.PeeweeException | Contention) or is_from_driver(error)):
        return
    while link is not None and link is not before:
        yield link
        link = link.__context__


def _pause(database: peewee.Database, seconds: float) -> None:
    if is_async(database):
        import asyncio

        from playhouse.pwasyncio import await_

        await_(asyncio.sleep(seconds))
    elif not _is_on_event_loop():
        time.sleep(seconds)


def _is_on_event_loop() -> bool:
    """Whether an asyncio loop runs in this thread, which a pause would stop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def locked(query: Any) -> Any:
    """Return the SELECT with a lock on its rows against changes, or where rows cannot be locked the query itself.

    On SQLite a transaction that ``transaction`` began holds the only write lock already. On PostgreSQL the lock does
    not block inserts of rows that refer to these.
    """
    server = servers.of(current())
    return query.for_update(server.row_lock) if server.supports_for_update else query


def share_locked(query: Any) -> Any:
    """Return the SELECT with a lock on its rows against changes that others may hold at the same time.

    Where rows cannot be locked it is the query itself, as for ``locked``.
    """
    server = servers.of(current())
    return query.for_update(server.shared_row_lock) if server.supports_for_update else query
