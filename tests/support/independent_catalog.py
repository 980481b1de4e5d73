"""What a database holds, read by means that share no code with the library.

Two readers that know nothing of each other: SQLAlchemy's inspector, and the server's own sources
(`sqlite_master`, `pg_catalog`, `SHOW CREATE TABLE`). A snapshot is a flat dictionary, so that two of them
that differ say where. peewee-migrate's history is left out: it is not part of any revision.
"""

import re
import warnings
from collections.abc import Iterator
from typing import Any

import sqlalchemy
from platform_database import Session, family, options, session

Snapshot = dict[str, Any]

HISTORY = "migratehistory"


def snapshot(url: str) -> Snapshot:
    """Every definition in the database."""
    raw = {"sqlite": _sqlite, "postgres": _postgres}.get(family(url), _mysql)
    found: Snapshot = {}
    with session(url) as database:
        for name, what in (*raw(database, _tables(url, database)), *_inspected(url)):
            assert name not in found, f"{name} is read twice"
            found[name] = what
    return found


def definitions(url: str) -> Snapshot:
    """What the server's own sources alone say of it: quick enough to be asked hundreds of times."""
    raw = {"sqlite": _sqlite, "postgres": _postgres}.get(family(url), _mysql)
    with session(url) as database:
        return dict(raw(database, _tables(url, database)))


def rows(url: str) -> Snapshot:
    """Every row of every table and view, in one order."""
    with session(url) as database:
        tables = _tables(url, database)
        return {table: sorted(database.ask(f'SELECT * FROM "{table}"'), key=repr) for table in tables}


def everything(url: str) -> Snapshot:
    """Definitions and rows."""
    return snapshot(url) | {f"rows of {table}": found for table, found in rows(url).items()}


def history(url: str) -> list[str]:
    """The revisions that the history has, oldest first."""
    with session(url) as database:
        if f"'{HISTORY}'" not in str(database.ask(_ALL_TABLES.get(family(url), _ALL_TABLES["mysql"]))):
            return []
        return [name for (name,) in database.ask(f"SELECT name FROM {HISTORY} ORDER BY id")]


def unlike(before: Snapshot, after: Snapshot) -> dict[str, tuple[Any, Any]]:
    """The entries in which two snapshots differ, as (before, after)."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


_ALL_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'",
    "postgres": "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relkind IN ('r', 'p', 'v', 'm')",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
}


def _tables(url: str, database: Session) -> list[str]:
    statement = _ALL_TABLES.get(family(url), _ALL_TABLES["mysql"])
    return sorted(name for (name,) in database.ask(statement) if name != HISTORY)


def _sqlite(database: Session, tables: list[str]) -> Iterator[tuple[str, Any]]:
    for kind, name, table, sql in database.ask("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if table not in (HISTORY, "sqlite_sequence"):
            yield f"{kind} {name}", (table, sql)
    counts = database.ask("SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
    for table, counter in database.ask("SELECT name, seq FROM sqlite_sequence") if counts else []:
        if table != HISTORY:
            yield f"counter of {table}", counter
    for table in tables:
        yield f"columns of {table}", database.ask(f"PRAGMA table_xinfo('{table}')")
        yield f"keys of {table}", database.ask(f"PRAGMA foreign_key_list('{table}')")
    yield "integrity", database.ask("PRAGMA integrity_check") + database.ask("PRAGMA foreign_key_check")


_OURS = "n.oid = current_schema()::regnamespace"
# Numbers of columns are left out: one that is dropped leaves a hole that nobody can see.
_POSTGRES_SOURCES = {
    "relation": "SELECT c.relname, c.relkind::text, c.reloptions, c.relacl::text[], c.relrowsecurity, "
    "c.relreplident::text, c.relpersistence::text, obj_description(c.oid, 'pg_class') "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_OURS} AND c.relkind NOT IN ('i', 'S')",
    "column": "SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
    "pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text, l.collname, "
    "a.attstattarget, a.attstorage::text, a.attacl::text[], col_description(c.oid, a.attnum), "
    "rank() OVER (PARTITION BY c.oid ORDER BY a.attnum) FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    f"LEFT JOIN pg_collation l ON l.oid = a.attcollation WHERE {_OURS} AND a.attnum > 0 "
    "AND NOT a.attisdropped AND c.relkind NOT IN ('i', 'S')",
    "constraint": "SELECT c.relname || '.' || k.conname, pg_get_constraintdef(k.oid), k.convalidated, "
    "k.condeferrable, k.condeferred FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}",
    "index": "SELECT c.relname, t.relname, pg_get_indexdef(c.oid), i.indisvalid, i.indisready, "
    "i.indisreplident, c.reloptions FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_class t ON t.oid = i.indrelid "
    f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}",
    "trigger": "SELECT c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text "
    f"FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_OURS} AND NOT t.tgisinternal",
    "rule": "SELECT c.relname || '.' || r.rulename, pg_get_ruledef(r.oid) FROM pg_rewrite r "
    f"JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}",
    "policy": "SELECT c.relname || '.' || p.polname, pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p "
    f"JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}",
    "function": "SELECT f.proname, pg_get_functiondef(f.oid) FROM pg_proc f "
    f"JOIN pg_namespace n ON n.oid = f.pronamespace WHERE {_OURS}",
    "statistics": "SELECT s.stxname, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s "
    f"JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {_OURS}",
    "type": "SELECT t.typname, t.typtype::text, array_agg(e.enumlabel::text ORDER BY e.enumsortorder), "
    "format_type(t.typbasetype, t.typtypmod) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
    f"LEFT JOIN pg_enum e ON e.enumtypid = t.oid WHERE {_OURS} GROUP BY t.oid",
    "sequence": "SELECT s.sequencename, s.data_type::text, s.start_value, s.increment_by, s.max_value, "
    "s.cycle, s.last_value FROM pg_sequences s WHERE s.schemaname = current_schema()",
}


def _postgres(database: Session, tables: list[str]) -> Iterator[tuple[str, Any]]:
    for kind, statement in _POSTGRES_SOURCES.items():
        for name, *definition in database.ask(statement):
            if HISTORY not in name:
                yield f"{kind} {name}", definition


def _mysql(database: Session, tables: list[str]) -> Iterator[tuple[str, Any]]:
    for table in tables:
        # A view is answered with a row of four, a table with one of two.
        created = database.ask(f'SHOW CREATE TABLE "{table}"')[0]
        yield f"table {table}", _plain_definition(created[1])
    for name, event, table, statement, timing, _created, *rest in database.ask("SHOW TRIGGERS"):
        yield f"trigger {name}", (event, table, statement, timing, rest)
    for name, engine, row_format, collation, comment in database.ask(
        "SELECT table_name, engine, row_format, table_collation, table_comment "
        "FROM information_schema.tables WHERE table_schema = DATABASE()",
    ):
        if name != HISTORY:
            yield f"options of {name}", (engine, row_format, collation, comment)


def _plain_definition(sql: str) -> list[str]:
    return [re.sub(r"`engagement_\d+_\d+`\.", "", line) for line in sql.splitlines()]


def _inspected(url: str) -> Iterator[tuple[str, Any]]:
    drivers = {"sqlite": "sqlite", "postgres": "postgresql+psycopg2"}
    scheme = drivers.get(family(url), f"{family(url)}+pymysql")
    engine = sqlalchemy.create_engine(
        scheme + url[url.index(":") :], poolclass=sqlalchemy.pool.NullPool, connect_args=options(url)
    )
    with engine.connect() as connection:
        inspector = sqlalchemy.inspect(connection)
        # It says of some expression indexes that it cannot read them; the raw sources do.
        warnings.filterwarnings("ignore", category=sqlalchemy.exc.SAWarning)
        tables = inspector.get_table_names()
        for table in tables:
            if table == HISTORY:
                continue
            yield (
                f"inspected columns of {table}",
                [{key: str(value) for key, value in column.items()} for column in inspector.get_columns(table)],
            )
            yield f"inspected key of {table}", inspector.get_pk_constraint(table)
            yield f"inspected foreign keys of {table}", _by_name(inspector.get_foreign_keys(table))
            yield f"inspected indexes of {table}", _by_name(inspector.get_indexes(table))
            yield f"inspected unique of {table}", _by_name(inspector.get_unique_constraints(table))
            yield f"inspected checks of {table}", _by_name(inspector.get_check_constraints(table))
        yield "inspected tables", sorted(table for table in tables if table != HISTORY)
        yield "inspected views", sorted(inspector.get_view_names())


def _by_name(found: list[Any]) -> list[str]:
    return sorted(re.sub(r" object at 0x\w+", "", str(sorted(item.items()))) for item in found)
