"""The migration history: which revisions a database has, in peewee-migrate's own table."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import HistoryError
from engagement_db.schema.lease import held
from engagement_db.servers.catalog import HISTORY

# Importing peewee-migrate takes longer than reading the history.
TABLE: Final = HISTORY
_UNIQUE_NAME: Final = "migratehistory_name"
_history: Any = peewee.Table(TABLE, ("id", "name", "migrated_at"))


@dataclass(frozen=True)
class MigrationStatus:
    """Which revisions are applied, pending, not known to this code, or recorded twice; each sorted by name."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    duplicates: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """A sentence for the unknown revisions and one for the duplicates, if there are any."""
        found = []
        if self.unknown:
            found.append(
                f"revision {', '.join(self.unknown)} is applied but not known to this version of the code. "
                "Deploy a version that includes it."
            )
        if self.duplicates:
            found.append(
                f"revision {', '.join(self.duplicates)} is recorded more than once in {TABLE}. "
                "Delete all of its rows but the first."
            )
        return found

    def require_consistent(self) -> None:
        """Raise HistoryError if the history lists unknown or duplicate revisions."""
        if self.problems:
            raise HistoryError(f"{' '.join(self.problems)} Nothing was changed.")


def status(database: peewee.Database, known: Sequence[str]) -> MigrationStatus:
    """Return the status of the database, given the names of the known revisions in order. Reads only."""
    names = applied_names(database)
    return MigrationStatus(
        applied=tuple(name for name in known if name in names),
        pending=tuple(name for name in known if name not in names),
        unknown=tuple(sorted(set(names) - set(known))),
        duplicates=tuple(sorted({name for name in names if names.count(name) > 1})),
    )


def applied_names(database: peewee.Database) -> list[str]:
    """Return the names in the history, oldest first; none if there is no history table."""
    if not servers.read(database).has_table(TABLE):
        return []
    query = _history.select(_history.name).order_by(_history.id)
    return [row["name"] for row in query.bind(database).dicts()]


def create(database: peewee.Database) -> None:
    """Create the history table if it does not exist, as peewee-migrate does, and make its names unique.

    Then no two deployers can record the same revision, not even with plain peewee-migrate. If the session lacks the
    right to create the index, or names are recorded twice, the table is left as it is.
    A sequence that stands below the history's ids, as after logical replication, is set.
    """
    if not servers.read(database).has_table(TABLE):
        from peewee_migrate import models as peewee_migrate_models

        # Binding the model would change it for the whole process, where a peewee-migrate Router may use it.
        peewee.SchemaManager(peewee_migrate_models.MigrateHistory, database).create_table(safe=True)
    if not any(index.unique and index.columns == ["name"] for index in database.get_indexes(TABLE)):
        with contextlib.suppress(peewee.DatabaseError):
            database.execute_sql(f"CREATE UNIQUE INDEX {_UNIQUE_NAME} ON {TABLE} (name)")
    with contextlib.suppress(peewee.DatabaseError):
        if (behind := servers.of(database).lagging_sequence(database, TABLE)) is not None:
            database.execute_sql(behind[2])


def add(database: peewee.Database, name: str) -> None:
    """Record the revision as applied, in one transaction with the check of the lease."""
    require_held(database)
    moment = datetime.now(UTC).replace(tzinfo=None)
    _history.insert({_history.name: name, _history.migrated_at: moment}).execute(database)


def remove(database: peewee.Database, name: str) -> None:
    """Remove the revision from the history, in one transaction with the check of the lease."""
    require_held(database)
    _history.delete().where(_history.name == name).execute(database)


def require_held(database: peewee.Database) -> None:
    """Require the lease for the rest of this transaction, which writes the history.

    Does nothing where this process holds none. Raises MigrationBusy if another deployer took it over.
    """
    lease = held(database)
    if lease is not None:
        if not servers.of(database).transactional_ddl:
            # A change of the schema has ended the transaction around it.
            database.execute_sql("BEGIN")
        lease.require_held()
