"""The trust suite: escrow accounts and transactions, dispute cases and their events."""

from decimal import Decimal
from enum import StrEnum

from engagement_db.database import BaseModel, now
from engagement_db.fields import (
    EnumField,
    JsonField,
    KeyField,
    MoneyField,
    ReferenceField,
    TextField,
    TimeField,
    VarcharField,
)
from engagement_db.host import Gig, Project, User


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


class EscrowAccount(BaseModel):
    """A person's account with a payment provider, in one currency."""

    id = KeyField()
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="escrow_accounts", on_delete="RESTRICT"
    )
    provider = VarcharField(max_length=80)
    external_id = VarcharField(max_length=120, column_name="externalId", null=True)
    status = EnumField(AccountStatus, default=AccountStatus.PENDING)
    currency_code = VarcharField(max_length=3, column_name="currencyCode", default="USD")
    current_balance = MoneyField(column_name="currentBalance", default=Decimal(0))
    pending_release_total = MoneyField(column_name="pendingReleaseTotal", default=Decimal(0))
    metadata = JsonField(null=True)
    last_reconciled_at = TimeField(column_name="lastReconciledAt", null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "escrow_accounts"
        indexes = (
            (("user",), False),
            (("provider",), False),
            (("status",), False),
        )
        checks = (
            ("currentBalance", '"currentBalance" >= 0'),
            ("pendingReleaseTotal", '"pendingReleaseTotal" >= 0'),
        )


class EscrowTransaction(BaseModel):
    """Money on its way from one person to another, held in an account until it is due."""

    id = KeyField()
    account = ReferenceField(
        EscrowAccount,
        column_name="accountId",
        object_id_name="account_id",
        backref="transactions",
        on_delete="RESTRICT",
    )
    reference = VarcharField(max_length=120)
    external_id = VarcharField(max_length=120, column_name="externalId", null=True)
    type = EnumField(TransactionType, default=TransactionType.PROJECT)
    status = EnumField(TransactionStatus, default=TransactionStatus.INITIATED)
    amount = MoneyField()
    currency_code = VarcharField(max_length=3, column_name="currencyCode", default="USD")
    fee_amount = MoneyField(column_name="feeAmount", default=Decimal(0))
    net_amount = MoneyField(column_name="netAmount", default=Decimal(0))
    initiated_by = ReferenceField(
        User,
        column_name="initiatedById",
        object_id_name="initiated_by_id",
        backref="initiated_transactions",
        on_delete="RESTRICT",
    )
    counterparty = ReferenceField(
        User,
        column_name="counterpartyId",
        object_id_name="counterparty_id",
        backref="counterparty_transactions",
        null=True,
        on_delete="SET NULL",
    )
    project = ReferenceField(
        Project,
        column_name="projectId",
        object_id_name="project_id",
        backref="escrow_transactions",
        null=True,
        on_delete="SET NULL",
    )
    gig = ReferenceField(
        Gig,
        column_name="gigId",
        object_id_name="gig_id",
        backref="escrow_transactions",
        null=True,
        on_delete="SET NULL",
    )
    milestone_label = VarcharField(max_length=180, column_name="milestoneLabel", null=True)
    scheduled_release_at = TimeField(column_name="scheduledReleaseAt", null=True)
    released_at = TimeField(column_name="releasedAt", null=True)
    refunded_at = TimeField(column_name="refundedAt", null=True)
    cancelled_at = TimeField(column_name="cancelledAt", null=True)
    metadata = JsonField(null=True)
    audit_trail = JsonField(column_name="auditTrail", null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "escrow_transactions"
        indexes = (
            (("account",), False),
            (("reference",), True),
            (("status",), False),
            (("project",), False),
            (("gig",), False),
            (("scheduled_release_at",), False),
            (("initiated_by",), False),
            (("counterparty",), False),
        )
        checks = (
            ("amount", '"amount" > 0'),
            ("feeAmount", '"feeAmount" >= 0 AND "feeAmount" <= "amount"'),
        )


class DisputeCase(BaseModel):
    """A dispute over one escrow transaction."""

    id = KeyField()
    escrow_transaction = ReferenceField(
        EscrowTransaction,
        column_name="escrowTransactionId",
        object_id_name="escrow_transaction_id",
        backref="dispute_cases",
        on_delete="RESTRICT",
    )
    opened_by = ReferenceField(
        User,
        column_name="openedById",
        object_id_name="opened_by_id",
        backref="opened_disputes",
        on_delete="RESTRICT",
    )
    assigned_to = ReferenceField(
        User,
        column_name="assignedToId",
        object_id_name="assigned_to_id",
        backref="assigned_disputes",
        null=True,
        on_delete="SET NULL",
    )
    stage = EnumField(DisputeStage, default=DisputeStage.INTAKE)
    status = EnumField(DisputeStatus, default=DisputeStatus.OPEN)
    priority = EnumField(DisputePriority, default=DisputePriority.MEDIUM)
    reason_code = VarcharField(max_length=80, column_name="reasonCode")
    summary = TextField()
    customer_deadline_at = TimeField(column_name="customerDeadlineAt", null=True)
    provider_deadline_at = TimeField(column_name="providerDeadlineAt", null=True)
    resolution_notes = TextField(column_name="resolutionNotes", null=True)
    opened_at = TimeField(column_name="openedAt", default=now)
    resolved_at = TimeField(column_name="resolvedAt", null=True)
    metadata = JsonField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "dispute_cases"
        indexes = (
            (("escrow_transaction",), False),
            (("stage",), False),
            (("status",), False),
            (("priority",), False),
            (("opened_by",), False),
            (("assigned_to",), False),
        )


class DisputeEvent(BaseModel):
    """One thing that happened in a dispute."""

    id = KeyField()
    dispute_case = ReferenceField(
        DisputeCase,
        column_name="disputeCaseId",
        object_id_name="dispute_case_id",
        backref="events",
        on_delete="RESTRICT",
    )
    actor = ReferenceField(
        User,
        column_name="actorId",
        object_id_name="actor_id",
        backref="dispute_events",
        null=True,
        on_delete="SET NULL",
    )
    actor_type = EnumField(ActorType, column_name="actorType", default=ActorType.SYSTEM)
    action_type = EnumField(ActionType, column_name="actionType", default=ActionType.COMMENT)
    notes = TextField(null=True)
    evidence_key = VarcharField(max_length=255, column_name="evidenceKey", null=True)
    evidence_url = TextField(column_name="evidenceUrl", null=True)
    evidence_file_name = VarcharField(max_length=180, column_name="evidenceFileName", null=True)
    evidence_content_type = VarcharField(max_length=80, column_name="evidenceContentType", null=True)
    event_at = TimeField(column_name="eventAt", default=now)
    metadata = JsonField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "dispute_events"
        indexes = (
            (("dispute_case", "event_at"), False),
            (("actor_type",), False),
            (("action_type",), False),
            (("actor",), False),
        )
