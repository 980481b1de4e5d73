"""The two commands as a person runs them: in a process of their own, in a folder with the scripts."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_db.schema import runner

# Tests with the fixture `first_three` have only these, and may put revisions of their own beside them.
FIRST_THREE = runner.names()[:3]

Result = subprocess.CompletedProcess[str]


def copy_scripts(folder: Path) -> Path:
    """Make `folder`/migrations, a copy of the scripts, and return it."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(runner.scripts_directory(), folder / "migrations", ignore=ignored))


@contextlib.contextmanager
def only_first_three(folder: Path) -> Iterator[None]:
    """Let the revisions 001 to 003 be all that there are in the block, whatever was released since."""
    scripts = copy_scripts(folder)
    for path in scripts.glob("[0-9]*.py"):
        if path.stem not in FIRST_THREE:
            path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        if runner.names() != FIRST_THREE:
            # Models have the fields of every revision: `check` compares with the revisions only.
            patch.setattr("engagement_db.cli.MODELS", ())
        patch.setattr(runner, "scripts_directory", lambda: scripts)
        yield


def run(folder: Path, command: str, *arguments: str, **environment: str) -> Result:
    """Run a command of this installation in `folder`; DATABASE_URL is set only if given."""
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [str(Path(sys.executable).parent / command), *arguments],
        cwd=folder,
        env=inherited | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def pw_migrate(folder: Path, *arguments: str, **environment: str) -> Result:
    return run(folder, "pw_migrate", *arguments, **environment)


def said(result: Result) -> str:
    """Everything that the command printed."""
    return result.stdout + result.stderr
