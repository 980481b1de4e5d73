"""Schema drift: where a live database departs from the revisions and the models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import peewee

from engagement_db import servers
from engagement_db.schema.compare import ClassifiedDifference, Kind, Severity, classify
from engagement_db.schema.stub_tables import STUB_TABLES
from engagement_db.tables import Table


@dataclass(frozen=True)
class Drift:
    """One difference, and whose declaration it contradicts."""

    classified: ClassifiedDifference
    declared_by: str

    @property
    def harmless(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.classified.severity is Severity.HARMLESS

    def __str__(self) -> str:
        if self.classified.severity is Severity.FIXABLE:
            return f"{self.classified.difference} (`engagement-db adopt --align` fixes it)"
        return str(self.classified)


def detect_drift(
    database: peewee.Database, contract: Mapping[str, Table], models: Sequence[Table]
) -> tuple[Drift, ...]:
    """Return every difference between the database and the revisions or the models. Reads each table once.

    Of the platform's tables only the primary key and what a revision added is compared.
    """
    server = servers.of(database)
    catalog = server.read(database)
    platform = {table.name for table in STUB_TABLES}
    names = dict.fromkeys([*contract, *(table.name for table in models)])
    live = {name: catalog.table(name) for name in names}
    found: dict[tuple[str, Kind, str], Drift] = {}
    declarations = [("the revisions", table) for table in contract.values()]
    declarations += [("the models", table) for table in models]
    for declared_by, declared in declarations:
        is_ours = declared.name not in platform
        for item in classify(declared if is_ours else _added_to(declared), live[declared.name], server):
            difference = item.difference
            if is_ours or difference.kind is not Kind.EXTRA:
                place = (difference.table, difference.kind, difference.name)
                found.setdefault(place, Drift(item, declared_by))
    return tuple(found.values())


def _added_to(declared: Table) -> Table:
    """Return what a platform table needs: the primary key, and the columns that a revision added with a key."""
    keys = {key.column for key in declared.foreign_keys}
    columns = tuple(column for column in declared.columns if column.name == "id" or column.name in keys)
    return replace(declared, columns=columns)
