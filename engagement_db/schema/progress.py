"""How far a long statement has come, where the server tells."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import peewee

from engagement_db.dialects import Dialect

INTERVAL_SECONDS: Final = 2.0


@contextmanager
def watched(database: peewee.Database, dialect: Dialect, report: Callable[[str], None]) -> Iterator[None]:
    """Report the server's own account of the running statement every two seconds, from a second connection.

    The second connection is opened only when the statement takes longer than that. Where the server
    has nothing to tell, or refuses the second connection, nothing is reported.
    """
    if dialect.progress is None or dialect.connection_id is None:
        yield
        return
    number = database.execute_sql(dialect.connection_id).fetchone()[0]
    over = threading.Event()
    thread = threading.Thread(
        target=_watch,
        args=(database, dialect.progress, number, over, report),
        name="engagement_db progress",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(
    database: peewee.Database, query: str, number: int, over: threading.Event, report: Callable[[str], None]
) -> None:
    if over.wait(INTERVAL_SECONDS):
        return
    # peewee keeps one connection a thread, so this one is a second, and its own.
    # ValueError: a pool that has no second one to give.
    with suppress(peewee.PeeweeException, ValueError), database.connection_context():
        while True:
            row = database.execute_sql(query, (number,)).fetchone()
            if row and row[0]:
                done = f" {float(row[1]):.0f} %" if row[1] is not None else ""
                report(f"    {row[0]}{done}")
            if over.wait(INTERVAL_SECONDS):
                return
