"""Binding the models to a database."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar, overload

import peewee

from engagement_db import servers
from engagement_db.orm import urls
from engagement_db.orm.bound import current, proxy, refuse_in_scope, scope, target
from engagement_db.orm.failures import prepare

Given = TypeVar("Given", bound=peewee.Database)


def connect(url: str, **options: object) -> peewee.Database:
    """Bind every model to the database at ``url`` and return it. No connection is opened yet.

    ``url`` is ``scheme://user:password@host:port/name?parameter=value`` with one of the schemes sqlite, postgresql,
    postgres, mysql and mariadb, each also with ``+pool``; ``postgresql+psycopg`` asks for psycopg 3, where psycopg2
    would be preferred. Percent-escapes are decoded; in user and password ``: / ? # [ ] @`` have to be escaped. Query
    parameters and ``options`` go to the driver and, with ``+pool``, to peewee's pool (``max_connections``,
    ``stale_timeout`` in seconds, ``timeout`` in seconds). Sessions are set up as ``bind`` does, and are READ COMMITTED
    on MySQL and MariaDB, which saves a round trip before each transaction.

    Raises ConfigurationError, and binds nothing, for a url that cannot be read, an unknown scheme, a
    name that is missing or a driver that is not installed.
    """
    return bind(open_database(url, **options))


def open_database(url: str, **options: object) -> peewee.Database:
    """Return the peewee database at ``url``, without binding a model to it: for ``bind_ctx``, ``read_from``, scripts.

    Its sessions are set up, and its failures reported, as those of a bound database. Takes and raises what ``connect``
    does.
    """
    database = urls.open_database(url, **options)
    prepare(database)
    return database


@overload
def bind(database: Given) -> Given: ...
@overload
def bind(database: peewee.Proxy) -> peewee.Database: ...
def bind(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Bind every model to a peewee database that the service already has, and return it.

    Each session that it opens from now on, and the open one, gets foreign keys on and WAL, which stays
    with the file (SQLite), UTC (the others), utf8mb4, the strict ``sql_mode`` and no other, and no limits of
    ``sql_safe_updates`` and ``sql_select_limit`` (MySQL, MariaDB); no setting of a server is changed.

    Raises ConfigurationError, and binds nothing, for a database that is none of SQLite, PostgreSQL, MySQL
    and MariaDB, inside a transaction, where a session cannot be set up, and inside ``bind_ctx``.
    """
    refuse_in_scope()
    database = target(database)
    prepare(database)
    proxy.initialize(database)
    return database


@overload
def bind_ctx(database: Given) -> contextlib.AbstractContextManager[Given]: ...
@overload
def bind_ctx(database: peewee.Proxy) -> contextlib.AbstractContextManager[peewee.Database]: ...
def bind_ctx(database: peewee.Database | peewee.Proxy) -> contextlib.AbstractContextManager[peewee.Database]:
    """Bind every model to ``database`` inside a ``with`` block, in this thread or asyncio task only.

    Blocks nest; tasks that are started inside, and ``asyncio.to_thread``, inherit the block, other threads do not.
    A query that was made in the block keeps its database; one made before it reads the database of the block.
    Sessions are set up as ``bind`` does. No connection is opened or closed.

    (peewee's own ``database.bind_ctx(models)`` binds for all threads at once.)

    Raises ConfigurationError, at once, for a database that ``bind`` would not take.
    """
    database = target(database)
    prepare(database)
    return scope(database)


@contextlib.contextmanager
def read_from(
    database: peewee.Database | peewee.Proxy, *, up_to_date: bool = False, timeout_seconds: float = 5.0
) -> Iterator[peewee.Database]:
    """Read from ``database``, a standby or another node, inside a ``with`` block; writes are refused there.

    The block counts for a thread or task as that of ``bind_ctx`` does, and a block of ``bind_ctx`` in it may write
    to its own database. Rows that were read may be given to verbs after the block.

    A standby lags behind. With ``up_to_date`` the block sees everything that was committed in the database to which the
    models are bound outside before it began: it waits for that at most ``timeout_seconds``, by the position in the
    write-ahead log (PostgreSQL), by GTID (MySQL, MariaDB), by ``wsrep_sync_wait`` (Galera) or by
    ``group_replication_consistency`` (Group Replication). That costs each server one more query.

    Raises NotWritable for verbs and other writes, before anything is sent; with ``up_to_date`` Contention if the
    standby has not caught up in time, and ConfigurationError if the servers do not report their positions.
    """
    reader = target(database)
    prepare(reader)
    with contextlib.ExitStack() as stack:
        if up_to_date:
            stack.enter_context(servers.of(reader).caught_up(current(), reader, timeout_seconds))
        yield stack.enter_context(scope(reader, for_reading=True))
