"""Which revisions a database has: peewee-migrate's own table, read with care."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import peewee
from peewee_migrate import models as peewee_migrate_models

from engagement_db.errors import HistoryError

TABLE: Final = peewee_migrate_models.MIGRATE_TABLE
_history: Any = peewee.Table(TABLE, ("id", "name", "migrated_at"))


@dataclass(frozen=True)
class Standing:
    """Where a database stands: revisions in the order of their names."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    repeated: tuple[str, ...]

    def refuse_doubt(self) -> None:
        """Raise HistoryError when the history and the scripts do not tell the same story."""
        doubts = []
        if self.unknown:
            doubts.append(
                f"the database has {', '.join(self.unknown)}, which this code does not know: the code is older than "
                "the database, or a script is missing. Deploy the code that has it"
            )
        if self.repeated:
            doubts.append(
                f"{', '.join(self.repeated)} stands in {TABLE} more than once; delete all rows of it but the first"
            )
        if doubts:
            raise HistoryError(f"{'; '.join(doubts)}. Nothing was changed.")


def standing(database: peewee.Database, known: Sequence[str]) -> Standing:
    """Return where the database stands among the revisions of these names, in order. Reads only."""
    names = names_in(database)
    return Standing(
        applied=tuple(name for name in known if name in names),
        pending=tuple(name for name in known if name not in names),
        unknown=tuple(sorted(set(names) - set(known))),
        repeated=tuple(sorted({name for name in names if names.count(name) > 1})),
    )


def names_in(database: peewee.Database) -> list[str]:
    """Return the names in the history, oldest first; none where there is no history table."""
    if not database.table_exists(TABLE):
        return []
    query = _history.select(_history.name).order_by(_history.id)
    return [row["name"] for row in query.bind(database).dicts()]


def create(database: peewee.Database) -> None:
    """Create the history table unless it is there, just as peewee-migrate does."""
    if not database.table_exists(TABLE):
        # Not by binding the model, which is one for the whole process: a Router of peewee-migrate may hold it.
        peewee.SchemaManager(peewee_migrate_models.MigrateHistory, database).create_table(safe=True)


def add(database: peewee.Database, name: str) -> None:
    """Record the revision as applied."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    _history.insert({_history.name: name, _history.migrated_at: moment}).execute(database)


def remove(database: peewee.Database, name: str) -> None:
    """Record the revision as not applied."""
    _history.delete().where(_history.name == name).execute(database)
