"""Which transition leads from which status to which: data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engagement_db.trust.words import (
    AccountStatus,
    ActionType,
    DisputePriority,
    DisputeStage,
    DisputeStatus,
    TransactionStatus,
)


@dataclass(frozen=True)
class Transition:
    """A legal move: from which statuses it starts and to which it leads.

    ``target`` None leads back to the status from which the transaction was disputed.
    """

    sources: tuple[TransactionStatus, ...]
    target: TransactionStatus | None


TRANSITIONS: Final[Mapping[str, Transition]] = {
    "fund": Transition((TransactionStatus.INITIATED,), TransactionStatus.FUNDED),
    "hold": Transition((TransactionStatus.FUNDED,), TransactionStatus.IN_ESCROW),
    "release": Transition((TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED), TransactionStatus.RELEASED),
    "refund": Transition(
        (TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED),
        TransactionStatus.REFUNDED,
    ),
    "cancel": Transition((TransactionStatus.INITIATED,), TransactionStatus.CANCELLED),
    "dispute": Transition((TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW), TransactionStatus.DISPUTED),
    "withdraw": Transition((TransactionStatus.DISPUTED,), None),
}


# While a transaction stands here, its amount is in the account's balance and its net is pending.
HOLDS_FUNDS: Final = (TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED)


# Which column of the transaction keeps the time of its last move.
TERMINAL_TIMESTAMPS: Final[Mapping[TransactionStatus, str]] = {
    TransactionStatus.RELEASED: "released_at",
    TransactionStatus.REFUNDED: "refunded_at",
    TransactionStatus.CANCELLED: "cancelled_at",
}


# From which statuses an account gets to each; a closed one can be activated again, since a person
# has only one account per provider and currency.
ACCOUNT_TRANSITIONS: Final[Mapping[AccountStatus, tuple[AccountStatus, ...]]] = {
    AccountStatus.ACTIVE: (AccountStatus.PENDING, AccountStatus.SUSPENDED, AccountStatus.CLOSED),
    AccountStatus.SUSPENDED: (AccountStatus.PENDING, AccountStatus.ACTIVE),
    AccountStatus.CLOSED: (AccountStatus.PENDING, AccountStatus.ACTIVE, AccountStatus.SUSPENDED),
}


ACCEPTS_FUNDING: Final = (AccountStatus.PENDING, AccountStatus.ACTIVE)


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
