"""SQL text for declared tables. Pure functions: a dialect and a shape in, statements out."""

from collections.abc import Iterator

from engagement_db.dialects import Dialect
from engagement_db.expressions import literal
from engagement_db.tables import (
    Check,
    Column,
    Enum,
    ForeignKey,
    Id,
    Index,
    Json,
    Money,
    Now,
    Table,
    check_name,
    enum_type_name,
)


def column_definition(dialect: Dialect, table: str, column: Column) -> str:
    """Return a column as it stands in CREATE TABLE or ADD COLUMN."""
    words = [dialect.quoted(column.name), dialect.spell(table, column)]
    if not column.null and not isinstance(column.type, Id):
        words.append("NOT NULL")
    if isinstance(column.default, Now):
        words.append(f"DEFAULT {dialect.now}")
    elif column.default is not None:
        words.append(f"DEFAULT {_default(column, column.default)}")
    words.extend(
        f"CONSTRAINT {dialect.quoted(check.name)} CHECK ({dialect.expression(check.expression)})"
        for check in type_checks(dialect, table, column)
    )
    return " ".join(words)


def _default(column: Column, value: str) -> str:
    return value if isinstance(column.type, Money) or value.lstrip("-").isdigit() else literal(value)


def type_checks(dialect: Dialect, table: str, column: Column) -> Iterator[Check]:
    """Yield the check that stands in for a type which the server lacks, if any."""
    if not dialect.checks_enum_and_json:
        return
    name = check_name(table, column.name)
    if isinstance(column.type, Enum):
        yield Check(name, f'"{column.name}" IN ({", ".join(map(literal, column.type.labels))})')
    elif isinstance(column.type, Json):
        yield Check(name, f'"{column.name}" IS NULL OR json_valid("{column.name}")')


def foreign_key_clause(dialect: Dialect, key: ForeignKey) -> str:
    """Return what follows the column in REFERENCES form, actions included."""
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


def create_enum_types(dialect: Dialect, table: Table) -> Iterator[tuple[str, str]]:
    """Yield (type name, CREATE TYPE) for each enum column, where enums are types."""
    if not dialect.has_enum_types:
        return
    for column in table.columns:
        if isinstance(column.type, Enum):
            name = enum_type_name(table.name, column.name)
            labels = ", ".join(map(literal, column.type.labels))
            yield name, f"CREATE TYPE {dialect.quoted(name)} AS ENUM ({labels})"


def create_table(dialect: Dialect, table: Table) -> str:
    """Return CREATE TABLE, with its indexes where the server takes them inside."""
    parts = [column_definition(dialect, table.name, column) for column in table.columns]
    parts += [foreign_key_constraint(dialect, key) for key in table.foreign_keys]
    parts += [check_constraint(dialect, check) for check in table.checks]
    if dialect.indexes_inside_create_table:
        parts += [
            f"{'UNIQUE ' if index.unique else ''}KEY {dialect.quoted(index.name)} "
            f"{columns_list(dialect, index.columns)}"
            for index in table.indexes
        ]
    body = ",\n    ".join(parts)
    return f"CREATE TABLE {dialect.quoted(table.name)} (\n    {body}\n){dialect.table_options}"


def create_index(dialect: Dialect, table: str, index: Index, *, concurrently: bool = False) -> str:
    """Return CREATE INDEX; ``concurrently`` lets writers go on where the server has the word."""
    return (
        f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {'CONCURRENTLY ' if concurrently else ''}"
        f"{dialect.quoted(index.name)} ON {dialect.quoted(table)} {columns_list(dialect, index.columns)}"
    )


def create_whole(dialect: Dialect, table: Table) -> list[str]:
    """Return every statement that makes the table from nothing, in order."""
    statements = [statement for _, statement in create_enum_types(dialect, table)]
    statements.append(create_table(dialect, table))
    if not dialect.indexes_inside_create_table:
        statements += [create_index(dialect, table.name, index) for index in table.indexes]
    return statements


def drop_whole(dialect: Dialect, table: Table) -> list[str]:
    """Return every statement that removes the table and its enum types, in order."""
    statements = [f"DROP TABLE {dialect.quoted(table.name)}"]
    statements += [f"DROP TYPE {dialect.quoted(name)}" for name, _ in create_enum_types(dialect, table)]
    return statements
