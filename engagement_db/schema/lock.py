"""The migration lock: one deployer of a database at a time.

It belongs to the session, so it never outlives its process, nor its machine by more than ``silence_seconds``, and
nothing has to be cleaned up. On a Galera cluster and behind a pooler, where not all sessions see each other's locks, it
is a lease. Once a database has a lease, deployers with a session of their own take it too, and its holder waits until
no session has the lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import peewee

from engagement_db import servers
from engagement_db.errors import SchemaConflict
from engagement_db.schema.lease import Lease

TIMEOUT_SECONDS: Final = 60.0


@contextmanager
def hold_migration_lock(database: peewee.Database, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold the migration lock; other deployers wait until the block ends.

    On SQLite it is the write lock: the block is one transaction, committed at its end and rolled back
    when it raises. Raises MigrationBusy, naming the holder where the server reports it, if the lock was not
    free within ``timeout_seconds`` (0 or more). Nothing is changed then.
    """
    server = servers.of(database)
    if not server.shares_sessions(database):
        with server.migration_lock(database, timeout_seconds):
            # While this session waited, the first deployer behind a pooler may have come.
            if not server.shares_sessions(database):
                yield
                return
    # Where a change stays on one node, the table of the lease would too, and its rows would stop the others.
    obstacles = server.read(database).obstacles()
    if obstacles:
        refused = "the migration lock cannot be taken; nothing was changed:"
        raise SchemaConflict(refused, obstacles, "Then run the same command again.")
    with Lease(database).hold(timeout_seconds):
        servers.wait_for_migration_lock(
            lambda: server.other_deployer(database) is None,
            lambda: server.other_deployer(database) or "it was released just now",
            timeout_seconds,
        )
        yield
