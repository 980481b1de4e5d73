"""Comparing a live database with what the revisions and the models say it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import peewee

from engagement_db import dialects
from engagement_db.schema import catalog as catalogs
from engagement_db.schema.difference import Difference, Kind
from engagement_db.schema.judgement import Weight, judged
from engagement_db.schema.platform import STAND_INS
from engagement_db.tables import Table


@dataclass(frozen=True)
class Drift:
    """One difference, whose declaration it contradicts, and its weight."""

    difference: Difference
    declared_by: str
    weight: Weight

    @property
    def harmless(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.weight is Weight.HARMLESS

    def __str__(self) -> str:
        if self.weight is Weight.MENDABLE:
            return f"{self.difference} (`engagement-db adopt --align` mends it)"
        return f"{self.difference}{' (harmless)' if self.harmless else ''}"


def drifts(database: peewee.Database, contract: Mapping[str, Table], models: Sequence[Table]) -> tuple[Drift, ...]:
    """Return everything in which the database is unlike the contract or the models. Reads only.

    Of the platform's own tables only what we read and what we added is compared: whatever else they
    have is theirs. Harmless is what serves every row and query of ours all the same, as most things do that
    only the database has.
    """
    live, dialect = catalogs.of(database), dialects.of(database)
    found: dict[tuple[str, Kind, str], Drift] = {}
    declarations = [("the revisions", table) for table in contract.values()]
    declarations += [("the models", table) for table in models]
    platform = {table.name for table in STAND_INS}
    for declared_by, declared in declarations:
        table = live.table(declared.name)
        for item in judged(_ours(declared) if declared.name in platform else declared, table, dialect):
            difference = item.difference
            if difference.kind is Kind.EXTRA and declared.name in platform:
                continue
            place = (difference.table, difference.kind, difference.name)
            found.setdefault(place, Drift(difference, declared_by, item.weight))
    return tuple(found.values())


def _ours(declared: Table) -> Table:
    """Return what a platform table owes us: the key, and the columns that a revision added with a key."""
    keys = {key.column for key in declared.foreign_keys}
    columns = tuple(column for column in declared.columns if column.name == "id" or column.name in keys)
    return replace(declared, columns=columns)
