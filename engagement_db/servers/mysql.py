"""MySQL and MariaDB: DDL commits, and ALGORITHM and LOCK are named so that it is refused rather than blocks writes."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import ClassVar, Final

import peewee

from engagement_db.errors import ConfigurationError
from engagement_db.expressions import literal, normalized, same
from engagement_db.servers import ddl
from engagement_db.servers.base import Change, Server, first_value, lagging, session_setting, wait_for_migration_lock
from engagement_db.servers.catalog import (
    HISTORY,
    Catalog,
    Dependent,
    Reader,
    default_value,
    described,
    mentions,
    not_unique,
)
from engagement_db.servers.dialect import integer_sql
from engagement_db.servers.driver import error_code, own_code, own_message
from engagement_db.servers.mysql_grants import Grants
from engagement_db.tables import (
    Check,
    Column,
    ColumnType,
    Enum,
    ForeignKey,
    Id,
    Index,
    Integer,
    Json,
    Money,
    Other,
    Table,
    Text,
    Timestamp,
    Varchar,
    sort,
)

_WRAPPING_CODES: Final = frozenset({1030, 1180})
_LOCK_NAME: Final = "CONCAT('engagement_db migration ', LEFT(SHA2(DATABASE(), 256), 32))"
# Without a copy of the table, and with neither readers nor writers kept waiting.
_ONLINE: Final = "ALGORITHM=INPLACE, LOCK=NONE"
_INDEX_LIMIT: Final = 64
# 1117: too many columns; 1118: the row is too wide.
_WIDTH_CODES: Final = frozenset({1117, 1118})
# Settings with which tables of the library, or their migration, do not work: name, value, the reason and the remedy.
_UNFIT_SETTINGS: Final = (
    (
        "group_replication_single_primary_mode",
        "OFF",
        "this server belongs to a group in multi-primary mode, where writes to tables with CASCADE or SET NULL keys "
        "fail and two deployers stop the group; run SELECT group_replication_switch_to_single_primary_mode()",
    ),
    (
        "group_replication_enforce_update_everywhere_checks",
        "ON",
        "group_replication_enforce_update_everywhere_checks is on, which refuses writes to tables with CASCADE or SET "
        "NULL keys (3098); turn it off",
    ),
    (
        "wsrep_on",
        "OFF",
        "wsrep_on is off in this session of a cluster's node, so that nothing of this would reach the other nodes; "
        "turn it on",
    ),
    (
        "wsrep_osu_method",
        "RSU",
        "wsrep_OSU_method is RSU: the tables would be changed on this node alone, and migratehistory on all; set it to "
        "TOI",
    ),
    (
        "default_storage_engine",
        "MYISAM",
        "default_storage_engine is MyISAM, which would store migratehistory and keeps no transaction; set it to InnoDB",
    ),
)


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
    # The mode as a whole, because others change what a statement means (ORACLE, NO_BACKSLASH_ESCAPES); then what would
    # refuse a change without a key or cut a result short.
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
    # How far a server is, and the function that waits for a replica to be there.
    gtid_position: ClassVar[str] = "@@GLOBAL.gtid_executed"
    gtid_wait: ClassVar[str] = "WAIT_FOR_EXECUTED_GTID_SET"
    clock_sql = "UNIX_TIMESTAMP(NOW(6))"
    duplicate_id_pattern = r"'(\w+\.)?PRIMARY'"
    # 3101: Group Replication rolled back a transaction that another member's had overtaken.
    retry_codes = frozenset({1205, 1213, 3101})
    rollback_codes = frozenset({1213})
    canceled_codes = frozenset({1317, 3024})
    # 1290: started read-only; 1792, 1836: a read-only transaction, mode; 3100: a member that left its group.
    not_writable_codes = frozenset({1290, 1792, 1836, 3100})
    # 1053: shutdown; 2006, 2013, 2055: the driver's own; 3169: killed; 4031: inactive for too long.
    lost_connection_codes = frozenset({1053, 2006, 2013, 2055, 3169, 4031})
    unknown_outcome_codes = frozenset({1180})
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

    def read(self, database: peewee.Database) -> "MysqlCatalog":
        return MysqlCatalog(database, self)

    def grants_to_migrate(self, role: str, owner: str, parents: Sequence[str]) -> list[str]:
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER, SHOW VIEW"
        return [f"GRANT {rights} ON * TO {self.quoted(role)}"]

    def shares_sessions(self, database: peewee.Database) -> bool:
        names = "('wsrep_on', 'wsrep_provider')"
        live = dict(database.execute_sql(f"SHOW VARIABLES WHERE Variable_name IN {names}").fetchall())
        return live.get("wsrep_on") == "ON" and live.get("wsrep_provider", "none") not in ("", "none")

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
        try:
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
        """Yield the change that adds the key without copying the table, which is possible unvalidated only.

        So its rows are looked for: an interrupted run may have filled the column or added the key.
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

    def read(self, database: peewee.Database) -> "MariadbCatalog":
        return MariadbCatalog(database, self)


class MysqlCatalog(Reader):
    """The catalog in information_schema, within the current database."""

    # Which rights to the database does it take to create tables with foreign keys?
    database_rights: ClassVar[tuple[str, ...]] = ("CREATE", "REFERENCES")
    # How is a check joined to its table beyond its name, which is unique within the database?
    same_table = ""

    def version(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", self.rows("SELECT VERSION()")[0][0])[:3]))

    def table(self, name: str) -> Table | None:
        if not self.rows(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s "
            "AND table_type = 'BASE TABLE'",
            name,
        ):
            return None
        checks = {check.name: check for check in self._checks(name)}
        columns = []
        for column, spelling, nullable, default, extra in self.rows(
            "SELECT column_name, column_type, is_nullable, column_default, extra FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s ORDER BY ordinal_position",
            name,
        ):
            kind = self._type(column, _decoded(spelling), _decoded(extra), checks)
            null = nullable == "YES"
            value = None if default is None or (null and _decoded(default) == "NULL") else _decoded(default)
            columns.append(Column(column, kind, null, default_value(kind, value)))
        keys = [
            ForeignKey(
                key,
                column,
                parent,
                # InnoDB treats RESTRICT and NO ACTION alike, and each server reports its own favourite.
                "RESTRICT" if on_delete == "NO ACTION" else on_delete,
                "NO ACTION" if on_update == "RESTRICT" else on_update,
                parent_column,
            )
            for key, column, parent, parent_column, on_delete, on_update in self.rows(
                "SELECT k.constraint_name, GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position SEPARATOR ', '), "
                "k.referenced_table_name, "
                "GROUP_CONCAT(k.referenced_column_name ORDER BY k.ordinal_position SEPARATOR ', '), "
                "MAX(r.delete_rule), MAX(r.update_rule) "
                "FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r "
                "ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name "
                "AND r.table_name = k.table_name "
                "WHERE k.table_schema = DATABASE() AND k.table_name = %s AND k.referenced_table_name IS NOT NULL "
                "GROUP BY k.constraint_name, k.referenced_table_name",
                name,
            )
        ]
        return sort(Table(name, tuple(columns), tuple(keys), tuple(self._indexes(name)), tuple(checks.values())))

    def definition(self, table: str) -> str:
        return _decoded(self.rows(f"SHOW CREATE TABLE {self.dialect.quoted(table)}")[0][1])

    def collations(self, table: str) -> tuple[str, ...]:
        return tuple(
            _decoded(collation)
            for (collation,) in self.rows(
                "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
                "AND table_name = %s AND data_type IN ('varchar', 'text') ORDER BY 1",
                table,
            )
        )

    def _indexes(self, table: str) -> Iterable[Index]:
        found: dict[str, Index] = {}
        for name, has_duplicates, column, part in self.rows(
            "SELECT index_name, non_unique, column_name, sub_part FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s AND index_name <> 'PRIMARY' "
            "ORDER BY index_name, seq_in_index",
            table,
        ):
            index = found.get(name, Index(name, (), not has_duplicates))
            column = column or "an expression"
            column = column if part is None else f"{column}({part})"
            found[name] = replace(index, columns=(*index.columns, column))
        return found.values()

    def _checks(self, table: str) -> Iterable[Check]:
        return [
            Check(name, normalized(self._standard(_decoded(clause))))
            for name, clause in self.rows(
                "SELECT c.constraint_name, c.check_clause FROM information_schema.check_constraints c "
                "JOIN information_schema.table_constraints t ON t.constraint_schema = c.constraint_schema "
                f"AND t.constraint_name = c.constraint_name {self.same_table}"
                "WHERE t.table_schema = DATABASE() AND t.table_name = %s AND t.constraint_type = 'CHECK'",
                table,
            )
        ]

    def _standard(self, clause: str) -> str:
        """Return a check's clause with standard string literals."""
        # MySQL escapes the clause as a whole, and reports the bytes of a literal as if they were Latin-1.
        return _standard_literals(re.sub(r"\\(.)", r"\1", clause, flags=re.DOTALL), _from_latin_1)

    @staticmethod
    def _type(column: str, spelling: str, extra: str, checks: dict[str, Check]) -> ColumnType:
        """Return the logical type; MariaDB's check that makes a LONGTEXT a JSON is taken out of ``checks``."""
        if number := re.fullmatch(r"(big)?int(?:\(\d+\))?( unsigned)?", spelling):
            kind = Id if "auto_increment" in extra else Integer
            return kind(64 if number[1] else 32, bool(number[2]))
        if spelling.startswith("enum("):
            return Enum(tuple(label.replace("''", "'") for label in re.findall(r"'((?:[^']|'')*)'", spelling)))
        if varchar := re.fullmatch(r"varchar\((\d+)\)", spelling):
            return Varchar(int(varchar[1]))
        if time := re.fullmatch(r"datetime(?:\((\d)\))?", spelling):
            return Timestamp(int(time[1] or 0))
        for name, check in list(checks.items()):
            if spelling == "longtext" and same(check.expression, f'json_valid("{column}")'):
                del checks[name]
                return Json()
        plain: dict[str, ColumnType] = {"text": Text(), "json": Json(), "decimal(18,4)": Money()}
        return plain.get(spelling, Other(spelling))

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        if of_index:
            # The name of an index is its table's own.
            return None
        found = self.rows(
            "SELECT CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            name,
        )
        return described(name, found[0][0], name) if found else None

    def size(self, table: str) -> tuple[int, int] | None:
        found = self.rows(
            "SELECT table_rows, data_length + index_length FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            table,
        )
        return (int(found[0][0] or 0), int(found[0][1] or 0)) if found else None

    def obstacles(self) -> tuple[str, ...]:
        grants = self._grants()
        found = [*self._read_only(grants), *self._unfit_settings()]
        found += self._missing_rights(grants, [("create tables in", right, None) for right in self.database_rights])
        rights = ("SELECT", "INSERT")
        return (*found, *self._missing_rights(grants, [("record revisions in", right, HISTORY) for right in rights]))

    def _unfit_settings(self) -> Iterator[str]:
        names = ", ".join(map(literal, ["wsrep_provider", *(name for name, _, _ in _UNFIT_SETTINGS)]))
        settings = self.rows(f"SHOW VARIABLES WHERE Variable_name IN ({names})")
        live = {name.lower(): value for name, value in settings}
        if live.pop("wsrep_provider", "none") in ("", "none"):
            live = {name: value for name, value in live.items() if not name.startswith("wsrep_")}
        yield from (sentence for name, value, sentence in _UNFIT_SETTINGS if live.get(name, "").upper() == value)

    def read_obstacles(self, table: str) -> tuple[str, ...]:
        # Without it the server shows no columns either.
        return tuple(self._missing_rights(self._grants(), [("read", "SELECT", table)]))

    def revert_obstacles(self) -> tuple[str, ...]:
        grants = self._grants()
        return (*self._read_only(grants), *self._missing_rights(grants, [("delete from", "DELETE", HISTORY)]))

    def drop_obstacles(self, table: str) -> tuple[str, ...]:
        return tuple(self._missing_rights(self._grants(), [("drop", "DROP", table)]))

    def _grants(self) -> Grants:
        ((database,),) = self.rows("SELECT DATABASE()")
        return Grants([_decoded(line) for (line,) in self.rows("SHOW GRANTS")], database)

    def _missing_rights(self, grants: Grants, needed: Iterable[tuple[str, str, str | None]]) -> Iterator[str]:
        """Yield a sentence for each right, to a table or the whole database, that the session lacks."""
        for purpose, right, table in needed:
            if not grants.allow(right, table):
                ((user, database),) = self.rows("SELECT CURRENT_USER(), DATABASE()")
                account = "@".join(map(self.dialect.quoted, user.rsplit("@", 1)))
                # A right to a table that does not exist cannot be granted.
                quoted = self.dialect.quoted
                place = f"{quoted(grants.pattern)}.*"
                if table is not None and self.has_table(table):
                    place = f"{quoted(database)}.{quoted(table)}"
                yield f"{user} cannot {purpose} {table or database}; run GRANT {right} ON {place} TO {account}"

    def _read_only(self, grants: Grants) -> Iterator[str]:
        names = ("tx_read_only", "transaction_read_only", "read_only", "super_read_only", "innodb_read_only")
        found = self.rows(f"SHOW VARIABLES WHERE Variable_name IN ({', '.join(map(literal, names))})")
        switched_on = {name for name, value in found if value.upper() not in ("OFF", "0")}
        if grants.allow_everywhere("SUPER", "CONNECTION_ADMIN", "READ_ONLY ADMIN"):
            switched_on.discard("read_only")
        of_session = switched_on & {"tx_read_only", "transaction_read_only"}
        of_server = sorted(switched_on - of_session)
        if of_server:
            yield f"this server is read-only ({', '.join(of_server)}); name the primary server, or turn that off"
        elif of_session:
            yield "this session is read-only; turn transaction_read_only off for it"

    def alter_obstacles(self, added: Table) -> tuple[str, ...]:
        table = added.name
        found = [*self._missing_rights(self._grants(), [("alter", "ALTER", table)])]
        ((keys, has_fulltext),) = self.rows(
            "SELECT COUNT(DISTINCT index_name), SUM(index_type = 'FULLTEXT') > 0 FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            table,
        )
        if added.indexes and keys >= _INDEX_LIMIT:
            found.append(f"{table} has {keys} indexes, and InnoDB allows no more; drop one that is not needed")
        for column in added.columns:
            definition = ddl.column_definition(self.dialect, table, column)
            add = f"ALTER TABLE {self.dialect.quoted(table)} ADD COLUMN {definition}"
            if has_fulltext:
                found.append(
                    f"{table} has a FULLTEXT index, so {self.dialect.display_name} adds a column only while writes "
                    f"wait; in a maintenance window, run {add}"
                )
            found += self._width_obstacles(table, definition)
        return tuple(found)

    def _width_obstacles(self, table: str, definition: str) -> Iterator[str]:
        """Try the column on an empty temporary copy of the table, where the session may make one."""
        probe = self.dialect.quoted("engagement_db_probe")
        try:
            self.rows(f"CREATE TEMPORARY TABLE {probe} LIKE {self.dialect.quoted(table)}")
            self.rows(f"ALTER TABLE {probe} ADD COLUMN {definition}")
        except peewee.DatabaseError as error:
            if error_code(error) in _WIDTH_CODES:
                yield f"{table} can take no other column ({own_message(error)})"
        finally:
            with suppress(peewee.DatabaseError):
                self.rows(f"DROP TEMPORARY TABLE {probe}")

    def integer_id_statement(self, table: str) -> str | None:
        narrow = re.search(
            r"^  `id` (?:tiny|small|medium)int(?:\(\d+\))?(.*?),?$", self.definition(table), re.MULTILINE
        )
        return f"ALTER TABLE {self.dialect.quoted(table)} MODIFY COLUMN `id` int{narrow[1]}" if narrow else None

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        needed = [("reference", "REFERENCES", table)] if "REFERENCES" in self.database_rights else []
        found = [*self._missing_rights(self._grants(), needed)]
        for engine, options in self.rows(
            "SELECT engine, create_options FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            table,
        ):
            if engine != "InnoDB":
                found.append(
                    f"{table} is stored by {engine}, which has no foreign keys; "
                    f"run ALTER TABLE {self.dialect.quoted(table)} ENGINE=InnoDB"
                )
            if "partitioned" in _decoded(options or ""):
                found.append(
                    f"{table} is partitioned, so no foreign key can reference it; "
                    f"run ALTER TABLE {self.dialect.quoted(table)} REMOVE PARTITIONING"
                )
        is_unique = self.rows(
            "SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = %s "
            "AND non_unique = 0 GROUP BY index_name HAVING COUNT(*) = 1 AND MAX(column_name) = 'id'",
            table,
        )
        return (*found, *(() if is_unique else (not_unique(table),)))

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        views = self.rows(
            "SELECT table_name, view_definition FROM information_schema.views "
            "WHERE table_schema = DATABASE() ORDER BY 1"
        )
        found = [
            Dependent("view", name)
            for name, sql in views
            if mentions(_decoded(sql), table) and (column is None or mentions(_decoded(sql), column))
        ]
        of_column = "" if column is None else " AND referenced_column_name = %s"
        named = () if column is None else (column,)
        found += [
            Dependent("foreign key", name, owner)
            for owner, name in self.rows(
                "SELECT DISTINCT table_name, constraint_name FROM information_schema.key_column_usage "
                "WHERE referenced_table_schema = DATABASE() AND referenced_table_name = %s AND table_name <> %s"
                f"{of_column} ORDER BY 1, 2",
                table,
                table,
                *named,
            )
        ]
        shape = self.table(table)
        if column is None or shape is None:
            return tuple(found)
        found += [Dependent("index", index.name, table) for index in shape.indexes if column in index.columns]
        found += [
            Dependent("constraint", key.name, table) for key in shape.foreign_keys if column in key.column.split(", ")
        ]
        found += [Dependent("check", check.name, table) for check in shape.checks if mentions(check.expression, column)]
        found += [
            Dependent("trigger", name, owner)
            for name, owner, sql in self.rows(
                "SELECT trigger_name, event_object_table, action_statement FROM information_schema.triggers "
                "WHERE trigger_schema = DATABASE() ORDER BY 1"
            )
            if mentions(_decoded(sql), column) and (owner == table or mentions(_decoded(sql), table))
        ]
        return tuple(found)


class MariadbCatalog(MysqlCatalog):
    """The catalog in information_schema as MariaDB fills it."""

    database_rights = ("CREATE",)
    # The name of a check is unique within its table only.
    same_table = "AND c.table_name = t.table_name "

    def _standard(self, clause: str) -> str:
        standard = _standard_literals(clause, str)
        # OCTET_LENGTH is MariaDB's name for LENGTH.
        return re.sub(r"('(?:[^']|'')*')|\boctet_length\(", lambda found: found[1] or "length(", standard)


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


def _standard_literals(clause: str, decode: Callable[[str], str]) -> str:
    def standard(found: re.Match[str]) -> str:
        text = re.sub(r"\\(.)|''", lambda escaped: escaped[1] or "'", found[0][1:-1], flags=re.DOTALL)
        return literal(decode(text))

    return re.sub(r"'(?:[^'\\]|\\.|'')*'", standard, clause, flags=re.DOTALL)


def _from_latin_1(text: str) -> str:
    with suppress(UnicodeError):
        return text.encode("latin-1").decode()
    return text


def _decoded(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


MYSQL = Mysql()
MARIADB = Mariadb()
