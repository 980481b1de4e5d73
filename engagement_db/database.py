"""Connecting: the one proxy that every model hangs on, sessions set up right, transactions with retry."""

import contextlib
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import peewee
from playhouse import pool

from engagement_db import ddl, dialects, tables
from engagement_db.dialects import Dialect
from engagement_db.errors import ConfigurationError, Contention
from engagement_db.fields import ReferenceField, load_json

Result = TypeVar("Result")

BUSY_TIMEOUT_SECONDS: Final = 5
RETRIES: Final = 8
_UNREADABLE: Final = (
    "the url cannot be read; in user and password write : / ? # [ ] @ as percent-escapes "
    "(urllib.parse.quote(password, safe='') does)."
)

_DATABASES: Final[dict[str, tuple[type[peewee.Database], type[peewee.Database]]]] = {
    "sqlite": (peewee.SqliteDatabase, pool.PooledSqliteDatabase),
    "postgresql": (peewee.PostgresqlDatabase, pool.PooledPostgresqlDatabase),
    "postgres": (peewee.PostgresqlDatabase, pool.PooledPostgresqlDatabase),
    "mysql": (peewee.MySQLDatabase, pool.PooledMySQLDatabase),
    "mariadb": (peewee.MySQLDatabase, pool.PooledMySQLDatabase),
}


class Unbound(ConfigurationError, AttributeError):
    """A model was used before ``connect`` or ``bind``."""

    def __init__(self) -> None:
        super().__init__(
            "the engagement_db models are not bound to a database; call engagement_db.connect(url) or "
            "engagement_db.bind(database) first."
        )


class _Proxy(peewee.DatabaseProxy):
    def __getattr__(self, name: str) -> Any:
        if self.obj is None:
            raise Unbound
        return getattr(self.obj, name)

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()


proxy: Final = _Proxy()


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class _Metadata(peewee.Metadata):
    """Names each index after the contract: ``<table>_<columns in snake_case>``."""

    checks: tuple[tuple[str, str], ...] = ()
    index_names: dict[tuple[str, ...], str] = {}

    def fields_to_index(self) -> list[peewee.ModelIndex]:
        found = []
        for item in self.indexes:
            names, unique = item
            fields = [self.fields[name] for name in names]
            name = self.index_names.get(names) or tables.index_name(
                self.table_name, [field.column_name for field in fields]
            )
            found.append(peewee.ModelIndex(self.model, fields, unique=unique, name=name))
        return found


class BaseModel(peewee.Model):
    """What all models share: the proxy, names after the contract, and ``updated_at`` that moves."""

    class Meta:
        database = proxy
        legacy_table_names = False
        model_metadata_class = _Metadata

    @classmethod
    def declared(cls) -> tables.Table:
        """Return the table that this model declares, in the vocabulary of ``engagement_db.tables``."""
        meta: Any = cls._meta
        columns, keys = [], []
        for field in meta.sorted_fields:
            default = _database_default(field)
            columns.append(tables.Column(field.column_name, field.column_type, field.null, default))
            if isinstance(field, ReferenceField):
                keys.append(_declared_key(field))
        indexes = tuple(
            tables.Index(index._name, tuple(field.column_name for field in index._expressions), index._unique)
            for index in meta.fields_to_index()
        )
        checks = tuple(
            tables.Check(tables.check_name(meta.table_name, column), expression) for column, expression in meta.checks
        )
        return tables.sort(tables.Table(meta.table_name, tuple(columns), tuple(keys), indexes, checks))

    @classmethod
    def create_table(cls, safe: bool = True, **options: Any) -> None:
        """Create the table exactly as the migrations do, enum types and indexes included.

        For scratch databases. With ``safe`` a table that exists is left alone.
        """
        database = cls._meta.database
        if safe and cls.table_exists():  # type: ignore[no-untyped-call]
            return
        for statement in ddl.create_whole(dialects.of(target(database)), cls.declared()):
            database.execute_sql(statement)

    @classmethod
    def drop_table(cls, safe: bool = True, drop_sequences: bool = True, **options: Any) -> None:
        """Drop the table and its enum types; with ``safe`` a table that does not exist is passed over."""
        database = cls._meta.database
        if safe and not cls.table_exists():  # type: ignore[no-untyped-call]
            return
        for statement in ddl.drop_whole(dialects.of(target(database)), cls.declared()):
            database.execute_sql(statement)

    @classmethod
    def update(cls, *args: Any, **values: Any) -> Any:
        """Return an UPDATE query; ``updated_at`` moves unless it is set by name."""
        given = dict(*args, **values)
        updated_at = cls._meta.fields.get("updated_at")
        if updated_at is not None and not {"updated_at", updated_at} & set(given):
            given[updated_at] = now()
        return super().update(given)

    def save(self, force_insert: bool = False, only: Any = None) -> Any:
        """Insert or update the row; ``updated_at`` moves with every update. Returns the rows changed."""
        key = self.get_id()  # type: ignore[no-untyped-call]
        updated_at = self._meta.fields.get("updated_at")
        if updated_at is not None and key is not None and not force_insert:
            self.updated_at = now()
            if only is not None:
                only = [*only, updated_at]
        return super().save(force_insert=force_insert, only=only)


def _database_default(field: peewee.Field) -> tables.Default:
    if field.default is now:
        return tables.NOW
    return None if field.default is None else str(field.default)


def _declared_key(field: ReferenceField) -> tables.ForeignKey:
    table = field.model._meta.table_name
    return tables.ForeignKey(
        tables.foreign_key_name(table, field.column_name),
        field.column_name,
        field.rel_model._meta.table_name,
        field.on_delete or "NO ACTION",
        field.on_update or "NO ACTION",
    )


def target(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Return the database behind a proxy, or the database itself; raises Unbound for an empty proxy."""
    if isinstance(database, peewee.Proxy):
        if database.obj is None:
            raise Unbound
        return cast(peewee.Database, database.obj)
    return database


def connect(url: str, **options: Any) -> peewee.Database:
    """Bind every model to the database at ``url`` and return it. No connection is opened yet.

    ``url`` is ``scheme://user:password@host:port/name?parameter=value`` with one of the schemes
    sqlite, postgresql, postgres, mysql and mariadb, each also with ``+pool``. Percent-escapes are
    decoded; in user and password ``: / ? # [ ] @`` have to be escaped. Query parameters and ``options``
    go to the driver and, with ``+pool``, to peewee's pool (``max_connections``, ``stale_timeout`` in
    seconds, ``timeout`` in seconds). Sessions are set up as ``bind`` does.

    Raises ConfigurationError, and binds nothing, for a url that cannot be read, an unknown scheme, a
    name that is missing or a driver that is not installed.
    """
    return bind(open_database(url, **options))


def open_database(url: str, **options: Any) -> peewee.Database:
    """Return the peewee database at ``url``, sessions set up right, without binding a model to it.

    Takes and raises what ``connect`` does.
    """
    parts = _split(url)
    scheme, _, suffix = parts.scheme.partition("+")
    if "://" not in url or scheme not in _DATABASES or suffix not in ("", "pool"):
        known = ", ".join(_DATABASES)
        raise ConfigurationError(
            f"{shown_url(url)}: the scheme is not one of {known} (each also with +pool), followed by ://."
        )
    dialect = dialects.named(scheme)
    if not any(find_spec(driver) for driver in dialect.drivers):
        raise ConfigurationError(
            f"{dialect.title} needs a driver that is not installed; install engagement_db[{dialect.extra}]."
        )
    name = unquote(parts.path.removeprefix("/"))
    arguments: dict[str, Any] = {key: _converted(key, value) for key, value in parse_qsl(parts.query)}
    if dialect.lives_in_file:
        if parts.netloc:
            raise ConfigurationError(f"{shown_url(url)}: a file takes three slashes, as in sqlite:///engagement.db.")
        name = name or ":memory:"
        arguments.setdefault("timeout", BUSY_TIMEOUT_SECONDS)
    else:
        arguments.update(_login(url, parts))
        if dialect.charset is not None and not str(arguments.get("password", "")).isascii():
            # The server knows a password by its bytes; left as text, pymysql makes them Latin-1.
            arguments["password"] = arguments["password"].encode()
        if not name:
            raise ConfigurationError(f"{shown_url(url)}: the name of the database is missing after the host.")
    if dialect.reads_json_as_mariadb:
        arguments["mariadb"] = True
    arguments.update(options)
    database = _DATABASES[scheme][suffix == "pool"](name, **arguments)
    set_up_sessions(database)
    return database


def _split(url: str) -> SplitResult:
    # The errors of urllib quote the url, so they are not chained.
    with contextlib.suppress(ValueError):
        return urlsplit(url)
    raise ConfigurationError(f"{shown_url(url)}: {_UNREADABLE}")


def _login(url: str, parts: SplitResult) -> dict[str, Any]:
    if parts.fragment or "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc):
        raise ConfigurationError(f"{shown_url(url)}: {_UNREADABLE}")
    with contextlib.suppress(ValueError):
        found = {
            "host": unquote(parts.hostname or ""),
            "port": parts.port,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        }
        return {argument: value for argument, value in found.items() if value}
    raise ConfigurationError(f"{shown_url(url)}: the port is not a number from 0 to 65535.")


def bind(database: peewee.Database | peewee.Proxy) -> peewee.Database:
    """Bind every model to a peewee database that the service already has, and return it.

    Each session that it opens from now on, and the open one, gets foreign keys on and WAL, which stays
    with the file (SQLite), UTC (the others), strict mode and utf8mb4 (MySQL, MariaDB); no setting of a
    server is changed.

    Raises ConfigurationError, and binds nothing, for a database that is none of SQLite, PostgreSQL, MySQL
    and MariaDB, and inside a transaction, where a session cannot be set up.
    """
    database = target(database)
    set_up_sessions(database)
    proxy.initialize(database)
    return database


def set_up_sessions(database: peewee.Database) -> None:
    """See to it that each session of ``database`` starts with what its dialect asks for; once only.

    Raises ConfigurationError inside a transaction.
    """
    dialect = dialects.family(database)
    if getattr(database, "_engagement_db_sessions", False):
        return
    if hasattr(database, "aconnect"):
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
        except BaseException:
            # peewee counts the connection as open by now; left so, it would be used half set up.
            hooked._close(connection)
            hooked._state.reset()
            raise

    if not database.is_closed():
        _set_up_session(database, dialect, hooked.connection())
    hooked._initialize_connection = initialize_connection
    hooked._engagement_db_sessions = True


def _set_up_async_sessions(database: peewee.Database, dialect: Dialect) -> None:
    """Do what ``set_up_sessions`` does for peewee's asyncio databases, which never call its hook."""
    if not database.is_closed():
        raise ConfigurationError("an async database is bound before its first connection is opened.")
    hooked: Any = database
    acquire = hooked._acquire_conn_async

    async def acquire_connection() -> Any:
        connection = await acquire()
        try:
            for statement in dialect.session:
                await connection.execute(statement)
        except BaseException:
            await hooked._release_conn(connection)
            raise
        return connection

    hooked._acquire_conn_async = acquire_connection
    if _is_asyncpg(database):
        register = hooked.register_adapters

        async def register_adapters(connection: Any) -> None:
            await register(connection)
            await _keep_json_null_in_asyncpg(connection)

        hooked.register_adapters = register_adapters
    hooked._engagement_db_sessions = True


def _is_asyncpg(database: peewee.Database) -> bool:
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
    dialects.recognize(database, connection)
    if dialect.charset is not None and connection.character_set_name() != dialect.charset:
        connection.set_character_set(dialect.charset)
    cursor = connection.cursor()
    for statement in dialect.session:
        _execute_patiently(dialect, cursor, statement)
    cursor.close()
    if dialect.driver_parses_json:
        _keep_json_null(connection)


def _execute_patiently(dialect: Dialect, cursor: Any, statement: str) -> None:
    """Execute a statement that SQLite may refuse at once where it should wait: the switch to WAL."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute(statement)
            return
        except Exception as error:
            if dialects.error_code(error) not in dialect.lock_timeout_codes or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.01, 0.05))


def _keep_json_null(connection: Any) -> None:
    from psycopg2.extras import register_default_jsonb

    register_default_jsonb(connection, loads=load_json)


def shown_url(url: str) -> str:
    """Return ``url`` fit for a message: without its password and its parameters, however it is mangled."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "the url of the database"
    login, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        login = f"{user}:***@" if colon else f"{login}@"
    place = re.split("[?#]", place)[0]
    # What stands where a port belongs may be a password whose host was forgotten.
    place = re.sub(r"^(\[[^]]*\]|[^:/]*):(?!\d{1,5}(?:/|$)).*", r"\1:***", place)
    return f"{scheme}://{login}{place}"


def _converted(parameter: str, value: str) -> Any:
    if parameter in ("user", "password"):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if str(kind(value)) == value:
                return kind(value)
    return value


def transaction(work: Callable[[], Result], *, retries: int = RETRIES) -> Result:
    """Run ``work`` in one transaction of the bound database and return its result.

    Inside a caller's transaction ``work`` joins it, behind a savepoint, and runs once: only the
    outermost transaction can be run again as a whole. Outside, a transaction that loses to another
    (deadlock, serialization failure, lock wait) is run again, at most ``retries`` times (0 or more),
    after a growing, random pause; so ``work`` must have no effect outside the database.

    Raises what ``work`` raises, everything rolled back; Contention when the retries ran out.
    """
    database = target(proxy)
    if database.in_transaction():
        with database.atomic():
            return work()
    dialect = dialects.of(database)
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
                    f"{dialects.server_words(error)}. Nothing was changed; try again."
                ) from error
            time.sleep(random.uniform(0.5, 1.0) * 0.01 * 2**attempt)
    raise AssertionError("unreachable")


def _lost_to_another(error: BaseException | None, dialect: Dialect) -> bool:
    """Whether this error, or one behind it, says that the transaction lost a race.

    A deadlock on MySQL and MariaDB undoes the savepoints too; peewee, on its way out, then rolls back to
    one that is gone, and that error covers the first.
    """
    while error is not None:
        if dialects.error_code(error) in dialect.retry_codes:
            return True
        error = error.__context__
    return False


def _outermost(database: peewee.Database, dialect: Dialect) -> Any:
    """Return the transaction block to enter, at the dialect's own isolation."""
    if _is_asyncpg(database):
        # asyncpg takes the level as a keyword, in its own spelling: "read_committed".
        return database.atomic(isolation=dialect.begin[0].lower().replace(" ", "_"))
    return database.atomic(*dialect.begin)


def locked(query: Any) -> Any:
    """Return the SELECT with FOR UPDATE, where rows can be locked; elsewhere the query as it is.

    On SQLite a transaction that ``transaction`` began holds the only write lock already.
    """
    return query.for_update() if dialects.of(target(proxy)).locks_rows else query
