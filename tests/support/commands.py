"""The commands `engagement-db` and `pw_migrate`, each in a process of its own.

Forked rather than started: what is imported stays imported, so that hundreds of them run in a minute.
"""

import contextlib
import faulthandler
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import peewee_migrate.cli
import pytest

import engagement_db.cli
from engagement_db.schema import script_files

KILLED: Final = -signal.SIGKILL
TIMEOUT_SECONDS: Final = 300

# Tests with the fixture `first_three` have only these, and may put revisions of their own beside them.
FIRST_THREE = script_files.names()[:3]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal), and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """Everything that it printed."""
        return self.stdout + self.stderr


@dataclass
class Deployer:
    """A running process."""

    process: int
    outputs: tuple[IO[bytes], IO[bytes]]

    def wait(self) -> Ended:
        """Wait for its end. One that does not come is made, and fails the test."""
        descriptor = os.pidfd_open(self.process)
        in_time, _, _ = select.select([descriptor], [], [], TIMEOUT_SECONDS)
        os.close(descriptor)
        if not in_time:
            self.kill()
        _, status = os.waitpid(self.process, 0)
        texts = []
        for output in self.outputs:
            with output:
                output.seek(0)
                texts.append(output.read().decode(errors="replace"))
        ended = Ended(os.waitstatus_to_exitcode(status), *texts)
        assert in_time, f"no end within {TIMEOUT_SECONDS} s:\n{ended.words}"
        return ended

    def kill(self) -> None:
        """End it at once, with no chance to say anything."""
        os.kill(self.process, signal.SIGKILL)


def start(
    command: Sequence[str],
    prepare: Callable[[], object] = lambda: None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Deployer:
    """Start a command: the first word is `engagement-db` or `pw_migrate`. ``prepare`` runs in the new process first.

    DATABASE_URL is set only if ``environment`` has it.
    """
    outputs = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - Deployer.wait closes them.
    sys.stdout.flush()
    sys.stderr.flush()
    _end_watchdog()
    process = os.fork()
    if process:
        return Deployer(process, outputs)
    code = 70
    try:
        for descriptor, output in enumerate(outputs, 1):
            os.dup2(output.fileno(), descriptor)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.chdir(folder or ".")
        os.environ.pop("DATABASE_URL", None)
        os.environ.update(environment or {})
        # A program sets up its own logging; here pytest was first.
        logging.getLogger().handlers.clear()
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


def run(command: Sequence[str], *, folder: Path | None = None, **environment: str) -> Ended:
    """Run a command to its end, in ``folder`` or where the tests run."""
    return start(command, folder=folder, environment=environment).wait()


def pw_migrate(folder: Path, *arguments: str, **environment: str) -> Ended:
    return run(["pw_migrate", *arguments], folder=folder, **environment)


def engagement_db_command(verb: str, url: str, *options: str) -> list[str]:
    """Return an `engagement-db` command for this database."""
    return ["engagement-db", verb, "--database", url, *options]


def pw_migrate_command(verb: str, url: str, *options: str) -> list[str]:
    """Return a `pw_migrate` command for this database and the library's scripts."""
    return ["pw_migrate", verb, "--database", url, "--directory", str(script_files.scripts_directory()), *options]


def copy_scripts(folder: Path) -> Path:
    """Make `folder`/migrations, a copy of the scripts, and return it."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(script_files.scripts_directory(), folder / "migrations", ignore=ignored))


@contextlib.contextmanager
def only_first_three(folder: Path) -> Iterator[None]:
    """Let the revisions 001 to 003 be all that there are in the block, whatever was released since."""
    scripts = copy_scripts(folder)
    for path in scripts.glob("[0-9]*.py"):
        if path.stem not in FIRST_THREE:
            path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        if script_files.names() != FIRST_THREE:
            # Models have the fields of every revision: `check` compares with the revisions only.
            patch.setattr("engagement_db.check_report.MODELS", ())
        patch.setattr(script_files, "scripts_directory", lambda: scripts)
        yield


def _end_watchdog() -> None:
    """End the thread from which pytest watches a test: only a process without threads may fork. `wait` watches then."""
    faulthandler.cancel_dump_traceback_later()
    # It is gone a moment after it has ended.
    for _ in range(1000):
        if len(os.listdir("/proc/self/task")) <= threading.active_count():
            return
        time.sleep(0.001)


def _run(command: Sequence[str]) -> None:
    program, *arguments = command
    main: Any = engagement_db.cli.main if program == "engagement-db" else peewee_migrate.cli.cli
    main(arguments, prog_name=program)
