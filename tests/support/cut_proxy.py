"""A TCP proxy that stands between one command and its server and can strike between any two statements.

It counts the statements on the wire, so nothing of what the driver sends escapes it: session settings,
BEGIN, SAVEPOINT and COMMIT count like every other.
"""

import contextlib
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import urlsplit

Side = Literal["before", "after"]

_MYSQL_QUERY = 3
_PIECE = 1 << 16


@dataclass(frozen=True)
class Point:
    """A moment on the wire: before a statement reaches the server, or after the server has carried it out.

    At "after" the command has not heard of it yet. ``statement`` is its number, or a pattern that it matches.
    """

    statement: int | str
    side: Side

    def __str__(self) -> str:
        return f"{self.side} statement {self.statement}"


@dataclass
class _Session:
    client: socket.socket
    server: socket.socket
    sent: bytes = b""
    began: bool = False

    def close(self) -> None:
        self.client.close()
        self.server.close()


@dataclass
class CutProxy:
    """Passes everything on to the server at ``url``; a context manager that closes what it opened."""

    url: str
    statements: list[str] = field(default_factory=list, init=False)
    was_struck: bool = field(default=False, init=False)

    def __enter__(self) -> Self:
        self._is_postgres = urlsplit(self.url).scheme.startswith("postgres")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sessions: list[_Session] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for session in self._sessions:
            session.close()

    @property
    def own_url(self) -> str:
        """The URL that leads to the same database through here."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")[0]
        # What is encrypted cannot be counted.
        plain = "sslmode=disable" if self._is_postgres else "ssl_disabled=true"
        return parts._replace(netloc=f"{user}@127.0.0.1:{self._listener.getsockname()[1]}", query=plain).geturl()

    def watch(self, process: int, point: Point | None = None, strike: Callable[[], None] = lambda: None) -> None:
        """Pass everything on until ``process``, a child, ends; at ``point`` strike, then cut its connection.

        Only the first connection is counted and struck: a second one would watch the progress of the first.
        """
        self._point, self._strike = point, strike
        ended = os.pidfd_open(process)
        try:
            self._pass_on_until(ended)
        finally:
            os.close(ended)

    @contextlib.contextmanager
    def watching(self, point: Point | None = None) -> Iterator[None]:
        """Pass everything on inside the block, for clients in this process; at ``point`` cut the connection."""
        self._point, self._strike = point, lambda: None
        ended, end = os.pipe()
        thread = threading.Thread(target=self._pass_on_until, args=[ended])
        thread.start()
        try:
            yield
        finally:
            os.close(end)
            thread.join()
            os.close(ended)

    def _pass_on_until(self, ended: int) -> None:
        while True:
            sockets = [self._listener, *(end for each in self._sessions for end in (each.client, each.server))]
            readable, _, _ = select.select([ended, *sockets], [], [])
            if ended in readable:
                return
            if self._listener in readable:
                self._accept()
            for session in list(self._sessions):
                for end in (session.client, session.server):
                    if end in readable and session in self._sessions:
                        self._pass_on(session, end)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        parts = urlsplit(self.url)
        try:
            server = socket.create_connection((parts.hostname or "", parts.port or 0))
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sessions.append(_Session(client, server))
        self._first = getattr(self, "_first", self._sessions[0])

    def _pass_on(self, session: _Session, end: socket.socket) -> None:
        try:
            data = end.recv(_PIECE)
            if not data:
                raise ConnectionError
            if end is session.server:
                session.client.sendall(data)
            elif session is not self._first:
                session.server.sendall(data)
            else:
                self._count(session, data)
        except OSError:
            self._drop(session)

    def _drop(self, session: _Session) -> None:
        session.close()
        if session in self._sessions:
            self._sessions.remove(session)

    def _count(self, session: _Session, data: bytes) -> None:
        session.sent += data
        for message, statement in self._messages(session):
            if statement is None:
                session.server.sendall(message)
                continue
            self.statements.append(statement)
            if not self._is_reached(statement):
                session.server.sendall(message)
                continue
            if self._point.side == "after":
                session.server.sendall(message)
                self._await_answer(session.server)
            self.was_struck = True
            self._strike()
            self._drop(session)
            return

    def _is_reached(self, statement: str) -> bool:
        if self._point is None or self.was_struck:
            return False
        if isinstance(self._point.statement, str):
            return re.match(self._point.statement, re.sub('["`]', "", statement)) is not None
        return self._point.statement == len(self.statements)

    def _messages(self, session: _Session) -> Iterator[tuple[bytes, str | None]]:
        while True:
            found = self._postgres_message(session) if self._is_postgres else self._mysql_message(session.sent)
            if found is None:
                return
            length, statement = found
            message, session.sent = session.sent[:length], session.sent[length:]
            yield message, statement

    def _postgres_message(self, session: _Session) -> tuple[int, str | None] | None:
        sent = session.sent
        if not session.began:
            if len(sent) < 8 or len(sent) < struct.unpack("!I", sent[:4])[0]:
                return None
            length, code = struct.unpack("!II", sent[:8])
            # Requests for encryption come first and carry a code of their own.
            session.began = code >> 16 == 3
            return length, None
        if len(sent) < 5:
            return None
        length = 1 + struct.unpack("!I", sent[1:5])[0]
        if len(sent) < length:
            return None
        return length, sent[5 : length - 1].decode() if sent[:1] == b"Q" else None

    def _mysql_message(self, sent: bytes) -> tuple[int, str | None] | None:
        if len(sent) < 4:
            return None
        length = 4 + int.from_bytes(sent[:3], "little")
        if len(sent) < length:
            return None
        is_query = sent[3] == 0 and sent[4:5] == bytes([_MYSQL_QUERY])
        return length, sent[5:length].decode() if is_query else None

    def _await_answer(self, server: socket.socket) -> None:
        """Read until the server has carried the statement out."""
        answer = b""
        while not self._is_whole(answer):
            data = server.recv(_PIECE)
            if not data:
                raise ConnectionError("the server went away by itself")
            answer += data

    def _is_whole(self, answer: bytes) -> bool:
        if not self._is_postgres:
            # MySQL answers nothing before it is done; what follows is only the rest of the rows.
            return bool(answer)
        position = 0
        while len(answer) >= position + 5:
            kind, length = answer[position : position + 1], struct.unpack("!I", answer[position + 1 : position + 5])[0]
            position += 1 + length
            if kind == b"Z" and len(answer) >= position:
                return True
        return False
