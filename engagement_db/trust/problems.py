"""What the books can show to be wrong: the kinds of problems, one problem, and those of a transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Final

from engagement_db.orm.fields import Unknown
from engagement_db.trust.stored import Row, shown

# The entry and the column are written by one call, but a server may keep whole seconds only.
SAME_TIME: Final = timedelta(seconds=1)
# Clocks of two machines that write to one history may differ by this much.
CLOCK_SKEW: Final = timedelta(minutes=1)


class ProblemKind(StrEnum):
    """What is wrong: with the money first, then with the record of it, then with single values."""

    BALANCE = "balance"
    ACCOUNT_STATUS = "account_status"
    CURRENCY = "currency"
    NET_AMOUNT = "net_amount"
    SETTLEMENT = "settlement"
    TRANSITION = "transition"
    DISPUTE = "dispute"
    CONTRADICTION = "contradiction"
    TRAIL_MISSING = "trail_missing"
    TRAIL_BROKEN = "trail_broken"
    MISSING_ROWS = "missing_rows"
    ORPHAN = "orphan"
    UNKNOWN_LABEL = "unknown_label"
    MALFORMED = "malformed"


CURES: Final[Mapping[ProblemKind, str]] = {
    ProblemKind.BALANCE: (
        "Compare the account with the provider's statement: either a balance was changed without a transaction, or a "
        "transaction changed without its balance."
    ),
    ProblemKind.ACCOUNT_STATUS: "Activate the account, or release or refund what it holds.",
    ProblemKind.CURRENCY: (
        "Set the account's currency back; what was paid in another currency belongs in an account of its own."
    ),
    ProblemKind.NET_AMOUNT: "Find out which of amount, fee and net was changed, and set it back.",
    ProblemKind.SETTLEMENT: (
        "Ask the provider which payments were made, since the money may have left twice; then correct the row."
    ),
    ProblemKind.TRANSITION: "Find out who made this move, and ask the provider whether money followed it.",
    ProblemKind.DISPUTE: "Settle case and transaction together, with resolve or withdraw, or set the wrong one back.",
    ProblemKind.CONTRADICTION: "Set the column back to what was recorded, unless a known repair explains it.",
    ProblemKind.TRAIL_MISSING: "Restore the audit trail from a backup.",
    ProblemKind.TRAIL_BROKEN: "Restore the audit trail from a backup: entries were removed, reordered or rewritten.",
    ProblemKind.MISSING_ROWS: "Restore the deleted rows from a backup.",
    ProblemKind.ORPHAN: "Restore the parent row from a backup, or delete this row.",
    ProblemKind.UNKNOWN_LABEL: (
        "Upgrade to a version that knows the label, or find out who wrote it; leave the rows as they are."
    ),
    ProblemKind.MALFORMED: "Write the value again in the form that this library writes.",
}


@dataclass(frozen=True)
class Problem:
    """Something that does not add up: ``column`` of row ``id`` holds ``found`` where ``expected`` was recorded.

    Amounts are Decimals, times are ISO 8601 in UTC, None is NULL. Where no single value is right, ``expected``
    and ``found`` are short descriptions. ``cure`` says what to do about problems of this kind.
    """

    kind: ProblemKind
    table: str
    id: int
    column: str
    expected: Decimal | str | None
    found: Decimal | str | None

    @property
    def cure(self) -> str:
        return CURES[self.kind]

    def __str__(self) -> str:
        expected, found = ("NULL" if value is None else str(value) for value in (self.expected, self.found))
        return f"{self.table} {self.id}: {self.column} is {found}, expected {expected} ({self.kind}). {self.cure}"


class Findings:
    """The problems found so far, at most one for each column of a row: what follows from it is not repeated."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, int, str], Problem] = {}

    @property
    def problems(self) -> list[Problem]:
        return list(self._problems.values())

    def add(self, kind: ProblemKind, model: Any, row: Row, name: str, expected: object, found: object) -> None:
        table, column = model._meta.table_name, model._meta.fields[name].column_name
        problem = Problem(kind, table, row["id"], column, _plain(expected), _plain(found))
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
            labels = _labels(model._meta.fields[name].enum)
            if row[name] not in labels:
                self.add(ProblemKind.UNKNOWN_LABEL, model, row, name, f"one of {', '.join(labels)}", row[name])


@cache
def _labels(enum: type[StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in enum)


def _plain(value: object) -> Decimal | str | None:
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return shown(str(value))
