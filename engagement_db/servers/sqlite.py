"""SQLite: one writer at a time, DDL in transactions, constraints that change with the text of a table's definition."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import peewee

from engagement_db.expressions import normalized, same
from engagement_db.servers import ddl, sqlite_text
from engagement_db.servers.base import Change, Server, first_value, migration_busy
from engagement_db.servers.catalog import Catalog, Dependent, Reader, default_value, described, mentions, not_unique
from engagement_db.servers.driver import error_code
from engagement_db.sql_tokens import literal, tokens
from engagement_db.tables import (
    NOW,
    Check,
    Column,
    ColumnType,
    Default,
    Enum,
    ForeignKey,
    Id,
    Index,
    Integer,
    Json,
    Money,
    Now,
    Other,
    Table,
    Text,
    Timestamp,
    Varchar,
    sort,
)


class Sqlite(Server):
    """SQLite."""

    name = "sqlite"
    display_name = "SQLite"
    database_class = peewee.SqliteDatabase
    minimum_version = (3, 38)
    type_names = {
        Id: "INTEGER PRIMARY KEY AUTOINCREMENT",
        Timestamp: "DATETIME",
        # Sequelize parses columns of this name. Its affinity is NUMERIC, so a bare number is stored as a number.
        Json: "JSON",
        Money: "DECIMAL(18,4)",
    }
    # The text that Sequelize writes: milliseconds and the zone, so that all rows sort alike.
    now_sql = "(strftime('%Y-%m-%d %H:%M:%f +00:00', 'now'))"
    is_file_based = True
    emulates_enum_and_json = True
    converts_json_numbers = True
    enforces_length = False
    adds_column_with_key = True
    has_exact_decimal = False
    has_exact_sum = False
    stores_time_as_text = True
    odd_value_sql = {
        # Text with a space before the time sorts as the instants do, with the fraction or the zone left out too.
        Timestamp: (
            "typeof({column}) <> 'text' OR datetime(substr({column}, 1, 19)) IS NULL"
            " OR {column} NOT GLOB '????-??-?? ??:??:??*'"
            " OR substr({column}, 20) NOT IN ('', ' +00:00')"
            " AND (substr({column}, 20) NOT GLOB '.[0-9]*'"
            " OR replace(substr({column}, 21), ' +00:00', '') GLOB '*[^0-9]*'"
            " OR length(replace(substr({column}, 21), ' +00:00', '')) > 6)"
        ),
        Money: "typeof({column}) NOT IN ('integer', 'real') OR abs({column}) >= 1e14 OR {column} <> ROUND({column}, 4)",
        Json: "NOT json_valid({column})",
    }
    compares_bytes = True
    supports_for_update = False
    ignores_case_of_names = True
    session = ("PRAGMA foreign_keys = ON", "PRAGMA journal_mode = WAL")
    begin = ("IMMEDIATE",)
    drivers = ("sqlite3",)
    retry_codes = frozenset({5, 6, 261, 517})
    duplicate_codes = frozenset({1555, 2067})
    not_writable_codes = frozenset({8, 264, 520, 776, 1032, 1288, 1544})
    lock_timeout_codes = frozenset({5, 261, 517})

    def enum_sql(self, table: str, column: str, labels: tuple[str, ...]) -> str:
        return "TEXT"

    def read(self, database: peewee.Database) -> "SqliteCatalog":
        return SqliteCatalog(database, self)

    @contextmanager
    def migration_lock(self, database: peewee.Database, timeout_seconds: float) -> Iterator[None]:
        """Hold the write lock of the file: the block is one transaction, rolled back when it raises."""
        usual = first_value(database, "PRAGMA busy_timeout")
        database.execute_sql(f"PRAGMA busy_timeout = {int(timeout_seconds * 1000)}")
        with ExitStack() as stack:
            try:
                stack.enter_context(database.transaction("IMMEDIATE"))
            except peewee.OperationalError as error:
                if error_code(error) not in self.lock_timeout_codes:
                    raise
                raise migration_busy("another process writes to this file", timeout_seconds) from error
            finally:
                database.execute_sql(f"PRAGMA busy_timeout = {usual}")
            yield

    def add_column(self, table: str, column: Column, key: ForeignKey | None) -> Iterator[Change]:
        definition = ddl.column_definition(self, table, column)
        if key is not None:
            definition += f" CONSTRAINT {self.quoted(key.name)} {ddl.foreign_key_clause(self, key)}"
        yield Change(f"{self.alter(table)} ADD COLUMN {definition}")

    def add_key(self, table: str, key: ForeignKey, found: ForeignKey | None) -> Iterator[Change]:
        # ALTER TABLE adds a key with its column only.
        yield from ()

    def add_check(self, table: str, check: Check, found: Check | None) -> Iterator[Change]:
        if found is None:
            # Without a table option the text ends with the parenthesis that closes it.
            yield self._edit_definition(
                table,
                f"substr(sql, 1, length(sql) - 1) || {literal(f'{self._check_text(check)})')}",
                f"SELECT id FROM {self.quoted(table)} WHERE NOT ({check.expression}) LIMIT 10",
            )

    def set_not_null(self, catalog: Catalog, table: str, column: str) -> Iterator[Change]:
        text = sqlite_text.with_not_null(catalog.definition(table), column)
        if text is not None:
            nulls = f"SELECT id FROM {self.quoted(table)} WHERE {self.quoted(column)} IS NULL LIMIT 10"
            yield self._edit_definition(table, literal(text), nulls)

    def not_null_conflicts(self, catalog: Catalog, table: str, column: str) -> Iterator[str]:
        if sqlite_text.with_not_null(catalog.definition(table), column) is None:
            yield f"{table}: cannot edit its definition: the column {column} is not found in it"

    def drop_key(self, table: str, name: str) -> Iterator[Change]:
        yield from ()

    def drop_check(self, table: str, check: Check) -> Iterator[Change]:
        yield self._edit_definition(table, f"replace(sql, {literal(self._check_text(check))}, '')")

    def check_conflicts(self, catalog: Catalog, table: str) -> Iterator[str]:
        if not sqlite_text.is_plain(catalog.definition(table)):
            yield f"{table}: its definition ends in an option (STRICT, WITHOUT ROWID), so no check can be added"

    def drop_check_conflicts(self, catalog: Catalog, table: str, check: Check) -> Iterator[str]:
        yield from self._not_found_once(catalog, table, self._check_text(check))

    def add_label(self, table: str, before: Column, after: Column) -> Iterator[Change]:
        old, new = (literal(self._type_check_text(table, column)) for column in (before, after))
        yield self._edit_definition(table, f"replace(sql, {old}, {new})")

    drop_label = add_label

    def label_conflicts(self, catalog: Catalog, table: str, column: Column) -> Iterator[str]:
        yield from self._not_found_once(catalog, table, self._type_check_text(table, column))

    def _check_text(self, check: Check) -> str:
        return f", {ddl.check_constraint(self, check)}"

    def _type_check_text(self, table: str, column: Column) -> str:
        check = ddl.type_check(self, table, column)
        assert check is not None, "an enum column has a check"
        return f"CHECK ({check.expression})"

    @staticmethod
    def _not_found_once(catalog: Catalog, table: str, text: str) -> Iterator[str]:
        if catalog.definition(table).count(text) != 1:
            yield f"{table}: cannot edit its definition: expected {text} exactly once. Was it edited by hand?"

    @staticmethod
    def _edit_definition(table: str, expression: str, violations_query: str | None = None) -> Change:
        """Return the change of a table's text in sqlite_master.

        This is SQLite's own procedure for changes that leave the stored rows as they are. Nothing is copied, so
        children, triggers and indexes are not touched. Never used on a table of the platform.
        """
        return Change(
            f"UPDATE sqlite_master SET sql = {expression} WHERE type = 'table' AND name = {literal(table)}",
            before=("PRAGMA writable_schema = ON",),
            # RESET makes this connection read the definition again; a change of the schema, the others.
            after=(
                "PRAGMA writable_schema = RESET",
                "CREATE TABLE engagement_db_definition_changed (id INTEGER)",
                "DROP TABLE engagement_db_definition_changed",
            ),
            violations_query=violations_query,
        )


class SqliteCatalog(Reader):
    """The catalog in sqlite_master and in the table pragmas."""

    def version(self) -> tuple[int, ...]:
        return tuple(map(int, self.rows("SELECT sqlite_version()")[0][0].split(".")))

    def definition(self, table: str) -> str:
        found = self.rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", table)
        return str(found[0][0]) if found else ""

    def table(self, name: str) -> Table | None:
        definition = self.definition(name)
        if not definition:
            return None
        checks = {check.name: check for check in sqlite_text.table_checks(name, definition)}
        columns = []
        for _, column, spelling, not_null, default, key, hidden in self.rows(f'PRAGMA table_xinfo("{name}")'):
            kind = self._type(column, spelling, bool(key), "AUTOINCREMENT" in definition.upper(), checks)
            # 2 and 3 are generated columns.
            kind = Other(f"{spelling} GENERATED") if hidden in (2, 3) else kind
            columns.append(Column(column, kind, not not_null and not key, self._default(kind, default)))
        names = sqlite_text.foreign_key_names(definition)
        keys = [
            ForeignKey(names.get(column, ""), column, parent, on_delete, on_update, parent_column or "id")
            for _, _, parent, column, parent_column, on_update, on_delete, _ in self.rows(
                f'PRAGMA foreign_key_list("{name}")'
            )
        ]
        indexes = [
            Index(index, self._index_columns(index, bool(partial)), bool(unique))
            for _, index, unique, origin, partial in self.rows(f'PRAGMA index_list("{name}")')
            if origin != "pk"
        ]
        own = tuple(replace(check, expression=normalized(check.expression)) for check in checks.values())
        return sort(Table(name, tuple(columns), tuple(keys), tuple(indexes), own))

    @staticmethod
    def _default(kind: ColumnType, expression: str | None) -> Default:
        if expression == "CURRENT_TIMESTAMP":
            return Now(digits=0)
        is_now = expression is not None and tokens(f"({expression})") == tokens(Sqlite.now_sql)
        return NOW if is_now else default_value(kind, expression)

    def _type(self, column: str, spelling: str, is_key: bool, counts_up: bool, checks: dict[str, Check]) -> ColumnType:
        """Return the logical type; a check that emulates a type is removed from ``checks``."""
        word = spelling.upper().replace(" ", "")
        if is_key and word == "INTEGER" and counts_up:
            return Id()
        for name, check in list(checks.items()):
            labels = sqlite_text.enum_labels(column, check.expression)
            if labels and word in ("TEXT", "ENUM"):
                del checks[name]
                return Enum(labels)
            is_json = f'json_valid("{column}")'
            if any(same(check.expression, rule) for rule in (is_json, f'"{column}" IS NULL OR {is_json}')):
                del checks[name]
                return Json()
        if re.fullmatch(r"(TINY|SMALL|MEDIUM|BIG)?INT(EGER)?(\(\d+\))?(UNSIGNED)?", word):
            # All of them hold 64 bits.
            return Integer()
        if word.startswith("VARCHAR("):
            return Varchar(int(re.sub(r"\D", "", word)))
        plain: dict[str, ColumnType] = {
            "TEXT": Text(),
            "DATETIME": Timestamp(),
            "DECIMAL(18,4)": Money(),
        }
        return plain.get(word, Other(spelling))

    def _index_columns(self, index: str, partial: bool) -> tuple[str, ...]:
        columns = tuple(row[2] or "an expression" for row in self.rows(f'PRAGMA index_info("{index}")'))
        return (*columns, "a condition") if partial else columns

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        found = self.rows("SELECT type, tbl_name FROM sqlite_master WHERE name = ? COLLATE NOCASE", name)
        return described(name, *found[0]) if found else None

    def obstacles(self) -> tuple[str, ...]:
        return self.revert_obstacles()

    def revert_obstacles(self) -> tuple[str, ...]:
        for _, _, path in self.rows("PRAGMA database_list"):
            if not path:
                continue
            beside = [name for name in (f"{path}-wal", f"{path}-shm") if os.path.exists(name)]
            for name in (path, *beside, os.path.dirname(path)):
                if not os.access(name, os.W_OK):
                    return (
                        f"{name} cannot be written by this user, who needs to write the file, its folder and the files "
                        "beside it (-wal, -shm); allow that",
                    )
        return ()

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        keys = [tuple(row[1] for row in self.rows(f'PRAGMA table_info("{table}")') if row[5])]
        keys += [
            self._index_columns(index, bool(partial))
            for _, index, unique, _, partial in self.rows(f'PRAGMA index_list("{table}")')
            if unique
        ]
        return () if ("id",) in keys else (not_unique(table),)

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        found = []
        for kind, name, owner, sql in self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"):
            if not sql or name.lower() == table.lower():
                continue
            about_table, about_column = mentions(sql, table), column is None or mentions(sql, column)
            if kind == "view" and about_table and about_column:
                found.append(Dependent("view", name))
            elif kind == "trigger" and column is not None and about_table and about_column:
                found.append(Dependent("trigger", name, owner))
            elif kind == "index" and column is not None and owner.lower() == table.lower() and about_column:
                found.append(Dependent("index", name, owner))
            elif kind == "table":
                found += [
                    Dependent("foreign key", row[3], name)
                    for row in self.rows(f'PRAGMA foreign_key_list("{name}")')
                    if row[2].lower() == table.lower() and (column is None or row[4] == column)
                ]
        if column is not None:
            shape = self.table(table)
            checks = shape.checks if shape else ()
            found += [Dependent("check", check.name, table) for check in checks if mentions(check.expression, column)]
        return tuple(found)


SQLITE = Sqlite()
