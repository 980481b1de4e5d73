"""Alignment: the changes that make adopted tables match the revisions, made safely or listed to be run by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engagement_db.schema.compare import Kind
from engagement_db.schema.severity import ClassifiedDifference, Severity, judge, missing_check
from engagement_db.schema.steps import AddCheck, AddColumn, AddIndex, BaseStep, Step, Tables
from engagement_db.servers import Catalog, Change, Server
from engagement_db.tables import Check, Column, ForeignKey, Index, Table


@dataclass(frozen=True)
class SetNotNull(BaseStep):
    """NULL forbidden in an existing column of which no row holds one, while writes continue."""

    table: str
    column: str

    @property
    def title(self) -> str:
        return f"set {self.table}.{self.column} not null"

    revert_title = title

    def declared(self, tables: Tables) -> dict[str, Table]:
        return dict(tables)

    def conflicts(self, catalog: Catalog, server: Server) -> Iterator[str]:
        yield from server.not_null_conflicts(catalog, self.table, self.column)

    def changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        found = catalog.column(self.table, self.column)
        if found is not None and found.null:
            yield from server.set_not_null(catalog, self.table, self.column)

    def revert_changes(self, catalog: Catalog, server: Server) -> Iterator[Change]:
        yield from ()


def alignments(declared: Mapping[str, Table], catalog: Catalog, server: Server) -> Iterator[Step]:
    """Yield the steps that remove the fixable differences between the declared and the live tables."""
    for table in declared.values():
        if catalog.table(table.name) is not None:
            for item in judge(table, catalog, server):
                if item.severity is Severity.FIXABLE:
                    yield from _alignment(item, table, server)


def _alignment(item: ClassifiedDifference, declared: Table, server: Server) -> Iterator[Step]:
    difference = item.difference
    check = missing_check(difference, server)
    match difference.wanted:
        case Column() as column if difference.kind is Kind.COLUMN:
            yield AddColumn(declared.name, column, declared.foreign_key(column.name), None)
        case Column(name) if difference.kind is Kind.NULL:
            yield SetNotNull(declared.name, name)
        case Index() as index:
            yield AddIndex(declared.name, index)
        case _ if check is not None:
            yield AddCheck(declared.name, check)


def statements(item: ClassifiedDifference, catalog: Catalog, server: Server) -> list[str]:
    """Return the statements that a person may run to remove a breaking difference; none if there are no simple ones.

    A question mark marks a value to be chosen.
    """
    changes = _repair(item, catalog, server) if item.severity is Severity.BREAKING else ()
    return [statement for change in changes for statement in (*change.before, change.statement, *change.after)]


def _repair(item: ClassifiedDifference, catalog: Catalog, server: Server) -> Iterator[Change]:
    difference = item.difference
    table = difference.table
    match difference.wanted, difference.found:
        case Column() as wanted, None:
            yield from server.add_column(table, Column(wanted.name, wanted.type, null=True), None)
        case Column(name), Column() if difference.kind is Kind.NULL and item.violations:
            place, column = server.quoted(table), server.quoted(name)
            yield Change(f"UPDATE {place} SET {column} = ? WHERE {column} IS NULL")
        case Column() as wanted, Column() as found:
            yield from server.create_types(catalog, Table(table, (wanted,)))
            yield from server.alter_column(table, wanted, found)
        case ForeignKey() as wanted_key, found_key:
            if isinstance(found_key, ForeignKey):
                yield from server.drop_key(table, found_key.name)
            yield from server.add_key(table, wanted_key, None)
        case Check() as wanted_check, Check() as found_check:
            yield from server.drop_check(table, found_check)
            yield from server.add_check(table, wanted_check, None)
        case None, Column() as extra:
            yield from server.alter_column(table, Column(extra.name, extra.type, null=True), extra)
        case None, ForeignKey(name):
            yield from server.drop_key(table, name)
        case None, Index(name):
            yield from server.drop_index(table, name)
        case _ if difference.kind is Kind.COLLATION:
            yield Change(f"{server.alter(table)} CONVERT TO CHARACTER SET {server.charset}")
