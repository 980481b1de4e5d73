"""The rights of a session of MySQL or MariaDB, as SHOW GRANTS prints them: those of its active roles are included."""

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = r"`((?:[^`]|``)*)`|\*"
_GRANT: Final = re.compile(rf"GRANT (.+?) ON (?:TABLE )?(?:{_NAME})\.(?:{_NAME}) TO ")
_ALL: Final = "ALL PRIVILEGES"


class Grants:
    """What a session may do in one database."""

    def __init__(self, lines: Iterable[str], database: str) -> None:
        self._rights: dict[str | None, set[str]] = {None: set()}
        self._everywhere: set[str] = set()
        # How the database is named where rights to all of it are granted: of several patterns only one counts.
        self.pattern = database
        for line in lines:
            found = _GRANT.match(line)
            if found is None or not _is_of(found[2], database):
                continue
            # A right to some of the columns counts as the right.
            rights = {right.strip() for right in re.sub(r"\([^)]*\)", "", found[1]).split(",")}
            table = found[3].replace("``", "`") if found[3] is not None else None
            self._rights.setdefault(table, set()).update(rights)
            if found[2] is None:
                self._everywhere |= rights
            elif table is None:
                self.pattern = found[2].replace("``", "`")

    def allow(self, right: str, table: str | None = None) -> bool:
        """Return whether the session has a right to the table, or to every table of the database."""
        return bool({right, _ALL} & (self._rights[None] | self._rights.get(table, set())))

    def allow_everywhere(self, *rights: str) -> bool:
        """Return whether the session has one of the rights to the whole server."""
        return bool({*rights, _ALL} & self._everywhere)


def _is_of(pattern: str | None, database: str) -> bool:
    """Whether a grant for the databases of this pattern counts for the database."""
    if pattern is None:
        return True
    wildcards = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern.replace("``", "`"), re.DOTALL)
    expression = "".join(wildcards.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(expression, database, re.DOTALL) is not None
