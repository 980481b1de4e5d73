"""A migrated scratch database, and a transaction that is rolled back."""

from collections.abc import Iterator
from contextlib import contextmanager

import peewee

from engagement_db.orm.connect import bind_ctx
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables


@contextmanager
def scratch_database(url: str = "sqlite:///:memory:") -> Iterator[peewee.Database]:
    """Open the database at ``url``, with stub tables of the platform and all revisions, for the time of the block.

    All threads share its one connection, so that a service that answers in other threads sees the rows of a test that
    are not committed; use it from one thread at a time. No model is bound to it. Give it an empty database: tables
    that are missing are created, nothing is deleted.
    """
    options = {"check_same_thread": False} if url.startswith("sqlite") else {}
    database = open_database(url, thread_safe=False, **options)
    with database.connection_context():
        runner.migrate(database, prepare=create_stub_tables)
        yield database


@contextmanager
def rolled_back(database: peewee.Database) -> Iterator[peewee.Database]:
    """Bind the models to the open ``database`` for the block, in a transaction that is rolled back at its end.

    Verbs join the transaction, behind savepoints. Nothing is committed, so listeners of ``on_move`` are not called.
    """
    with bind_ctx(database), database.atomic() as transaction:
        try:
            yield database
        finally:
            transaction.rollback()
