"""Disputes over escrow transactions: cases, their events, and the verbs that settle both case and money.

Locks are taken in the order of ``transactions``: account, transaction, case.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from engagement_db.errors import InvalidTransition, Refused
from engagement_db.orm.bound import now
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    UTCDateTimeField,
    VarcharField,
    reject,
)
from engagement_db.orm.models import BaseModel, assign, store
from engagement_db.orm.rows import copy_state, not_found, require_rows, required_text
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User, resolve_actor_id
from engagement_db.trust.moves import active_case, move
from engagement_db.trust.queues import Queues
from engagement_db.trust.transactions import EscrowTransaction, locked_transaction
from engagement_db.trust.transitions import ACTIVE_DISPUTE, RECORDED, STAGES, TRANSITIONS
from engagement_db.trust.words import ActionType, ActorType, DisputePriority, DisputeStage, DisputeStatus, Resolution


@dataclass(frozen=True)
class DisputeChange:
    """What a verb did to a case: ``changed`` is False, and ``event`` None, where it was done before."""

    case: "DisputeCase"
    changed: bool
    event: "DisputeEvent | None"


class DisputeCase(Queues, BaseModel):
    """A dispute over one escrow transaction."""

    escrow_transaction_id: int
    opened_by_id: int
    assigned_to_id: int | None

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
    customer_deadline_at = UTCDateTimeField(column_name="customerDeadlineAt", null=True)
    provider_deadline_at = UTCDateTimeField(column_name="providerDeadlineAt", null=True)
    resolution_notes = TextField(column_name="resolutionNotes", null=True)
    opened_at = UTCDateTimeField(column_name="openedAt", default=now)
    resolved_at = UTCDateTimeField(column_name="resolvedAt", null=True)
    metadata = JsonField(null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "dispute_cases"
        permanent = True
        verb_columns = {
            "escrow_transaction": "",
            "opened_by": "",
            "assigned_to": "assign",
            "stage": "advance, resolve or withdraw",
            "status": "set_status, resolve or withdraw",
            "customer_deadline_at": "set_deadlines",
            "provider_deadline_at": "set_deadlines",
            "resolution_notes": "resolve or withdraw",
            "opened_at": "",
            "resolved_at": "resolve or withdraw",
        }
        indexes = (
            (("escrow_transaction",), False),
            (("stage",), False),
            (("status",), False),
            (("priority",), False),
            (("opened_by",), False),
            (("assigned_to",), False),
        )

    @classmethod
    def open(
        cls,
        escrow_transaction: Any,
        opened_by: Any,
        reason_code: str,
        summary: str,
        *,
        priority: DisputePriority = DisputePriority.MEDIUM,
        customer_deadline_at: datetime | None = None,
        provider_deadline_at: datetime | None = None,
        metadata: Any = None,
        actor_type: ActorType = ActorType.CUSTOMER,
    ) -> "DisputeCase":
        """The transaction is disputed, by one active case; return that case.

        The transaction has to be funded or in_escrow; its audit trail keeps which, for ``withdraw``. Its
        money stays where it is. Transaction and user are taken as rows or ids; ``reason_code`` has 1 to 80
        characters, ``summary`` at most 65,535 bytes; ``actor_type`` says in which role the user opened it.

        Raises, with nothing changed: Refused when the transaction has an active case; InvalidTransition when it
        cannot be disputed; RefusedValue for a value that does not fit; NotFound for a transaction or user
        that does not exist. Walks dispute_cases_escrow_transaction_id.
        """
        key = cls.escrow_transaction.db_value(escrow_transaction)
        at = now()
        values = {
            "opened_by": cls.opened_by.db_value(opened_by),
            "reason_code": required_text(cls.reason_code, reason_code),
            "summary": required_text(cls.summary, summary),
            "priority": priority,
            "customer_deadline_at": customer_deadline_at,
            "provider_deadline_at": provider_deadline_at,
            "metadata": metadata,
            "opened_at": at,
            "created_at": at,
            "updated_at": at,
        }

        if values["opened_by"] is None:
            reject(cls.opened_by, "nobody opened it; pass a user")

        def work() -> DisputeCase:
            disputed = locked_transaction(key)
            rival = active_case(disputed)
            if rival is not None:
                raise Refused(
                    f"escrow {disputed.reference!r} is already disputed in case {rival.id}; "
                    f"record what is new there, or open a case once that one is resolved or withdrawn."
                )
            moved = move(disputed, "dispute", values["opened_by"])
            if not moved.changed:
                raise InvalidTransition(
                    f"escrow {disputed.reference!r} was disputed without a case, where it was is not known; "
                    f"release or refund it instead."
                )
            case = cls.create(escrow_transaction=disputed.id, **values)
            case._write(
                ActionType.STATUS_CHANGE,
                case.opened_by_id,
                actor_type,
                at,
                notes="case opened",
                metadata={"to": DisputeStatus.OPEN, "transaction": {"from": moved.before, "to": moved.after}},
            )
            assign(case, {"escrow_transaction": disputed})
            return case

        case = transaction(work)
        if isinstance(escrow_transaction, EscrowTransaction):
            copy_state(escrow_transaction, case.escrow_transaction)
        return case

    def record(
        self,
        action_type: ActionType = ActionType.COMMENT,
        *,
        by: Any = None,
        actor_type: ActorType = ActorType.SYSTEM,
        notes: str | None = None,
        evidence_key: str | None = None,
        evidence_url: str | None = None,
        evidence_file_name: str | None = None,
        evidence_content_type: str | None = None,
        metadata: Any = None,
    ) -> "DisputeEvent":
        """The case has one more comment, piece of evidence or notice; return it.

        ``by`` is the user (a row or id) who acts, None for the system; ``actor_type`` is their role.
        Evidence names where it lies, by ``evidence_key`` or ``evidence_url``; the other actions say
        something in ``notes``.

        Raises, with nothing changed: InvalidTransition when the case is settled or closed; Refused for an action
        that has a verb of its own, or an entry that says nothing; RefusedValue for a value that does not
        fit; NotFound for a case or user that does not exist. Walks primary keys.
        """
        action = ActionType(DisputeEvent.action_type.db_value(action_type))
        if action not in RECORDED:
            raise Refused(f"{action} is written by the verb that does it; record takes {', '.join(RECORDED)}.")
        if action == ActionType.EVIDENCE_UPLOAD and not (evidence_key or evidence_url):
            raise Refused("evidence that lies nowhere was not recorded; pass its evidence_key or evidence_url.")
        if action != ActionType.EVIDENCE_UPLOAD and not (notes and notes.strip()):
            raise Refused(f"a {action} that says nothing was not recorded; pass notes.")

        def work() -> DisputeEvent:
            case = self._locked()
            case._require_active(action)
            return case._write(
                action,
                resolve_actor_id(by),
                actor_type,
                now(),
                notes=notes,
                evidence_key=evidence_key,
                evidence_url=evidence_url,
                evidence_file_name=evidence_file_name,
                evidence_content_type=evidence_content_type,
                metadata=metadata,
            )

        return transaction(work)

    def assign(self, user: Any, *, by: Any = None, actor_type: ActorType = ActorType.ADMIN) -> DisputeChange:
        """The case is in the hands of ``user`` (a row or id), or of nobody, with None.

        Returns what changed. Raises, with nothing changed: InvalidTransition when the case is settled or closed;
        NotFound for a case or user that does not exist. The same holds for the verbs below.
        """
        key = DisputeCase.assigned_to.db_value(user)

        def changes(case: DisputeCase) -> dict[str, Any]:
            require_rows((DisputeCase.assigned_to, key))
            return {"assigned_to": key}

        return self._change(ActionType.SYSTEM_NOTICE, "assigned", changes, by, actor_type)

    def set_deadlines(
        self,
        *,
        customer_deadline_at: datetime | None,
        provider_deadline_at: datetime | None,
        by: Any = None,
        actor_type: ActorType = ActorType.MEDIATOR,
    ) -> DisputeChange:
        """The two deadlines of the case are these, aware datetimes; None takes one away.

        Returns and raises what ``assign`` does, and RefusedValue for a naive time.
        """
        deadlines = {
            name: field.python_value(field.db_value(value))
            for name, field, value in (
                ("customer_deadline_at", DisputeCase.customer_deadline_at, customer_deadline_at),
                ("provider_deadline_at", DisputeCase.provider_deadline_at, provider_deadline_at),
            )
        }
        return self._change(ActionType.DEADLINE_ADJUSTED, "deadlines set", lambda case: deadlines, by, actor_type)

    def set_status(
        self, status: DisputeStatus, *, by: Any = None, actor_type: ActorType = ActorType.MEDIATOR
    ) -> DisputeChange:
        """The case says whose turn it is: open, awaiting_customer or under_review.

        Returns and raises what ``assign`` does, and Refused for settled and closed, which ``resolve`` and
        ``withdraw`` set.
        """
        status = DisputeStatus(DisputeCase.status.db_value(status))
        if status not in ACTIVE_DISPUTE:
            raise Refused(f"a case becomes {status} with its money: call resolve or withdraw.")
        return self._change(ActionType.STATUS_CHANGE, f"now {status}", lambda case: {"status": status}, by, actor_type)

    def advance(
        self, stage: DisputeStage, *, by: Any = None, actor_type: ActorType = ActorType.MEDIATOR
    ) -> DisputeChange:
        """The case is in a later stage: mediation or arbitration; a stage may be skipped.

        Returns and raises what ``assign`` does, InvalidTransition for a stage that lies behind too, and Refused for
        resolved, which ``resolve`` and ``withdraw`` set.
        """
        stage = DisputeStage(DisputeCase.stage.db_value(stage))
        if stage == DisputeStage.RESOLVED:
            raise Refused("a case is resolved with its money: call resolve or withdraw.")

        def changes(case: DisputeCase) -> dict[str, Any]:
            if STAGES.index(stage) < STAGES.index(case.stage):
                raise InvalidTransition(
                    f"dispute case {case.id} is in {case.stage} already; {stage} lies behind, "
                    f"and stages only go forward."
                )
            return {"stage": stage}

        return self._change(ActionType.STAGE_ADVANCED, f"on to {stage}", changes, by, actor_type)

    def resolve(
        self,
        resolution: Resolution,
        notes: str,
        *,
        by: Any = None,
        actor_type: ActorType = ActorType.ADMIN,
    ) -> DisputeChange:
        """The case is settled, at ``resolved_at``, and its money released or refunded, both or neither.

        ``notes`` say why, at most 65,535 bytes. Resolving a settled case the same way again changes nothing.

        Raises, with nothing changed: InvalidTransition when the case was settled the other way or is closed, or
        its transaction cannot make the move; RefusedValue for a value that does not fit; NotFound for a case
        or user that does not exist.
        """
        if resolution not in tuple(Resolution):
            reject(DisputeCase.status, f"{resolution!r} does not settle a case; release or refund does")
        required_text(DisputeCase.resolution_notes, notes)
        return self._end(DisputeStatus.SETTLED, str(resolution), notes, by, actor_type)

    def withdraw(
        self, notes: str | None = None, *, by: Any = None, actor_type: ActorType = ActorType.CUSTOMER
    ) -> DisputeChange:
        """The case is closed, at ``resolved_at``, and the transaction back where it was before the dispute.

        Returns what changed; withdrawing a closed case again changes nothing. Raises what ``resolve`` does.
        """
        return self._end(DisputeStatus.CLOSED, "withdraw", notes, by, actor_type)

    def _end(
        self, status: DisputeStatus, verb: str, notes: str | None, by: Any, actor_type: ActorType
    ) -> DisputeChange:
        def work() -> DisputeChange:
            disputed = locked_transaction(self.escrow_transaction_id)
            case = self._locked()
            if case.status == status and (verb == "withdraw" or disputed.status == TRANSITIONS[verb].target):
                return DisputeChange(case, False, None)
            case._require_active(verb)
            moved = move(disputed, verb, by)
            at = now()
            before = case.status
            case._store(
                {
                    "status": status,
                    "stage": DisputeStage.RESOLVED,
                    "resolution_notes": notes,
                    "resolved_at": at,
                },
                at,
            )
            event = case._write(
                ActionType.STATUS_CHANGE,
                DisputeEvent.actor.db_value(by),
                actor_type,
                at,
                notes=notes,
                metadata={
                    "move": verb,
                    "from": before,
                    "to": status,
                    "transaction": {"from": moved.before, "to": moved.after},
                },
            )
            assign(case, {"escrow_transaction": disputed})
            return DisputeChange(case, True, event)

        return self._copy_state(transaction(work))

    def _change(
        self,
        action: ActionType,
        notes: str,
        changes: Callable[["DisputeCase"], dict[str, Any]],
        by: Any,
        actor_type: ActorType,
    ) -> DisputeChange:
        def work() -> DisputeChange:
            case = self._locked()
            case._require_active(notes)
            wanted = {name: value for name, value in changes(case).items() if case.__data__[name] != value}
            if not wanted:
                return DisputeChange(case, False, None)
            at = now()
            before = {name: case.__data__[name] for name in wanted}
            case._store(wanted, at)
            event = case._write(
                action,
                resolve_actor_id(by),
                actor_type,
                at,
                notes=notes,
                metadata={"from": _plain(before), "to": _plain(wanted)},
            )
            return DisputeChange(case, True, event)

        return self._copy_state(transaction(work))

    def _locked(self) -> "DisputeCase":
        case: DisputeCase | None = locked(DisputeCase.select().where(DisputeCase.id == self.id)).first()
        if case is None:
            raise not_found(DisputeCase, self.id)
        return case

    def _require_active(self, what: str) -> None:
        if self.status not in ACTIVE_DISPUTE:
            raise InvalidTransition(
                f"dispute case {self.id} is {self.status} and takes no more ({what}); "
                f"open a new case if the transaction can still be disputed."
            )

    def _store(self, changes: dict[str, Any], at: datetime) -> None:
        store(self, {**changes, "updated_at": at})

    def _write(
        self, action: ActionType, actor: int | None, actor_type: ActorType, at: datetime, **values: Any
    ) -> "DisputeEvent":
        return DisputeEvent.create(
            dispute_case=self.id,
            actor=actor,
            actor_type=actor_type,
            action_type=action,
            event_at=at,
            created_at=at,
            updated_at=at,
            **values,
        )

    def _copy_state(self, step: DisputeChange) -> DisputeChange:
        copy_state(self, step.case)
        return replace(step, case=self)


class DisputeEvent(BaseModel):
    """One thing that happened in a dispute."""

    dispute_case_id: int
    actor_id: int | None

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
    event_at = UTCDateTimeField(column_name="eventAt", default=now)
    metadata = JsonField(null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "dispute_events"
        append_only = True
        indexes = (
            (("dispute_case", "event_at"), False),
            (("actor_type",), False),
            (("action_type",), False),
            (("actor",), False),
        )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
