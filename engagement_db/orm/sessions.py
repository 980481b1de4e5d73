"""The settings of every new session of a database, whichever driver opens it."""

import random
import time
from datetime import datetime
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import ConfigurationError, ConnectionLost
from engagement_db.orm.fields import load_json
from engagement_db.servers.dialect import Dialect
from engagement_db.servers.driver import error_code

BUSY_TIMEOUT_SECONDS: Final = 5


def set_up_sessions(database: peewee.Database, *, with_isolation: bool = False) -> None:
    """Have each session of ``database`` start with what its dialect asks for; once only.

    ``with_isolation`` gives it the isolation of the library's transactions too: for a database that is not the
    service's own. Raises ConfigurationError inside a transaction.
    """
    dialect = servers.family(database)
    if getattr(database, "_engagement_db_sessions", False):
        return
    if is_async(database):
        _set_up_async_sessions(database, dialect)
        return
    if database.in_transaction():
        raise ConfigurationError("a session cannot be set up inside a transaction; call bind before it begins.")
    hooked: Any = database
    initialize = hooked._initialize_connection

    def initialize_connection(connection: Any) -> None:
        try:
            initialize(connection)
            _set_up_session(database, dialect, connection)
            if with_isolation and dialect.isolation_session is not None:
                connection.cursor().execute(dialect.isolation_session)
        except BaseException:
            # peewee counts the connection as open by now; left so, it would be used half set up.
            hooked._close(connection)
            hooked._state.reset()
            raise

    if not database.is_closed():
        _set_up_session(database, dialect, hooked.connection())
    hooked._initialize_connection = initialize_connection
    hooked._engagement_db_sessions = True
    hooked._engagement_db_isolation = with_isolation and dialect.isolation_session is not None


def _set_up_async_sessions(database: peewee.Database, dialect: Dialect) -> None:
    """Do what ``set_up_sessions`` does for peewee's asyncio databases, which never call its hook."""
    if not database.is_closed():
        raise ConfigurationError("an async database is bound before its first connection is opened.")
    hooked: Any = database
    acquire = hooked._acquire_conn_async

    async def acquire_connection() -> Any:
        if database.in_transaction():
            # peewee would carry on outside the transaction.
            raise ConnectionLost(
                "the connection was lost inside a transaction. Nothing was committed; run the transaction again."
            )
        connection = await acquire()
        try:
            for statement in dialect.session:
                await _execute_patiently_async(dialect, connection, statement)
        except BaseException:
            await hooked._release_conn(connection)
            raise
        return connection

    hooked._acquire_conn_async = acquire_connection
    if is_asyncpg(database):
        register = hooked.register_adapters

        async def register_adapters(connection: Any) -> None:
            await register(connection)
            await _keep_json_null_in_asyncpg(connection)

        hooked.register_adapters = register_adapters
    hooked._engagement_db_sessions = True


def is_async(database: peewee.Database) -> bool:
    """Whether this is one of peewee's asyncio databases."""
    return hasattr(database, "aconnect")


def has_isolation(database: peewee.Database) -> bool:
    """Whether each session of the database has the isolation of the library's transactions already."""
    return getattr(database, "_engagement_db_isolation", False)


def is_asyncpg(database: peewee.Database) -> bool:
    return hasattr(database, "register_adapters")


async def _keep_json_null_in_asyncpg(connection: Any) -> None:
    # A version byte leads the binary form of a jsonb value.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda document: b"\x01" + (document if isinstance(document, bytes) else document.encode()),
        decoder=lambda document: load_json(document[1:]),
    )


def _set_up_session(database: peewee.Database, dialect: Dialect, connection: Any) -> None:
    servers.recognize(database, connection)
    if dialect.charset is not None and connection.character_set_name() != dialect.charset:
        connection.set_character_set(dialect.charset)
    cursor = connection.cursor()
    for statement in dialect.session:
        _execute_patiently(dialect, cursor, statement)
    cursor.close()
    if dialect.driver_parses_json:
        _keep_json_null(connection)
    if type(connection).__module__.partition(".")[0] == "pymysql":
        _read_times_quickly(connection)


def _execute_patiently(dialect: Dialect, cursor: Any, statement: str) -> None:
    """Execute a statement that SQLite may refuse at once where it should wait: the switch to WAL."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute(statement)
            return
        except Exception as error:
            if error_code(error) in dialect.not_writable_codes:
                # A file that cannot be switched to WAL can still be read.
                return
            if error_code(error) not in dialect.lock_timeout_codes or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.01, 0.05))


async def _execute_patiently_async(dialect: Dialect, connection: Any, statement: str) -> None:
    import asyncio

    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            await connection.execute(statement)
            return
        except Exception as error:
            if error_code(error) in dialect.not_writable_codes:
                return
            if error_code(error) not in dialect.lock_timeout_codes or time.monotonic() > deadline:
                raise
            await asyncio.sleep(random.uniform(0.01, 0.05))


def _keep_json_null(connection: Any) -> None:
    if type(connection).__module__.partition(".")[0] == "psycopg":
        from psycopg.types.json import set_json_loads

        set_json_loads(load_json, connection)
    else:
        from psycopg2.extras import register_default_jsonb

        register_default_jsonb(connection, loads=load_json)


def _read_times_quickly(connection: Any) -> None:
    """Have PyMySQL read times by ``datetime``'s own parser, with the same result in a twentieth of the time.

    A converter that the service chose stays.
    """
    from pymysql import converters
    from pymysql.constants import FIELD_TYPE

    def read(text: str) -> Any:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            # A time that no calendar has, such as 0000-00-00.
            return converters.convert_datetime(text)

    for kind in (FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP):
        if connection.decoders.get(kind) is converters.convert_datetime:
            connection.decoders[kind] = read
