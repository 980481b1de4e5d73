"""SQL text of columns, keys, checks, indexes and tables."""

from engagement_db.servers.dialect import Dialect
from engagement_db.tables import (
    Check,
    Column,
    Enum,
    ForeignKey,
    Id,
    Index,
    Integer,
    Json,
    Money,
    Now,
    Table,
    check_name,
)


def column_definition(dialect: Dialect, table: str, column: Column) -> str:
    """Return a column of CREATE TABLE or ADD COLUMN."""
    words = [dialect.quoted(column.name), dialect.type_sql(table, column)]
    if not column.null and not isinstance(column.type, Id):
        words.append("NOT NULL")
    if column.default is not None:
        words.append(f"DEFAULT {default_sql(dialect, column)}")
    check = type_check(dialect, table, column)
    if check is not None:
        words.append(check_constraint(dialect, check))
    return " ".join(words)


def default_sql(dialect: Dialect, column: Column) -> str:
    """Return the column's default as an expression."""
    if isinstance(column.default, Now):
        return dialect.now_sql
    value = str(column.default)
    return value if isinstance(column.type, Money | Integer) else dialect.literal(value)


def type_check(dialect: Dialect, table: str, column: Column) -> Check | None:
    """Return the check that emulates the column's type, if the server lacks it."""
    name = check_name(table, column.name)
    if not dialect.emulates_enum_and_json:
        return None
    if isinstance(column.type, Enum):
        return Check(name, f'"{column.name}" IN ({", ".join(map(dialect.literal, column.type.labels))})')
    if isinstance(column.type, Json):
        return Check(name, f'"{column.name}" IS NULL OR json_valid("{column.name}")')
    return None


def foreign_key_clause(dialect: Dialect, key: ForeignKey) -> str:
    """Return the key as REFERENCES with its actions, to follow a column."""
    clause = f"REFERENCES {dialect.quoted(key.parent)} ({dialect.quoted(key.parent_column)})"
    if key.on_delete != "NO ACTION":
        clause += f" ON DELETE {key.on_delete}"
    if key.on_update != "NO ACTION":
        clause += f" ON UPDATE {key.on_update}"
    return clause


def foreign_key_constraint(dialect: Dialect, key: ForeignKey) -> str:
    """Return the key as a table constraint."""
    return f"CONSTRAINT {dialect.quoted(key.name)} FOREIGN KEY ({dialect.quoted(key.column)}) " + foreign_key_clause(
        dialect, key
    )


def check_constraint(dialect: Dialect, check: Check) -> str:
    """Return the check as a table constraint."""
    return f"CONSTRAINT {dialect.quoted(check.name)} CHECK ({dialect.expression(check.expression)})"


def columns_list(dialect: Dialect, columns: tuple[str, ...]) -> str:
    """Return the quoted names in parentheses."""
    return f"({', '.join(map(dialect.quoted, columns))})"


def create_table(dialect: Dialect, table: Table) -> str:
    """Return CREATE TABLE, with the indexes if the server takes them inline."""
    parts = [column_definition(dialect, table.name, column) for column in table.columns]
    parts += [foreign_key_constraint(dialect, key) for key in table.foreign_keys]
    parts += [check_constraint(dialect, check) for check in table.checks]
    if dialect.has_inline_indexes:
        parts += [
            f"{'UNIQUE ' if index.unique else ''}KEY {dialect.quoted(index.name)} "
            f"{columns_list(dialect, index.columns)}"
            for index in table.indexes
        ]
    body = ",\n    ".join(parts)
    return f"CREATE TABLE {dialect.quoted(table.name)} (\n    {body}\n){dialect.table_options}"


def create_index(dialect: Dialect, table: str, index: Index, *, concurrently: bool = False) -> str:
    """Return CREATE INDEX; ``concurrently`` is for PostgreSQL only."""
    return (
        f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {'CONCURRENTLY ' if concurrently else ''}"
        f"{dialect.quoted(index.name)} ON {dialect.quoted(table)} {columns_list(dialect, index.columns)}"
    )


def add_parts(dialect: Dialect, added: Table) -> list[str]:
    """Return the statements that add columns, keys and indexes to an existing table, while writes wait."""
    alter = f"ALTER TABLE {dialect.quoted(added.name)} ADD"
    statements = [f"{alter} COLUMN {column_definition(dialect, added.name, column)}" for column in added.columns]
    statements += [f"{alter} {foreign_key_constraint(dialect, key)}" for key in added.foreign_keys]
    return statements + [create_index(dialect, added.name, index) for index in added.indexes]
