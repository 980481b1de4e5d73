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

# The statuses in which the account's balance contains a transaction's amount, and its pending total the net.
HOLDS_FUNDS: Final = (TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW, TransactionStatus.DISPUTED)


@dataclass(frozen=True)
class Transition:
    """A legal status change: the statuses from which it starts and the one to which it leads.

    ``target`` None leads back to the status from which the transaction was disputed.
    """

    sources: tuple[TransactionStatus, ...]
    target: TransactionStatus | None

    @property
    def moves_money(self) -> bool:
        """Whether the account's balance changes with the status."""
        target = self.target
        return target is not None and any((source in HOLDS_FUNDS) != (target in HOLDS_FUNDS) for source in self.sources)


TRANSITIONS: Final[Mapping[str, Transition]] = {
    "fund": Transition((TransactionStatus.INITIATED,), TransactionStatus.FUNDED),
    "hold": Transition((TransactionStatus.FUNDED,), TransactionStatus.IN_ESCROW),
    "release": Transition(HOLDS_FUNDS, TransactionStatus.RELEASED),
    "refund": Transition(HOLDS_FUNDS, TransactionStatus.REFUNDED),
    "cancel": Transition((TransactionStatus.INITIATED,), TransactionStatus.CANCELLED),
    "dispute": Transition((TransactionStatus.FUNDED, TransactionStatus.IN_ESCROW), TransactionStatus.DISPUTED),
    "withdraw": Transition((TransactionStatus.DISPUTED,), None),
}


# The column that records when a transaction entered a final status.
TERMINAL_TIMESTAMPS: Final[Mapping[TransactionStatus, str]] = {
    TransactionStatus.RELEASED: "released_at",
    TransactionStatus.REFUNDED: "refunded_at",
    TransactionStatus.CANCELLED: "cancelled_at",
}


# The statuses from which an account changes to each. A closed account can be activated again, because a user has
# only one account per provider and currency.
ACCOUNT_TRANSITIONS: Final[Mapping[AccountStatus, tuple[AccountStatus, ...]]] = {
    AccountStatus.ACTIVE: (AccountStatus.PENDING, AccountStatus.SUSPENDED, AccountStatus.CLOSED),
    AccountStatus.SUSPENDED: (AccountStatus.PENDING, AccountStatus.ACTIVE),
    AccountStatus.CLOSED: (AccountStatus.PENDING, AccountStatus.ACTIVE, AccountStatus.SUSPENDED),
}


ACCEPTS_FUNDING: Final = (AccountStatus.PENDING, AccountStatus.ACTIVE)


# The statuses of an active case; a transaction has at most one active case.
ACTIVE_DISPUTE: Final = (DisputeStatus.OPEN, DisputeStatus.AWAITING_CUSTOMER, DisputeStatus.UNDER_REVIEW)


# Stages in the order of a case's progress, priorities in the order of the queue. Listed here, because servers sort
# enums differently.
STAGES: Final = (DisputeStage.INTAKE, DisputeStage.MEDIATION, DisputeStage.ARBITRATION, DisputeStage.RESOLVED)


PRIORITIES: Final = (
    DisputePriority.URGENT,
    DisputePriority.HIGH,
    DisputePriority.MEDIUM,
    DisputePriority.LOW,
)


# The actions that ``DisputeCase.record`` writes; each other action is written by the verb that performs it.
RECORDED: Final = (ActionType.COMMENT, ActionType.EVIDENCE_UPLOAD, ActionType.SYSTEM_NOTICE)
