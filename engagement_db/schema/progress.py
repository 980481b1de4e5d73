"""Progress of long statements, where the server reports it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import peewee

from engagement_db.servers import Server

INTERVAL_SECONDS: Final = 2.0


@contextmanager
def watched(database: peewee.Database, server: Server, report: Callable[[str], None]) -> Iterator[None]:
    """Report the progress of the running statement every two seconds, over a second connection.

    The second connection is opened only if the statement takes longer than that. Nothing is reported
    if the server does not report progress or refuses the second connection.
    """
    session_id = server.session_id(database) if server.progress_sql else None
    if session_id is None:
        yield
        return
    finished = threading.Event()
    thread = threading.Thread(
        target=_watch,
        args=(database, server, session_id, finished, report),
        name="engagement_db progress",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _watch(
    database: peewee.Database,
    server: Server,
    session_id: int,
    finished: threading.Event,
    report: Callable[[str], None],
) -> None:
    if finished.wait(INTERVAL_SECONDS):
        return
    # peewee keeps one connection for each thread, so this thread opens its own.
    # ValueError: a pool has no second connection to give.
    with suppress(peewee.PeeweeException, ValueError), database.connection_context():
        while True:
            progress = server.progress(database, session_id)
            if progress:
                report(f"    {progress}")
            if finished.wait(INTERVAL_SECONDS):
                return
