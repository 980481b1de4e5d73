"""The problems of one transaction with its cases."""

from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final

from engagement_db.orm.fields import Unknown
from engagement_db.problems import Problem, ProblemKind, plain
from engagement_db.trust.stored import Row

# The entry and the column are written by one call, but a server may keep whole seconds only.
SAME_TIME: Final = timedelta(seconds=1)
# Clocks of two machines that write to one history may differ by this much.
CLOCK_SKEW: Final = timedelta(minutes=1)


class Findings:
    """The problems found so far, at most one for each column of a row: what follows from it is not repeated."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, int, str], Problem] = {}

    @property
    def problems(self) -> list[Problem]:
        return list(self._problems.values())

    def add(self, kind: ProblemKind, model: Any, row: Row, name: str, expected: object, found: object) -> None:
        table, column = model._meta.table_name, model._meta.fields[name].column_name
        problem = Problem(kind, table, row["id"], column, plain(expected), plain(found))
        self._problems.setdefault((table, row["id"], column), problem)

    def compare_time(self, kind: ProblemKind, model: Any, row: Row, name: str, expected: datetime | None) -> None:
        """Add a problem unless the column holds this time, or none if None is expected."""
        found = row[name]
        if isinstance(found, Unknown):
            return
        is_same = found is expected if found is None or expected is None else abs(found - expected) <= SAME_TIME
        if not is_same:
            self.add(kind, model, row, name, expected, found)

    def add_malformed(self, model: Any, row: Row) -> None:
        """Add a problem for each column that holds a value which cannot be read."""
        for name, value in row.items():
            if isinstance(value, Unknown):
                field = model._meta.fields[name]
                self.add(ProblemKind.MALFORMED, model, row, name, f"a value for {type(field).__name__}", value)

    def add_unknown_labels(self, model: Any, row: Row, names: str) -> None:
        for name in names.split():
            labels = _labels(model._meta.fields[name].enum_class)
            if row[name] not in labels:
                self.add(ProblemKind.UNKNOWN_LABEL, model, row, name, f"one of {', '.join(labels)}", row[name])


@cache
def _labels(enum: type[StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in enum)
