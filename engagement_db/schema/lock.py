"""The migration lock: one deployer of a database at a time.

It belongs to the connection, so it never outlives its process, and nothing has to be cleaned up. Where a session's lock
is not seen by all the others, on a Galera cluster and behind a pooler, it is a lease.
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
    if server.shares_sessions(database):
        # Where a change stays on one node, the table of the lease would too, and its rows would stop the others.
        obstacles = server.read(database).obstacles()
        if obstacles:
            refused = "the migration lock cannot be taken; nothing was changed:"
            raise SchemaConflict(refused, obstacles, "Then run the same command again.")
        with Lease(database).hold(timeout_seconds):
            yield
    else:
        with server.migration_lock(database, timeout_seconds):
            yield
