"""What a revision is written in: steps that make one change each, up and down.

A step finds its change already made and goes on, finds it absent and makes it, or finds something
else in its place and says so before anything was changed. So a run that died is finished by
running the same command again. A script holds literals and steps, never a model or an enum; a
released step keeps its meaning for ever.

Each step answers the same questions: ``declared`` (which tables does it leave, given those before
it?), ``conflicts`` and ``changes`` for the way up, ``undo_conflicts``, ``undo_changes`` and
``at_stake`` for the way down.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from engagement_db import ddl
from engagement_db.dialects import Dialect
from engagement_db.expressions import literal, same
from engagement_db.schema.catalog import Catalog
from engagement_db.schema.compare import Kind, describe_type, differences
from engagement_db.schema.definition import is_plain
from engagement_db.tables import (
    Check,
    Column,
    Enum,
    ForeignKey,
    Id,
    Index,
    Integer,
    Json,
    Now,
    Reference,
    Rule,
    Table,
    Walk,
    check_name,
    enum_type_name,
    foreign_key_name,
    index_name,
    sort,
)

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Change:
    """One statement of a step, and what surrounds it in the same session.

    ``alone`` says that it must not run inside a transaction; ``orphans`` is a query that finds rows
    which the statement leaves unchecked, and ``if_orphans`` the statement that then takes it back.
    """

    statement: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    alone: bool = False
    orphans: str | None = None
    if_orphans: str | None = None

    @property
    def only_looks(self) -> bool:
        """Whether the statement changes nothing: it looks for rows that an earlier run left unchecked."""
        return self.statement == self.orphans


class Step(Protocol):
    """One change of a revision."""

    @property
    def title(self) -> str:
        """The step in a few words, for progress and errors."""

    @property
    def brings(self) -> str:
        """The name of the table, index or check that the step brings, or nothing."""

    def declared(self, tables: Tables) -> dict[str, Table]:
        """Return the tables as they are after this step."""

    def runs_alone(self, dialect: Dialect) -> bool:
        """Return whether the way up needs transactions of its own."""

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        """Yield a sentence for everything that stands in the way up."""

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        """Yield what is still to be done on the way up, reading the catalog as it goes."""

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        """Yield a sentence for everything that stands in the way down; what is named in ``leaving`` goes too."""

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        """Yield what is still to be done on the way down."""

    def at_stake(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        """Yield (what, how many rows) for the values that the way down throws away."""


class _Step:
    @property
    def brings(self) -> str:
        return ""

    def runs_alone(self, dialect: Dialect) -> bool:
        return False

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        yield from ()

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        yield from ()

    def at_stake(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        yield from ()


@dataclass(frozen=True)
class RequireTables(_Step):
    """The platform's tables are there, with an integer ``id`` that ours can reference."""

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"require {', '.join(self.names)}"

    def declared(self, tables: Tables) -> dict[str, Table]:
        return {name: Table(name, (Column("id", Id()),)) for name in self.names} | dict(tables)

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        for name in self.names:
            table = catalog.table(name)
            key = table.column("id") if table else None
            if table is None:
                yield f"the platform's table {name} is missing"
            elif key is None:
                yield f"{name} has no column id"
            elif not isinstance(key.type, Id | Integer):
                yield f"{name}.id is {describe_type(key.type)}; our foreign keys are integer and cannot reference it"

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        yield from ()

    undo_changes = changes


@dataclass(frozen=True)
class CreateTable(_Step):
    """The table is there, with its enum types and indexes; on the way down it is not."""

    table: Table

    @property
    def title(self) -> str:
        return f"create table {self.table.name}"

    @property
    def brings(self) -> str:
        return self.table.name

    def declared(self, tables: Tables) -> dict[str, Table]:
        return {**tables, self.table.name: self.table}

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        live = catalog.table(self.table.name)
        for column in self.table.columns:
            if dialect.has_enum_types and isinstance(column.type, Enum):
                yield from _enum_conflicts(catalog, self.table.name, column.name, column.type.labels)
        for index in self.table.indexes:
            yield from _index_name_conflicts(catalog, index, live)
        if live is None:
            holder = catalog.holder(self.table.name)
            if holder is not None:
                yield f"the name {self.table.name} is taken by {holder}"
            return
        for difference in differences(self.table, live):
            if difference.kind is Kind.INDEX and live.index(difference.name) is None:
                continue
            if difference.kind is not Kind.EXTRA:
                yield str(difference)
        for column in live.columns:
            if self.table.column(column.name) is None and not column.null and column.default is None:
                yield f"{live.name}.{column.name}: a column that is not ours and that no insert of ours would fill"

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        for name, statement in ddl.create_enum_types(dialect, self.table):
            if catalog.enum_type(name) is None:
                yield Change(statement)
        live = catalog.table(self.table.name)
        if live is None:
            yield Change(ddl.create_table(dialect, self.table))
            if dialect.indexes_inside_create_table:
                return
        for index in self.table.indexes:
            if live is None or live.index(index.name) is None:
                yield Change(ddl.create_index(dialect, self.table.name, index))

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        for dependent in catalog.dependents(self.table.name):
            if dependent.table not in leaving:
                yield f"{dependent} stands on {self.table.name}"

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        if catalog.table(self.table.name) is not None:
            yield Change(f"DROP TABLE {dialect.quoted(self.table.name)}")
        for name, _ in ddl.create_enum_types(dialect, self.table):
            if catalog.enum_type(name) is not None:
                yield Change(f"DROP TYPE {dialect.quoted(name)}")

    def at_stake(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        if catalog.table(self.table.name) is not None:
            yield f"rows of {self.table.name}", catalog.count(self.table.name)


@dataclass(frozen=True)
class AddColumn(_Step):
    """A table that may be large and busy has one more column, with its key and its index.

    Writers go on: each server is asked by name for the way that neither copies the table nor keeps
    writers out, and the key is validated apart. The way down is one atomic step.
    """

    table: str
    column: Column
    key: ForeignKey | None
    index: Index | None

    @property
    def title(self) -> str:
        return f"add column {self.table}.{self.column.name}"

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = tables.get(self.table, Table(self.table, ()))
        return {
            **tables,
            self.table: sort(
                replace(
                    before,
                    columns=(*before.columns, self.column),
                    foreign_keys=(*before.foreign_keys, *((self.key,) if self.key else ())),
                    indexes=(*before.indexes, *((self.index,) if self.index else ())),
                )
            ),
        }

    def runs_alone(self, dialect: Dialect) -> bool:
        return dialect.validates_later and (self.index is not None or self.key is not None)

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        if dialect.has_enum_types and isinstance(self.column.type, Enum):
            yield from _enum_conflicts(catalog, self.table, self.column.name, self.column.type.labels)
        for difference in differences(self.declared({})[self.table], live):
            brought = difference.missing and difference.kind in (Kind.COLUMN, Kind.KEY, Kind.INDEX)
            if difference.kind is Kind.KEY and dialect.adds_column_with_key and live.column(self.column.name):
                brought = False
            if not brought and difference.kind is not Kind.EXTRA:
                yield str(difference)
        if self.index is not None:
            yield from _index_name_conflicts(catalog, self.index, live)

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        live = catalog.table(self.table)
        alter = f"ALTER TABLE {dialect.quoted(self.table)}"
        if live is None or live.column(self.column.name) is None:
            yield from self._add_column(catalog, dialect, alter)
            live = catalog.table(self.table)
        if self.index is not None:
            yield from _add_index(dialect, self.table, self.index, live)
        if self.key is not None and not dialect.adds_column_with_key:
            yield from _add_key(dialect, self.table, self.key, live)

    def _add_column(self, catalog: Catalog, dialect: Dialect, alter: str) -> Iterator[Change]:
        for name, statement in ddl.create_enum_types(dialect, Table(self.table, (self.column,))):
            if catalog.enum_type(name) is None:
                yield Change(statement)
        definition = ddl.column_definition(dialect, self.table, self.column)
        if self.key is not None and dialect.adds_column_with_key:
            definition += f" CONSTRAINT {dialect.quoted(self.key.name)} {ddl.foreign_key_clause(dialect, self.key)}"
        yield Change(f"{alter} ADD COLUMN {definition}{', ALGORITHM=INSTANT' if dialect.names_algorithm else ''}")

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None or live.column(self.column.name) is None:
            return
        key = live.foreign_key(self.column.name)
        ours = {self.index.name if self.index else "", key.name if key else ""}
        checks = {check_name(self.table, self.column.name)} if dialect.checks_enum_and_json else set()
        for dependent in catalog.dependents(self.table, self.column.name):
            if dependent.table == self.table and dependent.name in ours | checks | leaving:
                continue
            if dependent.kind == "index" and key and dependent.name in (self.column.name, key.name):
                continue
            yield f"{dependent} stands on {self.table}.{self.column.name}"

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        live = catalog.table(self.table)
        index = live.index(self.index.name) if live and self.index else None
        key = live.foreign_key(self.column.name) if live else None
        alter = f"ALTER TABLE {dialect.quoted(self.table)}"
        if live and live.column(self.column.name) is not None:
            clauses = [f"DROP COLUMN {dialect.quoted(self.column.name)}"]
            if dialect.names_algorithm:
                # One statement: the key needs the index and the index the column, and each DDL commits.
                if index:
                    clauses.insert(0, f"DROP INDEX {dialect.quoted(index.name)}")
                if key:
                    clauses.insert(0, f"DROP FOREIGN KEY {dialect.quoted(key.name)}")
                clauses += ["ALGORITHM=INPLACE", "LOCK=NONE"]
            elif index:
                yield Change(f"DROP INDEX {dialect.quoted(index.name)}")
            yield Change(f"{alter} {', '.join(clauses)}")
        for name, _ in ddl.create_enum_types(dialect, Table(self.table, (self.column,))):
            if catalog.enum_type(name) is not None:
                yield Change(f"DROP TYPE {dialect.quoted(name)}")

    def at_stake(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        live = catalog.table(self.table)
        if live and live.column(self.column.name) is not None:
            yield f"values of {self.table}.{self.column.name}", catalog.count(self.table, self.column.name)


@dataclass(frozen=True)
class AddIndex(_Step):
    """An index is there, built while rows are written; on the way down it is not."""

    table: str
    index: Index

    @property
    def title(self) -> str:
        return f"add index {self.index.name}"

    @property
    def brings(self) -> str:
        return self.index.name

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = tables[self.table]
        return {**tables, self.table: sort(replace(before, indexes=(*before.indexes, self.index)))}

    def runs_alone(self, dialect: Dialect) -> bool:
        return dialect.validates_later

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        yield from self._other_shape(live)
        yield from _index_name_conflicts(catalog, self.index, live)
        if self.index.unique and live.index(self.index.name) is None:
            columns = self.index.columns
            found = catalog.repeated(self.table, columns) if all(map(live.column, columns)) else ()
            if found:
                yield (
                    f"{self.table}: rows have the same ({', '.join(columns)}), among them those with id "
                    f"{'; '.join(found)}; the index {self.index.name} allows each only once"
                )

    def _other_shape(self, live: Table) -> Iterator[str]:
        for difference in differences(Table(self.table, (), indexes=(self.index,)), live):
            if difference.kind is Kind.INDEX and not difference.missing:
                yield str(difference)

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        yield from _add_index(dialect, self.table, self.index, catalog.table(self.table))

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is not None:
            yield from self._other_shape(live)

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        live = catalog.table(self.table)
        if live and live.index(self.index.name) is not None:
            name = dialect.quoted(self.index.name)
            if dialect.names_algorithm:
                yield Change(
                    f"ALTER TABLE {dialect.quoted(self.table)} DROP INDEX {name}, ALGORITHM=INPLACE, LOCK=NONE"
                )
            else:
                yield Change(f"DROP INDEX {name}")


@dataclass(frozen=True)
class AddCheck(_Step):
    """Every row holds a rule, and every later one will; on the way down the rule is gone."""

    table: str
    check: Check

    @property
    def title(self) -> str:
        return f"add check {self.check.name}"

    @property
    def brings(self) -> str:
        return self.check.name

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = tables[self.table]
        return {**tables, self.table: sort(replace(before, checks=(*before.checks, self.check)))}

    def runs_alone(self, dialect: Dialect) -> bool:
        return dialect.validates_later

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        yield from self._other_shape(live)
        if live.check(self.check.name) is not None:
            return
        for column in live.columns:
            if isinstance(column.type, Enum | Json) and check_name(self.table, column.name) == self.check.name:
                yield (
                    f"{self.check.name} is the name of the check by which SQLite keeps the type of "
                    f"{self.table}.{column.name}; give the rule another name"
                )
        if dialect.edits_definition and not is_plain(catalog.definition(self.table)):
            yield f"{self.table}: its definition ends in an option (STRICT, WITHOUT ROWID), where no check can be added"
        if all(map(live.column, re.findall(r'"([^"]+)"', self.check.expression))):
            found = catalog.breaking(self.table, dialect.expression(self.check.expression))
            if found:
                yield (
                    f"{self.table}: rows break {self.check.expression}, among them those with id {', '.join(found)}; "
                    "mend them"
                )

    def _other_shape(self, live: Table) -> Iterator[str]:
        found = live.check(self.check.name)
        if found is not None and not same(found.expression, self.check.expression):
            yield f"{self.table}.{self.check.name}: the check is {found.expression}, not {self.check.expression}"

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        live = catalog.table(self.table)
        constraint = ddl.check_constraint(dialect, self.check)
        alter = f"ALTER TABLE {dialect.quoted(self.table)}"
        found = live.check(self.check.name) if live else None
        if dialect.edits_definition:
            if found is None:
                # Without a table option the text ends with the parenthesis that closes it.
                yield from _edit_definition(
                    self.table,
                    f"substr(sql, 1, length(sql) - 1) || {literal(f', {constraint})')}",
                    f"SELECT id FROM {dialect.quoted(self.table)} WHERE NOT ({self.check.expression}) LIMIT 10",
                )
        elif dialect.validates_later:
            if found is None:
                yield Change(f"{alter} ADD {constraint} NOT VALID")
            if found is None or not found.validated:
                yield Change(f"{alter} VALIDATE CONSTRAINT {dialect.quoted(self.check.name)}")
        elif found is None:
            yield Change(f"{alter} ADD {constraint}")

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None or live.check(self.check.name) is None:
            return
        yield from self._other_shape(live)
        if dialect.edits_definition:
            yield from _not_found_once(catalog, self.table, self._text(dialect))

    def _text(self, dialect: Dialect) -> str:
        return f", {ddl.check_constraint(dialect, self.check)}"

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        live = catalog.table(self.table)
        if live is None or live.check(self.check.name) is None:
            return
        if dialect.edits_definition:
            yield from _edit_definition(self.table, f"replace(sql, {literal(self._text(dialect))}, '')")
        else:
            yield Change(
                f"ALTER TABLE {dialect.quoted(self.table)} {dialect.drop_check} {dialect.quoted(self.check.name)}"
            )


@dataclass(frozen=True)
class AddEnumLabel(_Step):
    """An enum column takes one more label, the last in order; on the way down no row may use it."""

    table: str
    column: Column
    label: str

    @property
    def title(self) -> str:
        return f"add label {self.label} to {self.table}.{self.column.name}"

    @property
    def wider(self) -> Column:
        """The column with the new label."""
        return replace(self.column, type=Enum((*self._labels, self.label)))

    @property
    def _labels(self) -> tuple[str, ...]:
        assert isinstance(self.column.type, Enum)
        return self.column.type.labels

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = tables[self.table]
        columns = tuple(self.wider if column.name == self.column.name else column for column in before.columns)
        return {**tables, self.table: replace(before, columns=columns)}

    def conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        yield from self._conflicts(catalog, dialect)

    def _conflicts(self, catalog: Catalog, dialect: Dialect) -> Iterator[str]:
        live = catalog.table(self.table)
        found = live.column(self.column.name) if live else None
        if live is None or found is None:
            yield f"{self.table}.{self.column.name} is missing"
        elif found not in (self.column, self.wider):
            before = Table(self.table, (self.column,))
            for difference in differences(before, replace(live, columns=(found,))):
                if difference.kind is not Kind.EXTRA:
                    yield str(difference)
        elif dialect.edits_definition:
            yield from _not_found_once(catalog, self.table, self._check_text(dialect, found))

    def _is_wide(self, catalog: Catalog) -> bool:
        live = catalog.table(self.table)
        return bool(live and live.column(self.column.name) == self.wider)

    def changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        if self._is_wide(catalog):
            return
        if dialect.has_enum_types:
            name = dialect.quoted(enum_type_name(self.table, self.column.name))
            yield Change(f"ALTER TYPE {name} ADD VALUE {literal(self.label)}")
        else:
            # Asked for by name: a server that cannot says so, and copies nothing.
            yield from self._redefine(dialect, self.column, self.wider, ", ALGORITHM=INSTANT")

    def undo_conflicts(self, catalog: Catalog, dialect: Dialect, leaving: frozenset[str]) -> Iterator[str]:
        yield from self._conflicts(catalog, dialect)
        if not self._is_wide(catalog):
            return
        if dialect.has_enum_types:
            for dependent in catalog.dependents(self.table, self.column.name):
                if dependent.kind == "view":
                    yield f"{dependent} stands on {self.table}.{self.column.name}, which gets a type anew"
        users = catalog.count_equal(self.table, self.column.name, self.label)
        if users:
            rows = "1 row of" if users == 1 else f"{users:,} rows of"
            yield f"{rows} {self.table} with {self.column.name} = {self.label!r}; change them first"

    def undo_changes(self, catalog: Catalog, dialect: Dialect) -> Iterator[Change]:
        if not self._is_wide(catalog):
            return
        if not dialect.has_enum_types:
            yield from self._redefine(dialect, self.wider, self.column)
            return
        # PostgreSQL cannot take a label away: a new type takes the old one's place, all in one transaction.
        name = enum_type_name(self.table, self.column.name)
        old, new = dialect.quoted(f"{name}_old"), dialect.quoted(name)
        column, alter = dialect.quoted(self.column.name), f"ALTER TABLE {dialect.quoted(self.table)}"
        labels = ", ".join(map(literal, self._labels))
        cast = f"ALTER COLUMN {column} TYPE {new} USING {column}::text::{new}"
        default = self.column.default
        if default is not None:
            value = f"{literal(str(default))}::{new}"
            cast = f"ALTER COLUMN {column} DROP DEFAULT, {cast}, ALTER COLUMN {column} SET DEFAULT {value}"
        yield Change(f"ALTER TYPE {new} RENAME TO {old}")
        yield Change(f"CREATE TYPE {new} AS ENUM ({labels})")
        yield Change(f"{alter} {cast}")
        yield Change(f"DROP TYPE {old}")

    def _redefine(self, dialect: Dialect, before: Column, after: Column, how: str = "") -> Iterator[Change]:
        if dialect.edits_definition:
            old, new = (literal(self._check_text(dialect, column)) for column in (before, after))
            yield from _edit_definition(self.table, f"replace(sql, {old}, {new})")
        else:
            definition = ddl.column_definition(dialect, self.table, after)
            yield Change(f"ALTER TABLE {dialect.quoted(self.table)} MODIFY COLUMN {definition}{how}")

    def _check_text(self, dialect: Dialect, column: Column) -> str:
        (check,) = ddl.type_checks(dialect, self.table, column)
        return f"CHECK ({check.expression})"


def _enum_conflicts(catalog: Catalog, table: str, column: str, labels: tuple[str, ...]) -> Iterator[str]:
    name = enum_type_name(table, column)
    found = catalog.enum_type(name)
    if found is not None and found != labels:
        yield f"the type {name} has the labels {', '.join(found) or 'of no enum'}, not {', '.join(labels)}"


def _index_name_conflicts(catalog: Catalog, index: Index, live: Table | None) -> Iterator[str]:
    if live is None or live.index(index.name) is None:
        holder = catalog.holder(index.name, of_index=True)
        if holder is not None:
            yield f"the name {index.name} is taken by {holder}"


def _add_index(dialect: Dialect, table: str, index: Index, live: Table | None) -> Iterator[Change]:
    found = live.index(index.name) if live else None
    if found is not None and not found.valid:
        yield Change(f"DROP INDEX CONCURRENTLY {dialect.quoted(index.name)}", alone=True)
    elif found is not None:
        return
    if dialect.names_algorithm:
        words = f"ADD {'UNIQUE ' if index.unique else ''}INDEX {dialect.quoted(index.name)}"
        columns = ddl.columns_list(dialect, index.columns)
        yield Change(f"ALTER TABLE {dialect.quoted(table)} {words} {columns}, ALGORITHM=INPLACE, LOCK=NONE")
    else:
        online = dialect.validates_later
        yield Change(ddl.create_index(dialect, table, index, concurrently=online), alone=online)


def _add_key(dialect: Dialect, table: str, key: ForeignKey, live: Table | None) -> Iterator[Change]:
    found = live.foreign_key(key.column) if live else None
    alter = f"ALTER TABLE {dialect.quoted(table)}"
    constraint = ddl.foreign_key_constraint(dialect, key)
    if dialect.validates_later:
        if found is None:
            yield Change(f"{alter} ADD {constraint} NOT VALID")
        if found is None or not found.validated:
            yield Change(f"{alter} VALIDATE CONSTRAINT {dialect.quoted(key.name)}")
    else:
        # Only unchecked is the key added without a copy of the table, so the rows are checked here: by nobody
        # else, since the column may have been filled, or the key added and not checked, by a run that died.
        child, parent = dialect.quoted(table), dialect.quoted(key.parent)
        column, parent_column = dialect.quoted(key.column), dialect.quoted(key.parent_column)
        orphans = (
            f"SELECT c.id FROM {child} c LEFT JOIN {parent} p ON p.{parent_column} = c.{column} "
            f"WHERE c.{column} IS NOT NULL AND p.{parent_column} IS NULL LIMIT 10"
        )
        if found is not None:
            yield Change(orphans, orphans=orphans)
            return
        yield Change(
            f"{alter} ADD {constraint}, ALGORITHM=INPLACE, LOCK=NONE",
            before=(
                "SET @engagement_db_foreign_key_checks = @@SESSION.foreign_key_checks",
                "SET SESSION foreign_key_checks = 0",
            ),
            after=("SET SESSION foreign_key_checks = @engagement_db_foreign_key_checks",),
            orphans=orphans,
            if_orphans=f"{alter} DROP FOREIGN KEY {dialect.quoted(key.name)}",
        )


def _not_found_once(catalog: Catalog, table: str, text: str) -> Iterator[str]:
    if catalog.definition(table).count(text) != 1:
        yield f"{table}: its definition was written or changed by hand, and does not have, once, the text {text}"


def _edit_definition(table: str, expression: str, orphans: str | None = None) -> Iterator[Change]:
    """Change the text of a table of ours in sqlite_master.

    SQLite's own procedure for changes that leave the stored rows as they are: nothing is copied, so
    children, triggers and indexes are not touched. Never used on a table of the platform.
    """
    yield Change(
        f"UPDATE sqlite_master SET sql = {expression} WHERE type = 'table' AND name = {literal(table)}",
        before=("PRAGMA writable_schema = ON",),
        # RESET makes this connection read the definition again; a change of the schema, the others.
        after=(
            "PRAGMA writable_schema = RESET",
            "CREATE TABLE engagement_db_definition_changed (id INTEGER)",
            "DROP TABLE engagement_db_definition_changed",
        ),
        orphans=orphans,
    )


def require_tables(*names: str) -> RequireTables:
    """Require tables of the platform, each with an integer ``id``."""
    return RequireTables(names)


def create_table(table: Table) -> CreateTable:
    """Create a table with everything that it declares."""
    return CreateTable(table)


def add_column(table: str, part: Column | Reference, *, index: str | None = None) -> AddColumn:
    """Add a column that is nullable or has a literal default, with a foreign key where ``part`` has one.

    ``index`` names an index over it; a foreign key must have one. Raises ValueError for a column
    that no existing row could fill.
    """
    column = part.column if isinstance(part, Reference) else part
    if isinstance(column.default, Now) or (column.default is None and not column.null):
        raise ValueError(f"{table}.{column.name}: existing rows need NULL or a literal default; allow one of them")
    key = None
    if isinstance(part, Reference):
        name = foreign_key_name(table, column.name)
        key = ForeignKey(name, column.name, part.parent, part.on_delete, part.on_update)
        if index is None:
            raise ValueError(f"{table}.{column.name}: a foreign key needs an index; name it")
    return AddColumn(table, column, key, Index(index, (column.name,)) if index else None)


def add_index(table: str, walk: Walk, *, name: str | None = None) -> AddIndex:
    """Add an index, by its usual name unless ``name`` is given."""
    return AddIndex(table, Index(name or index_name(table, walk.columns), walk.columns, walk.unique))


def add_check(table: str, rule: Rule) -> AddCheck:
    """Add a rule that every row must hold; it is named after its column."""
    return AddCheck(table, Check(check_name(table, rule.column), rule.expression))


def add_enum_label(table: str, column: Column, label: str) -> AddEnumLabel:
    """Add ``label`` as the last of an enum column, given as it is before, default and nullability included."""
    if not isinstance(column.type, Enum):
        raise ValueError(f"{table}.{column.name} is not an enum")
    return AddEnumLabel(table, column, label)
