"""What every peer does: the operations, and the documents that each has to write."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

PAGE = 50
QUEUE = 100
THREAD_LIMIT = 1_000
AMOUNT, FEE, NET = Decimal(10), Decimal(1), Decimal(9)
READER, PAYER, CUSTOMER = 5, 1, 2
PROVIDER = "stripe"
ACTIVE = ("open", "awaiting_customer", "under_review")
CONTENT = "c" * 200
METADATA = {"a": 1}
SUMMARY, REASON, NOTE, RESOLUTION = "Nothing arrived.", "late", "It is still not here.", "The carrier lost it."


@dataclass(frozen=True)
class Move:
    """A transition of a transaction. ``direction`` is +1 if money comes in, -1 if it goes out."""

    action: str
    before: str
    after: str
    direction: int = 0
    moment: str | None = None
    actor: int = PAYER
    notes: str | None = None


FUND = Move("fund", "initiated", "funded", +1)
HOLD = Move("hold", "funded", "in_escrow")
RELEASE = Move("release", "in_escrow", "released", -1, "released_at")
DISPUTE = Move("dispute", "in_escrow", "disputed", actor=CUSTOMER)
REFUND = Move("refund", "disputed", "refunded", -1, "refunded_at", CUSTOMER, RESOLUTION)


def first_entry(account: int, owner: int, previous: int | None, at: datetime) -> dict[str, Any]:
    """Return the first entry of an audit trail: the arguments, the account, the transaction initiated before."""
    payload = {
        "account": account,
        "type": "project",
        "amount": "10.0000",
        "currency_code": "USD",
        "fee_amount": "1.0000",
        "initiated_by": PAYER,
        **dict.fromkeys(("counterparty", "project", "gig", "milestone_label", "scheduled_release_at")),
        **dict.fromkeys(("external_id", "metadata")),
    }
    return {
        **entry(Move("initiate", "", "initiated"), at),
        "from": None,
        "payload": payload,
        "account": {"user": owner, "provider": PROVIDER},
        "previous": previous,
    }


def entry(move: Move, at: datetime) -> dict[str, Any]:
    """Return the entry that a move adds to an audit trail."""
    return {
        "action": move.action,
        "actorId": move.actor,
        "at": at.isoformat(),
        "notes": move.notes,
        "metadata": None,
        "from": move.before,
        "to": move.after,
        "amount": int(AMOUNT),
        "fee": int(FEE),
        "net": int(NET),
        "currency": "USD",
    }


OPENING = {
    "to": "open",
    "transaction": {"from": "in_escrow", "to": "disputed"},
    "payload": {
        "opened_by": CUSTOMER,
        "reason_code": REASON,
        "summary": SUMMARY,
        "priority": "medium",
        "customer_deadline_at": None,
        "provider_deadline_at": None,
        "metadata": None,
    },
}
ENDING = {
    "action": "refund",
    "from": "open",
    "to": "settled",
    "transaction": {"from": "disputed", "to": "refunded"},
}


def reaction_details(wanted: str, previous: str | None = None) -> dict[str, str]:
    """Return the metadata of an entry of the activity log for a reaction."""
    return {"reactionType": wanted} | ({"previousType": previous} if previous else {})


@dataclass(frozen=True)
class Spent:
    """What a batch took, in milliseconds. ``rows`` is how many rows its last operation returned."""

    wall: float
    cpu: float
    rows: int


class Missing(Exception):
    """Why a peer cannot be measured here."""


class Peer:
    """One way to do the operations.

    Each operation is a method: ``feed(viewer)``, ``react(post, user, type)``, ``unreact(post, user)``,
    ``thread(post)``, ``reply(post, user, body, parent)``, ``pay(account, reference)``, which leaves a payment that is
    in_escrow to ``dispute()``, ``cycle(account, reference)``, ``publish(count)``, ``publish_all(count)``, both rolled
    back, ``load_posts(count)``, ``load_transactions(count)`` and ``release_queue()``.
    """

    name: ClassVar[str]

    def run(self, operation: str, calls: Sequence[Sequence[Any]]) -> Spent:
        """Do the operation once for each of these arguments; return what that took."""
        work = getattr(self, operation)
        found: Any = None
        cpu, wall = time.process_time(), time.perf_counter()
        for arguments in calls:
            found = work(*arguments)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Spent(wall * 1e3, cpu * 1e3, len(found) if isinstance(found, list | tuple) else 0)

    def close(self) -> None:
        """Close the connection."""


class HandmadePeer(Peer):
    """A peer without verbs: ``initiate(account, reference)`` leaves a payment, to which ``move(move)`` does a move."""

    initiate: Callable[[int, str], None]
    move: Callable[[Move], None]

    def pay(self, account: int, reference: str) -> None:
        self.initiate(account, reference)
        self.move(FUND)
        self.move(HOLD)

    def cycle(self, account: int, reference: str) -> None:
        self.pay(account, reference)
        self.move(RELEASE)


def new_posts(count: int) -> list[dict[str, Any]]:
    """Return the rows that ``publish_all`` inserts."""
    return [
        {"user": number % 1000 + 1, "content": CONTENT, "visibility": "public", "metadata": METADATA}
        for number in range(count)
    ]


def tree(rows: Sequence[Any], key: Callable[[Any], int], parent: Callable[[Any], int | None]) -> list[tuple[Any, int]]:
    """Return a post's comments, given by age, each after its parent and with its depth."""
    children: dict[int | None, list[Any]] = {}
    for row in rows:
        children.setdefault(parent(row), []).append(row)
    found = []
    waiting = [(row, 1) for row in reversed(children.get(None, []))]
    while waiting:
        row, depth = waiting.pop()
        found.append((row, depth))
        waiting.extend((child, depth + 1) for child in reversed(children.get(key(row), [])))
    return found
