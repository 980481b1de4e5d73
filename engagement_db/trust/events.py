"""Dispute events: what happened in each case, oldest first. Written by the verbs of ``DisputeCase``."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from engagement_db.orm.bound import now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    LateReferenceField,
    ReferenceField,
    TextField,
    UTCDateTimeField,
    VarcharField,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.rows import given_values, required, stored_value
from engagement_db.orm.statements import Statement, columns_of, parameters
from engagement_db.platform import User
from engagement_db.trust.words import ActionType, ActorType

if TYPE_CHECKING:
    from engagement_db.trust.disputes import DisputeCase


class DisputeEvent(BaseModel):
    """One event in a dispute case."""

    dispute_case_id: ClassVar[Column[int]]
    actor_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the event.")
    dispute_case: Reference["DisputeCase"] = LateReferenceField(
        "DisputeCase",
        column_name="disputeCaseId",
        object_id_name="dispute_case_id",
        backref="events",
        on_delete="RESTRICT",
        help_text="The case in which it happened.",
    )
    actor: Reference[User | None] = ReferenceField(
        User,
        column_name="actorId",
        object_id_name="actor_id",
        backref="dispute_events",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The user who acted, or NULL for the system or once the user is deleted.",
    )
    actor_type: Column[ActorType] = EnumField(
        ActorType, column_name="actorType", default=ActorType.SYSTEM, help_text="The role in which they acted."
    )
    action_type: Column[ActionType] = EnumField(
        ActionType, column_name="actionType", default=ActionType.COMMENT, help_text="What happened."
    )
    notes: Column[str | None] = TextField(null=True, default=None, help_text="What was said.")
    evidence_key: Column[str | None] = VarcharField(
        max_length=255,
        column_name="evidenceKey",
        null=True,
        default=None,
        help_text="The name of the evidence in the service's own store of files.",
    )
    evidence_url: Column[str | None] = TextField(
        column_name="evidenceUrl", null=True, default=None, help_text="Where the evidence can be read."
    )
    evidence_file_name: Column[str | None] = VarcharField(
        max_length=180,
        column_name="evidenceFileName",
        null=True,
        default=None,
        help_text="What the file of the evidence is called.",
    )
    evidence_content_type: Column[str | None] = VarcharField(
        max_length=80,
        column_name="evidenceContentType",
        null=True,
        default=None,
        help_text="The media type of the file.",
    )
    event_at: Column[datetime] = UTCDateTimeField(column_name="eventAt", default=now, help_text="When it happened.")
    metadata: Column[Any] = JsonField(null=True, default=None, help_text="What changed, or what the caller gave.")
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the row was inserted."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was inserted; events are never changed."
    )

    class Meta:
        table_name = "dispute_events"
        append_only = True
        indexes = (
            (("dispute_case", "event_at"), False),
            (("actor_type",), False),
            (("action_type",), False),
            (("actor",), False),
        )


_INSERT: Final = Statement(lambda: DisputeEvent.insert(parameters(*columns_of(DisputeEvent)[1:])))


def write_event(
    case_id: int, action: ActionType, actor_id: int | None, actor_type: ActorType, at: datetime, **values: Any
) -> DisputeEvent:
    """Insert an event of a locked case, in the transaction that is open, and return it."""
    event = DisputeEvent(
        dispute_case=case_id,
        actor=actor_id,
        actor_type=stored_value(DisputeEvent.actor_type, required(DisputeEvent.actor_type, actor_type)),
        action_type=action,
        event_at=at,
        created_at=at,
        updated_at=at,
        **given_values(DisputeEvent, **values),
    )
    _INSERT.insert(event)
    return event
