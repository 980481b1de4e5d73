"""The numbered scripts: where they are, and their names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engagement_db.errors import HistoryError

# Sorts before every revision; a database at BASE has none of them.
BASE: Final = "000"

_SCRIPT: Final = re.compile(r"\d{3}_\w+\.py")


def scripts_directory() -> Path:
    """Return the folder of the numbered scripts: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def names(directory: Path | None = None) -> tuple[str, ...]:
    """Return the names of the numbered scripts, in order. Raises HistoryError for an invalid or repeated number."""
    return tuple(path.stem for path in paths(directory))


def paths(directory: Path | None = None) -> list[Path]:
    """Return the paths of the numbered scripts, in order. Raises as ``names``."""
    found = sorted(path for path in (directory or scripts_directory()).glob("*.py") if path.name[0].isdigit())
    invalid = [path.name for path in found if not _SCRIPT.fullmatch(path.name)]
    numbers = [path.name[:3] for path in found]
    invalid += [path.name for path in found if numbers.count(path.name[:3]) > 1]
    if invalid:
        raise HistoryError(
            f"invalid script name {invalid[0]}: expected a unique three-digit number, an underscore and a "
            "description, as in 004_more_reactions.py. Rename it. Nothing was changed."
        )
    return found


def resolve(name: str, known: Sequence[str]) -> str:
    """Return the full name of a revision given by name or number; BASE for 0.

    Raises HistoryError, with the most similar names, if there is no such revision.
    """
    from difflib import get_close_matches

    by_number = {int(revision[:3]): revision for revision in known} | {0: BASE}
    if name in known:
        return name
    if name.isdecimal() and int(name) in by_number:
        return by_number[int(name)]
    similar = [revision for revision in known if revision[:3] == name[:3]] or get_close_matches(name, known, 3, 0.4)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"the revisions are {', '.join(known)}."
    raise HistoryError(f'unknown revision "{name}"; {hint} Nothing was changed.')
