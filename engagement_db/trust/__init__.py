"""The trust suite: escrow accounts and transactions, dispute cases and events, and the books over them."""

from engagement_db.trust.accounts import AccountChange, EscrowAccount
from engagement_db.trust.announcements import Move, on_move, remove_move_listener
from engagement_db.trust.audit import AuditPage, audit_trails
from engagement_db.trust.books import Reconciliation, find_balance_problems, reconcile
from engagement_db.trust.disputes import DisputeCase, DisputeChange
from engagement_db.trust.events import DisputeEvent
from engagement_db.trust.listings import Listing, case_timeline, list_accounts, list_cases, list_transactions
from engagement_db.trust.moves import TransactionChange
from engagement_db.trust.overview import CaseCount, DueTotal, TrustOverview, trust_overview
from engagement_db.trust.release import ReleaseFailure, ReleaseRun, release_due, release_queue
from engagement_db.trust.totals import Total, escrow_totals, escrow_totals_per_owner, escrow_totals_per_project
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
    "AuditPage",
    "CaseCount",
    "DisputeCase",
    "DisputeChange",
    "DisputeEvent",
    "DisputePriority",
    "DisputeStage",
    "DisputeStatus",
    "DueTotal",
    "EscrowAccount",
    "EscrowTransaction",
    "Listing",
    "Move",
    "Reconciliation",
    "ReleaseFailure",
    "ReleaseRun",
    "Resolution",
    "Total",
    "TransactionChange",
    "TransactionStatus",
    "TransactionType",
    "TrustOverview",
    "audit_trails",
    "case_timeline",
    "escrow_totals",
    "escrow_totals_per_owner",
    "escrow_totals_per_project",
    "find_balance_problems",
    "list_accounts",
    "list_cases",
    "list_transactions",
    "on_move",
    "reconcile",
    "release_due",
    "release_queue",
    "remove_move_listener",
    "trust_overview",
]
