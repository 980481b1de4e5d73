"""The steps of a revision: one change of the schema each, applied and reverted.

A step finds its change already applied and continues, finds it missing and makes it, or finds a conflict and reports it
before anything is changed. So running the same command again resumes an interrupted run. A revision script holds
literals and steps, never a model or an enum; a released step never changes its meaning.

A step declares tables, and reports conflicts and the data that its reversal deletes. How a change is made is up to the
server.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

from engagement_db.expressions import same
from engagement_db.schema.compare import Kind, describe_type, differences
from engagement_db.schema.severity import equivalent, judge
from engagement_db.servers import Change, KeyTypes, Server, ddl
from engagement_db.servers.catalog import Catalog
from engagement_db.tables import (
    Check,
    CheckSpec,
    Column,
    Enum,
    ForeignKey,
    Id,
    Index,
    IndexSpec,
    Integer,
    Json,
    Now,
    ReferenceSpec,
    Table,
    Text,
    check_name,
    foreign_key_name,
    index_name,
    sort,
)

Tables = Mapping[str, Table]


class Step(Protocol):
    """One change of a revision."""

    @property
    def title(self) -> str:
        """The change in a few words, for progress and errors."""

    @property
    def revert_title(self) -> str:
        """The reversal in a few words."""

    @property
    def creates(self) -> str:
        """The name of the table, index or check that the step creates, or nothing."""

    def fitted(self, types: KeyTypes) -> "Step":
        """Return the step with the types that its ids have in one database."""

    def declared(self, tables: Tables) -> dict[str, Table]:
        """Return the tables after this step, given those before it."""

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        """Return whether the step is applied in transactions of its own."""

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        """Yield a sentence for each reason why the step cannot be applied."""

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        """Yield the changes that are still to be made, reading the catalog after each."""

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        """Yield a sentence for each reason why the step cannot be reverted; objects named in ``leaving`` are no
        reason.
        """

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        """Yield the changes that are still to be made to revert the step, reading the catalog after each."""

    def data_loss(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        """Yield (what, how many) for the rows and values that reverting deletes."""


class BaseStep:
    """The defaults that most steps share."""

    @property
    def creates(self) -> str:
        return ""

    def fitted(self, types: KeyTypes) -> Self:
        return self

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        return server.builds_outside_transaction

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        yield from ()

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        yield from ()

    def data_loss(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        yield from ()


@dataclass(frozen=True)
class RequireTables(BaseStep):
    """Tables of the platform with an integer ``id`` that foreign keys can reference."""

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"require {', '.join(self.names)}"

    revert_title = title

    def declared(self, tables: Tables) -> dict[str, Table]:
        return {name: Table(name, (Column("id", Id()),)) for name in self.names} | dict(tables)

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        return False

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        for name in self.names:
            table = catalog.table(name)
            key = table.column("id") if table else None
            if table is None:
                yield self._not_found(name, catalog.existing_object(name))
            elif unreadable := catalog.read_obstacles(name):
                yield from unreadable
            elif key is None:
                yield f"{name} has no column id"
            elif not isinstance(key.type, Id | Integer):
                statement = catalog.integer_id_statement(name)
                remedy = f"run {statement}" if statement else "the library can refer to rows by integers only"
                yield f"{name}.id is {describe_type(key.type)}; {remedy}"
            else:
                yield from catalog.reference_obstacles(name)

    @staticmethod
    def _not_found(name: str, existing: str | None) -> str:
        if existing is None:
            return f"the platform's table {name} is missing"
        kind = existing.removeprefix("the ").partition(f" {name}")[0]
        if kind == "table":
            return f"the platform's table {name} has its name in another case; rename it to {name}"
        return f"{name} is a {kind}, which no foreign key can reference; make it a table"

    def missing(self, catalog: Catalog) -> list[str]:
        """Return the names of which there is no table."""
        return [name for name in self.names if catalog.table(name) is None]

    def is_any_missing(self, catalog: Catalog) -> bool:
        """Return whether a name is not in the database at all, so that it may be the wrong database."""
        return any(catalog.existing_object(name) is None for name in self.names)

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        yield from ()

    revert_changes = changes


@dataclass(frozen=True)
class CreateTable(BaseStep):
    """A table with its enum types and indexes."""

    table: Table

    @property
    def title(self) -> str:
        return f"create table {self.table.name}"

    @property
    def revert_title(self) -> str:
        return f"drop table {self.table.name}"

    @property
    def creates(self) -> str:
        return self.table.name

    def fitted(self, types: KeyTypes) -> Self:
        return replace(self, table=types.fit(self.table))

    def declared(self, tables: Tables) -> dict[str, Table]:
        return {**tables, self.table.name: self.table}

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        live = catalog.table(self.table.name)
        return server.builds_outside_transaction and live is not None and bool(self._missing_indexes(live))

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        live = catalog.table(self.table.name)
        yield from server.type_conflicts(catalog, self.table)
        for index in self._missing_indexes(live):
            yield from _index_name_conflicts(catalog, server, self.table.name, index)
        if live is None:
            existing = catalog.existing_object(self.table.name)
            if existing is not None:
                yield f"the name {self.table.name} is already taken by {existing}"
            return
        for item in judge(self.table, catalog, server):
            if item.is_breaking:
                yield item.unmarked

    def _missing_indexes(self, live: Table | None) -> list[Index]:
        return [index for index in self.table.indexes if equivalent(index, live) is None]

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        live = catalog.table(self.table.name)
        yield from server.create_types(catalog, self.table)
        if live is None:
            yield from server.create_table(self.table)
        else:
            for index in self._missing_indexes(live):
                yield from server.add_index(self.table.name, index, live.index(index.name))

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        yield from catalog.drop_obstacles(self.table.name)
        for dependent in catalog.dependents(self.table.name):
            if not {dependent.table, dependent.name} & leaving:
                yield f"{dependent} depends on {self.table.name}"

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if catalog.table(self.table.name) is not None:
            yield Change(f"DROP TABLE {server.quoted(self.table.name)}")
        yield from server.drop_types(catalog, self.table)

    def data_loss(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        if catalog.table(self.table.name) is not None:
            yield f"rows of {self.table.name}", catalog.count(self.table.name)


@dataclass(frozen=True)
class AddColumn(BaseStep):
    """A column, with its foreign key and its index, in a table that may be large and busy.

    Writes are not blocked: the online algorithm is requested explicitly, and the foreign key is validated
    separately. The reversal is atomic.
    """

    table: str
    column: Column
    key: ForeignKey | None
    index: Index | None

    @property
    def title(self) -> str:
        return f"add column {self.table}.{self.column.name}"

    @property
    def revert_title(self) -> str:
        return f"drop column {self.table}.{self.column.name}"

    def fitted(self, types: KeyTypes) -> Self:
        return replace(self, column=types.fit_column(self.table, self.column))

    @property
    def _added(self) -> Table:
        return Table(
            self.table,
            (self.column,),
            (self.key,) if self.key else (),
            (self.index,) if self.index else (),
        )

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = _table(tables, self.table)
        after = replace(
            before,
            columns=(*before.columns, *self._added.columns),
            foreign_keys=(*before.foreign_keys, *self._added.foreign_keys),
            indexes=(*before.indexes, *self._added.indexes),
        )
        return {**tables, self.table: sort(after)}

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        return server.builds_outside_transaction and (self.index is not None or self.key is not None)

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        yield from server.type_conflicts(catalog, self._added)
        has_column = live.column(self.column.name) is not None
        lacking = self._missing(live)
        if lacking.columns or lacking.foreign_keys or lacking.indexes:
            yield from catalog.alter_obstacles(lacking)
        if not has_column:
            names = [column.name for column in live.columns]
            yield from _case_conflicts(server, "column", self.table, self.column.name, names)
        can_add_key = not has_column or not server.adds_column_with_key
        for item in judge(self._added, catalog, server, is_whole=False):
            kind, missing = item.difference.kind, item.difference.missing
            to_come = missing and (kind in (Kind.COLUMN, Kind.INDEX) or (kind is Kind.KEY and can_add_key))
            if item.is_breaking and not to_come:
                yield item.unmarked
        if self.index is not None and equivalent(self.index, live) is None:
            yield from _index_name_conflicts(catalog, server, self.table, self.index)

    def _missing(self, live: Table) -> Table:
        """Return what the live table lacks of the step."""
        added = self._added
        return replace(
            added,
            columns=tuple(column for column in added.columns if live.column(column.name) is None),
            foreign_keys=tuple(key for key in added.foreign_keys if live.foreign_key(key.column) is None),
            indexes=tuple(index for index in added.indexes if equivalent(index, live) is None),
        )

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if catalog.column(self.table, self.column.name) is None:
            yield from server.create_types(catalog, self._added)
            yield from server.add_column(self.table, self.column, self.key)
        if self.index is not None and equivalent(self.index, catalog.table(self.table)) is None:
            yield from server.add_index(self.table, self.index, catalog.index(self.table, self.index.name))
        if self.key is not None:
            yield from server.add_key(self.table, self.key, catalog.foreign_key(self.table, self.column.name))

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None or live.column(self.column.name) is None:
            return
        key = live.foreign_key(self.column.name)
        check = ddl.type_check(server, self.table, self.column)
        own = {part.name for part in (self.index, key, check) if part is not None}
        for dependent in catalog.dependents(self.table, self.column.name):
            if dependent.table == self.table and dependent.name in own | leaving:
                continue
            if dependent.kind == "index" and key and dependent.name in (self.column.name, key.name):
                continue
            yield f"{dependent} depends on {self.table}.{self.column.name}"

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        live = catalog.table(self.table)
        if live and live.column(self.column.name) is not None:
            index = live.index(self.index.name) if self.index else None
            key = live.foreign_key(self.column.name)
            yield from server.drop_column(
                self.table, self.column.name, index=index.name if index else None, key=key.name if key else None
            )
        yield from server.drop_types(catalog, self._added)

    def data_loss(self, catalog: Catalog) -> Iterator[tuple[str, int]]:
        if catalog.column(self.table, self.column.name) is not None:
            yield f"values of {self.table}.{self.column.name}", catalog.count(self.table, self.column.name)


@dataclass(frozen=True)
class AddIndex(BaseStep):
    """An index, created while writes continue."""

    table: str
    index: Index

    @property
    def title(self) -> str:
        return f"add index {self.index.name}"

    @property
    def revert_title(self) -> str:
        return f"drop index {self.index.name}"

    @property
    def creates(self) -> str:
        return self.index.name

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = _table(tables, self.table)
        return {**tables, self.table: sort(replace(before, indexes=(*before.indexes, self.index)))}

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        yield from self._other_definition(live)
        if equivalent(self.index, live) is not None:
            return
        yield from _index_name_conflicts(catalog, server, self.table, self.index)
        if self.index.unique and live.index(self.index.name) is None:
            columns = self.index.columns
            found = catalog.duplicate_ids(self.table, columns) if all(map(live.column, columns)) else ()
            if found:
                yield (
                    f"{self.table}: rows have the same ({', '.join(columns)}), among them those with id "
                    f"{'; '.join(found)}; the index {self.index.name} allows each only once"
                )

    def _other_definition(self, live: Table) -> Iterator[str]:
        for difference in differences(Table(self.table, (), indexes=(self.index,)), live):
            if difference.kind is Kind.INDEX and not difference.missing:
                yield str(difference)

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if equivalent(self.index, catalog.table(self.table)) is None:
            yield from server.add_index(self.table, self.index, catalog.index(self.table, self.index.name))

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is not None:
            yield from self._other_definition(live)

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if catalog.index(self.table, self.index.name) is not None:
            yield from server.drop_index(self.table, self.index.name)


@dataclass(frozen=True)
class AddCheck(BaseStep):
    """A check constraint, which the existing rows must satisfy too."""

    table: str
    check: Check

    @property
    def title(self) -> str:
        return f"add check {self.check.name}"

    @property
    def revert_title(self) -> str:
        return f"drop check {self.check.name}"

    @property
    def creates(self) -> str:
        return self.check.name

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = _table(tables, self.table)
        return {**tables, self.table: sort(replace(before, checks=(*before.checks, self.check)))}

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is None:
            yield f"the table {self.table} is missing"
            return
        yield from self._other_definition(live)
        if live.check(self.check.name) is not None or equivalent(self.check, live) is not None:
            return
        for column in live.columns:
            if isinstance(column.type, Enum | Json) and check_name(self.table, column.name) == self.check.name:
                yield (
                    f"{self.check.name} is the name of the check that SQLite has for the type of "
                    f"{self.table}.{column.name}; choose another name"
                )
        yield from server.check_conflicts(catalog, self.table)
        if all(map(live.column, re.findall(r'"([^"]+)"', self.check.expression))):
            found = catalog.violating_ids(self.table, self.check.expression)
            if found:
                yield (
                    f"{self.table}: existing rows violate {self.check.expression} (first ids: {', '.join(found)}); "
                    "fix them"
                )

    def _other_definition(self, live: Table) -> Iterator[str]:
        found = live.check(self.check.name)
        if found is not None and not same(found.expression, self.check.expression):
            yield f"{self.table}.{self.check.name}: the check is {found.expression}, not {self.check.expression}"

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if equivalent(self.check, catalog.table(self.table)) is None:
            yield from server.add_check(self.table, self.check, catalog.check(self.table, self.check.name))

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        live = catalog.table(self.table)
        if live is not None and live.check(self.check.name) is not None:
            yield from self._other_definition(live)
            yield from server.drop_check_conflicts(catalog, self.table, self.check)

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        if catalog.check(self.table, self.check.name) is not None:
            yield from server.drop_check(self.table, self.check)


@dataclass(frozen=True)
class AddEnumLabel(BaseStep):
    """One more label of an enum column, the last in order. It cannot be reverted while a row has it."""

    table: str
    column: Column
    label: str

    @property
    def title(self) -> str:
        return f"add label {self.label} to {self.table}.{self.column.name}"

    @property
    def revert_title(self) -> str:
        return f"remove label {self.label} from {self.table}.{self.column.name}"

    @property
    def extended(self) -> Column:
        """The column with the new label."""
        assert isinstance(self.column.type, Enum)
        return replace(self.column, type=Enum((*self.column.type.labels, self.label)))

    def declared(self, tables: Tables) -> dict[str, Table]:
        before = _table(tables, self.table)
        columns = tuple(self.extended if column.name == self.column.name else column for column in before.columns)
        return {**tables, self.table: replace(before, columns=columns)}

    def runs_outside_transaction(self, catalog: Catalog, server: Server) -> bool:
        return False

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        found = catalog.column(self.table, self.column.name)
        if found is None:
            yield f"{self.table}.{self.column.name} is missing"
            return
        # A text column that no check restricts takes the new label as it is.
        is_extended = found.type == self.extended.type or isinstance(found.type, Text)
        declared = Table(self.table, (self.extended if is_extended else self.column,))
        items = judge(declared, catalog, server, is_whole=False)
        conflicts = [item.unmarked for item in items if item.is_breaking]
        yield from conflicts
        if not conflicts and isinstance(found.type, Enum):
            yield from server.label_conflicts(catalog, self.table, found)

    def _labels(self, found: Column | None) -> tuple[str, ...] | None:
        return found.type.labels if found is not None and isinstance(found.type, Enum) else None

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        found = catalog.column(self.table, self.column.name)
        labels = self._labels(found)
        if found is not None and labels is not None and self.label not in labels:
            yield from server.add_label(self.table, found, replace(found, type=Enum((*labels, self.label))))

    def revert_conflicts(self, catalog: Catalog, server: Server, leaving: frozenset[str]) -> Iterator[str]:
        yield from self.conflicts(catalog, server)
        found = catalog.column(self.table, self.column.name)
        if found is None:
            return
        if self.label in (self._labels(found) or ()):
            yield from server.drop_label_conflicts(catalog, self.table, self.column)
        elif not isinstance(found.type, Text):
            return
        users = catalog.count_equal(self.table, self.column.name, self.label)
        if users:
            rows = "1 row of" if users == 1 else f"{users:,} rows of"
            yield f"{rows} {self.table} with {self.column.name} = {self.label!r}; change them first"

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        found = catalog.column(self.table, self.column.name)
        labels = self._labels(found)
        if found is not None and labels is not None and self.label in labels:
            kept = tuple(label for label in labels if label != self.label)
            yield from server.drop_label(self.table, found, replace(found, type=Enum(kept)))


def _table(tables: Tables, name: str) -> Table:
    """Return a table that an earlier step left, or one without columns: a table of the platform."""
    return tables.get(name, Table(name, ()))


def _index_name_conflicts(catalog: Catalog, server: Server, table: str, index: Index) -> Iterator[str]:
    if catalog.index(table, index.name) is None:
        existing = catalog.existing_object(index.name, of_index=True)
        live = catalog.table(table)
        if existing is not None:
            yield f"the name {index.name} is already taken by {existing}"
        elif live is not None:
            yield from _case_conflicts(server, "index", table, index.name, [other.name for other in live.indexes])


def _case_conflicts(server: Server, kind: str, table: str, name: str, existing: list[str]) -> Iterator[str]:
    """Yield a sentence for an existing name that is the same as ``name`` to the server, but for its case."""
    for other in existing if server.ignores_case_of_names else ():
        if other.lower() == name.lower() and other != name:
            yield f"{table} has the {kind} {other}, the same name as {name} to {server.display_name}; rename it"


def require_tables(*names: str) -> RequireTables:
    """Require tables of the platform, each with an integer ``id``."""
    return RequireTables(names)


def create_table(table: Table) -> CreateTable:
    """Create a table with everything that it declares."""
    return CreateTable(table)


def add_column(table: str, part: Column | ReferenceSpec, *, index: str | None = None) -> AddColumn:
    """Add a column that is nullable or has a literal default, with a foreign key if ``part`` has one.

    ``index`` names an index over it, which a foreign key must have. Raises ValueError for a column
    that existing rows could not fill.
    """
    column = part.column if isinstance(part, ReferenceSpec) else part
    if isinstance(column.default, Now) or (column.default is None and not column.null):
        raise ValueError(f"{table}.{column.name}: existing rows need NULL or a literal default; allow one of them")
    key = None
    if isinstance(part, ReferenceSpec):
        name = foreign_key_name(table, column.name)
        key = ForeignKey(name, column.name, part.parent, part.on_delete, part.on_update)
        if index is None:
            raise ValueError(f"{table}.{column.name}: a foreign key needs an index; name it")
    return AddColumn(table, column, key, Index(index, (column.name,)) if index else None)


def add_index(table: str, spec: IndexSpec, *, name: str | None = None) -> AddIndex:
    """Add an index, by its usual name unless ``name`` is given."""
    return AddIndex(table, Index(name or index_name(table, spec.columns), spec.columns, spec.unique))


def add_check(table: str, spec: CheckSpec) -> AddCheck:
    """Add a check that every row must satisfy; it is named after its column."""
    return AddCheck(table, Check(check_name(table, spec.column), spec.expression))


def add_enum_label(table: str, column: Column, label: str) -> AddEnumLabel:
    """Add ``label`` as the last of an enum column, given as it is before, default and nullability included."""
    if not isinstance(column.type, Enum):
        raise ValueError(f"{table}.{column.name} is not an enum")
    return AddEnumLabel(table, column, label)
