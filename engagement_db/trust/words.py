"""The enums of the trust suite: statuses, stages, roles and actions."""

from enum import StrEnum


class AccountStatus(StrEnum):
    """Status of an escrow account."""

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
    """Status of an escrow transaction."""

    INITIATED = "initiated"
    FUNDED = "funded"
    IN_ESCROW = "in_escrow"
    RELEASED = "released"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    DISPUTED = "disputed"


class DisputeStage(StrEnum):
    """Stage of a dispute; stages only go forward."""

    INTAKE = "intake"
    MEDIATION = "mediation"
    ARBITRATION = "arbitration"
    RESOLVED = "resolved"


class DisputeStatus(StrEnum):
    """Status of a dispute: whose turn it is, or how it ended."""

    OPEN = "open"
    AWAITING_CUSTOMER = "awaiting_customer"
    UNDER_REVIEW = "under_review"
    SETTLED = "settled"
    CLOSED = "closed"


class DisputePriority(StrEnum):
    """Priority of a dispute."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class Resolution(StrEnum):
    """How a dispute is settled: release to the counterparty, or refund to the payer."""

    RELEASE = "release"
    REFUND = "refund"


class ActorType(StrEnum):
    """Role of the user who acts in a dispute."""

    CUSTOMER = "customer"
    PROVIDER = "provider"
    MEDIATOR = "mediator"
    ADMIN = "admin"
    SYSTEM = "system"


class ActionType(StrEnum):
    """Kind of a dispute event."""

    COMMENT = "comment"
    EVIDENCE_UPLOAD = "evidence_upload"
    DEADLINE_ADJUSTED = "deadline_adjusted"
    STAGE_ADVANCED = "stage_advanced"
    STATUS_CHANGE = "status_change"
    SYSTEM_NOTICE = "system_notice"
