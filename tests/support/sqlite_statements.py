"""What a process does at one of its SQLite statements: write it down, or be killed there."""

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die_at(number: int, side: str) -> Callable[[], None]:
    """Return a ``prepare`` that kills the process before or after its SQLite statement of this number."""

    def strike(count: int, statement: str) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    nothing = _ignore
    return lambda: _hook_sqlite(*((strike, nothing) if side == "before" else (nothing, strike)))


def record(path: Path) -> Callable[[], None]:
    """Return a ``prepare`` that writes the SQLite statements of the process into a file, one a line."""

    def note(count: int, statement: str) -> None:
        with path.open("a") as file:
            file.write(" ".join(statement.split()) + "\n")

    return lambda: _hook_sqlite(note, _ignore)


def _ignore(count: int, statement: str) -> None:
    pass


def _hook_sqlite(before: Callable[[int, str], None], after: Callable[[int, str], None]) -> None:
    count = 0

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *parameters: Any) -> "Cursor":
            nonlocal count
            count += 1
            number = count
            before(number, sql)
            super().execute(sql, *parameters)
            after(number, sql)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Cursor:
            return super().cursor(Cursor)

        def execute(self, sql: str, *parameters: Any) -> Cursor:
            return self.cursor().execute(sql, *parameters)

        def commit(self) -> None:
            if self.in_transaction:
                self.execute("COMMIT")

        def rollback(self) -> None:
            if self.in_transaction:
                self.execute("ROLLBACK")

    connect = sqlite3.connect
    sqlite3.connect = lambda *arguments, **options: connect(  # type: ignore[assignment]
        *arguments, **options, factory=Connection
    )
