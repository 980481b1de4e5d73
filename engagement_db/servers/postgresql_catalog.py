"""The catalog of PostgreSQL: what pg_catalog reports, and the obstacles to a migration."""

import re
from typing import Final

from engagement_db.expressions import normalized
from engagement_db.servers import ddl
from engagement_db.servers.catalog import Dependent, Reader, default_value, described, mentions, not_unique
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
    enum_type_name,
    sort,
)

_COLUMN_LIMIT: Final = 1600


class PostgresqlCatalog(Reader):
    """The catalog in pg_catalog: a name means what a statement finds by it in the schemas of the search_path."""

    def has_table(self, name: str) -> bool:
        return self._oid(name) is not None

    def version(self) -> tuple[int, ...]:
        number = int(self.rows("SHOW server_version_num")[0][0])
        return (number // 10000, number % 10000)

    def _oid(self, table: str) -> int | None:
        found = self.rows(
            "SELECT oid FROM pg_class WHERE oid = to_regclass(quote_ident(%s)) AND relkind IN ('r', 'p')",
            table,
        )
        return int(found[0][0]) if found else None

    def enum_type(self, name: str) -> tuple[str, ...] | None:
        found = self.rows(
            "SELECT t.typtype, array_to_json(array_agg(e.enumlabel ORDER BY e.enumsortorder)) "
            "FROM pg_type t LEFT JOIN pg_enum e ON e.enumtypid = t.oid "
            "WHERE t.oid = to_regtype(quote_ident(%s)) GROUP BY t.oid, t.typtype",
            name,
        )
        if not found:
            return None
        kind, labels = found[0]
        return tuple(labels) if kind == "e" else ()

    def enum_type_users(self, name: str, besides: str) -> tuple[str, ...]:
        return tuple(
            user
            for (user,) in self.rows(
                "SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_type t "
                "JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) "
                "LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid "
                "WHERE t.oid = to_regtype(quote_ident(%s)) "
                # Types are those of domains; what else depends, as defaults and indexes do, goes with its column.
                "AND (c.relkind IN ('r', 'p', 'f', 'm', 'c') AND d.objsubid > 0 "
                "OR d.classid = 'pg_proc'::regclass OR d.classid = 'pg_type'::regclass AND d.deptype = 'n') "
                "AND c.oid IS DISTINCT FROM %s ORDER BY 1",
                name,
                self._oid(besides),
            )
        )

    def table(self, name: str) -> Table | None:
        oid = self._oid(name)
        if oid is None:
            return None
        columns = []
        for column, spelling, not_null, default, is_enum, type_name, identity, is_generated in self.rows(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), "
            "t.typtype = 'e', t.typname, a.attidentity <> '', a.attgenerated <> '' "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
            "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            oid,
        ):
            kind = self._type(spelling)
            if is_enum and type_name == enum_type_name(name, column):
                kind = Enum(self.enum_type(type_name) or ())
            if isinstance(kind, Integer) and (identity or str(default).startswith("nextval(")):
                kind, default = Id(kind.bits), None
            if is_generated:
                kind, default = Other(f"{spelling} GENERATED"), None
            columns.append(Column(column, kind, not not_null, default_value(kind, default)))
        casts: dict[type, str] = {Varchar: "text", Money: "numeric"}
        cast = {column.name: casts[type(column.type)] for column in columns if type(column.type) in casts}
        actions = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
        keys = [
            ForeignKey(key, ", ".join(own), parent, actions[delete], actions[update], ", ".join(theirs), validated)
            for key, own, parent, theirs, delete, update, validated in self.rows(
                "SELECT c.conname, array_to_json(array(SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid "
                "AND attnum = ANY (c.conkey))), "
                # A parent that its name does not find is named with its schema.
                "CASE WHEN p.oid = to_regclass(quote_ident(p.relname)) THEN p.relname ELSE p.oid::regclass::text END, "
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
                tuple(part.strip('"') + method for part in parts) + (("a condition",) if partial else ()),
                unique,
                valid,
            )
            for index, parts, unique, valid, partial, method in self.rows(
                "SELECT c.relname, array_to_json(array(SELECT pg_get_indexdef(i.indexrelid, k, true) "
                "FROM generate_series(1, i.indnkeyatts) AS k)), i.indisunique, i.indisvalid, i.indpred IS NOT NULL, "
                "CASE m.amname WHEN 'btree' THEN '' ELSE ' ' || m.amname END || "
                "CASE WHEN i.indimmediate THEN '' ELSE ' DEFERRABLE' END "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam "
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
            return Timestamp(int(time[1] or 6))
        plain: dict[str, ColumnType] = {
            "integer": Integer(),
            "bigint": Integer(64),
            "text": Text(),
            "jsonb": Json(),
            "numeric(18,4)": Money(),
        }
        return plain.get(spelling, Other(spelling))

    def existing_object(self, name: str, *, of_index: bool = False) -> str | None:
        found = self.rows(
            "SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' "
            "WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE CASE WHEN t.oid IS NULL THEN 'table' "
            "ELSE 'index' END END, COALESCE(t.relname, c.relname) "
            "FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid "
            "LEFT JOIN pg_class t ON t.oid = i.indrelid "
            "WHERE c.oid = to_regclass(quote_ident(%s)) "
            "OR c.relname = %s AND c.relnamespace = current_schema()::regnamespace",
            name,
            name,
        )
        return described(name, *found[0]) if found else None

    def obstacles(self) -> tuple[str, ...]:
        ((schema, path, user, can_create),) = self.rows(
            "SELECT current_schema(), current_setting('search_path'), current_user, "
            "has_schema_privilege(current_schema(), 'CREATE')"
        )
        found = [*self.revert_obstacles()]
        if schema is None:
            found.append(f"no schema of the search_path ({path}) exists; create one or set another search_path")
        elif not can_create:
            found.append(
                f"{user} cannot create tables in the schema {schema}; "
                f"run GRANT CREATE ON SCHEMA {self.dialect.quoted(schema)} TO {self.dialect.quoted(user)}"
            )
        return tuple(found)

    def revert_obstacles(self) -> tuple[str, ...]:
        ((is_standby, is_read_only),) = self.rows(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
        )
        if is_standby:
            return ("this server is a standby, which takes no writes; name the primary server",)
        if is_read_only:
            return ("this session is read-only; set default_transaction_read_only = off for its user or database",)
        return ()

    def alter_obstacles(self, added: Table) -> tuple[str, ...]:
        table = added.name
        found = []
        for kind, owner, user, is_owner, columns in self.rows(
            "SELECT relkind::text, pg_get_userbyid(relowner), current_user, pg_has_role(relowner, 'USAGE'), relnatts "
            "FROM pg_class WHERE oid = %s",
            self._oid(table),
        ):
            if kind == "p":
                statements = "; ".join(ddl.add_parts(self.dialect, added))
                found.append(
                    f"{table} is partitioned, so its index and foreign key cannot be added while writes continue; "
                    f"in a maintenance window, run {statements}"
                )
            if not is_owner:
                found.append(f"{user} cannot alter {table}, which belongs to {owner}; migrate as {owner}")
            if added.columns and columns >= _COLUMN_LIMIT:
                found.append(
                    f"{table} has {columns} columns, dropped ones included, and PostgreSQL allows no more; "
                    "copy it into a new table"
                )
        return tuple(found)

    def integer_id_statement(self, table: str) -> str | None:
        found = self.rows(
            "SELECT CASE COALESCE(NULLIF(t.typbasetype, 0), t.oid)::regtype::text "
            "WHEN 'bigint' THEN 'bigint' WHEN 'integer' THEN 'integer' WHEN 'smallint' THEN 'integer' END "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s AND a.attname = 'id'",
            self._oid(table),
        )
        kind = found[0][0] if found else None
        return f'ALTER TABLE {self.dialect.quoted(table)} ALTER COLUMN "id" TYPE {kind}' if kind else None

    def reference_obstacles(self, table: str) -> tuple[str, ...]:
        found = []
        for kind, persistence, user, may_reference, is_unique in self.rows(
            "SELECT c.relkind::text, c.relpersistence::text, current_user, has_table_privilege(c.oid, 'REFERENCES'), "
            "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate "
            "AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1 "
            "AND i.indkey[0] = a.attnum) "
            "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id' WHERE c.oid = %s",
            self._oid(table),
        ):
            if persistence == "u":
                found.append(
                    f"{table} is unlogged, so no logged table can reference it; "
                    f"run ALTER TABLE {self.dialect.quoted(table)} SET LOGGED"
                )
            if not may_reference:
                found.append(
                    f"{user} cannot reference {table}; "
                    f"run GRANT REFERENCES ON {self.dialect.quoted(table)} TO {self.dialect.quoted(user)}"
                )
            if kind == "p" and not is_unique:
                found.append(
                    f"{table} is partitioned by other columns than id, so its id cannot be unique by itself and no "
                    "foreign key can reference it; partition it by id, or make it a plain table"
                )
            elif not is_unique:
                found.append(not_unique(table))
        return tuple(found)

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
            # Indexes, keys, checks, statistics, triggers and generated columns all depend on the column. So do the
            # NOT NULL constraints of PostgreSQL 18, but they are part of the column, like its default.
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
                    "AND d.classid NOT IN ('pg_rewrite'::regclass) "
                    "AND (k.oid IS NULL OR k.conrelid = d.refobjid AND k.contype <> 'n') "
                    "AND NOT EXISTS (SELECT FROM pg_attrdef own WHERE d.classid = 'pg_attrdef'::regclass "
                    "AND own.oid = d.objid AND own.adnum = a.attnum) ORDER BY 1",
                    oid,
                    column,
                )
            ]
            # Only the text of a function shows what it does with a row.
            found += [
                trigger
                for name, body in self.rows(
                    "SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
                    "WHERE t.tgrelid = %s AND NOT t.tgisinternal ORDER BY 1",
                    oid,
                )
                if mentions(body, column) and (trigger := Dependent("trigger", name, table)) not in found
            ]
        return tuple(found)
