"""MySQL and MariaDB: DDL commits, and names ALGORITHM and LOCK, so that it fails instead of blocking writes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar, Final

import peewee

from engagement_db.errors import ConfigurationError
from engagement_db.servers import ddl
from engagement_db.servers.base import Change, Server, first_value, lagging, session_setting, wait_for_migration_lock
from engagement_db.servers.catalog import Catalog
from engagement_db.servers.dialect import integer_sql
from engagement_db.servers.driver import own_code, own_message
from engagement_db.servers.mysql_catalog import MariadbCatalog, MysqlCatalog
from engagement_db.servers.mysql_settings import has_galera, settings_sql
from engagement_db.sql_tokens import literal
from engagement_db.tables import (
    Check,
    Column,
    ForeignKey,
    Id,
    Index,
    Json,
    Money,
    Table,
    Timestamp,
)

_WRAPPING_CODES: Final = frozenset({1030, 1180})
_LOCK_NAME: Final = "CONCAT('engagement_db migration ', LEFT(SHA2(DATABASE(), 256), 32))"
# Without copying the table or blocking readers or writers.
_ONLINE: Final = "ALGORITHM=INPLACE, LOCK=NONE"


class Mysql(Server):
    """MySQL."""

    name = "mysql"
    display_name = "MySQL"
    database_class = peewee.MySQLDatabase
    minimum_version: ClassVar[tuple[int, ...]] = (8, 0, 16)
    type_names = {
        Id: "INTEGER AUTO_INCREMENT PRIMARY KEY",
        Timestamp: "DATETIME(6)",
        Json: "JSON",
        Money: "DECIMAL(18,4)",
    }
    now_sql = "CURRENT_TIMESTAMP(6)"
    quote = "`"
    # A binary collation without padding: a reference means the same row on every server.
    table_options = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin"
    transactional_ddl = False
    has_inline_indexes = True
    ignores_case_of_names = True
    charset = "utf8mb4"
    # The whole sql_mode, because other modes change what a statement means (ORACLE, NO_BACKSLASH_ESCAPES); then the
    # settings that would refuse an UPDATE without a key or truncate a result.
    session = (
        "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,"
        "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', sql_safe_updates = 0, "
        "sql_select_limit = 18446744073709551615, group_concat_max_len = 1048576",
    )
    isolation_session = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    begin = ("READ COMMITTED",)
    lock_attempt_seconds = 1
    drivers = ("pymysql", "MySQLdb")
    extra = "mysql"
    duplicate_codes = frozenset({1062})
    # The position of a server, and the function that waits until a replica has reached it.
    gtid_position: ClassVar[str] = "@@GLOBAL.gtid_executed"
    gtid_wait: ClassVar[str] = "WAIT_FOR_EXECUTED_GTID_SET"
    clock_sql = "UNIX_TIMESTAMP(NOW(6))"
    duplicate_id_pattern = r"'(\w+\.)?PRIMARY'"
    # 3101: Group Replication rolled back a transaction that another member's had overtaken.
    retry_codes = frozenset({1205, 1213, 3101})
    rollback_codes = frozenset({1213})
    canceled_codes = frozenset({1317, 3024})
    # 1290: started read-only; 1792, 1836: a read-only transaction, mode; 3098: a member of a group whose
    # group_replication_enforce_update_everywhere_checks refuse the table; 3100: a member that left its group.
    not_writable_codes = frozenset({1290, 1792, 1836, 3098, 3100})
    # 1053: shutdown; 2006, 2013, 2055: the driver's own; 3169: killed; 4031: inactive for too long.
    lost_connection_codes = frozenset({1053, 2006, 2013, 2055, 3169, 4031})
    # 3100 at COMMIT: a member that lost the majority gave up, and the others may commit what it had sent them.
    unknown_outcome_codes = frozenset({1180, 3100})
    lock_timeout_codes = frozenset({1205})
    not_online_codes = frozenset({1845, 1846, 4092})
    unknown_index_codes = frozenset({1176})
    open_transactions_sql = (
        "SELECT t.processlist_id, t.processlist_user, t.processlist_host, MAX(x.timer_wait) / 1e12, "
        "GROUP_CONCAT(DISTINCT l.object_name) FROM performance_schema.metadata_locks l "
        "JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id "
        "JOIN performance_schema.events_transactions_current x ON x.thread_id = t.thread_id "
        "WHERE l.object_type = 'TABLE' AND l.object_schema = DATABASE() AND l.lock_status = 'GRANTED' "
        "AND x.state = 'ACTIVE' AND t.processlist_id <> CONNECTION_ID() GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 3"
    )
    session_id_sql = "SELECT CONNECTION_ID()"

    # Does it rewrite the table to drop a column together with its key and index?
    rewrites_to_drop: ClassVar[bool] = True

    def literal(self, value: str) -> str:
        return literal(value.replace("\\", "\\\\"))

    def lost_race(self, error: BaseException) -> bool:
        # The engine's error 149, a deadlock, inside another: a transaction that lost its certification.
        return super().lost_race(error) or (
            own_code(error) in _WRAPPING_CODES and re.search(r"\b149\b", own_message(error)) is not None
        )

    def read(self, database: peewee.Database) -> MysqlCatalog:
        return MysqlCatalog(database, self)

    def grants_to_migrate(self, role: str, owner: str, parents: Sequence[str]) -> list[str]:
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER, SHOW VIEW"
        return [f"GRANT {rights} ON * TO {self.quoted(role)}"]

    def shares_sessions(self, database: peewee.Database) -> bool:
        return _is_on_galera(_cluster_settings(database))

    def locks_one_node(self, database: peewee.Database) -> bool:
        live = _cluster_settings(database)
        return _is_on_galera(live) or live.get("group_replication_single_primary_mode") == "OFF"

    @contextmanager
    def caught_up(self, primary: peewee.Database, reader: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        for is_used, read_sql, name, value in (
            (self.shares_sessions, "SELECT @@SESSION.wsrep_sync_wait", "wsrep_sync_wait", "1"),
            (
                self._is_in_group,
                "SELECT QUOTE(@@SESSION.group_replication_consistency)",
                "group_replication_consistency",
                "'BEFORE'",
            ),
        ):
            if is_used(reader):
                with session_setting(reader, read_sql, f"SET SESSION {name} = {{}}", value):
                    yield
                return
        position = first_value(primary, f"SELECT {self.gtid_position}")
        if not position:
            raise ConfigurationError(
                "the primary numbers no transactions (gtid_mode, or the binary log, is off), so that a replica cannot "
                "tell how far it is behind; read from it without up_to_date."
            )
        if first_value(reader, f"SELECT {self.gtid_wait}(%s, %s)", position, timeout_seconds) != 0:
            raise lagging(timeout_seconds)
        yield

    @staticmethod
    def _is_in_group(database: peewee.Database) -> bool:
        if not database.execute_sql("SHOW VARIABLES LIKE 'group_replication_consistency'").fetchall():
            return False
        members = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'"
        return bool(first_value(database, members))

    @contextmanager
    def migration_lock(self, database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        wait_for_migration_lock(
            lambda: first_value(database, f"SELECT GET_LOCK({_LOCK_NAME}, 0)"),
            lambda: self._lock_holder(database),
            timeout_seconds,
        )
        read_sql, write_sql = "SELECT @@SESSION.wait_timeout", "SET SESSION wait_timeout = {}"
        try:
            with session_setting(database, read_sql, write_sql, str(self.silence_seconds)):
                yield
        finally:
            with suppress(peewee.PeeweeException):
                database.execute_sql(f"SELECT RELEASE_LOCK({_LOCK_NAME})")

    @staticmethod
    def _lock_holder(database: peewee.Database) -> str:
        row = database.execute_sql(
            f"SELECT id, user, host FROM information_schema.processlist WHERE id = IS_USED_LOCK({_LOCK_NAME})"
        ).fetchone()
        return f"connection {row[0]} holds it: {row[1]} from {row[2]}" if row else "its holder is hidden from this user"

    @contextmanager
    def lock_timeout(self, database: peewee.Database, seconds: float) -> Iterator[None]:
        whole = str(max(1, int(seconds)))
        write_sql = "SET SESSION lock_wait_timeout = {}"
        with session_setting(database, "SELECT @@SESSION.lock_wait_timeout", write_sql, whole):
            yield

    def create_table(self, table: Table) -> Iterator[Change]:
        yield Change(ddl.create_table(self, table))

    def add_column(self, table: str, column: Column, key: ForeignKey | None) -> Iterator[Change]:
        statement = f"{self.alter(table)} ADD COLUMN {ddl.column_definition(self, table, column)}"
        yield Change(f"{statement}, ALGORITHM=INSTANT", fallback=f"{statement}, {_ONLINE}")

    def drop_column(self, table: str, column: str, *, index: str | None, key: str | None) -> Iterator[Change]:
        # One statement, because the key needs the index, the index the column, and each DDL statement commits.
        clauses = [
            *([f"DROP FOREIGN KEY {self.quoted(key)}"] if key else []),
            *([f"DROP INDEX {self.quoted(index)}"] if index else []),
            f"DROP COLUMN {self.quoted(column)}",
        ]
        statement = f"{self.alter(table)} {', '.join(clauses)}, {_ONLINE}"
        if not self.rewrites_to_drop:
            yield Change(statement)
            return
        drop = f"{self.alter(table)} {clauses[-1]}"
        online = [Change(f"{self.alter(table)} {', '.join(clauses[:-1])}, {_ONLINE}")] if clauses[:-1] else []
        online.append(Change(f"{drop}, ALGORITHM=INSTANT", fallback=f"{drop}, {_ONLINE}"))
        yield Change(statement, online=tuple(online), rewritten=table)

    def add_index(self, table: str, index: Index, found: Index | None) -> Iterator[Change]:
        if found is None:
            kind = "UNIQUE INDEX" if index.unique else "INDEX"
            columns = ddl.columns_list(self, index.columns)
            yield Change(f"{self.alter(table)} ADD {kind} {self.quoted(index.name)} {columns}, {_ONLINE}")

    def drop_index(self, table: str, name: str) -> Iterator[Change]:
        yield Change(f"{self.alter(table)} DROP INDEX {self.quoted(name)}, {_ONLINE}")

    def add_key(self, table: str, key: ForeignKey, found: ForeignKey | None) -> Iterator[Change]:
        """Yield the change that adds the key without copying the table, which is possible only without validation.

        Orphan rows are looked for afterwards, because an interrupted run may have filled the column or added the key.
        """
        child, parent, column = self.quoted(table), self.quoted(key.parent), self.quoted(key.column)
        parent_column = self.quoted(key.parent_column)
        orphans = (
            f"SELECT c.id FROM {child} c LEFT JOIN {parent} p ON p.{parent_column} = c.{column} "
            f"WHERE c.{column} IS NOT NULL AND p.{parent_column} IS NULL LIMIT 10"
        )
        if found is not None:
            yield Change(orphans, violations_query=orphans)
            return
        yield Change(
            f"{self.alter(table)} ADD {ddl.foreign_key_constraint(self, key)}, {_ONLINE}",
            before=(
                "SET @engagement_db_foreign_key_checks = @@SESSION.foreign_key_checks",
                "SET SESSION foreign_key_checks = 0",
            ),
            after=("SET SESSION foreign_key_checks = @engagement_db_foreign_key_checks",),
            violations_query=orphans,
            on_violation=f"{self.alter(table)} DROP FOREIGN KEY {self.quoted(key.name)}",
        )

    def add_validated_key(self, table: str, key: ForeignKey) -> Iterator[Change]:
        yield from super().add_key(table, key, None)

    def set_not_null(self, catalog: Catalog, table: str, column: str) -> Iterator[Change]:
        definition = _column_text(catalog.definition(table), column)
        if definition is not None:
            yield Change(f"{self.alter(table)} MODIFY COLUMN {definition}, {_ONLINE}")

    def not_null_conflicts(self, catalog: Catalog, table: str, column: str) -> Iterator[str]:
        if _column_text(catalog.definition(table), column) is None:
            yield f"{table}: the column {column} is not found in its definition"

    def alter_column(self, table: str, wanted: Column, found: Column) -> Iterator[Change]:
        if isinstance(wanted.type, Id):
            definition = f"{self.quoted(wanted.name)} {integer_sql(wanted.type)} NOT NULL AUTO_INCREMENT"
            # Foreign keys that reference it do not let it be changed otherwise.
            yield Change(
                f"{self.alter(table)} MODIFY COLUMN {definition}",
                before=("SET SESSION foreign_key_checks = 0",),
                after=("SET SESSION foreign_key_checks = 1",),
            )
        else:
            yield self._redefine(table, wanted, "")

    def drop_key(self, table: str, name: str) -> Iterator[Change]:
        yield Change(f"{self.alter(table)} DROP FOREIGN KEY {self.quoted(name)}")

    def add_check(self, table: str, check: Check, found: Check | None) -> Iterator[Change]:
        if found is not None and not found.validated:
            yield Change(f"{self.alter(table)} ALTER CHECK {self.quoted(check.name)} ENFORCED")
        yield from super().add_check(table, check, found)

    def drop_check(self, table: str, check: Check) -> Iterator[Change]:
        # MySQL has DROP CONSTRAINT from 8.0.19 on.
        yield Change(f"{self.alter(table)} DROP CHECK {self.quoted(check.name)}")

    def add_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        # INSTANT by name, so that an unsupported change fails instead of copying the table.
        yield self._redefine(table, after, ", ALGORITHM=INSTANT")

    def drop_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        yield self._redefine(table, after, "")

    def _redefine(self, table: str, column: Column, algorithm: str) -> Change:
        definition = ddl.column_definition(self, table, column)
        return Change(f"{self.alter(table)} MODIFY COLUMN {definition}{algorithm}")


class Mariadb(Mysql):
    """MariaDB."""

    name = "mariadb"
    display_name = "MariaDB"
    gtid_position = "@@GLOBAL.gtid_binlog_pos"
    gtid_wait = "MASTER_GTID_WAIT"
    minimum_version = (10, 6)
    stores_json_as_text = True
    table_options = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin"
    # 1020: a row changed since it was read (innodb_snapshot_isolation, on by default from 11.6).
    retry_codes = frozenset({1020, 1205, 1213})
    canceled_codes = frozenset({1317, 1969})
    # 1047: a node that left its Galera cluster.
    not_writable_codes = frozenset({1047, 1290, 1792, 1836})
    # 1927: killed.
    lost_connection_codes = frozenset({1053, 1927, 2006, 2013, 2055})
    # performance_schema is off by default, so the tables are not reported.
    open_transactions_sql = (
        "SELECT p.id, p.user, p.host, GREATEST(TIMESTAMPDIFF(SECOND, "
        "CONVERT_TZ(x.trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP()), p.time_ms / 1000), NULL "
        "FROM information_schema.innodb_trx x JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id "
        "WHERE p.id <> CONNECTION_ID() AND p.db = DATABASE() ORDER BY x.trx_started LIMIT 3"
    )
    progress_sql = "SELECT NULLIF(state, ''), NULLIF(progress, 0) FROM information_schema.processlist WHERE id = %s"

    rewrites_to_drop = False

    drop_check = Server.drop_check

    def read(self, database: peewee.Database) -> MariadbCatalog:
        return MariadbCatalog(database, self)


def _cluster_settings(database: peewee.Database) -> dict[str, str]:
    sql = settings_sql("wsrep_on", "wsrep_provider", "group_replication_single_primary_mode")
    return dict(database.execute_sql(sql).fetchall())


def _is_on_galera(settings: dict[str, str]) -> bool:
    return settings.get("wsrep_on") == "ON" and has_galera(settings)


def _column_text(definition: str, column: str) -> str | None:
    """Return the column as SHOW CREATE TABLE has it, but NOT NULL; None if it has no such column."""
    found = re.search(rf"^  (`{re.escape(column)}` .*?),?$", definition, re.MULTILINE)
    if found is None:
        return None
    # NOT NULL follows the type, before what may end the definition; words in a comment or a default are passed over.
    parts = re.match(r"((?:'(?:[^']|'')*'|(?! (?:DEFAULT|COMMENT|CHECK|ON UPDATE|GENERATED)\b).)*)(.*)", found[1])
    assert parts is not None
    kind, rest = parts[1].removesuffix(" NULL"), parts[2].removeprefix(" DEFAULT NULL")
    return f"{kind} NOT NULL{rest}"


MYSQL = Mysql()
MARIADB = Mariadb()
