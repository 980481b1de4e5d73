"""Transactions that are retried when they lose a race, and reads that lock."""

import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import peewee

from engagement_db import servers
from engagement_db.errors import Contention
from engagement_db.orm.bound import current, scope, target
from engagement_db.orm.sessions import is_asyncpg, set_up_sessions
from engagement_db.servers.dialect import Dialect
from engagement_db.servers.driver import error_code, server_message

Result = TypeVar("Result")


RETRIES: Final = 8


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
    after a growing, random pause; so ``work`` must have no effect outside the database.

    Raises what ``work`` raises, everything rolled back; Contention when the retries ran out; ConfigurationError,
    before any statement, when the models are bound to several databases.
    """
    if database is None:
        database = current()
    else:
        database = target(database)
        set_up_sessions(database)
    with scope(database):
        if database.in_transaction():
            with database.atomic():
                return work()
        return _retry(work, retries, database)


def _retry(work: Callable[[], Result], retries: int, database: peewee.Database) -> Result:
    dialect = servers.of(database)
    for attempt in range(retries + 1):
        try:
            with _outermost(database, dialect):
                return work()
        except peewee.DatabaseError as error:
            if not _lost_to_another(error, dialect):
                raise
            if attempt == retries:
                raise Contention(
                    f"gave up after {retries + 1} attempts, each lost to another transaction: "
                    f"{server_message(error)}. Nothing was changed; try again."
                ) from error
            time.sleep(random.uniform(0.5, 1.0) * 0.01 * 2**attempt)
    raise AssertionError("unreachable")


def _lost_to_another(error: BaseException | None, dialect: Dialect) -> bool:
    """Whether this error, or one behind it, says that the transaction lost a race.

    A deadlock on MySQL and MariaDB undoes the savepoints too; peewee, on its way out, then rolls back to
    one that is gone, and that error covers the first.
    """
    while error is not None:
        if error_code(error) in dialect.retry_codes:
            return True
        error = error.__context__
    return False


def _outermost(database: peewee.Database, dialect: Dialect) -> Any:
    """Return the transaction block to enter, at the dialect's own isolation."""
    if is_asyncpg(database):
        # asyncpg takes the level as a keyword, in its own spelling: "read_committed".
        return database.atomic(isolation=dialect.begin[0].lower().replace(" ", "_"))
    return database.atomic(*dialect.begin)


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
