"""Replaying the events of a dispute case: what they say the case should hold, and where it differs.

Events of this library record what changed, from what and to what. The Node platform's record the new values in
``metadata.updates``, or nothing: then the columns that it may have changed are unknown until the next record.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from engagement_db.orm.fields import Unknown
from engagement_db.problems import ProblemKind
from engagement_db.trust.disputes import DisputeCase
from engagement_db.trust.problems import CLOCK_SKEW, SAME_TIME, Findings
from engagement_db.trust.stored import Adoption, Row
from engagement_db.trust.transitions import ACTIVE_DISPUTE
from engagement_db.trust.words import ActionType, DisputeStage, DisputeStatus

_NAMES: Final = {field.column_name: name for name, field in DisputeCase._meta.fields.items()}
# What the event that opens a case records of it.
_OPENED_WITH: Final = ("priority", "reason_code", "summary", "customer_deadline_at", "provider_deadline_at")
_CHANGES: Final = (ActionType.STATUS_CHANGE, ActionType.STAGE_ADVANCED, ActionType.DEADLINE_ADJUSTED)


class CaseHistory:
    """The state to which the events of one case lead, and the problems met on the way.

    ``events`` are in the order in which they were written.
    """

    def __init__(self, case: Row, events: list[Row], findings: Findings, adoption: Adoption) -> None:
        self.case = case
        self.events = events
        self.findings = findings
        self._adoption = adoption
        self._state: dict[str, Any] = {}
        self._recorded_at: datetime | None = None
        self._unrecorded: list[datetime] = []

    def run(self) -> None:
        """Replay the events and compare the case with their end."""
        first = self.events[0] if self.events else None
        if first is not None and _opens(first):
            self._follow_opening(first)
        elif not self._adoption.is_after(self.case):
            found = "no events" if first is None else f"another, {first['action_type']}"
            self._add(ProblemKind.MISSING_ROWS, "opened_at", "a first event that opened the case", found)
        for event in self.events:
            self._follow(event)
        self._compare()

    def _follow_opening(self, event: Row) -> None:
        self._state = {"status": str(DisputeStatus.OPEN), "stage": str(DisputeStage.INTAKE), "resolved_at": None}
        metadata = event["metadata"]
        if "transaction" in metadata:
            payload = metadata.get("payload")
            self._state["assigned_to"] = None
            self._state.update(
                {name: payload[name] for name in _OPENED_WITH if isinstance(payload, dict) and name in payload}
            )
        self._state["opened_at"] = event["event_at"]
        if event["actor"] is not None:
            self._state["opened_by"] = event["actor"]

    def _follow(self, event: Row) -> None:
        metadata = event["metadata"] if isinstance(event["metadata"], dict) else {}
        before, after = metadata.get("from"), metadata.get("to")
        if metadata.get("action") == "repair" and isinstance(after, dict):
            # A repair starts from what was changed without a verb.
            self._record(event, {}, after)
        elif isinstance(after, dict):
            self._record(event, before if isinstance(before, dict) else {}, after)
        elif isinstance(after, str) and before is None:
            self._record(event, {}, {"status": after})
        elif metadata.get("system") is True and event is self.events[0]:
            pass
        elif isinstance(after, str):
            end = {"status": after, "stage": str(DisputeStage.RESOLVED), "resolved_at": event["event_at"]}
            self._record(event, {"status": before}, {**end, "resolution_notes": event["notes"]})
        elif isinstance(metadata.get("updates"), dict):
            self._state.update({_NAMES.get(column, column): value for column, value in metadata["updates"].items()})
            if "status" in metadata["updates"]:
                self._state.pop("resolved_at", None)
        else:
            if isinstance(event["created_at"], datetime):
                self._unrecorded.append(event["created_at"])
            if event["action_type"] in _CHANGES:
                self._state.clear()

    def _record(self, event: Row, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for name, value in before.items():
            known = self._state.get(name, value)
            if known != value and not self._unrecorded:
                self._add(ProblemKind.MISSING_ROWS, name, f"an event that changes {known} to {value}", "none")
        self._state.update(after)
        self._unrecorded.clear()
        if isinstance(event["event_at"], datetime):
            self._recorded_at = event["event_at"]

    def _compare(self) -> None:
        if self._was_updated_by_an_unrecorded_event():
            return
        for name, value in self._state.items():
            found = self.case.get(name)
            if isinstance(found, Unknown) or (found is None and name == "assigned_to"):
                continue
            if name == "opened_at" and _is_close(found, _time(value)):
                continue
            if name.endswith("_at"):
                self.findings.compare_time(ProblemKind.CONTRADICTION, DisputeCase, self.case, name, _time(value))
            elif name in self.case and found != value:
                self._add(ProblemKind.CONTRADICTION, name, value, found)

    def _was_updated_by_an_unrecorded_event(self) -> bool:
        """Whether the case was last updated by a call of the platform that wrote an event without the values."""
        updated_at = self.case["updated_at"]
        if not isinstance(updated_at, datetime):
            return False
        recorded = abs(updated_at - self._recorded_at) if self._recorded_at else SAME_TIME
        return any(abs(updated_at - time) < min(recorded, SAME_TIME) for time in self._unrecorded)

    def _add(self, kind: ProblemKind, name: str, expected: object, found: object) -> None:
        self.findings.add(kind, DisputeCase, self.case, name, expected, found)


def _opens(event: Row) -> bool:
    metadata = event["metadata"]
    if not isinstance(metadata, dict):
        return False
    is_ours = "transaction" in metadata and "from" not in metadata
    return is_ours or metadata.get("system") is True


def is_active(case: Row) -> bool:
    return case["status"] in ACTIVE_DISPUTE


def _is_close(time: datetime | None, other: datetime | None) -> bool:
    """Whether two times differ by no more than the clocks of two machines may."""
    return time is not None and other is not None and abs(time - other) <= CLOCK_SKEW


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None
