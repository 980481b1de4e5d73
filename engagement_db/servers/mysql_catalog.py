"""The catalog of MySQL and of MariaDB: what information_schema reports, and the obstacles to a migration."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Final

import peewee

from engagement_db.expressions import normalized, same
from engagement_db.servers import ddl
from engagement_db.servers.catalog import HISTORY, Dependent, Reader, default_value, described, mentions, not_unique
from engagement_db.servers.driver import error_code, execute, own_message
from engagement_db.servers.mysql_grants import Grants
from engagement_db.servers.mysql_settings import UNFIT_SETTINGS_SQL, settings_sql, unfit_settings
from engagement_db.sql_tokens import literal
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

_INDEX_LIMIT: Final = 64
# 1117: too many columns; 1118: the row is too wide.
_WIDTH_CODES: Final = frozenset({1117, 1118})


class MysqlCatalog(Reader):
    """The catalog in information_schema, within the current database."""

    # Which rights to the database does it take to create tables with foreign keys?
    database_rights: ClassVar[tuple[str, ...]] = ("CREATE", "REFERENCES")
    # How is a check joined to its table beyond its name, which is unique within the database?
    same_table = ""
    # Is a check enforced?
    is_enforced = "t.enforced = 'YES'"

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
            value = None if default is None else self._default(_decoded(default), _decoded(extra))
            columns.append(Column(column, kind, null, default_value(kind, value)))
        keys = [
            ForeignKey(
                key,
                column,
                parent,
                # InnoDB treats RESTRICT and NO ACTION alike, and each server reports another one of them.
                "RESTRICT" if on_delete == "NO ACTION" else on_delete,
                "NO ACTION" if on_update == "RESTRICT" else on_update,
                parent_column,
            )
            for key, column, parent, parent_column, on_delete, on_update in self.rows(
                "SELECT k.constraint_name, GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position SEPARATOR ', '), "
                "CONCAT(IF(k.referenced_table_schema = DATABASE(), '', CONCAT(k.referenced_table_schema, '.')), "
                "k.referenced_table_name), "
                "GROUP_CONCAT(k.referenced_column_name ORDER BY k.ordinal_position SEPARATOR ', '), "
                "MAX(r.delete_rule), MAX(r.update_rule) "
                "FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r "
                "ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name "
                "AND r.table_name = k.table_name "
                "WHERE k.table_schema = DATABASE() AND k.table_name = %s AND k.referenced_table_name IS NOT NULL "
                "GROUP BY k.constraint_name, k.referenced_table_schema, k.referenced_table_name",
                name,
            )
        ]
        return sort(Table(name, tuple(columns), tuple(keys), tuple(self._indexes(name)), tuple(checks.values())))

    @staticmethod
    def _default(default: str, extra: str) -> str:
        """Return a default as an expression; MySQL reports a literal as the bare text."""
        return default if "DEFAULT_GENERATED" in extra else literal(default)

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
        for name, has_duplicates, column, part, kind in self.rows(
            "SELECT index_name, non_unique, column_name, sub_part, index_type FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s AND index_name <> 'PRIMARY' "
            "ORDER BY index_name, seq_in_index",
            table,
        ):
            index = found.get(name, Index(name, (), not has_duplicates))
            column = column or "an expression"
            column = column if part is None else f"{column}({part})"
            column = column if kind == "BTREE" else f"{column} {kind}"
            found[name] = replace(index, columns=(*index.columns, column))
        return found.values()

    def _checks(self, table: str) -> Iterable[Check]:
        return [
            Check(name, normalized(self._standard(_decoded(clause))), bool(is_enforced))
            for name, clause, is_enforced in self.rows(
                f"SELECT c.constraint_name, c.check_clause, {self.is_enforced} "
                "FROM information_schema.check_constraints c "
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
        """Return the logical type; MariaDB's check that makes a LONGTEXT a JSON is removed from ``checks``."""
        if re.search(r"\b(VIRTUAL|STORED) GENERATED", extra):
            return Other(f"{spelling} GENERATED")
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
            # Index names are unique only within a table.
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
        found = [*self._read_only(grants), *unfit_settings(dict(self.rows(UNFIT_SETTINGS_SQL)))]
        found += self._missing_rights(grants, [("create tables in", right, None) for right in self.database_rights])
        rights = ("SELECT", "INSERT")
        return (*found, *self._missing_rights(grants, [("record revisions in", right, HISTORY) for right in rights]))

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
        found = self.rows(settings_sql(*names))
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
            execute(self.database, f"CREATE TEMPORARY TABLE {probe} LIKE {self.dialect.quoted(table)}")
            execute(self.database, f"ALTER TABLE {probe} ADD COLUMN {definition}")
        except peewee.DatabaseError as error:
            if error_code(error) in _WIDTH_CODES:
                yield f"{table} can take no other column ({own_message(error)})"
        finally:
            with suppress(peewee.DatabaseError):
                execute(self.database, f"DROP TEMPORARY TABLE {probe}")

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
    is_enforced = "1"

    @staticmethod
    def _default(default: str, extra: str) -> str:
        return _standard_literals(default, str)

    def _standard(self, clause: str) -> str:
        standard = _standard_literals(clause, str)
        # OCTET_LENGTH is MariaDB's name for LENGTH.
        return re.sub(r"('(?:[^']|'')*')|\boctet_length\(", lambda found: found[1] or "length(", standard)


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
