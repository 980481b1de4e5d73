"""Stored values that a column should not hold, such as other clients may have written."""

from typing import Any, Final

from engagement_db import servers, tables
from engagement_db.orm.bound import target
from engagement_db.orm.fields import EnumField
from engagement_db.orm.models import BaseModel
from engagement_db.problems import PROBLEMS_LIMIT, Problem, ProblemKind, plain

_EXPECTED: Final[dict[type[tables.ColumnType], str]] = {
    tables.Timestamp: "a UTC time as the library writes it",
    tables.Money: "an amount of at most four places",
    tables.Json: "a JSON document",
}


def find_odd_values(model: type[BaseModel], limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Return the odd values of a table by id, those of at most ``limit`` rows. Reads the table once.

    On every server: labels that an enum does not have. Where the server's types let them through: times in another
    form than the library writes (read rightly, but out of order among the others), amounts that are none or have more
    than four places, and documents that are not JSON.
    """
    meta: Any = model._meta
    database = target(meta.database)
    server = servers.of(database)
    conditions = {field: sql for field in meta.sorted_fields if (sql := _condition(server, field)) is not None}
    if not conditions:
        return []
    columns = ", ".join(f"{sql}, {server.quoted(field.column_name)}" for field, sql in conditions.items())
    key, table = server.quoted(meta.primary_key.column_name), server.quoted(meta.table_name)
    odd_rows = database.execute_sql(
        f"SELECT {key}, {columns} FROM {table} WHERE {' OR '.join(conditions.values())} ORDER BY {key} LIMIT {limit:d}"
    )
    return [
        Problem(_kind(field), meta.table_name, row_id, field.column_name, _expected(field), plain(found))
        for row_id, *rest in odd_rows.fetchall()
        for field, is_odd, found in zip(conditions, rest[::2], rest[1::2], strict=True)
        if is_odd
    ]


def _condition(server: servers.Server, field: Any) -> str | None:
    column = server.quoted(field.column_name)
    if isinstance(field, EnumField):
        labels = ", ".join(server.literal(member.value) for member in field.enum_class)
        return f"({column} NOT IN ({labels}))"
    odd = server.odd_value_sql.get(type(field.column_type))
    return None if odd is None else f"({column} IS NOT NULL AND ({odd.format(column=column)}))"


def _kind(field: Any) -> ProblemKind:
    return ProblemKind.UNKNOWN_LABEL if isinstance(field, EnumField) else ProblemKind.MALFORMED


def _expected(field: Any) -> str:
    if isinstance(field, EnumField):
        return f"one of {', '.join(member.value for member in field.enum_class)}"
    return _EXPECTED[type(field.column_type)]
