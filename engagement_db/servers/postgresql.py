"""PostgreSQL: enum types, indexes built concurrently, constraints validated after they are added."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import peewee

from engagement_db.errors import ConfigurationError
from engagement_db.servers import ddl
from engagement_db.servers.base import Change, Server, first_value, lagging, session_setting, wait_for_migration_lock
from engagement_db.servers.catalog import LEASE, Catalog
from engagement_db.servers.postgresql_catalog import PostgresqlCatalog
from engagement_db.tables import (
    Check,
    Column,
    Enum,
    ForeignKey,
    Id,
    Index,
    Json,
    Money,
    Table,
    Timestamp,
    covers,
    enum_type_name,
    snake_case,
)

_LOCK_KEYS: Final = (0x656E6761, 0x67656462)


class Postgresql(Server):
    """PostgreSQL."""

    name = "postgresql"
    display_name = "PostgreSQL"
    database_class = peewee.PostgresqlDatabase
    minimum_version = (13,)
    type_names = {
        Id: "SERIAL PRIMARY KEY",
        Timestamp: "TIMESTAMP WITH TIME ZONE",
        Json: "JSONB",
        Money: "NUMERIC(18,4)",
    }
    now_sql = "CURRENT_TIMESTAMP"
    builds_outside_transaction = True
    casts_in_case = True
    driver_parses_json = True
    odd_value_sql = {Money: "{column} = 'NaN'"}
    row_lock = "FOR NO KEY UPDATE"
    shared_row_lock = "FOR SHARE"
    names_conflict_target = True
    duplicate_id_pattern = r'"\w+_pkey"'
    assumes_even_spread = True
    stale_reads_query = "SELECT current_setting('transaction_isolation') IN ('repeatable read', 'serializable')"
    # Expressions come back from the catalog in one spelling.
    session = ("SET TIME ZONE 'UTC'", "SET quote_all_identifiers = off")
    begin = ("READ COMMITTED",)
    lock_attempt_seconds = 0.05
    drivers = ("psycopg2", "psycopg")
    extra = "postgres"
    # 55P03: the session's own lock_timeout.
    retry_codes = frozenset({"40001", "40P01", "55P03"})
    canceled_codes = frozenset({"57014"})
    not_writable_codes = frozenset({"25006"})
    lost_connection_codes = frozenset({"08000", "08003", "08006", "25P03", "25P04", "57P01", "57P02", "57P05"})
    unknown_outcome_codes = frozenset({"08007", "40003"})
    lock_timeout_codes = frozenset({"55P03"})
    open_transactions_sql = (
        "SELECT a.pid, a.usename, COALESCE(host(a.client_addr), 'a local socket'), "
        "EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start), string_agg(DISTINCT c.relname, ', ') "
        "FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation "
        "WHERE l.granted AND l.locktype = 'relation' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL "
        "AND c.relkind IN ('r', 'p') "
        "AND pg_table_is_visible(c.oid) "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "GROUP BY 1, 2, 3, a.xact_start ORDER BY a.xact_start LIMIT 3"
    )
    session_id_sql = "SELECT pg_backend_pid()"
    progress_sql = (
        "SELECT phase, 100.0 * blocks_done / NULLIF(blocks_total, 0) FROM pg_stat_progress_create_index WHERE pid = %s"
    )

    def enum_sql(self, table: str, column: str, labels: tuple[str, ...]) -> str:
        return self.quoted(enum_type_name(table, column))

    def read(self, database: peewee.Database) -> PostgresqlCatalog:
        return PostgresqlCatalog(database, self)

    def grants_to_migrate(self, role: str, owner: str, parents: Sequence[str]) -> list[str]:
        tables, grantee = ", ".join(map(self.quoted, parents)), self.quoted(role)
        # Only the owner of a table alters it, and revision 003 alters projects.
        return [
            f'GRANT USAGE, CREATE ON SCHEMA "public" TO {grantee}',
            f"GRANT SELECT, REFERENCES ON {tables} TO {grantee}",
            f"GRANT {self.quoted(owner)} TO {grantee}",
        ]

    def grants_to_enter(self, role: str) -> list[str]:
        return [f'GRANT USAGE ON SCHEMA "public" TO {self.quoted(role)}']

    def grants_to_number(self, role: str, table: str) -> list[str]:
        return [f"GRANT USAGE ON SEQUENCE {self.quoted(f'{table}_id_seq')} TO {self.quoted(role)}"]

    def shares_sessions(self, database: peewee.Database) -> bool:
        # Once a pooler was used, it may be in use at the same time.
        return self._is_pooled(database) or bool(first_value(database, "SELECT to_regclass(%s) IS NOT NULL", LEASE))

    @staticmethod
    def _is_pooled(database: peewee.Database) -> bool:
        # A pooler gives its clients session numbers of its own.
        return bool(first_value(database, "SELECT pg_backend_pid()") != database.connection().info.backend_pid)

    def other_deployer(self, database: peewee.Database) -> str | None:
        builder = database.execute_sql(
            "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() LIMIT 1"
        ).fetchone()
        return f"backend {builder[0]} builds an index" if builder else self._lock_holder(database)

    @contextmanager
    def caught_up(self, primary: peewee.Database, reader: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        position, system = primary.execute_sql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text, "
            "(SELECT system_identifier FROM pg_control_system())"
        ).fetchone()
        question = (
            "SELECT (SELECT system_identifier FROM pg_control_system()) = %s, "
            "NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn"
        )
        deadline, pause = time.monotonic() + timeout_seconds, 0.001
        while True:
            is_copy, is_there = reader.execute_sql(question, (system, position)).fetchone()
            if not is_copy:
                raise ConfigurationError(
                    "this server is no streaming standby of the primary, so that it cannot tell how far it is behind; "
                    "read from it without up_to_date."
                )
            if is_there:
                break
            if time.monotonic() > deadline:
                raise lagging(timeout_seconds)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        yield

    @contextmanager
    def migration_lock(self, database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        # While a backend waits for a lock, make it check every second that the client is still connected (from 14 on).
        wanted = {
            "client_connection_check_interval": "1s",
            "idle_in_transaction_session_timeout": f"{self.silence_seconds}s",
            "idle_session_timeout": f"{self.silence_seconds}s",
        }
        usual = dict(
            database.execute_sql(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", (list(wanted),)
            ).fetchall()
        )
        _set_all(database, {name: wanted[name] for name in usual})
        try:
            wait_for_migration_lock(
                lambda: first_value(database, "SELECT pg_try_advisory_lock(%s, %s)", *_LOCK_KEYS),
                lambda: self._lock_holder(database) or "it was released just now",
                timeout_seconds,
            )
            try:
                yield
            finally:
                with suppress(peewee.PeeweeException):
                    database.execute_sql("SELECT pg_advisory_unlock(%s, %s)", _LOCK_KEYS)
        finally:
            with suppress(peewee.PeeweeException):
                _set_all(database, usual)

    def lagging_sequence(self, database: peewee.Database, table: str) -> tuple[int, int, str] | None:
        # Rows first: what is inserted meanwhile can only raise the sequence.
        highest = first_value(database, f"SELECT max(id) FROM {self.quoted(table)}")
        # A role that may not read the sequence, as an auditor, cannot tell.
        sequence = first_value(
            database,
            "SELECT CASE WHEN has_sequence_privilege(name, 'SELECT') THEN name END "
            "FROM pg_get_serial_sequence(%s, 'id') AS name",
            self.quoted(table),
        )
        if highest is None or sequence is None:
            return None
        following = first_value(database, f"SELECT last_value + is_called::int FROM {sequence}")
        return None if following > highest else (following, highest, f"SELECT setval('{sequence}', {highest})")

    @staticmethod
    def _lock_holder(database: peewee.Database) -> str | None:
        row = database.execute_sql(
            "SELECT a.pid, a.usename, COALESCE(host(a.client_addr), 'a local socket'), a.application_name "
            "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 2 "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            _LOCK_KEYS,
        ).fetchone()
        if row is None:
            return None
        named = f", {row[3]}" if row[3] else ""
        return f"backend {row[0]} holds it: {row[1]} from {row[2]}{named}"

    @contextmanager
    def lock_timeout(self, database: peewee.Database, seconds: float) -> Iterator[None]:
        if not database.in_transaction() and self._is_pooled(database):
            # The setting would stay in a session that the pooler lends to others.
            yield
            return
        milliseconds = f"{max(1, int(seconds * 1000))}ms"
        with session_setting(database, "SHOW lock_timeout", "SET lock_timeout = '{}'", milliseconds):
            yield

    def drop_statements(self, table: Table) -> list[str]:
        types = [f"DROP TYPE {self.quoted(name)}" for name, _ in self._enum_types(table)]
        return [*super().drop_statements(table), *types]

    @staticmethod
    def _enum_types(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the name and the labels of each enum type of the table."""
        for column in table.columns:
            if isinstance(column.type, Enum):
                yield enum_type_name(table.name, column.name), column.type.labels

    def create_types(self, catalog: Catalog, table: Table) -> Iterator[Change]:
        for name, labels in self._enum_types(table):
            if catalog.enum_type(name) is None:
                yield self._create_type(name, labels)

    def _create_type(self, name: str, labels: tuple[str, ...]) -> Change:
        return Change(f"CREATE TYPE {self.quoted(name)} AS ENUM ({', '.join(map(self.literal, labels))})")

    def drop_types(self, catalog: Catalog, table: Table) -> Iterator[Change]:
        for name, _ in self._enum_types(table):
            if catalog.enum_type(name) is not None and not catalog.enum_type_users(name, table.name):
                yield Change(f"DROP TYPE {self.quoted(name)}")

    def type_conflicts(self, catalog: Catalog, table: Table) -> Iterator[str]:
        for name, labels in self._enum_types(table):
            found = catalog.enum_type(name)
            if found is not None and not covers(found, labels):
                yield f"the type {name} has the labels {', '.join(found) or 'of no enum'}, not {', '.join(labels)}"

    def rename_types(self, catalog: Catalog, table: Table, suffix: str) -> Iterator[Change]:
        for name, labels in self._enum_types(table):
            found = catalog.enum_type(name)
            if found is not None and not covers(found, labels):
                yield Change(f"ALTER TYPE {self.quoted(name)} RENAME TO {self.quoted(name + suffix)}")

    def converted(self, table: str, column: Column, found: Column) -> str:
        name = self.quoted(column.name)
        is_converted = column.type != found.type and isinstance(column.type, Enum | Json)
        return f"{name}::text::{self.type_sql(table, column)}" if is_converted else name

    def advance_ids(self, table: str) -> Iterator[Change]:
        yield Change(self._next_id_sql(table, "id"))

    def _next_id_sql(self, table: str, column: str) -> str:
        sequence = f"pg_get_serial_sequence({self.literal(self.quoted(table))}, {self.literal(column)})"
        return f"SELECT setval({sequence}, MAX({self.quoted(column)})) FROM {self.quoted(table)}"

    def add_index(self, table: str, index: Index, found: Index | None) -> Iterator[Change]:
        # A concurrent build that was interrupted leaves an invalid index, which no query uses.
        if found is not None and not found.valid:
            yield Change(f"DROP INDEX CONCURRENTLY {self.quoted(index.name)}", outside_transaction=True)
        elif found is not None:
            return
        yield Change(ddl.create_index(self, table, index, concurrently=True), outside_transaction=True)

    def add_key(self, table: str, key: ForeignKey, found: ForeignKey | None) -> Iterator[Change]:
        yield from self._add_constraint(table, key.name, ddl.foreign_key_constraint(self, key), found)

    def add_check(self, table: str, check: Check, found: Check | None) -> Iterator[Change]:
        yield from self._add_constraint(table, check.name, ddl.check_constraint(self, check), found)

    def _add_constraint(
        self, table: str, name: str, constraint: str, found: ForeignKey | Check | None
    ) -> Iterator[Change]:
        # Validated in a second statement, which reads all rows under a lock that lets writes through.
        if found is None:
            yield Change(f"{self.alter(table)} ADD {constraint} NOT VALID")
        if found is None or not found.validated:
            yield Change(f"{self.alter(table)} VALIDATE CONSTRAINT {self.quoted(found.name if found else name)}")

    def set_not_null(self, catalog: Catalog, table: str, column: str) -> Iterator[Change]:
        # A validated check spares SET NOT NULL the scan under a lock that blocks reads and writes.
        check = Check(f"{table}_{snake_case(column)}_not_null", f'"{column}" IS NOT NULL')
        yield from self.add_check(table, check, catalog.check(table, check.name))
        alter, name = self.alter(table), self.quoted(check.name)
        yield Change(f"{alter} ALTER COLUMN {self.quoted(column)} SET NOT NULL; {alter} DROP CONSTRAINT {name}")

    def alter_column(self, table: str, wanted: Column, found: Column) -> Iterator[Change]:
        column, kind = f"ALTER COLUMN {self.quoted(wanted.name)}", self.type_sql(table, wanted)
        if isinstance(wanted.type, Enum) and isinstance(found.type, Enum) and wanted.type != found.type:
            yield from self.drop_label(table, found, wanted)
            return
        if isinstance(wanted.type, Id):
            yield Change(f"{self.alter(table)} {column} ADD GENERATED BY DEFAULT AS IDENTITY")
            yield Change(self._next_id_sql(table, wanted.name))
            return
        clauses = []
        if wanted.type != found.type:
            cast = f"{self.quoted(wanted.name)}::text::{kind}"
            clauses += [f"{column} DROP DEFAULT", f"{column} TYPE {kind} USING {cast}"]
        if wanted.default is not None:
            clauses.append(f"{column} SET DEFAULT {ddl.default_sql(self, wanted)}")
        clauses.append(f"{column} {'DROP' if wanted.null else 'SET'} NOT NULL")
        yield Change(f"{self.alter(table)} {', '.join(clauses)}")

    def add_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        assert isinstance(after.type, Enum)
        name = self.quoted(enum_type_name(table, after.name))
        yield Change(f"ALTER TYPE {name} ADD VALUE {self.literal(after.type.labels[-1])}")

    def drop_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        # A label cannot be removed from a type, so a new type replaces the old one, all in one transaction.
        assert isinstance(after.type, Enum)
        name = enum_type_name(table, after.name)
        old, new, column = self.quoted(f"{name}_old"), self.quoted(name), self.quoted(after.name)
        cast = f"ALTER COLUMN {column} TYPE {new} USING {column}::text::{new}"
        if after.default is not None:
            default = f"{self.literal(str(after.default))}::{new}"
            cast = f"ALTER COLUMN {column} DROP DEFAULT, {cast}, ALTER COLUMN {column} SET DEFAULT {default}"
        yield Change(f"ALTER TYPE {new} RENAME TO {old}")
        yield self._create_type(name, after.type.labels)
        yield Change(f"{self.alter(table)} {cast}")
        yield Change(f"DROP TYPE {old}")

    def drop_label_conflicts(self, catalog: Catalog, table: str, column: Column) -> Iterator[str]:
        for dependent in catalog.dependents(table, column.name):
            if dependent.kind == "view":
                yield f"{dependent} depends on {table}.{column.name}, whose type this rollback changes"
        name = enum_type_name(table, column.name)
        for user in catalog.enum_type_users(name, table):
            yield f"{user} has the type {name}, from which this rollback removes a label"


def _set_all(database: peewee.Database, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        database.execute_sql("SELECT set_config(%s, %s, false)", (name, value))


POSTGRESQL = Postgresql()
