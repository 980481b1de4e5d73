"""What each server says about a statement's plan, in words that all four share; rows by the hundred thousand."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import peewee
from playhouse.test_utils import count_queries

import engagement_db as edb

ALL_TABLES = tuple(model._meta.table_name for model in edb.MODELS)

# How many times the rows of an ordinary run there are: benchmarks/verbs measures with ten times as many.
SCALE = int(os.environ.get("EXPLAIN_SCALE", "1"))

# What a plan of SQLite says it sorted: it names no number.
SORTED_BY_SQLITE = 1_000_000


@dataclass
class Plan:
    """What a server says about one statement, in words that all four share."""

    indexes: set[str] = field(default_factory=set)
    scanned_tables: set[str] = field(default_factory=set)
    rows_read: int = 0
    rows_returned: int = 0
    rows_sorted: int = 0


def copy(rows: Any, model: Any, names: str) -> None:
    model.insert_from(rows, [getattr(model, name) for name in names.split()]).execute()


def label(column: Any, value: str) -> Any:
    """Return an enum's label as the server wants it in a SELECT that feeds an INSERT."""
    if isinstance(edb.User._meta.database.obj, peewee.PostgresqlDatabase):
        table = column.model._meta.table_name
        return peewee.SQL(f"CAST('{value}' AS \"enum_{table}_{column.column_name}\")")
    return peewee.SQL(f"'{value}'")


def document(text: str) -> Any:
    """Return a JSON document as the server wants it in a SELECT that feeds an INSERT."""
    is_typed = isinstance(edb.User._meta.database.obj, peewee.PostgresqlDatabase)
    return peewee.SQL(f"CAST('{text}' AS JSONB)" if is_typed else f"'{text}'")


def refresh_statistics(name: str, database: peewee.Database, tables: Iterable[str] = ALL_TABLES) -> None:
    # SQLite stays without: few services ever run ANALYZE there.
    if name == "postgres":
        database.execute_sql("VACUUM ANALYZE")
    elif name != "sqlite":
        database.execute_sql(f"ANALYZE TABLE {', '.join(tables)}")


def plans_of(name: str, database: peewee.Database, call: Callable[[], object]) -> list[Plan]:
    """Run the call and return the plan of each SELECT that it sent."""
    with count_queries() as counted:
        call()
    explain = {"sqlite": explain_sqlite, "postgres": explain_postgres}.get(name, explain_mysql)
    statements = [record.msg for record in counted.get_queries()]
    return [
        explain(database, sql, params or ())
        for sql, params in statements
        if sql.lstrip("(").startswith(("SELECT", "WITH"))
    ]


def explain_sqlite(database: peewee.Database, sql: str, params: Any) -> Plan:
    plan = Plan()
    for *_, detail in database.execute_sql("EXPLAIN QUERY PLAN " + sql, params).fetchall():
        words = detail.split()
        if "INDEX" in words[2:]:
            plan.indexes.add(words[words.index("INDEX", 2) + 1])
        elif words[0] == "SCAN" and words[1] != "level":
            plan.scanned_tables.add(words[1])
        if detail == "USE TEMP B-TREE FOR ORDER BY" and "WITH RECURSIVE" not in sql:
            plan.rows_sorted = SORTED_BY_SQLITE
    return plan


def explain_postgres(database: peewee.Database, sql: str, params: Any) -> Plan:
    plan = Plan()
    (answer,) = database.execute_sql("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, params).fetchone()
    waiting = [answer[0]["Plan"]]
    plan.rows_returned = waiting[0]["Actual Rows"]
    while waiting:
        node = waiting.pop()
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        if "Index Name" in node and not node["Index Name"].endswith("_pkey"):
            plan.indexes.add(node["Index Name"])
        if node["Node Type"] == "Seq Scan":
            plan.scanned_tables.add(node["Relation Name"])
        if "Relation Name" in node:
            plan.rows_read += rows
        if node["Node Type"] == "Sort":
            plan.rows_sorted += rows
        waiting.extend(node.get("Plans", ()))
    return plan


def explain_mysql(database: peewee.Database, sql: str, params: Any) -> Plan:
    plan = Plan()
    if not database.mariadb:
        database.execute_sql("SET SESSION explain_format = 'TRADITIONAL'")
    cursor = database.execute_sql("EXPLAIN " + sql, params)
    columns = [column[0] for column in cursor.description]
    for values in cursor.fetchall():
        row = dict(zip(columns, values, strict=True))
        if row["key"]:
            plan.indexes.update(key for key in row["key"].replace("|", ",").split(",") if "_" in key)
        if row["type"] == "ALL" and row["table"][0] != "<" and row["table"] != "level":
            plan.scanned_tables.add(row["table"])
    database.execute_sql("FLUSH STATUS")
    plan.rows_returned = len(database.execute_sql(sql, params).fetchall())
    status = dict(database.execute_sql("SHOW SESSION STATUS").fetchall())
    plan.rows_read = sum(
        int(status[f"Handler_read_{how}"]) for how in ("first", "key", "last", "next", "prev", "rnd", "rnd_next")
    )
    plan.rows_sorted = int(status["Sort_rows"])
    return plan
