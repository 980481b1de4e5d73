"""Replaying the audit trail of a transaction: what it says the row should hold, and where the row differs.

Both this library and the Node platform name what happened (``action``, ``actorId``, ``at``). This library adds where
the transaction came from and went (``from``, ``to``) and its amounts, so every column that its entries name is
compared. The platform's action says where it went; amounts stand in its first entry only, and an entry of ``type``
update names the columns that were changed, without their values: they are unknown until the next entry that names them.

Rows that are older than the adoption of their database may have no trail, or one without a beginning; they are checked
by the entries that exist.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from engagement_db.orm.fields import JSON_NULL, Unknown
from engagement_db.problems import ProblemKind
from engagement_db.trust.problems import CLOCK_SKEW, SAME_TIME, Findings
from engagement_db.trust.stored import Adoption, Row, exact
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.transitions import TERMINAL_TIMESTAMPS, TRANSITIONS
from engagement_db.trust.words import TransactionStatus

_NAMES: Final = {field.column_name: name for name, field in EscrowTransaction._meta.fields.items()}
_DISPUTABLE: Final = TRANSITIONS["dispute"].sources
_STATUSES: Final = frozenset(TransactionStatus)
_SETTLED: Final = (TransactionStatus.RELEASED, TransactionStatus.REFUNDED)
_LEGAL: Final = {
    (str(source), str(target))
    for rule in TRANSITIONS.values()
    for source in rule.sources
    for target in ([rule.target] if rule.target else _DISPUTABLE)
} | {
    # The platform releases what is funded without holding it first.
    (str(source), str(target))
    for source in (*_DISPUTABLE, TransactionStatus.DISPUTED)
    for target in _SETTLED
}
# What a transaction is initiated with and keeps. A deleted counterparty, project or gig leaves NULL behind.
_KEPT: Final = {
    "account": False,
    "type": False,
    "initiated_by": False,
    "counterparty": True,
    "project": True,
    "gig": True,
}
# Where the platform's own actions lead.
PLATFORM_ACTIONS: Final[Mapping[str, str]] = {
    "initiated": TransactionStatus.IN_ESCROW,
    "released": TransactionStatus.RELEASED,
    "refunded": TransactionStatus.REFUNDED,
    "dispute_opened": TransactionStatus.DISPUTED,
}
AMOUNTS: Final[Mapping[str, str]] = {"amount": "amount", "fee": "fee_amount", "net": "net_amount"}


@dataclass(slots=True)
class Entry:
    """One entry: what it says about the transaction; a field is empty if it says nothing.

    ``recorded`` holds amounts and currency by field name; ``payload`` what the transaction was initiated with;
    ``account`` what its account was then, ``previous`` the transaction initiated before it; ``edited`` and ``repaired``
    what an edit or a repair wrote, by field name; ``changed_columns`` the columns that the platform changed without
    recording their values.
    """

    at: datetime | None = None
    before: str | None = None
    after: str | None = None
    is_ours: bool = False
    is_repair: bool = False
    is_first: bool = False
    recorded: dict[str, Decimal | str] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] = field(default_factory=dict)
    previous: int | None = None
    edited: Mapping[str, Any] = field(default_factory=dict)
    repaired: Mapping[str, Any] = field(default_factory=dict)
    changed_columns: frozenset[str] = frozenset()


class Replay:
    """The state to which the entries of one trail lead, and the problems met on the way."""

    def __init__(self, row: Row, findings: Findings, adoption: Adoption) -> None:
        self.row = row
        self.findings = findings
        self._adoption = adoption
        self.status: str | None = None
        self.disputes = 0
        self.is_complete = False
        self.recorded: dict[str, Decimal | str] = {}
        self.unknown: set[str] = set()
        self._before_dispute: str | None = None
        self._settled: dict[str, datetime | None] = {}
        self._settlements: list[str] = []
        self.first: Entry | None = None
        self._initiated: dict[str, Any] = {}
        self._last_at: datetime | None = None

    def run(self) -> None:
        """Replay the row's trail and compare the row with its end."""
        trail = self._trail()
        if trail is None:
            return
        for number, entry in enumerate(entries(trail), start=1):
            if entry is None:
                self._broken(f"entry {number} to be an object", "something else")
            else:
                self._follow(number, entry)
        self._compare()

    def _trail(self) -> list[Any] | None:
        trail = self.row["audit_trail"]
        if isinstance(trail, dict):
            return [trail]
        if isinstance(trail, list) and trail:
            return trail
        if isinstance(trail, Unknown):
            self._broken("a list of entries", trail)
        elif trail is not None and trail is not JSON_NULL and not isinstance(trail, list):
            self._broken("a list of entries", type(trail).__name__)
        elif not self._adoption.is_after(self.row):
            self._add(ProblemKind.TRAIL_MISSING, "audit_trail", "a list of entries", "no entries")
        return None

    def _follow(self, number: int, entry: Entry) -> None:
        if number == 1:
            self.is_complete = entry.is_first
            self.first = entry
            self._initiated = {**entry.payload, "created_at": entry.at}
            if not entry.is_first and not self._adoption.is_after(self.row):
                self._broken("the initiation as entry 1", entry.after or "another action")
        elif entry.is_first:
            self._broken("one initiation", f"another as entry {number}")
        self._follow_time(number, entry)
        # A repair starts from what was changed without a verb.
        continues = entry.is_repair or None in (entry.before, self.status) or entry.before == self.status
        if entry.is_ours and not continues:
            self._broken(f"entry {number} from {self.status}", entry.before)
        before = entry.before or self.status
        is_edit = entry.is_repair or (entry.is_ours and entry.before == entry.after)
        if entry.after is not None and not is_edit and before is not None:
            self._follow_transition(before, entry.after)
        for name, value in entry.recorded.items():
            known = self.recorded.get(name)
            if known is not None and known != value and not is_edit:
                self._add(ProblemKind.CONTRADICTION, name, known, value)
            else:
                self.recorded[name] = value
                self.unknown.discard(name)
        if "scheduled_release_at" in entry.edited:
            self._initiated["scheduled_release_at"] = entry.edited["scheduled_release_at"]
            self.unknown.discard("scheduled_release_at")
        if entry.is_repair:
            self._repaired(entry)
        elif entry.after is not None and not is_edit:
            self._arrive(entry.after, before, entry.at)
        for column in entry.changed_columns:
            self._forget(_NAMES.get(column, column))

    def _follow_time(self, number: int, entry: Entry) -> None:
        if entry.at is None:
            if entry.is_ours:
                self._broken(f"a time in entry {number}", None)
            return
        if self._last_at is not None and entry.at < self._last_at - CLOCK_SKEW:
            self._broken(f"entry {number} after {self._last_at.isoformat()}", entry.at)
        self._last_at = entry.at if self._last_at is None else max(self._last_at, entry.at)

    def _follow_transition(self, before: str, after: str) -> None:
        is_withdrawn = before == TransactionStatus.DISPUTED and after in _DISPUTABLE
        if is_withdrawn and self._before_dispute not in (None, after):
            self._add(ProblemKind.TRANSITION, "status", self._before_dispute, f"{before} to {after}")
        elif (before, after) not in _LEGAL:
            targets = sorted(target for source, target in _LEGAL if source == before)
            self._add(ProblemKind.TRANSITION, "status", " or ".join(targets) or before, f"{before} to {after}")

    def _arrive(self, after: str, before: str | None, at: datetime | None) -> None:
        self.status = after
        self.unknown.discard("status")
        if after == TransactionStatus.DISPUTED and before != after:
            self.disputes += 1
            self._before_dispute = before
        if after in TERMINAL_TIMESTAMPS:
            self._settled[TERMINAL_TIMESTAMPS[TransactionStatus(after)]] = at
        if after in _SETTLED:
            self._settlements.append(after)
            if len(self._settlements) == 2:
                found = " and ".join(self._settlements)
                self._add(ProblemKind.SETTLEMENT, "status", f"{self._settlements[0]}, once", found)

    def _repaired(self, entry: Entry) -> None:
        """Continue from the values that a repair wrote."""
        self.status = entry.after
        self._settlements = [entry.after] if entry.after in _SETTLED else []
        for name in entry.repaired:
            self.unknown.discard(name)
            self._initiated[name] = entry.repaired[name]
            if name in TERMINAL_TIMESTAMPS.values():
                self._settled[name] = recorded_time(entry.repaired[name])

    def _forget(self, name: str) -> None:
        self.unknown.add(name)
        self.recorded.pop(name, None)
        if name == "status":
            self.status = None
            self.unknown.update(TERMINAL_TIMESTAMPS.values())

    def _compare(self) -> None:
        row = self.row
        if self.status is not None and row["status"] != self.status:
            self._add(ProblemKind.CONTRADICTION, "status", self.status, row["status"])
        for name, value in self.recorded.items():
            if row[name] != value and not isinstance(row[name], Unknown):
                self._add(ProblemKind.CONTRADICTION, name, value, row[name])
        if self.is_complete and row["status"] in _STATUSES:
            for name in TERMINAL_TIMESTAMPS.values():
                if name not in self.unknown:
                    self.findings.compare_time(
                        ProblemKind.CONTRADICTION, EscrowTransaction, row, name, self._settled.get(name)
                    )
        first = self.first
        if first is not None and first.is_ours and first.is_first:
            created_at = recorded_time(self._initiated["created_at"])
            self.findings.compare_time(ProblemKind.CONTRADICTION, EscrowTransaction, row, "created_at", created_at)
            self._compare_payload(first)
        updated_at = row["updated_at"]
        if self._last_at is not None and isinstance(updated_at, datetime) and updated_at < self._last_at - SAME_TIME:
            self._add(ProblemKind.CONTRADICTION, "updated_at", self._last_at, updated_at)

    def _compare_payload(self, first: Entry) -> None:
        for name, may_vanish in _KEPT.items():
            if name not in self._initiated or (may_vanish and self.row[name] is None):
                continue
            if self.row[name] != self._initiated[name]:
                self._add(ProblemKind.CONTRADICTION, name, self._initiated[name], self.row[name])
        if "scheduled_release_at" in self._initiated and "scheduled_release_at" not in self.unknown:
            due = recorded_time(self._initiated["scheduled_release_at"])
            self.findings.compare_time(
                ProblemKind.CONTRADICTION, EscrowTransaction, self.row, "scheduled_release_at", due
            )
        for name in ("amount", "fee_amount"):
            amount = exact(first.payload.get(name))
            if amount is not None and name in first.recorded and first.recorded[name] != amount:
                self._broken(f"{name} {amount} in entry 1", first.recorded[name])

    def _broken(self, expected: object, found: object) -> None:
        self._add(ProblemKind.TRAIL_BROKEN, "audit_trail", expected, found)

    def _add(self, kind: ProblemKind, name: str, expected: object, found: object) -> None:
        self.findings.add(kind, EscrowTransaction, self.row, name, expected, found)


def entries(trail: list[Any]) -> Iterator[Entry | None]:
    """Yield the entries of a trail in order; None for one that is no entry at all."""
    for document in trail:
        yield _entry(document) if isinstance(document, dict) else None


def _entry(document: Mapping[str, Any]) -> Entry:
    entry = Entry(at=recorded_time(document.get("at")))
    for name, column in AMOUNTS.items():
        if name in document:
            amount = exact(document[name])
            if amount is not None:
                entry.recorded[column] = amount
    currency = document.get("currency")
    if isinstance(currency, str):
        entry.recorded["currency_code"] = currency
    after = document.get("to")
    if isinstance(after, str):
        entry.is_ours = True
        entry.after = after
        before = document.get("from")
        entry.before = before if isinstance(before, str) else None
        entry.is_first = before is None
        entry.is_repair = document.get("action") == "repair"
        metadata = document.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("to"), dict):
            if entry.is_repair:
                entry.repaired = metadata["to"]
            elif document.get("action") == "edit":
                entry.edited = metadata["to"]
        payload, account, previous = (document.get(name) for name in ("payload", "account", "previous"))
        if isinstance(payload, dict):
            entry.payload = payload
        if isinstance(account, dict):
            entry.account = account
        if type(previous) is int and 0 < previous < 2**63:
            entry.previous = previous
        return entry
    action = document.get("action")
    if isinstance(action, str):
        entry.after = PLATFORM_ACTIONS.get(action)
        entry.is_first = action == "initiated"
    if document.get("type") == "update":
        metadata = document.get("metadata")
        columns = metadata.get("fields") if isinstance(metadata, dict) else None
        if isinstance(columns, list):
            entry.changed_columns = frozenset(column for column in columns if isinstance(column, str))
    return entry


def recorded_time(value: object) -> datetime | None:
    """Return a time as an entry of a trail records it, or None if it is none."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
