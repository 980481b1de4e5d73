"""Django's models of the tables, unmanaged. Imported when Django's settings are made."""

from datetime import datetime
from typing import Any

from django.db import models

from benchmarks.verbs import databases


class MomentField(models.DateTimeField):
    """A time; on SQLite the text that Sequelize writes."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if connection.vendor == "sqlite" and isinstance(value, datetime):
            return databases.stored("sqlite", value)
        return super().get_db_prep_value(value, connection, prepared)


class VisibilityField(models.CharField):
    """An enum of PostgreSQL, whose name bulk_create has to be told."""

    def db_type(self, connection: Any) -> str | None:
        is_postgres = connection.vendor == "postgresql"
        return '"enum_feed_posts_visibility"' if is_postgres else super().db_type(connection)


def key(model: Any, column: str, **options: Any) -> Any:
    return models.ForeignKey(model, models.DO_NOTHING, db_column=column, related_name="+", **options)


def label(**options: Any) -> Any:
    return models.CharField(max_length=255, **options)


def money(column: str) -> Any:
    return models.DecimalField(max_digits=18, decimal_places=4, db_column=column)


class Row(models.Model):
    id = models.AutoField(primary_key=True)

    class Meta:
        abstract = True
        app_label = "benchmark"
        managed = False


class TimedRow(Row):
    created_at = MomentField(db_column="createdAt", auto_now_add=True)
    updated_at = MomentField(db_column="updatedAt", auto_now=True)

    class Meta(Row.Meta):
        abstract = True


class User(TimedRow):
    first_name = label(db_column="firstName")
    last_name = label(db_column="lastName")
    email = label()

    class Meta(TimedRow.Meta):
        db_table = "users"


class Post(TimedRow):
    user = key(User, "userId")
    content = models.TextField()
    visibility = VisibilityField(max_length=20, default="public")
    metadata = models.JSONField(null=True)

    class Meta(TimedRow.Meta):
        db_table = "feed_posts"


class Reaction(TimedRow):
    post = key(Post, "postId")
    user = key(User, "userId")
    reaction_type = label(db_column="reactionType")

    class Meta(TimedRow.Meta):
        db_table = "feed_reactions"


class Comment(TimedRow):
    post = key(Post, "postId")
    user = key(User, "userId")
    parent = key("self", "parentId", null=True)
    body = models.TextField()
    metadata = models.JSONField(null=True)
    deleted_at = MomentField(db_column="deletedAt", null=True)

    class Meta(TimedRow.Meta):
        db_table = "feed_comments"


class Share(Row):
    post = key(Post, "postId")

    class Meta(Row.Meta):
        db_table = "feed_shares"


class Log(Row):
    post = key(Post, "postId", null=True)
    comment_id = models.IntegerField(db_column="commentId", null=True)
    actor = key(User, "actorId", null=True)
    action = label()
    metadata = models.JSONField(null=True)
    created_at = MomentField(db_column="createdAt", auto_now_add=True)

    class Meta(Row.Meta):
        db_table = "feed_activity_logs"


class Account(TimedRow):
    user = key(User, "userId")
    provider = label()
    external_id = label(db_column="externalId", null=True)
    status = label()
    currency_code = label(db_column="currencyCode")
    current_balance = money("currentBalance")
    pending_release_total = money("pendingReleaseTotal")
    metadata = models.JSONField(null=True)
    last_reconciled_at = MomentField(db_column="lastReconciledAt", null=True)

    class Meta(TimedRow.Meta):
        db_table = "escrow_accounts"


class Transaction(TimedRow):
    account = key(Account, "accountId")
    reference = label()
    external_id = label(db_column="externalId", null=True)
    type = label(default="project")
    status = label(default="initiated")
    amount = money("amount")
    currency_code = label(db_column="currencyCode")
    fee_amount = money("feeAmount")
    net_amount = money("netAmount")
    initiated_by = key(User, "initiatedById")
    counterparty = key(User, "counterpartyId", null=True)
    project_id = models.IntegerField(db_column="projectId", null=True)
    gig_id = models.IntegerField(db_column="gigId", null=True)
    milestone_label = label(db_column="milestoneLabel", null=True)
    scheduled_release_at = MomentField(db_column="scheduledReleaseAt", null=True)
    released_at = MomentField(db_column="releasedAt", null=True)
    refunded_at = MomentField(db_column="refundedAt", null=True)
    cancelled_at = MomentField(db_column="cancelledAt", null=True)
    metadata = models.JSONField(null=True)
    audit_trail = models.JSONField(db_column="auditTrail", null=True)

    class Meta(TimedRow.Meta):
        db_table = "escrow_transactions"


class Case(TimedRow):
    transaction = key(Transaction, "escrowTransactionId")
    opened_by = key(User, "openedById")
    stage = label(default="intake")
    status = label(default="open")
    priority = label(default="medium")
    reason_code = label(db_column="reasonCode")
    summary = models.TextField()
    resolution_notes = models.TextField(db_column="resolutionNotes", null=True)
    opened_at = MomentField(db_column="openedAt", auto_now_add=True)
    resolved_at = MomentField(db_column="resolvedAt", null=True)

    class Meta(TimedRow.Meta):
        db_table = "dispute_cases"


class Event(TimedRow):
    case = key(Case, "disputeCaseId")
    actor = key(User, "actorId", null=True)
    actor_type = label(db_column="actorType")
    action_type = label(db_column="actionType")
    notes = models.TextField(null=True)
    metadata = models.JSONField(null=True)
    event_at = MomentField(db_column="eventAt", auto_now_add=True)

    class Meta(TimedRow.Meta):
        db_table = "dispute_events"
