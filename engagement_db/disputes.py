"""Disputes over escrow transactions: cases, their events, and the verbs that settle both case and money.

Locks are taken in the order of ``ledger``: account, transaction, case.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import peewee

from engagement_db.errors import IllegalMove, NotFound, Refused
from engagement_db.ledger import (
    EscrowTransaction,
    active_case,
    assign,
    locked_transaction,
    move,
    person,
    require,
    required_text,
    take_over,
)
from engagement_db.orm.bound import now
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    TimeField,
    VarcharField,
    refuse,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import checked_limit
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User
from engagement_db.trust import (
    ACTIVE_DISPUTE,
    MOVES,
    PRIORITIES,
    RECORDED,
    STAGES,
    ActionType,
    ActorType,
    DisputePriority,
    DisputeStage,
    DisputeStatus,
    Resolution,
)

QUEUE_LIMIT: Final = 1000
HOURS_LIMIT: Final = 24 * 366


@dataclass(frozen=True)
class DisputeStep:
    """What a verb did to a case: ``changed`` is False, and ``event`` None, where it was done before."""

    case: "DisputeCase"
    changed: bool
    event: "DisputeEvent | None"


class DisputeCase(BaseModel):
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

        Raises, with nothing changed: Refused when the transaction has an active case; IllegalMove when it
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
            refuse(cls.opened_by, "nobody opened it; pass a user")

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
                raise IllegalMove(
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
            take_over(escrow_transaction, case.escrow_transaction)
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

        Raises, with nothing changed: IllegalMove when the case is settled or closed; Refused for an action
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
                person(by),
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

    def assign(self, user: Any, *, by: Any = None, actor_type: ActorType = ActorType.ADMIN) -> DisputeStep:
        """The case is in the hands of ``user`` (a row or id), or of nobody, with None.

        Returns what changed. Raises, with nothing changed: IllegalMove when the case is settled or closed;
        NotFound for a case or user that does not exist. The same holds for the verbs below.
        """
        key = DisputeCase.assigned_to.db_value(user)

        def changes(case: DisputeCase) -> dict[str, Any]:
            if key is not None:
                require(User, key, "assigned_to")
            return {"assigned_to": key}

        return self._change(ActionType.SYSTEM_NOTICE, "assigned", changes, by, actor_type)

    def set_deadlines(
        self,
        *,
        customer_deadline_at: datetime | None,
        provider_deadline_at: datetime | None,
        by: Any = None,
        actor_type: ActorType = ActorType.MEDIATOR,
    ) -> DisputeStep:
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
    ) -> DisputeStep:
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
    ) -> DisputeStep:
        """The case is in a later stage: mediation or arbitration; a stage may be skipped.

        Returns and raises what ``assign`` does, IllegalMove for a stage that lies behind too, and Refused for
        resolved, which ``resolve`` and ``withdraw`` set.
        """
        stage = DisputeStage(DisputeCase.stage.db_value(stage))
        if stage == DisputeStage.RESOLVED:
            raise Refused("a case is resolved with its money: call resolve or withdraw.")

        def changes(case: DisputeCase) -> dict[str, Any]:
            if STAGES.index(stage) < STAGES.index(case.stage):
                raise IllegalMove(
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
    ) -> DisputeStep:
        """The case is settled, at ``resolved_at``, and its money released or refunded, both or neither.

        ``notes`` say why, at most 65,535 bytes. Resolving a settled case the same way again changes nothing.

        Raises, with nothing changed: IllegalMove when the case was settled the other way or is closed, or
        its transaction cannot make the move; RefusedValue for a value that does not fit; NotFound for a case
        or user that does not exist.
        """
        if resolution not in tuple(Resolution):
            refuse(DisputeCase.status, f"{resolution!r} does not settle a case; release or refund does")
        required_text(DisputeCase.resolution_notes, notes)
        return self._end(DisputeStatus.SETTLED, str(resolution), notes, by, actor_type)

    def withdraw(
        self, notes: str | None = None, *, by: Any = None, actor_type: ActorType = ActorType.CUSTOMER
    ) -> DisputeStep:
        """The case is closed, at ``resolved_at``, and the transaction back where it was before the dispute.

        Returns what changed; withdrawing a closed case again changes nothing. Raises what ``resolve`` does.
        """
        return self._end(DisputeStatus.CLOSED, "withdraw", notes, by, actor_type)

    def _end(self, status: DisputeStatus, verb: str, notes: str | None, by: Any, actor_type: ActorType) -> DisputeStep:
        def work() -> DisputeStep:
            disputed = locked_transaction(self.escrow_transaction_id)
            case = self._locked()
            if case.status == status and (verb == "withdraw" or disputed.status == MOVES[verb].target):
                return DisputeStep(case, False, None)
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
            return DisputeStep(case, True, event)

        return self._take_over(transaction(work))

    def _change(
        self,
        action: ActionType,
        notes: str,
        changes: Callable[["DisputeCase"], dict[str, Any]],
        by: Any,
        actor_type: ActorType,
    ) -> DisputeStep:
        def work() -> DisputeStep:
            case = self._locked()
            case._require_active(notes)
            wanted = {name: value for name, value in changes(case).items() if case.__data__[name] != value}
            if not wanted:
                return DisputeStep(case, False, None)
            at = now()
            before = {name: case.__data__[name] for name in wanted}
            case._store(wanted, at)
            event = case._write(
                action,
                person(by),
                actor_type,
                at,
                notes=notes,
                metadata={"from": _plain(before), "to": _plain(wanted)},
            )
            return DisputeStep(case, True, event)

        return self._take_over(transaction(work))

    def _locked(self) -> "DisputeCase":
        case: DisputeCase | None = locked(DisputeCase.select().where(DisputeCase.id == self.id)).first()
        if case is None:
            raise NotFound(f"dispute case {self.id} does not exist; nothing was changed.")
        return case

    def _require_active(self, what: str) -> None:
        if self.status not in ACTIVE_DISPUTE:
            raise IllegalMove(
                f"dispute case {self.id} is {self.status} and takes no more ({what}); "
                f"open a new case if the transaction can still be disputed."
            )

    def _store(self, changes: dict[str, Any], at: datetime) -> None:
        changes = {**changes, "updated_at": at}
        DisputeCase.update(**changes).where(DisputeCase.id == self.id).execute()
        assign(self, changes)

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

    def _take_over(self, step: DisputeStep) -> DisputeStep:
        take_over(self, step.case)
        return replace(step, case=self)

    @classmethod
    def queue(cls, limit: int = 100) -> Any:
        """Return a query of the active cases, urgent ones first, then by nearest deadline, none last.

        At most ``limit`` rows, 1 to 1000. Like the queries below it can be narrowed with ``where``.
        Walks dispute_cases_status.
        """
        urgency = peewee.Case(cls.priority, [(priority.value, rank) for rank, priority in enumerate(PRIORITIES)])
        return cls._active(limit).order_by(urgency, *cls._by_deadline())

    @classmethod
    def overdue(cls, at: datetime | None = None, limit: int = 100) -> Any:
        """Return a query of the active cases with a deadline before ``at`` (default: now), oldest first.

        At most ``limit`` rows, 1 to 1000. Walks dispute_cases_status.
        """
        at = at or now()
        late = (cls.customer_deadline_at < at) | (cls.provider_deadline_at < at)
        return cls._active(limit).where(late).order_by(*cls._by_deadline())

    @classmethod
    def due_within(cls, hours: int, at: datetime | None = None, limit: int = 100) -> Any:
        """Return a query of the active cases with a deadline within ``hours`` of ``at``, nearest first.

        ``at`` is an aware time, by default now; ``hours`` is 1 to 8784, a year. A case that is overdue by
        one deadline and due by the other is in both queues. At most ``limit`` rows, 1 to 1000. Walks
        dispute_cases_status.
        """
        start = at or now()
        end = start + timedelta(hours=checked_limit(cls._meta.table_name, hours, HOURS_LIMIT, "hours"))
        due = cls.customer_deadline_at.between(start, end) | cls.provider_deadline_at.between(start, end)
        return cls._active(limit).where(due).order_by(*cls._by_deadline())

    @classmethod
    def in_hands_of(cls, user: Any, limit: int = 100) -> Any:
        """Return a query of the active cases assigned to ``user`` (a row or id), in the order of ``queue``.

        At most ``limit`` rows, 1 to 1000. Walks dispute_cases_assigned_to_id.
        """
        return cls.queue(limit).where(cls.assigned_to == cls.assigned_to.db_value(user))

    @classmethod
    def _active(cls, limit: int) -> Any:
        most = checked_limit(cls._meta.table_name, limit, QUEUE_LIMIT)
        return cls.select().where(cls.status.in_(ACTIVE_DISPUTE)).limit(most)

    @classmethod
    def _by_deadline(cls) -> tuple[Any, ...]:
        customer, provider = cls.customer_deadline_at, cls.provider_deadline_at
        nearest = peewee.Case(
            None,
            [
                (customer.is_null(), provider),
                (provider.is_null(), customer),
                (customer <= provider, customer),
            ],
            provider,
        )
        return nearest.is_null(), nearest, cls.id


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


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
