"""Whether a database has the revisions that this version of the models needs: for the start of a service."""

from dataclasses import replace

import peewee

from engagement_db.errors import HistoryError
from engagement_db.orm.bound import current, target


def verify(database: peewee.Database | peewee.Proxy | None = None, *, accept_newer: bool = False) -> None:
    """Require the database, by default the bound one, to have all revisions of this version and no others.

    With ``accept_newer`` it may have revisions after the last that this version knows. Revisions only add, so a service
    keeps working, and can be restarted, on the tables of the next version: while that is deployed, and after it is
    rolled back.

    Reads the migration history alone: ``engagement-db check`` compares the tables too. Meant for the start of a
    service, because the models expect every revision to be applied.

    Raises HistoryError, with the command to run, for pending, unknown and duplicate revisions.
    """
    from engagement_db.schema import history, script_files

    known = script_files.names()
    status = history.status(_chosen(database), known)
    if accept_newer:
        status = replace(status, unknown=tuple(name for name in status.unknown if name < known[-1]))
    status.require_consistent()
    if status.pending:
        several = len(status.pending) > 1
        raise HistoryError(
            f"revision{'s' if several else ''} {', '.join(status.pending)} {'are' if several else 'is'} pending. "
            "Run `engagement-db migrate`, then start again."
        )


def is_current(database: peewee.Database | peewee.Proxy | None = None, *, accept_newer: bool = False) -> bool:
    """Return whether ``verify`` would return: for health checks, with two short reads of the migration history.

    A running service should accept newer revisions; otherwise all of its instances fail as soon as the next version
    migrates. Raises what a lost connection raises.
    """
    try:
        verify(database, accept_newer=accept_newer)
    except HistoryError:
        return False
    return True


def _chosen(database: peewee.Database | peewee.Proxy | None) -> peewee.Database:
    return current() if database is None else target(database)
