"""Whether a database has the revisions that this version of the models needs: for the start of a service."""

import peewee

from engagement_db.errors import HistoryError
from engagement_db.orm.bound import current, target


def verify(database: peewee.Database | peewee.Proxy | None = None) -> None:
    """Return if the database, by default the bound one, has all revisions of this version and no others.

    Reads the migration history alone: ``engagement-db check`` compares the tables too. Meant for the start of a
    service; the models take tables that a pending revision would change as changed already.

    Raises HistoryError, with the command to run, for pending, unknown and duplicate revisions.
    """
    from engagement_db.schema import history, script_files

    status = history.status(_chosen(database), script_files.names())
    status.require_consistent()
    if status.pending:
        raise HistoryError(
            f"revision {', '.join(status.pending)} is pending. Run `engagement-db migrate`, then start again."
        )


def is_current(database: peewee.Database | peewee.Proxy | None = None) -> bool:
    """Return whether ``verify`` would return: for health checks, with two short reads of the migration history.

    Raises what a lost connection raises.
    """
    try:
        verify(database)
    except HistoryError:
        return False
    return True


def _chosen(database: peewee.Database | peewee.Proxy | None) -> peewee.Database:
    return current() if database is None else target(database)
