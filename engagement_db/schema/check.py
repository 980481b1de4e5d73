"""Schema drift: where a live database departs from the revisions and the models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import peewee

from engagement_db import servers
from engagement_db.schema.compare import Difference, Kind
from engagement_db.schema.severity import ClassifiedDifference, Severity, classify
from engagement_db.schema.simulate import SimulatedCatalog
from engagement_db.schema.stub_tables import STUB_TABLES
from engagement_db.tables import Column, Id, Integer, Table


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

    Of the platform's tables only what the library needs is compared.
    """
    server = servers.of(database)
    catalog = server.read(database)
    platform = {table.name for table in STUB_TABLES}
    names = dict.fromkeys([*contract, *(table.name for table in models)])
    live = {name: catalog.table(name) for name in names}
    types = servers.KeyTypes(SimulatedCatalog(server, {name: table for name, table in live.items() if table}))
    found: dict[tuple[str, Kind, str], Drift] = {}
    declarations = [("the revisions", types.fit(table)) for table in contract.values()]
    declarations += [("the models", types.fit(table)) for table in models]
    for declared_by, declared in declarations:
        if declared.name in platform:
            items = _platform_differences(declared, live[declared.name], server)
        else:
            items = classify(declared, live[declared.name], server)
        for item in items:
            place = (item.difference.table, item.difference.kind, item.difference.name)
            found.setdefault(place, Drift(item, declared_by))
    return tuple(found.values())


def _platform_differences(
    declared: Table, live: Table | None, server: servers.Server
) -> Iterator[ClassifiedDifference]:
    """Yield the differences in what the library needs of a platform table.

    That is an integer ``id`` to reference, and the columns that a revision added with a foreign key.
    """
    keys = {key.column for key in declared.foreign_keys}
    needed = tuple(column for column in declared.columns if column.name == "id" or column.name in keys)
    for item in classify(replace(declared, columns=needed), live, server):
        match item.difference:
            case Difference(kind=Kind.EXTRA):
                continue
            case Difference(wanted=Column(type=Id()), found=Column(type=Integer())):
                yield replace(item, severity=Severity.HARMLESS)
            case _:
                yield item
