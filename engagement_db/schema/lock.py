"""One deployer at a time: the lock that every migration of a database takes first.

It belongs to the connection, so it never outlives its process, and nothing has to be cleaned up. A
connection pooler that hands one session to several clients (PgBouncer in transaction mode) would
tear it apart: migrate over a direct connection.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

import peewee

from engagement_db import dialects
from engagement_db.errors import MigrationBusy

TIMEOUT_SECONDS: Final = 60.0
_KEYS: Final = (0x656E6761, 0x67656462)
_NAME: Final = "CONCAT('engagement_db migration ', LEFT(SHA2(DATABASE(), 256), 32))"


@contextmanager
def exclusive(database: peewee.Database, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold the migration lock of this database; inside the block no other deployer does anything.

    On SQLite the lock is the write lock: the block is one transaction, committed at its end and
    rolled back when it raises. Raises MigrationBusy, naming the holder where the server knows it, when
    the lock was not free within ``timeout_seconds`` (0 or more); nothing was changed.
    """
    kind = dialects.of(database).migration_lock
    with {"write": _write, "advisory": _advisory, "named": _named}[kind](database, timeout_seconds):
        yield


@contextmanager
def _write(database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
    usual = database.execute_sql("PRAGMA busy_timeout").fetchone()[0]
    database.execute_sql(f"PRAGMA busy_timeout = {int(timeout_seconds * 1000)}")
    with ExitStack() as stack:
        try:
            stack.enter_context(database.transaction("IMMEDIATE"))
        except peewee.OperationalError as error:
            if dialects.error_code(error) not in dialects.of(database).lock_timeout_codes:
                raise
            raise _busy(timeout_seconds, "another process writes to this file") from error
        finally:
            database.execute_sql(f"PRAGMA busy_timeout = {usual}")
        yield


@contextmanager
def _advisory(database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
    # A server that waits on our behalf looks now and then whether we still live (PostgreSQL 14 and later).
    database.execute_sql(
        "SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'"
    )
    _poll(database, "SELECT pg_try_advisory_lock(%s, %s)", _KEYS, timeout_seconds, _advisory_holder)
    try:
        yield
    finally:
        with suppress(peewee.PeeweeException):
            database.execute_sql("SELECT pg_advisory_unlock(%s, %s)", _KEYS)


def _advisory_holder(database: peewee.Database) -> str:
    row = database.execute_sql(
        "SELECT a.pid, a.usename, COALESCE(host(a.client_addr), 'a local socket'), a.application_name "
        "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 2 "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        _KEYS,
    ).fetchone()
    if row is None:
        return "it has just been set free"
    named = f", {row[3]}" if row[3] else ""
    return f"backend {row[0]} holds it: {row[1]} from {row[2]}{named}"


@contextmanager
def _named(database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
    _poll(database, f"SELECT GET_LOCK({_NAME}, 0)", (), timeout_seconds, _named_holder)
    try:
        yield
    finally:
        with suppress(peewee.PeeweeException):
            database.execute_sql(f"SELECT RELEASE_LOCK({_NAME})")


def _named_holder(database: peewee.Database) -> str:
    row = database.execute_sql(
        f"SELECT id, user, host FROM information_schema.processlist WHERE id = IS_USED_LOCK({_NAME})"
    ).fetchone()
    return f"connection {row[0]} holds it: {row[1]} from {row[2]}" if row else "its holder is not shown to this user"


def _poll(
    database: peewee.Database,
    sql: str,
    parameters: tuple[int, ...],
    timeout_seconds: float,
    holder: Callable[[peewee.Database], str],
) -> None:
    # A blocking call would keep a snapshot open, for which CREATE INDEX CONCURRENTLY would wait in turn.
    deadline = time.monotonic() + timeout_seconds
    while not database.execute_sql(sql, parameters).fetchone()[0]:
        if time.monotonic() >= deadline:
            raise _busy(timeout_seconds, holder(database))
        time.sleep(random.uniform(0.05, 0.2))


def _busy(timeout_seconds: float, holder: str) -> MigrationBusy:
    return MigrationBusy(
        f"another process is migrating this database; waited {timeout_seconds:g} s for the migration lock ({holder}). "
        "Nothing was changed. Run the same command again when it is done, or wait longer with --lock-timeout."
    )
