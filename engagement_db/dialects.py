"""What each server can do and how it spells it: one frozen record per server.

The rest of the code asks a flag, never a name. A flag is a claim about a live server, and
``tests/servers/test_dialects.py`` holds each claim against it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import peewee

from engagement_db.errors import ConfigurationError
from engagement_db.expressions import literal
from engagement_db.tables import (
    Column,
    ColumnType,
    Enum,
    Id,
    Integer,
    Json,
    Money,
    Other,
    Text,
    Time,
    Varchar,
    enum_type_name,
)

Spelling = Callable[[str, Column], str]


@dataclass(frozen=True)
class Dialect:
    """One server's answers. Each field answers the question above it."""

    # What is it called, in a URL and in a sentence?
    name: str
    title: str
    # Which peewee class writes its SQL? (Made without a connection, to print SQL for a server that is not there.)
    database_class: type[peewee.Database]
    # From which version on is it supported?
    least_version: tuple[int, ...]
    # How does it spell each column type, the current time, and what follows a CREATE TABLE?
    spellings: Mapping[type[ColumnType], Spelling]
    now: str
    quote: str = '"'
    table_options: str = ""
    # Which reader of the catalog understands it?
    catalog: str = "information_schema"
    # Is a database one file, which connecting would create?
    lives_in_file: bool = False
    # Does its catalog keep a check's table beside the check, whose name is unique within the table only?
    names_checks_by_table: bool = False
    # Does ROLLBACK undo DDL?
    rolls_back_ddl: bool = True
    # Is an enum a named type, with a life of its own?
    has_enum_types: bool = False
    # Does a CASE need to be told the type of its values?
    casts_in_case: bool = False
    # How is a check taken away? (MySQL knows DROP CONSTRAINT only from 8.0.19 on.)
    drop_check: str = "DROP CONSTRAINT"
    # Must a CHECK stand in for the enum and json types that it lacks?
    checks_enum_and_json: bool = False
    # Does it enforce VARCHAR lengths?
    enforces_length: bool = True
    # Does CREATE TABLE make the indexes too, so that the whole is one statement?
    indexes_inside_create_table: bool = False
    # Can it add a key unchecked and check it later, and build an index while rows are written?
    validates_later: bool = False
    # Does ALTER TABLE take ALGORITHM and LOCK clauses, so that it refuses rather than copies?
    names_algorithm: bool = False
    # Can ADD COLUMN carry the key inline, leaving the rest of the table as it is?
    adds_column_with_key: bool = False
    # Is a constraint changed by editing the text of the table's definition?
    edits_definition: bool = False
    # How is the lock that keeps deployers apart taken: "advisory", "named" or "write"?
    migration_lock: str = "named"
    # How is a session's wait for a table's lock read and set, and how long may one attempt wait?
    # Whoever comes after us queues behind us for that long, so it is short and we try again.
    read_lock_wait: str | None = None
    set_lock_wait: str = ""
    lock_wait: str = ""
    # Is even its shortest wait long enough for others to notice, so that we look for old transactions before we ask?
    looks_before_waiting: bool = False
    # Which other transactions are open: (session, user, host, seconds, tables or NULL), the oldest first?
    lock_holders: str | None = None
    # Does a DECIMAL column keep every digit? (SQLite keeps a double: 15 digits.)
    keeps_decimals: bool = True
    # Is an instant kept as text, which has to sort like the instants themselves?
    keeps_time_as_text: bool = False
    # Does the driver parse JSON itself, before a field sees it?
    driver_parses_json: bool = False
    # Does peewee have to be told that JSON is text here, as MariaDB has it?
    reads_json_as_mariadb: bool = False
    # Does SELECT ... FOR UPDATE lock rows? (Elsewhere one writer at a time holds the whole file.)
    locks_rows: bool = True
    # Which query tells that a locking read does not see what was committed after the snapshot?
    reads_stale_rows: str | None = None
    # Does SUM over DECIMAL stay exact?
    sums_exactly: bool = True
    # In which character set does the driver have to talk, where it can talk in another?
    charset: str | None = None
    # How is a connection's number found, and how far its statement has come: (words, percent or NULL)?
    connection_id: str | None = None
    progress: str | None = None
    # What does a fresh session need?
    session: tuple[str, ...] = ()
    # How does a writing transaction begin? (One isolation on all servers: what is committed is seen.)
    begin: tuple[str, ...] = ()
    # Which drivers serve it, and which extra of this package installs one?
    drivers: tuple[str, ...] = ()
    extra: str = ""
    # Which error codes or SQLSTATEs mean: the transaction lost a race, run it again?
    retry_codes: frozenset[int | str] = field(default_factory=frozenset)
    # Which mean: the table cannot be changed while it is written to?
    not_online_codes: frozenset[int | str] = field(default_factory=frozenset)
    # Which mean: there is no index of that name?
    unknown_index_codes: frozenset[int | str] = field(default_factory=frozenset)
    # Which mean: a lock was not granted in time?
    lock_timeout_codes: frozenset[int | str] = field(default_factory=frozenset)

    def quoted(self, identifier: str) -> str:
        """Return the identifier in this server's quotes."""
        return f"{self.quote}{identifier.replace(self.quote, self.quote * 2)}{self.quote}"

    def spell(self, table: str, column: Column) -> str:
        """Return the type of ``table``'s ``column`` in this server's words."""
        return self.spellings[type(column.type)](table, column)

    def expression(self, sql: str) -> str:
        """Return an expression that double-quotes its identifiers, in this server's quotes."""
        return re.sub(
            r"""'(?:[^']|'')*'|"((?:[^"]|"")*)\"""",
            lambda found: found[0] if found[1] is None else self.quoted(found[1].replace('""', '"')),
            sql,
        )


def _plain(spelling: str) -> Spelling:
    return lambda table, column: spelling


def _varchar(table: str, column: Column) -> str:
    assert isinstance(column.type, Varchar)
    return f"VARCHAR({column.type.length})"


def _other(table: str, column: Column) -> str:
    assert isinstance(column.type, Other)
    return column.type.spelling


def _labels(column: Column) -> str:
    assert isinstance(column.type, Enum)
    return ", ".join(map(literal, column.type.labels))


def _enum_inline(table: str, column: Column) -> str:
    return f"ENUM({_labels(column)})"


def _enum_type(table: str, column: Column) -> str:
    return f'"{enum_type_name(table, column.name)}"'


_COMMON: dict[type[ColumnType], Spelling] = {
    Integer: _plain("INTEGER"),
    Text: _plain("TEXT"),
    Varchar: _varchar,
    Other: _other,
}

SQLITE = Dialect(
    name="sqlite",
    title="SQLite",
    database_class=peewee.SqliteDatabase,
    least_version=(3, 38),
    spellings={
        **_COMMON,
        Id: _plain("INTEGER PRIMARY KEY AUTOINCREMENT"),
        Enum: _plain("TEXT"),
        Time: _plain("DATETIME"),
        Json: _plain("TEXT"),
        Money: _plain("DECIMAL(18,4)"),
    },
    # The very text that Sequelize writes: milliseconds and the zone, so that all rows sort alike.
    now="(strftime('%Y-%m-%d %H:%M:%f +00:00', 'now'))",
    catalog="sqlite_master",
    lives_in_file=True,
    checks_enum_and_json=True,
    enforces_length=False,
    adds_column_with_key=True,
    edits_definition=True,
    migration_lock="write",
    keeps_decimals=False,
    keeps_time_as_text=True,
    locks_rows=False,
    sums_exactly=False,
    session=("PRAGMA foreign_keys = ON", "PRAGMA journal_mode = WAL"),
    begin=("IMMEDIATE",),
    drivers=("sqlite3",),
    retry_codes=frozenset({5, 6, 261, 517}),
    lock_timeout_codes=frozenset({5, 261, 517}),
)

POSTGRESQL = Dialect(
    name="postgresql",
    title="PostgreSQL",
    database_class=peewee.PostgresqlDatabase,
    least_version=(13,),
    spellings={
        **_COMMON,
        Id: _plain("SERIAL PRIMARY KEY"),
        Enum: _enum_type,
        Time: _plain("TIMESTAMP WITH TIME ZONE"),
        Json: _plain("JSONB"),
        Money: _plain("NUMERIC(18,4)"),
    },
    now="CURRENT_TIMESTAMP",
    catalog="pg_catalog",
    has_enum_types=True,
    casts_in_case=True,
    validates_later=True,
    driver_parses_json=True,
    migration_lock="advisory",
    reads_stale_rows="SELECT current_setting('transaction_isolation') = 'repeatable read'",
    read_lock_wait="SHOW lock_timeout",
    set_lock_wait="SET lock_timeout = '{}'",
    lock_wait="50ms",
    lock_holders="SELECT a.pid, a.usename, COALESCE(host(a.client_addr), 'a local socket'), "
    "EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start), string_agg(DISTINCT c.relname, ', ') "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation "
    "WHERE l.granted AND l.locktype = 'relation' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL "
    "AND c.relkind IN ('r', 'p') "
    "AND c.relnamespace = current_schema()::regnamespace "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "GROUP BY 1, 2, 3, a.xact_start ORDER BY a.xact_start LIMIT 3",
    connection_id="SELECT pg_backend_pid()",
    progress="SELECT phase, 100.0 * blocks_done / NULLIF(blocks_total, 0) "
    "FROM pg_stat_progress_create_index WHERE pid = %s",
    session=("SET TIME ZONE 'UTC'",),
    begin=("READ COMMITTED",),
    drivers=("psycopg2",),
    extra="postgres",
    retry_codes=frozenset({"40001", "40P01"}),
    lock_timeout_codes=frozenset({"55P03"}),
)

MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    database_class=peewee.MySQLDatabase,
    least_version=(8, 0, 16),
    spellings={
        **_COMMON,
        Id: _plain("INTEGER AUTO_INCREMENT PRIMARY KEY"),
        Enum: _enum_inline,
        Time: _plain("DATETIME(6)"),
        Json: _plain("JSON"),
        Money: _plain("DECIMAL(18,4)"),
    },
    now="CURRENT_TIMESTAMP(6)",
    quote="`",
    # Binary comparison, no padding: a reference means the same row on every server.
    table_options=" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin",
    rolls_back_ddl=False,
    indexes_inside_create_table=True,
    names_algorithm=True,
    drop_check="DROP CHECK",
    read_lock_wait="SELECT @@SESSION.lock_wait_timeout",
    set_lock_wait="SET SESSION lock_wait_timeout = {}",
    lock_wait="1",
    looks_before_waiting=True,
    lock_holders="SELECT t.processlist_id, t.processlist_user, t.processlist_host, MAX(x.timer_wait) / 1e12, "
    "GROUP_CONCAT(DISTINCT l.object_name) FROM performance_schema.metadata_locks l "
    "JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id "
    "JOIN performance_schema.events_transactions_current x ON x.thread_id = t.thread_id "
    "WHERE l.object_type = 'TABLE' AND l.object_schema = DATABASE() AND l.lock_status = 'GRANTED' "
    "AND x.state = 'ACTIVE' AND t.processlist_id <> CONNECTION_ID() GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 3",
    connection_id="SELECT CONNECTION_ID()",
    charset="utf8mb4",
    session=(
        "SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, "
        "',STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO')",
    ),
    begin=("READ COMMITTED",),
    drivers=("pymysql", "MySQLdb"),
    extra="mysql",
    retry_codes=frozenset({1205, 1213}),
    lock_timeout_codes=frozenset({1205}),
    not_online_codes=frozenset({1845, 1846}),
    unknown_index_codes=frozenset({1176}),
)

MARIADB = replace(
    MYSQL,
    name="mariadb",
    title="MariaDB",
    least_version=(10, 6),
    reads_json_as_mariadb=True,
    names_checks_by_table=True,
    drop_check="DROP CONSTRAINT",
    table_options=" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin",
    # Its performance_schema is off by default, so the tables stay unnamed.
    lock_holders="SELECT p.id, p.user, p.host, GREATEST(TIMESTAMPDIFF(SECOND, "
    "CONVERT_TZ(x.trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP()), p.time_ms / 1000), NULL "
    "FROM information_schema.innodb_trx x JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id "
    "WHERE p.id <> CONNECTION_ID() AND p.db = DATABASE() ORDER BY x.trx_started LIMIT 3",
    progress="SELECT NULLIF(state, ''), NULLIF(progress, 0) FROM information_schema.processlist WHERE id = %s",
    # 1020: a row changed since it was read (innodb_snapshot_isolation, on by default from 11.6).
    retry_codes=frozenset({1020, 1205, 1213}),
)

ALL = (SQLITE, POSTGRESQL, MARIADB, MYSQL)


def named(name: str) -> Dialect:
    """Return the dialect of this name; raises ConfigurationError that lists the names."""
    wanted = "postgresql" if name == "postgres" else name
    for dialect in ALL:
        if dialect.name == wanted:
            return dialect
    known = ", ".join(dialect.name for dialect in ALL)
    raise ConfigurationError(f"{name!r} is not a dialect; the names are {known}.")


def family(database: peewee.Database) -> Dialect:
    """Return the dialect of a peewee database without opening a connection; MYSQL stands for MariaDB too."""
    if isinstance(database, peewee.SqliteDatabase):
        return SQLITE
    if isinstance(database, peewee.PostgresqlDatabase):
        return POSTGRESQL
    if isinstance(database, peewee.MySQLDatabase):
        return MARIADB if database.mariadb else MYSQL
    raise ConfigurationError(
        f"{type(database).__name__} is not supported; use a peewee SqliteDatabase, PostgresqlDatabase or MySQLDatabase."
    )


def of(database: peewee.Database) -> Dialect:
    """Return the dialect of a peewee database.

    Opens a connection when only the server can tell MySQL and MariaDB apart.
    """
    if isinstance(database, peewee.MySQLDatabase) and "mariadb" not in vars(database):
        recognize(database, database.connection())
    return family(database)


def recognize(database: peewee.Database, connection: Any) -> None:
    """Keep in ``database.mariadb``, which peewee's JSON operators ask too, what the server says of itself."""
    if isinstance(database, peewee.MySQLDatabase):
        database.mariadb = "maria" in str(connection.get_server_info()).lower()


def error_code(error: BaseException | None) -> int | str | None:
    """Return the server's own code for an error that peewee wrapped: an SQLSTATE or a number, or None."""
    while error is not None:
        original = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
        for attribute in ("pgcode", "sqlstate", "sqlite_errorcode"):
            code = getattr(original, attribute, None)
            if code is not None:
                return code  # type: ignore[no-any-return]
        if original.args and isinstance(original.args[0], int):
            return original.args[0]
        error = error.__cause__ or error.__context__
    return None


def server_words(error: BaseException) -> str:
    """Return what the server itself said first, on one line: once a connection is lost, undoing fails as well."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    error = [error, *(link for link in chain if isinstance(link, peewee.PeeweeException))][-1]
    original = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    words = original.args[-1] if original.args else type(original).__name__
    return " ".join(str(words).split())
