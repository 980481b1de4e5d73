"""Skeletons of revision scripts, for `engagement-db new` and `pw_migrate create`."""

import re
from pathlib import Path
from typing import Final

from engagement_db.errors import ConfigurationError
from engagement_db.schema import script_files

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LAST_NUMBER: Final = 999

# Imports from steps, imports from tables, and the step itself. A name in capitals is to be replaced: it is
# refused as a missing table for as long as it is there.
_STEPS: Final = {
    "column": ("add_column", "varchar", 'add_column("TABLE", varchar("newColumn", 255, null=True)),'),
    "index": ("add_index", "index", 'add_index("TABLE", index("firstColumn", "secondColumn")),'),
    "check": ("add_check", "check", 'add_check("TABLE", check("newRule", \'"someColumn" > 0\')),'),
    "label": (
        "add_enum_label",
        "enum",
        'add_enum_label("TABLE", enum("someColumn", ["all", "its", "labels"], default="all"), "new_label"),',
    ),
    "table": (
        "create_table, require_tables",
        "NOW, index, key, references, table, time",
        """require_tables("PARENT"),
    create_table(
        table(
            "new_table",
            key(),
            references("parentId", "PARENT", on_delete="CASCADE"),
            time("createdAt", default=NOW),
            index("parentId"),
        )
    ),""",
    ),
}
STEP_NAMES: Final = tuple(_STEPS)


def write_skeleton(name: str, *, step: str = "column", directory: Path | None = None) -> Path:
    """Write the skeleton of a revision with the next free number, and return its path.

    ``name`` describes the change in snake_case, ``step`` is one of STEP_NAMES, ``directory`` defaults
    to `migrations/` of the checkout. Raises ConfigurationError if the name is invalid or there is no
    such folder, and HistoryError if a script in it is misnamed; nothing is written then.
    """
    require_name(name)
    folder = _writable(directory)
    path = folder / f"{next_number(folder):03}_{name}.py"
    with path.open("x", encoding="utf-8") as file:
        file.write(skeleton(path.stem, step))
    return path


def next_number(directory: Path) -> int:
    """Return the number after the highest one. Raises ConfigurationError after 999."""
    number = max((int(existing[:3]) for existing in script_files.names(directory)), default=0) + 1
    if number > _LAST_NUMBER:
        raise ConfigurationError(f"{directory} has a revision {_LAST_NUMBER}, the last possible number.")
    return number


def require_name(name: str) -> None:
    """Raise ConfigurationError unless ``name`` can be the description in the name of a script."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"invalid name {name!r}: use lower-case letters, digits and underscores, beginning with a letter, "
            "as in post_language. The number is added automatically."
        )


def skeleton(revision: str, step: str = "column", notes: str = "") -> str:
    """Return the text of a script for ``revision`` with one step to edit; ``notes`` become comments above it."""
    steps, tables, call = _STEPS[step]
    comments = "".join(f"# {line}".rstrip() + "\n" for line in notes.splitlines())
    return f'''"""Describe the change in one sentence."""

from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import {steps}
from engagement_db.tables import {tables}

{comments}revision = Revision(
    "{revision}",
    {call}
)
migrate = revision.migrate
rollback = revision.rollback
'''


def _writable(directory: Path | None) -> Path:
    folder = directory or script_files.scripts_directory()
    if directory is None and folder.parent == Path(__file__).resolve().parents[1]:
        raise ConfigurationError(
            "the revisions of an installed package cannot be changed. Run the command in a checkout of engagement_db, "
            "or name a folder with --directory."
        )
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder} to write to. Name another with --directory.")
    return folder
