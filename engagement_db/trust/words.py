"""The words of the trust suite: statuses, stages, roles and actions."""

from enum import StrEnum


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
