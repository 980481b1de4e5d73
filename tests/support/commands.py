"""The two commands as a person runs them: in a process of their own, in a folder with the scripts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from engagement_db.schema import runner

# Tests with the fixture `first_three` have only these, and may put revisions of their own beside them.
FIRST_THREE = runner.names()[:3]

Result = subprocess.CompletedProcess[str]


def copy_scripts(folder: Path) -> Path:
    """Make `folder`/migrations, a copy of the scripts, and return it."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(runner.scripts_directory(), folder / "migrations", ignore=ignored))


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
