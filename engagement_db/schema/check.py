"""Schema drift: where a live database departs from the revisions and the models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import peewee

from engagement_db import servers
from engagement_db.errors import SchemaMissing
from engagement_db.schema.compare import Difference, Kind
from engagement_db.schema.revision import Revision, declared
from engagement_db.schema.severity import ClassifiedDifference, Severity, classify
from engagement_db.schema.simulate import SimulatedCatalog
from engagement_db.schema.stub_tables import PLATFORM_NAMES
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

    @property
    def is_fixable(self) -> bool:
        """Whether `adopt --align` removes it."""
        return self.classified.severity is Severity.FIXABLE

    def __str__(self) -> str:
        if self.is_fixable:
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
    names = dict.fromkeys([*contract, *(table.name for table in models)])
    live = {name: catalog.table(name) for name in names}
    types = servers.KeyTypes(SimulatedCatalog(server, {name: table for name, table in live.items() if table}))
    found: dict[tuple[str, Kind, str], Drift] = {}
    declarations = [("the revisions", types.fit(table)) for table in contract.values()]
    declarations += [("the models", types.fit(table)) for table in models]
    for declared_by, table in declarations:
        if table.name in PLATFORM_NAMES:
            items = _platform_differences(table, live[table.name], server)
        else:
            items = classify(table, live[table.name], server)
        for item in items:
            place = (item.difference.table, item.difference.kind, item.difference.name)
            found.setdefault(place, Drift(item, declared_by))
    return tuple(found.values())


def require_present(
    database: peewee.Database, revisions: Sequence[Revision], names: Sequence[str], *, nothing_pending: bool
) -> None:
    """Raise SchemaMissing if the database lacks what the applied revisions created, or has it in an unusable form.

    ``names`` are those of the applied revisions. Where revisions are pending, an interrupted run may have added objects
    of the next one already: then only tables and columns that are missing count.

    The history of a node may say more than its tables: after a restore, where a replica does not get schema changes, or
    where the nodes of a cluster were changed one by one. Reads the catalog of each table once, and no rows.
    """
    applied = [revision for revision in revisions if revision.name in names]
    drift = detect_drift(database, declared(applied), ()) if applied else ()
    found = [
        str(item)
        for item in drift
        if item.classified.is_breaking
        and (nothing_pending or item.classified.difference.kind in (Kind.TABLE, Kind.COLUMN))
    ]
    if found:
        raise SchemaMissing(
            f"migratehistory records revisions up to {applied[-1].name} as applied, but the tables are not as these "
            f"left them: {'; '.join(found)}. Nothing was changed. Compare the nodes with `engagement-db check --each "
            "URL ...` and copy the schema from one that is right; or delete the rows of the revisions from "
            "migratehistory and run `engagement-db migrate`, which creates what is missing."
        )


def find_lagging_sequences(database: peewee.Database, names: Iterable[str]) -> list[str]:
    """Return a sentence for each of these tables whose next id would be one that a row has already.

    This happens where rows were replicated but their sequence was not. Two look-ups for each table.
    """
    server = servers.of(database)
    catalog = server.read(database)
    found = []
    for name in names:
        if catalog.has_table(name) and (behind := server.lagging_sequence(database, name)) is not None:
            next_id, highest_id, cure = behind
            found.append(
                f"{name}.id: its sequence gives {next_id} next, and rows have ids up to {highest_id}, so that inserts "
                f"fail; run {cure}"
            )
    return found


def _platform_differences(wanted: Table, live: Table | None, server: servers.Server) -> Iterator[ClassifiedDifference]:
    """Yield the differences in what the library needs of a platform table.

    That is an integer ``id`` to reference, and the columns that a revision added with a foreign key.
    """
    keys = {key.column for key in wanted.foreign_keys}
    needed = tuple(column for column in wanted.columns if column.name == "id" or column.name in keys)
    for item in classify(replace(wanted, columns=needed), live, server):
        match item.difference:
            case Difference(kind=Kind.EXTRA):
                continue
            case Difference(wanted=Column(type=Id()), found=Column(type=Integer())):
                yield replace(item, severity=Severity.HARMLESS)
            case _:
                yield item
