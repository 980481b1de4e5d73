"""The public names. Importing this module loads every model, so that each knows the tables that refer to it."""

from engagement_db.errors import (
    ConfigurationError,
    ConnectionLost,
    Contention,
    EngagementError,
    HistoryError,
    InvalidTransition,
    MigrationBusy,
    MigrationError,
    NotFound,
    NotWritable,
    OutcomeUnknown,
    Protected,
    ReferenceConflict,
    Refused,
    RefusedValue,
    RowsAtStake,
    SchemaConflict,
    SchemaMissing,
    StepFailed,
)
from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.comments import FeedComment
from engagement_db.feed.erasure import erase_feed, erase_user
from engagement_db.feed.posts import FeedPost
from engagement_db.feed.problems import find_feed_problems
from engagement_db.feed.reactions import FeedReaction, ReactionChange
from engagement_db.feed.roots import RootEntry, RootPage
from engagement_db.feed.shares import FeedShare
from engagement_db.feed.threads import Thread, ThreadEntry
from engagement_db.feed.timeline import TimelineEntry, TimelinePage
from engagement_db.feed.visibility import ANONYMOUS, EVERYTHING
from engagement_db.feed.words import FeedAction, ReactionType, Visibility
from engagement_db.orm.bound import Unbound, now
from engagement_db.orm.connect import bind, bind_ctx, connect, open_database, read_from
from engagement_db.orm.fields import JSON_NULL, Unknown
from engagement_db.orm.paging import Page
from engagement_db.orm.transactions import transaction
from engagement_db.platform import Gig, Project, User
from engagement_db.problems import Problem, ProblemKind
from engagement_db.readiness import is_current, verify
from engagement_db.repairs import Repair, repair
from engagement_db.row_check import find_problems
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

MODELS = (
    User,
    Project,
    Gig,
    FeedPost,
    FeedReaction,
    FeedComment,
    FeedShare,
    FeedActivityLog,
    EscrowAccount,
    EscrowTransaction,
    DisputeCase,
    DisputeEvent,
)

__all__ = [
    "ANONYMOUS",
    "EVERYTHING",
    "JSON_NULL",
    "MODELS",
    "AccountChange",
    "AccountStatus",
    "ActionType",
    "ActorType",
    "AuditPage",
    "CaseCount",
    "ConfigurationError",
    "ConnectionLost",
    "Contention",
    "DisputeCase",
    "DisputeChange",
    "DisputeEvent",
    "DisputePriority",
    "DisputeStage",
    "DisputeStatus",
    "DueTotal",
    "EngagementError",
    "EscrowAccount",
    "EscrowTransaction",
    "FeedAction",
    "FeedActivityLog",
    "FeedComment",
    "FeedPost",
    "FeedReaction",
    "FeedShare",
    "Gig",
    "HistoryError",
    "InvalidTransition",
    "Listing",
    "MigrationBusy",
    "MigrationError",
    "Move",
    "NotFound",
    "NotWritable",
    "OutcomeUnknown",
    "Page",
    "Problem",
    "ProblemKind",
    "Project",
    "Protected",
    "ReactionChange",
    "ReactionType",
    "Reconciliation",
    "ReferenceConflict",
    "Refused",
    "RefusedValue",
    "ReleaseFailure",
    "ReleaseRun",
    "Repair",
    "Resolution",
    "RootEntry",
    "RootPage",
    "RowsAtStake",
    "SchemaConflict",
    "SchemaMissing",
    "StepFailed",
    "Thread",
    "ThreadEntry",
    "TimelineEntry",
    "TimelinePage",
    "Total",
    "TransactionChange",
    "TransactionStatus",
    "TransactionType",
    "TrustOverview",
    "Unbound",
    "Unknown",
    "User",
    "Visibility",
    "audit_trails",
    "bind",
    "bind_ctx",
    "case_timeline",
    "connect",
    "erase_feed",
    "erase_user",
    "escrow_totals",
    "escrow_totals_per_owner",
    "escrow_totals_per_project",
    "find_balance_problems",
    "find_feed_problems",
    "find_problems",
    "is_current",
    "list_accounts",
    "list_cases",
    "list_transactions",
    "now",
    "on_move",
    "open_database",
    "read_from",
    "reconcile",
    "release_due",
    "release_queue",
    "remove_move_listener",
    "repair",
    "transaction",
    "trust_overview",
    "verify",
]
