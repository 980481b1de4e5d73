"""The words and rules of the trust suite, as data: statuses, and which move leads from where to where.

``ledger`` and ``disputes`` hold the tables and the verbs that follow these rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AccountStatus(StrEnum):
    """Where an escrow account stands."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class TransactionType(StrEnum):
    """What an escrow transaction pays for."""

    PROJECT = "project"
    GIG = "gig"
    MILESTONE = "milestone"
    RETAINER = "retainer"


class TransactionStatus(StrEnum):
    """Where an escrow transaction stands."""

    INITIATED = "initiated"
    FUNDED = "funded"
    IN_ESCROW = "in_escrow"
    RELEASED = "released"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    DISPUTED = "disputed"


class DisputeStage(StrEnum):
    """How far a dispute has gone."""

    INTAKE = "intake"
    MEDIATION = "mediation"
    ARBITRATION = "arbitration"
    RESOLVED = "resolved"


class DisputeStatus(StrEnum):
    """Whose turn it is in a dispute."""

    OPEN = "open"
    AWAITING_CUSTOMER = "awaiting_customer"
    UNDER_REVIEW = "under_review"
    SETTLED = "settled"
    CLOSED = "closed"


class DisputePriority(StrEnum):
    """How soon a dispute wants attention."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class Resolution(StrEnum):
    """What settles a dispute: the money goes on to its receiver, or back. Names a move of the transaction."""

    RELEASE = "release"
    REFUND = "refund"


class ActorType(StrEnum):
    """In which role somebody acts in a dispute."""

    CUSTOMER = "customer"
    PROVIDER = "provider"
    MEDIATOR = "mediator"
    ADMIN = "admin"
    SYSTEM = "system"


class ActionType(StrEnum):
    """What happened in a dispute."""

    COMMENT = "comment"
    EVIDENCE_UPLOAD = "evidence_upload"
    DEADLINE_ADJUSTED = "deadline_adjusted"
    STAGE_ADVANCED = "stage_advanced"
    STATUS_CHANGE = "status_change"
    SYSTEM_NOTICE = "system_notice"


@dataclass(frozen=True)
class Rule:
    """A legal move: from which statuses it starts and to which it leads.

    ``target`` None leads back to the status from which the transaction was disputed.
    """

    sources: tuple[TransactionStatus, ...]
    target: TransactionStatus | None


MOVES: Final[Mapping[str, Rule]] = {
    "fund": Rule((TransactionStatus.INITIATED,), TransactionStatus.FUNDED),
    "hold": Rule((TransactionStatus.FUNDED,), TransactionStatus.IN_ESCROW),
    "release": Rule((TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED), TransactionStatus.RELEASED),
    "refund": Rule(
        (TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED),
        TransactionStatus.REFUNDED,
    ),
    "cancel": Rule((TransactionStatus.INITIATED,), TransactionStatus.CANCELLED),
    "dispute": Rule((TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW), TransactionStatus.DISPUTED),
    "withdraw": Rule((TransactionStatus.DISPUTED,), None),
}

# While a transaction stands here, its amount is in the account's balance and its net is pending.
HELD: Final = (TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED)

# Which column of the transaction keeps the time of its last move.
SETTLED_AT: Final[Mapping[TransactionStatus, str]] = {
    TransactionStatus.RELEASED: "released_at",
    TransactionStatus.REFUNDED: "refunded_at",
    TransactionStatus.CANCELLED: "cancelled_at",
}

# From which statuses an account gets to each; a closed one can be activated again, since a person
# has only one account per provider and currency.
ACCOUNT_MOVES: Final[Mapping[AccountStatus, tuple[AccountStatus, ...]]] = {
    AccountStatus.ACTIVE: (AccountStatus.PENDING, AccountStatus.SUSPENDED, AccountStatus.CLOSED),
    AccountStatus.SUSPENDED: (AccountStatus.PENDING, AccountStatus.ACTIVE),
    AccountStatus.CLOSED: (AccountStatus.PENDING, AccountStatus.ACTIVE, AccountStatus.SUSPENDED),
}

TAKES_NEW_MONEY: Final = (AccountStatus.PENDING, AccountStatus.ACTIVE)

# A case in one of these statuses is active; a transaction has at most one such case.
ACTIVE_DISPUTE: Final = (DisputeStatus.OPEN, DisputeStatus.AWAITING_CUSTOMER, DisputeStatus.UNDER_REVIEW)

# Stages in the order in which a case goes through them, priorities in the order of attention.
# Written out, because servers sort enums each in their own way.
STAGES: Final = (DisputeStage.INTAKE, DisputeStage.MEDIATION, DisputeStage.ARBITRATION, DisputeStage.RESOLVED)
PRIORITIES: Final = (
    DisputePriority.URGENT,
    DisputePriority.HIGH,
    DisputePriority.MEDIUM,
    DisputePriority.LOW,
)

# What anybody may record in a case; the other actions are written by the verb that does them.
RECORDED: Final = (ActionType.COMMENT, ActionType.EVIDENCE_UPLOAD, ActionType.SYSTEM_NOTICE)
