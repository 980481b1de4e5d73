"""How often a client waits for its server: each request that follows an answer is one turn.

Counted on the wire by a proxy, so that BEGIN, COMMIT and what a driver sends on its own are counted too. SQLite has no
wire; there each statement is one turn.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import peewee

import engagement_db as edb

_PIECE = 1 << 16


class Turns:
    """A counter; ``of`` says how many turns a call takes."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, call: Callable[[], Any]) -> int:
        """Return the number of turns of ``call``."""
        self.count = 0
        call()
        return self.count


@contextmanager
def counted(url: str, connect: Callable[[str], peewee.Database] = edb.connect) -> Iterator[Turns]:
    """Bind the models to the database at ``url`` by ``connect``, with one connection open, and count its turns."""
    if url.startswith("sqlite"):
        turns = Turns()
        database = connect(url)
        with database.connection_context():
            database.connection().set_trace_callback(lambda statement: _add(turns, statement))
            yield turns
        return
    with through(url) as (counted_url, turns):
        database = connect(counted_url)
        with database.connection_context():
            edb.User.select().exists()
            yield turns


@contextmanager
def through(url: str) -> Iterator[tuple[str, Turns]]:
    """Yield a URL that leads to the same database, for any client, and the counter of what goes over it."""
    turns = Turns()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, url, turns), daemon=True).start()
        try:
            yield _through(url, listener.getsockname()[1]), turns
        finally:
            # Closing alone would leave the thread waiting for the next client.
            listener.shutdown(socket.SHUT_RDWR)


def _add(turns: Turns, statement: str) -> None:
    # SQLite traces what a foreign key does by itself as a comment.
    turns.count += not statement.startswith("--")


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    # What is encrypted cannot be counted.
    plain = "sslmode=disable" if parts.scheme.startswith("postgres") else "ssl_disabled=true"
    return parts._replace(netloc=f"{user}@127.0.0.1:{port}", query=plain).geturl()


def _accept(listener: socket.socket, url: str, turns: Turns) -> None:
    parts = urlsplit(url)
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection((parts.hostname or "", parts.port or 0))
        threading.Thread(target=_pass_both_ways, args=(client, server, turns), daemon=True).start()


def _pass_both_ways(client: socket.socket, server: socket.socket, turns: Turns) -> None:
    """Pass one connection on."""
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    spoke_last = [server]
    lock = threading.Lock()

    def pass_on(source: socket.socket, to: socket.socket) -> None:
        while data := source.recv(_PIECE):
            with lock:
                if source is client and spoke_last[0] is server:
                    turns.count += 1
                spoke_last[0] = source
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)

    answers = threading.Thread(target=pass_on, args=(server, client), daemon=True)
    answers.start()
    pass_on(client, server)
    answers.join()
    client.close()
    server.close()
