"""What rows show to be wrong: the kinds of problems, one problem, and the problems of a search."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

PROBLEMS_LIMIT: Final = 1000
_SHOWN_LENGTH: Final = 60


class ProblemKind(StrEnum):
    """What is wrong: with the money first, then with the record of it, with comments, then with single values."""

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
    CYCLE = "cycle"
    FOREIGN_PARENT = "foreign_parent"
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
    ProblemKind.TRAIL_MISSING: (
        "Restore the audit trail from a backup. A row that create made never had one: make payments with initiate or "
        "deposit."
    ),
    ProblemKind.TRAIL_BROKEN: "Restore the audit trail from a backup: entries were removed, reordered or rewritten.",
    ProblemKind.MISSING_ROWS: "Restore the deleted rows from a backup.",
    ProblemKind.ORPHAN: "Restore the parent row from a backup, or delete this row.",
    ProblemKind.CYCLE: "Call engagement_db.repair with parent=None on one of these comments.",
    ProblemKind.FOREIGN_PARENT: "Call engagement_db.repair with parent=None on this comment.",
    ProblemKind.UNKNOWN_LABEL: (
        "Upgrade to a version that knows the label, or find out who wrote it; leave the rows as they are."
    ),
    ProblemKind.MALFORMED: "Write the value again in the form that this library writes.",
}


@dataclass(frozen=True)
class Problem:
    """A discrepancy: ``column`` of row ``id`` holds ``found`` where ``expected`` was recorded.

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


class ProblemCollector:
    """Collects at most ``limit`` problems of each kind, each column of a row once, each unknown label once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._problems: dict[tuple[str, int, str], Problem] = {}
        self._kinds: Counter[ProblemKind] = Counter()
        self._labels: dict[tuple[str, str, object], Problem] = {}
        self._label_rows: Counter[tuple[str, str, object]] = Counter()

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            if problem.kind == ProblemKind.UNKNOWN_LABEL:
                label = (problem.table, problem.column, problem.found)
                self._labels.setdefault(label, problem)
                self._label_rows[label] += 1
                continue
            place = (problem.table, problem.id, problem.column)
            if place not in self._problems and self._kinds[problem.kind] < self.limit:
                self._problems[place] = problem
                self._kinds[problem.kind] += 1

    def problems(self) -> list[Problem]:
        labels = [
            replace(problem, found=f"{problem.found} (in {self._label_rows[label]} rows)")
            for label, problem in self._labels.items()
        ]
        return [*self._problems.values(), *labels]


def plain(value: object) -> Decimal | str | None:
    """Return a value as a problem shows it: an amount, ISO 8601, or a short text on one line."""
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."
