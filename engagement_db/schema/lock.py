"""The migration lock: one deployer of a database at a time.

It belongs to the connection, so it never outlives its process, and nothing has to be cleaned up. A connection pooler
that hands one session to several clients (PgBouncer in transaction mode) would break it: migrate over a direct
connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import peewee

from engagement_db import servers

TIMEOUT_SECONDS: Final = 60.0


@contextmanager
def hold_migration_lock(database: peewee.Database, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold the migration lock; other deployers wait until the block ends.

    On SQLite it is the write lock: the block is one transaction, committed at its end and rolled back
    when it raises. Raises MigrationBusy, naming the holder where the server reports it, if the lock was not
    free within ``timeout_seconds`` (0 or more). Nothing is changed then.
    """
    with servers.of(database).migration_lock(database, timeout_seconds):
        yield
