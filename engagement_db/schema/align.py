"""Alignment: the safe changes that make adopted tables match the revisions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engagement_db.schema.compare import Kind
from engagement_db.schema.severity import ClassifiedDifference, Severity, judge, missing_check
from engagement_db.schema.steps import AddCheck, AddColumn, AddIndex, BaseStep, Step, Tables
from engagement_db.servers import Catalog, Change, Server
from engagement_db.tables import Column, Index, Table


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
