"""Deployers for the tests: the commands `engagement-db` and `pw_migrate`, each in a process of its own.

Forked rather than started anew: what is imported stays imported, so that hundreds of them run in a minute.
"""

import os
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import peewee_migrate.cli

import engagement_db.cli
from engagement_db.schema import runner

KILLED: Final = -signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal), and everything that it said."""

    code: int
    words: str


@dataclass
class Deployer:
    """A running process."""

    process: int
    output: IO[bytes]

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status = os.waitpid(self.process, 0)
        self.output.seek(0)
        with self.output:
            return Ended(os.waitstatus_to_exitcode(status), self.output.read().decode(errors="replace"))

    def kill(self) -> None:
        """End it at once, with no chance to say anything."""
        os.kill(self.process, signal.SIGKILL)


def start(command: Sequence[str], prepare: Callable[[], object] = lambda: None) -> Deployer:
    """Start a command: the first word is `engagement-db` or `pw_migrate`. ``prepare`` runs in the new process first."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - Deployer.wait closes it.
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return Deployer(process, output)
    code = 70
    try:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        prepare()
        _run(command)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(command: Sequence[str]) -> Ended:
    """Run a command to its end."""
    return start(command).wait()


def _run(command: Sequence[str]) -> None:
    program, *arguments = command
    main: Any = engagement_db.cli.main if program == "engagement-db" else peewee_migrate.cli.cli
    main(arguments, prog_name=program)


def engagement_db_command(verb: str, url: str, *options: str) -> list[str]:
    """Return an `engagement-db` command for this database."""
    return ["engagement-db", verb, "--database", url, *options]


def pw_migrate_command(verb: str, url: str, *options: str) -> list[str]:
    """Return a `pw_migrate` command for this database and our scripts."""
    return ["pw_migrate", verb, "--database", url, "--directory", str(runner.scripts_directory()), *options]


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
