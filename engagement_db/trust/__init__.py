"""The trust suite: escrow accounts and transactions, dispute cases and events, and the books over them."""

from engagement_db.trust.accounts import AccountChange, EscrowAccount
from engagement_db.trust.books import (
    Problem,
    Reconciliation,
    Total,
    escrow_totals,
    escrow_totals_per_owner,
    escrow_totals_per_project,
    find_problems,
    reconcile,
    release_queue,
)
from engagement_db.trust.disputes import DisputeCase, DisputeChange
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.moves import TransactionChange
from engagement_db.trust.transactions import EscrowTransaction
from engagement_db.trust.words import (
    AccountStatus,
    ActionType,
    ActorType,
    DisputePriority,
    DisputeStage,
    DisputeStatus,
    Resolution,
    TransactionStatus,
    TransactionType,
)

__all__ = [
    "AccountChange",
    "AccountStatus",
    "ActionType",
    "ActorType",
    "DisputeCase",
    "DisputeChange",
    "DisputeEvent",
    "DisputePriority",
    "DisputeStage",
    "DisputeStatus",
    "EscrowAccount",
    "EscrowTransaction",
    "Problem",
    "Reconciliation",
    "Resolution",
    "Total",
    "TransactionChange",
    "TransactionStatus",
    "TransactionType",
    "escrow_totals",
    "escrow_totals_per_owner",
    "escrow_totals_per_project",
    "find_problems",
    "reconcile",
    "release_queue",
]
