"""Dispute cases over escrow transactions, and the verbs that settle both case and money.

Locks are taken in the order of ``transactions``: transaction, account, case.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Final

import peewee

from engagement_db.errors import InvalidTransition, Refused
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Backref, Column, Reference
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    UTCDateTimeField,
    VarcharField,
    reject,
    shown,
)
from engagement_db.orm.models import BaseModel, assign, certify, update_of
from engagement_db.orm.rows import (
    UNCHANGED,
    Unchanged,
    copy_state,
    differences,
    error_data,
    given_values,
    id_of,
    not_found,
    optional_id_of,
    require_rows,
    required,
    required_text,
    stored_value,
    write_with_parents,
)
from engagement_db.orm.statements import Parameter, Statement, columns_of, parameters
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import Actor, User, actor_id_of, known_user
from engagement_db.repairs import Repair
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.events import DisputeEvent, write_event
from engagement_db.trust.moves import active_case, apply_transition, require_unsettled
from engagement_db.trust.payload import payload_of
from engagement_db.trust.queues import Queues
from engagement_db.trust.transactions import EscrowTransaction, lock_transaction
from engagement_db.trust.transitions import ACTIVE_DISPUTE, RECORDED, STAGES, TRANSITIONS
from engagement_db.trust.words import ActionType, ActorType, DisputePriority, DisputeStage, DisputeStatus, Resolution


@dataclass(frozen=True)
class DisputeChange:
    """What a verb did to a case; ``changed`` is False and ``event`` None if the case was in that state already."""

    case: "DisputeCase"
    changed: bool
    event: DisputeEvent | None


class DisputeCase(Queues, BaseModel):
    """A dispute over one escrow transaction.

    ``open`` makes it. ``create`` writes a row as it is given, and its transaction is not disputed: ``find_problems``
    reports each such row.
    """

    events: ClassVar[Backref[DisputeEvent]]
    escrow_transaction_id: ClassVar[Column[int]]
    opened_by_id: ClassVar[Column[int]]
    assigned_to_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the case.")
    escrow_transaction: Reference[EscrowTransaction] = ReferenceField(
        EscrowTransaction,
        column_name="escrowTransactionId",
        object_id_name="escrow_transaction_id",
        backref="dispute_cases",
        on_delete="RESTRICT",
        help_text="The disputed transaction, whose money stays in the account meanwhile.",
    )
    opened_by: Reference[User] = ReferenceField(
        User,
        column_name="openedById",
        object_id_name="opened_by_id",
        backref="opened_disputes",
        on_delete="RESTRICT",
        help_text="The user who opened the case.",
    )
    assigned_to: Reference[User | None] = ReferenceField(
        User,
        column_name="assignedToId",
        object_id_name="assigned_to_id",
        backref="assigned_disputes",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The user who works on the case, or NULL for nobody.",
    )
    stage: Column[DisputeStage] = EnumField(
        DisputeStage, default=DisputeStage.INTAKE, help_text="How far the case has come; it never goes back."
    )
    status: Column[DisputeStatus] = EnumField(
        DisputeStatus, default=DisputeStatus.OPEN, help_text="Who is to act next, and in the end how the case ended."
    )
    priority: Column[DisputePriority] = EnumField(
        DisputePriority, default=DisputePriority.MEDIUM, help_text="How urgent the case is for the desk."
    )
    reason_code: Column[str] = VarcharField(
        max_length=80, column_name="reasonCode", help_text="Why the case was opened, in the service's own words."
    )
    summary: Column[str] = TextField(help_text="What the case is about, as given at first or edited since.")
    customer_deadline_at: Column[datetime | None] = UTCDateTimeField(
        column_name="customerDeadlineAt",
        null=True,
        default=None,
        help_text="Until when the customer is to answer, or NULL.",
    )
    provider_deadline_at: Column[datetime | None] = UTCDateTimeField(
        column_name="providerDeadlineAt",
        null=True,
        default=None,
        help_text="Until when the provider is to answer, or NULL.",
    )
    resolution_notes: Column[str | None] = TextField(
        column_name="resolutionNotes", null=True, default=None, help_text="Why the case was settled or withdrawn."
    )
    opened_at: Column[datetime] = UTCDateTimeField(
        column_name="openedAt", default=now, help_text="When the case was opened."
    )
    resolved_at: Column[datetime | None] = UTCDateTimeField(
        column_name="resolvedAt",
        null=True,
        default=None,
        help_text="When the case was settled or withdrawn, or NULL while it is active.",
    )
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Whatever else the service keeps about the case."
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the row was inserted."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "dispute_cases"
        permanent = True
        verb_columns = {
            "escrow_transaction": "",
            "opened_by": "",
            "assigned_to": "assign",
            "stage": "advance, resolve or withdraw",
            "status": "set_status, resolve or withdraw",
            "priority": "edit",
            "reason_code": "",
            "summary": "edit",
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
        escrow_transaction: EscrowTransaction | int,
        opened_by: User | int,
        reason_code: str,
        summary: str,
        *,
        priority: DisputePriority = DisputePriority.MEDIUM,
        customer_deadline_at: datetime | None = None,
        provider_deadline_at: datetime | None = None,
        metadata: object = None,
        actor_type: ActorType = ActorType.CUSTOMER,
    ) -> "DisputeCase":
        """Open a dispute case over a transaction, which becomes disputed, and return the case.

        The transaction has to be funded or in_escrow; its audit trail keeps which, for ``withdraw``. Its money stays
        in the account. The first event of the case is a comment: the summary. Transaction and user are taken as rows
        or ids; ``reason_code`` has 1 to 80 characters, ``summary`` at most 65,535 bytes; ``actor_type`` is the role of
        the user. The same call again, while the case is active, returns the case as it is by then.

        Raises Refused if the transaction has another active case, or was ever released, refunded or cancelled;
        InvalidTransition if its status is not one to dispute; RefusedValue for a value that does not fit; NotFound for
        a transaction or user that does not exist. Nothing is changed on error. Uses
        dispute_cases_escrow_transaction_id.
        """
        key = id_of(cls.escrow_transaction, escrow_transaction)
        values = {
            "opened_by": id_of(cls.opened_by, opened_by),
            "reason_code": required_text(cls.reason_code, reason_code),
            "summary": required_text(cls.summary, summary),
            "priority": stored_value(cls.priority, required(cls.priority, priority)),
            "customer_deadline_at": stored_value(cls.customer_deadline_at, customer_deadline_at),
            "provider_deadline_at": stored_value(cls.provider_deadline_at, provider_deadline_at),
            "metadata": stored_value(cls.metadata, metadata),
        }
        opened = cls(escrow_transaction=key, **values)
        payload = payload_of(opened, values)

        def work() -> DisputeCase:
            disputed, actor = lock_transaction(key, values["opened_by"], with_account=False)
            active = active_case(disputed)
            if active is not None:
                _require_same_payload(active, disputed, payload)
                return _of_transaction(active, disputed)
            change = apply_transition(disputed, "dispute", actor)
            if not change.changed:
                raise InvalidTransition(
                    f"escrow {disputed.reference!r} is disputed without a case, so its previous status is unknown. "
                    f"Release or refund it instead.",
                    **error_data(disputed),
                )
            case = _inserted(opened, disputed.updated_at)
            write_event(
                case.id,
                ActionType.COMMENT,
                case.opened_by_id,
                actor_type,
                case.opened_at,
                notes=summary,
                metadata={
                    "to": DisputeStatus.OPEN,
                    "transaction": {"from": change.before, "to": change.after},
                    "payload": payload,
                },
            )
            return _of_transaction(case, disputed)

        case = transaction(work)
        if isinstance(escrow_transaction, EscrowTransaction):
            copy_state(escrow_transaction, case.escrow_transaction)
        return case

    def record(
        self,
        action_type: ActionType = ActionType.COMMENT,
        *,
        by: User | int | None = None,
        actor_type: ActorType = ActorType.SYSTEM,
        notes: str | None = None,
        evidence_key: str | None = None,
        evidence_url: str | None = None,
        evidence_file_name: str | None = None,
        evidence_content_type: str | None = None,
        metadata: object = None,
    ) -> DisputeEvent:
        """Add a comment, a piece of evidence or a notice to the case, and return the event.

        ``by`` is the user (a row or id) who acts, None for the system; ``actor_type`` is their role. Evidence needs
        ``evidence_key`` or ``evidence_url``, the other actions need ``notes``. The same call again adds another event.

        Raises InvalidTransition if the case is settled or closed; Refused for an action that has a verb of its own,
        or for an event without content; RefusedValue for a value that does not fit; NotFound for a case or user that
        does not exist. Nothing is changed on error. Uses primary keys.
        """
        action = ActionType(stored_value(DisputeEvent.action_type, required(DisputeEvent.action_type, action_type)))
        if action not in RECORDED:
            raise Refused(
                f"{action} is written by the verb that performs it; record takes {', '.join(RECORDED)}.",
                **_about_event(DisputeEvent.action_type, allowed=RECORDED),
            )
        if action == ActionType.EVIDENCE_UPLOAD and not (evidence_key or evidence_url):
            raise Refused(
                "evidence needs an evidence_key or evidence_url. Nothing was recorded.",
                **_about_event(DisputeEvent.evidence_key),
            )
        notes = stored_value(DisputeEvent.notes, notes)
        if action != ActionType.EVIDENCE_UPLOAD and not (notes and notes.strip()):
            raise Refused(f"a {action} needs notes. Nothing was recorded.", **_about_event(DisputeEvent.notes))
        actor_id = actor_id_of(by)

        def work() -> DisputeEvent:
            case, actor = _lock_case(self.id, actor_id)
            case._require_active(action)
            certify(case)
            return write_event(
                case.id,
                action,
                actor.required_id(),
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

    def assign(
        self, user: User | int | None, *, by: User | int | None = None, actor_type: ActorType = ActorType.ADMIN
    ) -> DisputeChange:
        """Assign the case to ``user`` (a row or id), or unassign it with None.

        Returns what changed. Raises InvalidTransition if the case is settled or closed, and NotFound for a case or
        user that does not exist. Nothing is changed on error. The same holds for the verbs below.
        """
        field = DisputeCase.assigned_to
        changes = {field.name: optional_id_of(field, user)}
        parent = field, changes[field.name]
        return self._change(ActionType.SYSTEM_NOTICE, "assigned", lambda case: changes, by, actor_type, parent)

    def edit(
        self,
        *,
        priority: DisputePriority | Unchanged = UNCHANGED,
        summary: str | Unchanged = UNCHANGED,
        by: User | int | None = None,
        actor_type: ActorType = ActorType.ADMIN,
    ) -> DisputeChange:
        """Change the priority or the summary of the case; what is not given stays as it is.

        Returns and raises what ``assign`` does, and RefusedValue for a value that does not fit.
        """
        if summary is not UNCHANGED:
            required_text(DisputeCase.summary, summary)
        changes = given_values(DisputeCase, priority=priority, summary=summary)
        return self._change(ActionType.SYSTEM_NOTICE, "edited", lambda case: changes, by, actor_type)

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Write an event for this repair."""
        write_event(
            self.id,
            ActionType.SYSTEM_NOTICE,
            repair.by_id,
            ActorType.ADMIN,
            repair.at,
            notes=repair.reason,
            metadata={
                "action": "repair",
                "from": payload_of(self, repair.after),
                "to": payload_of(DisputeCase(**repair.after), repair.after),
            },
        )
        return {}

    def set_deadlines(
        self,
        *,
        customer_deadline_at: datetime | None,
        provider_deadline_at: datetime | None,
        by: User | int | None = None,
        actor_type: ActorType = ActorType.MEDIATOR,
    ) -> DisputeChange:
        """Set both deadlines of the case, aware datetimes; None removes one.

        Returns and raises what ``assign`` does, and RefusedValue for a naive time.
        """
        deadlines = {
            name: stored_value(field, value)
            for name, field, value in (
                ("customer_deadline_at", DisputeCase.customer_deadline_at, customer_deadline_at),
                ("provider_deadline_at", DisputeCase.provider_deadline_at, provider_deadline_at),
            )
        }
        return self._change(ActionType.DEADLINE_ADJUSTED, "deadlines set", lambda case: deadlines, by, actor_type)

    def set_status(
        self, status: DisputeStatus, *, by: User | int | None = None, actor_type: ActorType = ActorType.MEDIATOR
    ) -> DisputeChange:
        """Set the status of an active case: open, awaiting_customer or under_review.

        Returns and raises what ``assign`` does, and Refused for settled and closed, which ``resolve`` and
        ``withdraw`` set.
        """
        status = DisputeStatus(stored_value(DisputeCase.status, required(DisputeCase.status, status)))
        if status not in ACTIVE_DISPUTE:
            message = f"a case becomes {status} together with its money: call resolve or withdraw."
            raise Refused(message, **error_data(self, allowed=ACTIVE_DISPUTE))
        return self._change(ActionType.STATUS_CHANGE, f"now {status}", lambda case: {"status": status}, by, actor_type)

    def advance(
        self, stage: DisputeStage, *, by: User | int | None = None, actor_type: ActorType = ActorType.MEDIATOR
    ) -> DisputeChange:
        """Advance the case to a later stage, mediation or arbitration; a stage may be skipped.

        Returns and raises what ``assign`` does, InvalidTransition for an earlier stage, and Refused for resolved,
        which ``resolve`` and ``withdraw`` set.
        """
        stage = DisputeStage(stored_value(DisputeCase.stage, required(DisputeCase.stage, stage)))
        if stage == DisputeStage.RESOLVED:
            message = "a case is resolved together with its money: call resolve or withdraw."
            raise Refused(message, **error_data(self, allowed=[item for item in STAGES if item != stage]))

        def changes(case: DisputeCase) -> dict[str, Any]:
            if STAGES.index(stage) < STAGES.index(case.stage):
                raise InvalidTransition(
                    f"dispute case {case.id} is already in {case.stage} and cannot go back to {stage}; "
                    f"stages only go forward.",
                    **error_data(case, allowed=STAGES[STAGES.index(case.stage) :]),
                )
            return {"stage": stage}

        return self._change(ActionType.STAGE_ADVANCED, f"on to {stage}", changes, by, actor_type)

    def resolve(
        self,
        resolution: Resolution,
        notes: str,
        *,
        by: User | int | None = None,
        actor_type: ActorType = ActorType.ADMIN,
    ) -> DisputeChange:
        """Settle the case and release or refund its money, both or neither; set ``resolved_at``.

        ``notes`` give the reason, at most 65,535 bytes. Resolving a settled case the same way again changes nothing.

        Raises InvalidTransition if the case was settled the other way or is closed, or if the status of its
        transaction does not allow the transition; Refused if the transaction was ever released, refunded or cancelled;
        RefusedValue for a value that does not fit; NotFound for a case or user that does not exist. Nothing is changed
        on error.
        """
        if not isinstance(resolution, str) or resolution not in tuple(Resolution):
            reject(DisputeCase.status, f"{shown(resolution)} does not settle a case; release or refund does")
        required_text(DisputeCase.resolution_notes, notes)
        return self._end(DisputeStatus.SETTLED, str(resolution), notes, by, actor_type)

    def withdraw(
        self, notes: str | None = None, *, by: User | int | None = None, actor_type: ActorType = ActorType.CUSTOMER
    ) -> DisputeChange:
        """Close the case and put the transaction back to its status before the dispute; set ``resolved_at``.

        Returns what changed; withdrawing a closed case again changes nothing. Raises what ``resolve`` does.
        """
        return self._end(DisputeStatus.CLOSED, "withdraw", notes, by, actor_type)

    def _end(
        self, status: DisputeStatus, verb: str, notes: str | None, by: User | int | None, actor_type: ActorType
    ) -> DisputeChange:
        actor_id = actor_id_of(by)

        def work() -> DisputeChange:
            disputed, case, actor = _lock_with_transaction(self, actor_id, TRANSITIONS[verb].moves_money)
            if case.status == status and (verb == "withdraw" or disputed.status == TRANSITIONS[verb].target):
                return DisputeChange(case, False, None)
            case._require_active(verb)
            require_unsettled(disputed)
            moved = apply_transition(disputed, verb, actor, notes)
            at, before = disputed.updated_at, case.status
            _store(
                case,
                {
                    "status": status,
                    "stage": DisputeStage.RESOLVED,
                    "resolution_notes": notes,
                    "resolved_at": at,
                },
                at,
            )
            event = write_event(
                case.id,
                ActionType.STATUS_CHANGE,
                actor_id,
                actor_type,
                at,
                notes=notes,
                metadata={
                    "action": verb,
                    "from": before,
                    "to": status,
                    "transaction": {"from": moved.before, "to": moved.after},
                },
            )
            return DisputeChange(_of_transaction(case, disputed), True, event)

        return self._copy_state(transaction(work))

    def _change(
        self,
        action: ActionType,
        notes: str,
        changes: Callable[["DisputeCase"], dict[str, Any]],
        by: User | int | None,
        actor_type: ActorType,
        *parents: tuple[Reference[Any], int | None],
    ) -> DisputeChange:
        actor_id = actor_id_of(by)

        def work() -> DisputeChange:
            case, actor = _lock_case(self.id, actor_id)
            case._require_active(notes)
            wanted = differences(case, changes(case))
            if not wanted:
                return DisputeChange(case, False, None)
            at = now()
            before = payload_of(case, wanted)
            actor.required_id()
            _store(case, wanted, at)
            event = write_event(
                case.id,
                action,
                actor_id,
                actor_type,
                at,
                notes=notes,
                metadata={"from": before, "to": payload_of(case, wanted)},
            )
            return DisputeChange(case, True, event)

        return self._copy_state(write_with_parents(work, *parents))

    def _require_active(self, what: str) -> None:
        if self.status not in ACTIVE_DISPUTE:
            raise InvalidTransition(
                f"dispute case {self.id} is {self.status} and takes no more ({what}); "
                f"open a new case if the transaction can still be disputed.",
                **error_data(self, allowed=ACTIVE_DISPUTE),
            )

    def _copy_state(self, change: DisputeChange) -> DisputeChange:
        copy_state(self, change.case)
        return replace(change, case=self)


def _lock(*models: type[peewee.Model]) -> Statement:
    def build() -> Any:
        query = EscrowTransaction.select(*columns_of(*models), known_user(Parameter("actor_id")))
        for model in models[1:]:
            query = query.join_from(EscrowTransaction, model)
        return locked(
            query.where(EscrowTransaction.id == Parameter("transaction_id"), DisputeCase.id == Parameter("id"))
        )

    return Statement(build, *models)


_LOCK_CASE: Final = Statement(
    lambda: locked(
        DisputeCase.select(*columns_of(DisputeCase), known_user(Parameter("actor_id"))).where(
            DisputeCase.id == Parameter("id")
        )
    ),
    DisputeCase,
)
_LOCK_WITH_TRANSACTION: Final = _lock(EscrowTransaction, DisputeCase)
_LOCK_WITH_ACCOUNT: Final = _lock(EscrowTransaction, EscrowAccount, DisputeCase)
_INSERT: Final = Statement(lambda: DisputeCase.insert(parameters(*columns_of(DisputeCase)[1:])))


def _lock_case(key: int | None, actor_id: int | None) -> tuple[DisputeCase, Actor]:
    found = _LOCK_CASE.first(id=key, actor_id=actor_id)
    if found is None:
        raise not_found(DisputeCase, key)
    return found[0], Actor(actor_id, exists=found[1] == actor_id)


def _lock_with_transaction(
    case: DisputeCase, actor_id: int | None, with_account: bool
) -> tuple[EscrowTransaction, DisputeCase, Actor]:
    """Return the case and its transaction, locked in the order of ``transactions``, in one query."""
    statement = _LOCK_WITH_ACCOUNT if with_account else _LOCK_WITH_TRANSACTION
    found = statement.first(id=case.id, transaction_id=case.escrow_transaction_id, actor_id=actor_id)
    if found is None:
        require_rows((DisputeEvent.dispute_case, case.id))
        raise not_found(EscrowTransaction, case.escrow_transaction_id)
    disputed, *account, fresh, known_id = found
    if account:
        assign(disputed, {"account": account[0]})
    return disputed, fresh, Actor(actor_id, exists=known_id == actor_id)


def _inserted(case: DisputeCase, at: datetime) -> DisputeCase:
    assign(case, {"opened_at": at, "created_at": at, "updated_at": at})
    _INSERT.insert(case)
    return case


def _store(case: DisputeCase, changes: dict[str, Any], at: datetime) -> None:
    changes = {**changes, "updated_at": at}
    update_of(DisputeCase, tuple(changes)).execute(id=case.id, **changes)
    assign(case, changes)


def _of_transaction(case: DisputeCase, disputed: EscrowTransaction) -> DisputeCase:
    assign(case, {"escrow_transaction": disputed})
    return case


def _require_same_payload(case: DisputeCase, disputed: EscrowTransaction, payload: dict[str, Any]) -> None:
    """Raise Refused unless this is the call that opened the active case."""
    opening = case.events.order_by(DisputeEvent.id).first()
    metadata = opening.metadata if opening is not None and isinstance(opening.metadata, dict) else {}
    recorded = metadata.get("payload") or payload_of(case, payload)
    if recorded != payload:
        raise Refused(
            f"escrow {disputed.reference!r} is already disputed in case {case.id}; "
            f"record what is new there, or open a case once that one is resolved or withdrawn.",
            **error_data(case),
        )


def _about_event(field: Column[Any], *, allowed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the data of an error about an event that is not recorded."""
    place = {"table": DisputeEvent._meta.table_name, "column": field.column_name, "attribute": field.name}
    return {**place, "allowed": tuple(map(str, allowed))}
