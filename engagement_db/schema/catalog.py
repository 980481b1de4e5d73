"""What a live database has, as the records of ``engagement_db.tables``.

One reader per family of catalogs, all with the same answers. A reader reports and never judges,
reads and never writes, and asks afresh at each call.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import peewee

from engagement_db import dialects
from engagement_db.expressions import literal, normalized, same
from engagement_db.schema.definition import enum_labels, foreign_key_names, table_checks
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
    Time,
    Varchar,
    enum_type_name,
    sort,
)

_NOW_SPELLINGS = re.compile(r"^(current_timestamp(\(\d\))?(\(\))?|now\(\)|\(?strftime\(.*'now'\)\)?)$", re.IGNORECASE)
_LITERAL = re.compile(r"^\(?'((?:[^']|'')*)'\)?(::.*)?$")
_NUMBER = re.compile(r"^\(*(-?\d+(?:\.\d+)?)\)*(::.*)?$")


@dataclass(frozen=True)
class Dependent:
    """Something that stands on a table or a column: its kind, its name and, where it has one, its own table."""

    kind: str
    name: str
    table: str = ""

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}{f' of {self.table}' if self.table else ''}"


class Catalog(Protocol):
    """What the steps ask of a database."""

    def version(self) -> tuple[int, ...]:
        """Return the server's version."""

    def table(self, name: str) -> Table | None:
        """Return the table of this name, or None."""

    def definition(self, table: str) -> str:
        """Return the text that the table was created with, where the server keeps it; else nothing."""

    def breaking(self, table: str, rule: str) -> tuple[str, ...]:
        """Return the ids of up to ten rows that break this rule."""

    def repeated(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return, for up to ten values that these columns have more than once, the first and the last id."""

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        """Return the labels of the enum type of this name, in order, or None."""

    def holder(self, name: str, *, of_index: bool = False) -> str | None:
        """Return what already has a name that a new table, or a new index, would take, or None."""

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        """Return what stands on the table, or on one column of it.

        Views, and foreign keys of other tables; for a column also the indexes, keys, checks and
        triggers that name it. What a step of ours made is for the step to leave out.
        """

    def count(self, table: str, column: str | None = None) -> int:
        """Return the number of rows, or of rows in which the column is not NULL."""

    def count_equal(self, table: str, column: str, value: str) -> int:
        """Return the number of rows in which the column has this value."""

    def count_breaking(self, table: str, expression: str) -> int:
        """Return the number of rows for which a check's expression is false."""

    def collations(self, table: str) -> tuple[str, ...]:
        """Return the collations of the text columns, each once; none where the server has no say in them."""


def of(database: peewee.Database) -> Catalog:
    """Return the reader for this database's catalog."""
    return _READERS[dialects.of(database).catalog](database)


class _Reader:
    def __init__(self, database: peewee.Database) -> None:
        self.database = database
        self.dialect = dialects.of(database)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return list(self.database.execute_sql(sql, parameters).fetchall())

    def definition(self, table: str) -> str:
        return ""

    def breaking(self, table: str, rule: str) -> tuple[str, ...]:
        found = self.rows(f"SELECT id FROM {self.dialect.quoted(table)} WHERE NOT ({rule}) ORDER BY id LIMIT 10")
        return tuple(str(number) for (number,) in found)

    def repeated(self, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
        names = [self.dialect.quoted(column) for column in columns]
        found = self.rows(
            f"SELECT MIN(id), MAX(id) FROM {self.dialect.quoted(table)} "
            f"WHERE {' AND '.join(f'{name} IS NOT NULL' for name in names)} "
            f"GROUP BY {', '.join(names)} HAVING COUNT(*) > 1 ORDER BY 1 LIMIT 10"
        )
        return tuple(f"{first} and {last}" for first, last in found)

    def count(self, table: str, column: str | None = None) -> int:
        what = "*" if column is None else self.dialect.quoted(column)
        return int(self.rows(f"SELECT COUNT({what}) FROM {self.dialect.quoted(table)}")[0][0])

    def count_equal(self, table: str, column: str, value: str) -> int:
        place = f"{self.dialect.quoted(table)} WHERE {self.dialect.quoted(column)} = {self.database.param}"
        return int(self.rows(f"SELECT COUNT(*) FROM {place}", value)[0][0])

    def count_breaking(self, table: str, expression: str) -> int:
        condition = self.dialect.expression(expression)
        return int(self.rows(f"SELECT COUNT(*) FROM {self.dialect.quoted(table)} WHERE NOT ({condition})")[0][0])

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        return None

    def collations(self, table: str) -> tuple[str, ...]:
        return ()


class SqliteCatalog(_Reader):
    """Reads sqlite_master and the table pragmas."""

    def version(self) -> tuple[int, ...]:
        return tuple(map(int, self.rows("SELECT sqlite_version()")[0][0].split(".")))

    def definition(self, table: str) -> str:
        found = self.rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", table)
        return str(found[0][0]) if found else ""

    def table(self, name: str) -> Table | None:
        definition = self.definition(name)
        if not definition:
            return None
        checks = {check.name: check for check in table_checks(name, definition)}
        columns = []
        for _, column, spelling, not_null, default, key, _ in self.rows(f'PRAGMA table_xinfo("{name}")'):
            kind = self._type(column, spelling, bool(key), "AUTOINCREMENT" in definition.upper(), checks)
            value = Now(digits=0) if default == "CURRENT_TIMESTAMP" else default_value(kind, default)
            columns.append(Column(column, kind, not not_null and not key, value))
        names = foreign_key_names(definition)
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

    def _type(self, column: str, spelling: str, is_key: bool, counts_up: bool, checks: dict[str, Check]) -> ColumnType:
        """Return the logical type; a check that stands in for a type is taken out of ``checks``."""
        word = spelling.upper().replace(" ", "")
        if is_key and word == "INTEGER" and counts_up:
            return Id()
        for name, check in list(checks.items()):
            labels = enum_labels(column, check.expression)
            if labels and word in ("TEXT", "ENUM"):
                del checks[name]
                return Enum(labels)
            if f'json_valid("{column}")' in normalized(check.expression):
                del checks[name]
                return Json()
        if word.startswith("VARCHAR("):
            return Varchar(int(re.sub(r"\D", "", word)))
        plain: dict[str, ColumnType] = {
            "INTEGER": Integer(),
            "INT": Integer(),
            "TEXT": Text(),
            "DATETIME": Time(),
            "DECIMAL(18,4)": Money(),
        }
        return plain.get(word, Other(spelling))

    def _index_columns(self, index: str, partial: bool) -> tuple[str, ...]:
        columns = tuple(row[2] or "an expression" for row in self.rows(f'PRAGMA index_info("{index}")'))
        return (*columns, "a condition") if partial else columns

    def holder(self, name: str, *, of_index: bool = False) -> str | None:
        found = self.rows("SELECT type, tbl_name FROM sqlite_master WHERE name = ? COLLATE NOCASE", name)
        return _holder(name, *found[0]) if found else None

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        found = []
        for kind, name, owner, sql in self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"):
            if not sql or name.lower() == table.lower():
                continue
            about_table, about_column = _mentions(sql, table), column is None or _mentions(sql, column)
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
            found += [Dependent("check", check.name, table) for check in checks if _mentions(check.expression, column)]
        return tuple(found)


class PostgresqlCatalog(_Reader):
    """Reads pg_catalog, within the current schema."""

    def version(self) -> tuple[int, ...]:
        number = int(self.rows("SHOW server_version_num")[0][0])
        return (number // 10000, number % 10000)

    def _oid(self, table: str) -> int | None:
        found = self.rows(
            "SELECT oid FROM pg_class WHERE relname = %s AND relkind IN ('r', 'p') "
            "AND relnamespace = current_schema()::regnamespace",
            table,
        )
        return int(found[0][0]) if found else None

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        found = self.rows(
            "SELECT t.typtype, array_to_json(array_agg(e.enumlabel ORDER BY e.enumsortorder)) "
            "FROM pg_type t LEFT JOIN pg_enum e ON e.enumtypid = t.oid "
            "WHERE t.typname = %s AND t.typnamespace = current_schema()::regnamespace GROUP BY t.oid, t.typtype",
            name,
        )
        if not found:
            return None
        kind, labels = found[0]
        return tuple(labels) if kind == "e" else ()

    def table(self, name: str) -> Table | None:
        oid = self._oid(name)
        if oid is None:
            return None
        columns = []
        for column, spelling, not_null, default, is_enum, type_name, identity in self.rows(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), "
            "t.typtype = 'e', t.typname, a.attidentity <> '' "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
            "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            oid,
        ):
            kind = self._type(spelling)
            if is_enum and type_name == enum_type_name(name, column):
                kind = Enum(self.enum_type(type_name) or ())
            if isinstance(kind, Integer) and (identity or str(default).startswith("nextval(")):
                kind, default = Id(), None
            columns.append(Column(column, kind, not not_null, default_value(kind, default)))
        casts: dict[type, str] = {Varchar: "text", Money: "numeric"}
        cast = {column.name: casts[type(column.type)] for column in columns if type(column.type) in casts}
        actions = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
        keys = [
            ForeignKey(key, ", ".join(own), parent, actions[delete], actions[update], ", ".join(theirs), validated)
            for key, own, parent, theirs, delete, update, validated in self.rows(
                "SELECT c.conname, array_to_json(array(SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid "
                "AND attnum = ANY (c.conkey))), p.relname, "
                "array_to_json(array(SELECT attname FROM pg_attribute WHERE attrelid = c.confrelid "
                "AND attnum = ANY (c.confkey))), "
                "c.confdeltype::text, c.confupdtype::text, c.convalidated "
                "FROM pg_constraint c JOIN pg_class p ON p.oid = c.confrelid "
                "WHERE c.conrelid = %s AND c.contype = 'f' AND c.conparentid = 0",
                oid,
            )
        ]
        indexes = [
            Index(
                index,
                tuple(part.strip('"') for part in parts) + (("a condition",) if partial else ()),
                unique,
                valid,
            )
            for index, parts, unique, valid, partial in self.rows(
                "SELECT c.relname, array_to_json(array(SELECT pg_get_indexdef(i.indexrelid, k, true) "
                "FROM generate_series(1, i.indnkeyatts) AS k)), i.indisunique, i.indisvalid, i.indpred IS NOT NULL "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "WHERE i.indrelid = %s AND NOT i.indisprimary",
                oid,
            )
        ]
        checks = [
            Check(check, normalized(expression, cast), validated)
            for check, expression, validated in self.rows(
                "SELECT conname, pg_get_expr(conbin, conrelid), convalidated FROM pg_constraint "
                "WHERE conrelid = %s AND contype = 'c'",
                oid,
            )
        ]
        return sort(Table(name, tuple(columns), tuple(keys), tuple(indexes), tuple(checks)))

    @staticmethod
    def _type(spelling: str) -> ColumnType:
        if varchar := re.fullmatch(r"character varying\((\d+)\)", spelling):
            return Varchar(int(varchar[1]))
        if time := re.fullmatch(r"timestamp(?:\((\d)\))? with time zone", spelling):
            return Time(int(time[1] or 6))
        plain: dict[str, ColumnType] = {
            "integer": Integer(),
            "text": Text(),
            "jsonb": Json(),
            "numeric(18,4)": Money(),
        }
        return plain.get(spelling, Other(spelling))

    def holder(self, name: str, *, of_index: bool = False) -> str | None:
        found = self.rows(
            "SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' "
            "WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE CASE WHEN t.oid IS NULL THEN 'table' "
            "ELSE 'index' END END, COALESCE(t.relname, c.relname) "
            "FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid "
            "LEFT JOIN pg_class t ON t.oid = i.indrelid "
            "WHERE c.relname = %s AND c.relnamespace = current_schema()::regnamespace",
            name,
        )
        return _holder(name, *found[0]) if found else None

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        oid = self._oid(table)
        if oid is None:
            return ()
        of_column = "" if column is None else " AND a.attname = %s"
        named = () if column is None else (column,)
        views = self.rows(
            "SELECT DISTINCT v.relname FROM pg_depend d "
            "JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass "
            "JOIN pg_class v ON v.oid = r.ev_class "
            "LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
            f"WHERE d.refobjid = %s AND v.oid <> d.refobjid{of_column} ORDER BY 1",
            oid,
            *named,
        )
        keys = self.rows(
            "SELECT DISTINCT o.relname, c.conname FROM pg_constraint c JOIN pg_class o ON o.oid = c.conrelid "
            "JOIN pg_attribute a ON (a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)) "
            f"WHERE c.contype = 'f' AND c.confrelid = %s AND c.conrelid <> c.confrelid{of_column} ORDER BY 1, 2",
            oid,
            *named,
        )
        found = [Dependent("view", name) for (name,) in views]
        found += [Dependent("foreign key", name, owner) for owner, name in keys]
        if column is not None:
            # Indexes, keys, checks, statistics, triggers and generated columns all depend on the column.
            found += [
                Dependent(kind, name, "" if kind == "object" else table)
                for kind, name in self.rows(
                    "SELECT DISTINCT CASE WHEN c.oid IS NOT NULL THEN 'index' WHEN k.oid IS NOT NULL THEN 'constraint' "
                    "WHEN t.oid IS NOT NULL THEN 'trigger' ELSE 'object' END, "
                    "COALESCE(c.relname, k.conname, t.tgname, pg_describe_object(d.classid, d.objid, d.objsubid)) "
                    "FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
                    "LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid "
                    "LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid "
                    "LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid "
                    "WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND a.attname = %s "
                    "AND d.classid NOT IN ('pg_rewrite'::regclass) AND (k.oid IS NULL OR k.conrelid = d.refobjid) "
                    "AND NOT EXISTS (SELECT FROM pg_attrdef own WHERE d.classid = 'pg_attrdef'::regclass "
                    "AND own.oid = d.objid AND own.adnum = a.attnum) ORDER BY 1",
                    oid,
                    column,
                )
            ]
            # What a function does with a row is known from its text alone.
            found += [
                trigger
                for name, body in self.rows(
                    "SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
                    "WHERE t.tgrelid = %s AND NOT t.tgisinternal ORDER BY 1",
                    oid,
                )
                if _mentions(body, column) and (trigger := Dependent("trigger", name, table)) not in found
            ]
        return tuple(found)


class MysqlCatalog(_Reader):
    """Reads information_schema as MySQL and MariaDB fill it, within the current database."""

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
            kind = self._type(column, _text(spelling), _text(extra), checks)
            null = nullable == "YES"
            value = None if default is None or (null and _text(default) == "NULL") else _text(default)
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

    def collations(self, table: str) -> tuple[str, ...]:
        return tuple(
            _text(collation)
            for (collation,) in self.rows(
                "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
                "AND table_name = %s AND data_type IN ('varchar', 'text') ORDER BY 1",
                table,
            )
        )

    def _indexes(self, table: str) -> Iterable[Index]:
        found: dict[str, Index] = {}
        for name, not_unique, column, part in self.rows(
            "SELECT index_name, non_unique, column_name, sub_part FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s AND index_name <> 'PRIMARY' "
            "ORDER BY index_name, seq_in_index",
            table,
        ):
            index = found.get(name, Index(name, (), not not_unique))
            column = column or "an expression"
            column = column if part is None else f"{column}({part})"
            found[name] = replace(index, columns=(*index.columns, column))
        return found.values()

    def _checks(self, table: str) -> Iterable[Check]:
        # MariaDB keeps the table's name beside the check; in MySQL a name is unique within the database.
        own_table = "AND c.table_name = t.table_name " if self.dialect.names_checks_by_table else ""
        return [
            Check(name, normalized(self._standard(_text(clause))))
            for name, clause in self.rows(
                "SELECT c.constraint_name, c.check_clause FROM information_schema.check_constraints c "
                "JOIN information_schema.table_constraints t ON t.constraint_schema = c.constraint_schema "
                f"AND t.constraint_name = c.constraint_name {own_table}"
                "WHERE t.table_schema = DATABASE() AND t.table_name = %s AND t.constraint_type = 'CHECK'",
                table,
            )
        ]

    def _standard(self, clause: str) -> str:
        """Return a check's clause with standard string literals; MySQL escapes the whole clause once more."""
        if not self.dialect.names_checks_by_table:
            clause = re.sub(r"\\(.)", r"\1", clause, flags=re.DOTALL)
        return re.sub(r"'(?:[^'\\]|\\.|'')*'|\boctet_length\(", self._standard_token, clause, flags=re.DOTALL)

    def _standard_token(self, match: re.Match[str]) -> str:
        token = match[0]
        if token[0] != "'":
            # MariaDB's name for LENGTH.
            return "length(" if self.dialect.names_checks_by_table else token
        text = re.sub(r"\\(.)|''", lambda escaped: escaped[1] or "'", token[1:-1], flags=re.DOTALL)
        if not self.dialect.names_checks_by_table:
            # MySQL gives the bytes of a literal as if they were Latin-1.
            with suppress(UnicodeError):
                text = text.encode("latin-1").decode()
        return literal(text)

    @staticmethod
    def _type(column: str, spelling: str, extra: str, checks: dict[str, Check]) -> ColumnType:
        """Return the logical type; MariaDB's check that makes a LONGTEXT a JSON is taken out of ``checks``."""
        if re.fullmatch(r"int(\(\d+\))?", spelling):
            return Id() if "auto_increment" in extra else Integer()
        if spelling.startswith("enum("):
            return Enum(tuple(label.replace("''", "'") for label in re.findall(r"'((?:[^']|'')*)'", spelling)))
        if varchar := re.fullmatch(r"varchar\((\d+)\)", spelling):
            return Varchar(int(varchar[1]))
        if time := re.fullmatch(r"datetime(?:\((\d)\))?", spelling):
            return Time(int(time[1] or 0))
        for name, check in list(checks.items()):
            if spelling == "longtext" and same(check.expression, f'json_valid("{column}")'):
                del checks[name]
                return Json()
        plain: dict[str, ColumnType] = {"text": Text(), "json": Json(), "decimal(18,4)": Money()}
        return plain.get(spelling, Other(spelling))

    def holder(self, name: str, *, of_index: bool = False) -> str | None:
        if of_index:
            # The name of an index is its table's own.
            return None
        found = self.rows(
            "SELECT CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            name,
        )
        return _holder(name, found[0][0], name) if found else None

    def dependents(self, table: str, column: str | None = None) -> tuple[Dependent, ...]:
        views = self.rows(
            "SELECT table_name, view_definition FROM information_schema.views "
            "WHERE table_schema = DATABASE() ORDER BY 1"
        )
        found = [
            Dependent("view", name)
            for name, sql in views
            if _mentions(_text(sql), table) and (column is None or _mentions(_text(sql), column))
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
        found += [
            Dependent("check", check.name, table) for check in shape.checks if _mentions(check.expression, column)
        ]
        found += [
            Dependent("trigger", name, owner)
            for name, owner, sql in self.rows(
                "SELECT trigger_name, event_object_table, action_statement FROM information_schema.triggers "
                "WHERE trigger_schema = DATABASE() ORDER BY 1"
            )
            if _mentions(_text(sql), column) and (owner == table or _mentions(_text(sql), table))
        ]
        return tuple(found)


_READERS: dict[str, type[SqliteCatalog] | type[PostgresqlCatalog] | type[MysqlCatalog]] = {
    "sqlite_master": SqliteCatalog,
    "pg_catalog": PostgresqlCatalog,
    "information_schema": MysqlCatalog,
}


def _holder(name: str, kind: str, owner: str) -> str:
    return f"the {kind} {name}{f' of {owner}' if owner != name else ''}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _mentions(sql: str, identifier: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(identifier)}(?![\w$])", sql, re.IGNORECASE) is not None


def default_value(kind: ColumnType, expression: str | None) -> Default:
    """Return a column default in the plain spelling of ``engagement_db.tables``."""
    if expression is None or expression.upper().startswith("NULL"):
        return None
    if _NOW_SPELLINGS.match(expression):
        return NOW
    text = _LITERAL.match(expression)
    value = text[1].replace("''", "'") if text else expression
    if isinstance(kind, Money | Integer):
        number = _NUMBER.match(value)
        try:
            return format(Decimal(number[1] if number else value).normalize(), "f")
        except InvalidOperation:
            return value
    return value
