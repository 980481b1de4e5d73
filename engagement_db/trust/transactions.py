"""Escrow transactions, and the verbs that move money.

A verb that needs several rows locks the transaction first, then its account, then its dispute case. Whatever decides is
read under these locks.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

import peewee

from engagement_db import servers
from engagement_db.errors import Contention, InvalidTransition, ReferenceConflict
from engagement_db.orm.bound import current, now
from engagement_db.orm.columns import Backref, Column, Reference
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    MoneyField,
    ReferenceField,
    UTCDateTimeField,
    VarcharField,
    exact,
    reject,
)
from engagement_db.orm.models import BaseModel, assign, certify
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
    required_text,
    stored_value,
    write_with_parents,
)
from engagement_db.orm.statements import Parameter, Statement, columns_of, parameters
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import Actor, Gig, Project, User, actor_id_of, known_user
from engagement_db.repairs import Repair
from engagement_db.trust.accounts import EscrowAccount
from engagement_db.trust.money import EXACT, require_currency, require_payable
from engagement_db.trust.moves import TransactionChange, apply_transition, refuse_while_disputed, store_with_entry
from engagement_db.trust.payload import payload_of
from engagement_db.trust.trail import entries_of, initiation, new_entry
from engagement_db.trust.transitions import TRANSITIONS
from engagement_db.trust.words import TransactionStatus, TransactionType

if TYPE_CHECKING:
    from engagement_db.trust.disputes import DisputeCase

# The fields that a repeated call with the same reference has to repeat.
_PAYLOAD: Final = (
    "account",
    "type",
    "amount",
    "currency_code",
    "fee_amount",
    "initiated_by",
    "counterparty",
    "project",
    "gig",
    "milestone_label",
    "scheduled_release_at",
    "external_id",
    "metadata",
)


class EscrowTransaction(BaseModel):
    """A payment from one user to another, held in an account until it is released or refunded.

    ``initiate`` and ``deposit`` make it. ``create`` writes a row as it is given, in any status, without an audit trail
    and past the account's balance: ``find_problems`` reports each such row.
    """

    dispute_cases: ClassVar[Backref["DisputeCase"]]

    account_id: ClassVar[Column[int]]
    initiated_by_id: ClassVar[Column[int]]
    counterparty_id: ClassVar[Column[int | None]]
    project_id: ClassVar[Column[int | None]]
    gig_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the transaction.")
    account: Reference[EscrowAccount] = ReferenceField(
        EscrowAccount,
        column_name="accountId",
        object_id_name="account_id",
        backref="transactions",
        on_delete="RESTRICT",
        help_text="The account that holds the money.",
    )
    reference: Column[str] = VarcharField(
        max_length=120, help_text="The caller's name for the payment, and the key that makes initiate idempotent."
    )
    external_id: Column[str | None] = VarcharField(
        max_length=120,
        column_name="externalId",
        null=True,
        default=None,
        help_text="What the provider calls the payment.",
    )
    type: Column[TransactionType] = EnumField(
        TransactionType, default=TransactionType.PROJECT, help_text="What is paid for."
    )
    status: Column[TransactionStatus] = EnumField(
        TransactionStatus,
        default=TransactionStatus.INITIATED,
        help_text="Where the money is; opening and settling a dispute case move it too.",
    )
    amount: Column[Decimal] = MoneyField(help_text="The gross amount, which the payer pays.")
    currency_code: Column[str] = VarcharField(
        max_length=3,
        column_name="currencyCode",
        default="USD",
        help_text="The ISO 4217 code of the currency, the same as the account's.",
    )
    fee_amount: Column[Decimal] = MoneyField(
        column_name="feeAmount", default=Decimal(0), help_text="The part of the amount that the platform keeps."
    )
    net_amount: Column[Decimal] = MoneyField(
        column_name="netAmount", default=Decimal(0), help_text="What the counterparty gets: the amount less the fee."
    )
    initiated_by: Reference[User] = ReferenceField(
        User,
        column_name="initiatedById",
        object_id_name="initiated_by_id",
        backref="initiated_transactions",
        on_delete="RESTRICT",
        help_text="The user who pays.",
    )
    counterparty: Reference[User | None] = ReferenceField(
        User,
        column_name="counterpartyId",
        object_id_name="counterparty_id",
        backref="counterparty_transactions",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The user who is paid, or NULL if not known or deleted.",
    )
    project: Reference[Project | None] = ReferenceField(
        Project,
        column_name="projectId",
        object_id_name="project_id",
        backref="escrow_transactions",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The project that is paid for, if any.",
    )
    gig: Reference[Gig | None] = ReferenceField(
        Gig,
        column_name="gigId",
        object_id_name="gig_id",
        backref="escrow_transactions",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The gig that is paid for, if any.",
    )
    milestone_label: Column[str | None] = VarcharField(
        max_length=180,
        column_name="milestoneLabel",
        null=True,
        default=None,
        help_text="The milestone that is paid for, in the service's own words.",
    )
    scheduled_release_at: Column[datetime | None] = UTCDateTimeField(
        column_name="scheduledReleaseAt",
        null=True,
        default=None,
        help_text="When the money is due to be released, or NULL if it is not released automatically.",
    )
    released_at: Column[datetime | None] = UTCDateTimeField(
        column_name="releasedAt", null=True, default=None, help_text="When the money was released, or NULL."
    )
    refunded_at: Column[datetime | None] = UTCDateTimeField(
        column_name="refundedAt", null=True, default=None, help_text="When the money was refunded, or NULL."
    )
    cancelled_at: Column[datetime | None] = UTCDateTimeField(
        column_name="cancelledAt", null=True, default=None, help_text="When the transaction was cancelled, or NULL."
    )
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Whatever else the service keeps about the transaction."
    )
    audit_trail: Column[Any] = JsonField(
        column_name="auditTrail",
        null=True,
        default=None,
        help_text="An entry for each move and edit, oldest first, with who, when and the amounts.",
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the transaction was initiated."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "escrow_transactions"
        permanent = True
        verb_columns = {
            "account": "",
            "reference": "",
            "type": "",
            "status": "fund, hold, release, refund or cancel",
            "amount": "",
            "currency_code": "",
            "fee_amount": "edit",
            "net_amount": "edit",
            "initiated_by": "",
            "counterparty": "",
            "scheduled_release_at": "edit",
            "released_at": "release",
            "refunded_at": "refund",
            "cancelled_at": "cancel",
            "audit_trail": "fund, hold, release, refund or cancel",
        }
        indexes = (
            (("account",), False),
            (("reference",), True),
            (("status", "scheduled_release_at"), False),
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

    @classmethod
    def initiate(
        cls,
        account: EscrowAccount | int,
        *,
        reference: str,
        amount: Decimal | int,
        initiated_by: User | int,
        fee_amount: Decimal | int = 0,
        currency_code: str | None = None,
        type: TransactionType = TransactionType.PROJECT,
        counterparty: User | int | None = None,
        project: Project | int | None = None,
        gig: Gig | int | None = None,
        milestone_label: str | None = None,
        scheduled_release_at: datetime | None = None,
        external_id: str | None = None,
        metadata: object = None,
    ) -> "EscrowTransaction":
        """Create the transaction identified by ``reference``, or return the existing one.

        ``reference`` is the idempotency key, 1 to 120 characters: the same call again, from any process and at any
        time, returns the first row in whatever status it has by then. ``amount`` is the gross, more than 0;
        ``fee_amount`` is 0 to ``amount``; ``net_amount`` becomes their difference. ``currency_code`` is the account's
        unless given. Rows are taken as rows or ids.

        Raises RefusedValue for a value that does not fit; ReferenceConflict if the reference was used with another
        payload, its ``fields`` naming the differences; Refused if the account is suspended or closed or in another
        currency; NotFound for an account, user, project or gig that does not exist; Contention inside a caller's own
        transaction whose snapshot cannot show the row that another session has just inserted. Nothing is changed on
        error. Uses escrow_transactions_reference.
        """
        payment = _payment(
            account,
            reference,
            amount,
            fee_amount,
            currency_code,
            initiated_by,
            counterparty,
            project,
            gig,
            type=type,
            milestone_label=milestone_label,
            scheduled_release_at=scheduled_release_at,
            external_id=external_id,
            metadata=metadata,
        )
        return write_with_parents(lambda: _initiated(payment, currency_code), *_parents(payment))

    @classmethod
    def deposit(
        cls,
        account: EscrowAccount | int,
        *,
        reference: str,
        amount: Decimal | int,
        initiated_by: User | int,
        fee_amount: Decimal | int = 0,
        currency_code: str | None = None,
        type: TransactionType = TransactionType.PROJECT,
        counterparty: User | int | None = None,
        project: Project | int | None = None,
        gig: Gig | int | None = None,
        milestone_label: str | None = None,
        scheduled_release_at: datetime | None = None,
        external_id: str | None = None,
        metadata: object = None,
    ) -> "EscrowTransaction":
        """Create a transaction that is in_escrow at once: ``initiate``, ``fund`` and ``hold`` in one step.

        For money that has already arrived, as Node's service records it. The audit trail gets all three entries, by
        ``initiated_by``. The same call again completes an existing transaction that is initiated or funded, and
        returns any other as it is. Arguments and errors are those of ``initiate`` and ``fund``.
        """
        payment = _payment(
            account,
            reference,
            amount,
            fee_amount,
            currency_code,
            initiated_by,
            counterparty,
            project,
            gig,
            type=type,
            milestone_label=milestone_label,
            scheduled_release_at=scheduled_release_at,
            external_id=external_id,
            metadata=metadata,
        )

        def work() -> EscrowTransaction:
            row = _initiated(payment, currency_code)
            return _in_escrow(row) if row is payment else row

        row = write_with_parents(work, *_parents(payment))
        if row.status not in (TransactionStatus.INITIATED, TransactionStatus.FUNDED):
            return row
        return transaction(lambda: _in_escrow(lock_transaction(row.id, with_account=True)[0]))

    def fund(
        self, *, by: User | int | None = None, notes: str | None = None, metadata: object = None
    ) -> TransactionChange:
        """Fund the transaction: add its amount to the account's balance, its net amount to the pending release total.

        From initiated. The first money activates a pending account. ``by`` is the user (a row or id) who acts, None
        for the system itself; ``notes``, at most 65,535 bytes, and ``metadata``, a JSON document, go into the entry of
        the audit trail. Returns what changed; on a transaction that is funded already, nothing does.

        Raises InvalidTransition from any other status; Refused if the account is suspended or closed, if the
        transaction was ever released, refunded or cancelled, or if the account does not hold the money; RefusedValue
        for a value or a new balance that does not fit its column; NotFound for a transaction or user that does not
        exist. Nothing is changed on error. The same holds for the verbs below. They use primary keys.
        """
        return self._apply("fund", by, notes, metadata)

    def hold(
        self, *, by: User | int | None = None, notes: str | None = None, metadata: object = None
    ) -> TransactionChange:
        """Move the funded transaction into escrow: its money stays in the account until it is released or refunded.

        From funded. Arguments, result and errors are those of ``fund``.
        """
        return self._apply("hold", by, notes, metadata)

    def release(
        self, *, by: User | int | None = None, notes: str | None = None, metadata: object = None
    ) -> TransactionChange:
        """Release the held funds to the counterparty and set ``released_at``.

        From funded and in_escrow. While a dispute case is active, only ``DisputeCase.resolve`` releases. Arguments,
        result and errors are those of ``fund``.
        """
        return self._apply("release", by, notes, metadata)

    def refund(
        self, *, by: User | int | None = None, notes: str | None = None, metadata: object = None
    ) -> TransactionChange:
        """Refund the held funds to the payer and set ``refunded_at``.

        From funded and in_escrow. While a dispute case is active, only ``DisputeCase.resolve`` refunds. Arguments,
        result and errors are those of ``fund``.
        """
        return self._apply("refund", by, notes, metadata)

    def cancel(
        self, *, by: User | int | None = None, notes: str | None = None, metadata: object = None
    ) -> TransactionChange:
        """Cancel the transaction before it is funded and set ``cancelled_at``.

        From initiated. Arguments, result and errors are those of ``fund``.
        """
        return self._apply("cancel", by, notes, metadata)

    def edit(
        self,
        *,
        milestone_label: str | Unchanged | None = UNCHANGED,
        scheduled_release_at: datetime | Unchanged | None = UNCHANGED,
        external_id: str | Unchanged | None = UNCHANGED,
        metadata: object = UNCHANGED,
        fee_amount: Decimal | int | Unchanged = UNCHANGED,
        by: User | int | None = None,
        notes: str | None = None,
    ) -> TransactionChange:
        """Change what may be edited in any status, and the fee before funding; what is not given stays as it is.

        The entry in the audit trail has the old and the new values in its metadata; ``net_amount`` follows the fee.
        Equal values change nothing. Raises InvalidTransition for another fee once the transaction was funded or
        cancelled; RefusedValue for a value that does not fit; NotFound for a transaction or user that does not exist.
        Nothing is changed on error. Uses primary keys.
        """
        actor_id = actor_id_of(by)
        wanted = given_values(
            EscrowTransaction,
            milestone_label=milestone_label,
            scheduled_release_at=scheduled_release_at,
            external_id=external_id,
            metadata=metadata,
            fee_amount=fee_amount,
        )

        def work() -> TransactionChange:
            row, actor = lock_transaction(self.id, actor_id, with_account=False)
            changes = differences(row, wanted)
            if not changes:
                return TransactionChange(row, False, row.status, row.status)
            if "fee_amount" in changes:
                if row.status != TransactionStatus.INITIATED:
                    raise InvalidTransition(
                        f"escrow {row.reference!r} is {row.status}; its fee can be edited while it is initiated only. "
                        f"Nothing was changed.",
                        **error_data(row, allowed=[TransactionStatus.INITIATED]),
                    )
                require_payable(EscrowTransaction.fee_amount, changes["fee_amount"], row.currency_code)
                changes["net_amount"] = _net_of(row.amount, changes["fee_amount"])
            details = {"from": payload_of(row, changes), "to": payload_of(EscrowTransaction(**changes), changes)}
            store_with_entry(row, "edit", changes, now(), actor.required_id(), notes, details)
            return TransactionChange(row, True, row.status, row.status)

        change = transaction(work)
        copy_state(self, change.transaction)
        return replace(change, transaction=self)

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Return the audit trail with an entry for this repair, which keeps a trail that is itself repaired."""
        details = {
            "from": payload_of(self, repair.after),
            "to": payload_of(EscrowTransaction(**repair.after), repair.after.keys() - {"audit_trail"}),
        }
        entry = new_entry(self, "repair", repair.after, repair.at, repair.by_id, repair.reason, details)
        trail_alone = {"audit_trail": repair.after.get("audit_trail", self.audit_trail)}
        trail = entries_of(EscrowTransaction(**trail_alone))
        return {"audit_trail": [*trail, entry]}

    def _apply(self, verb: str, by: User | int | None, notes: str | None, metadata: object) -> TransactionChange:
        actor_id = actor_id_of(by)

        def work() -> TransactionChange:
            row, actor = lock_transaction(self.id, actor_id, with_account=TRANSITIONS[verb].moves_money)
            if row.status == TransactionStatus.DISPUTED:
                refuse_while_disputed(row, verb)
            return apply_transition(row, verb, actor, notes, metadata)

        change = transaction(work)
        copy_state(self, change.transaction)
        return replace(change, transaction=self)


def _lock(*models: type[peewee.Model]) -> Statement:
    def build() -> Any:
        query = EscrowTransaction.select(*columns_of(*models), known_user(Parameter("actor_id")))
        for model in models[1:]:
            query = query.join_from(EscrowTransaction, model)
        return locked(query.where(EscrowTransaction.id == Parameter("id")))

    return Statement(build, *models)


_LOCK: Final = _lock(EscrowTransaction)
_LOCK_WITH_ACCOUNT: Final = _lock(EscrowTransaction, EscrowAccount)
# The transaction initiated last is recorded, so that its deletion is noticed.
_LOCK_ACCOUNT: Final = Statement(
    lambda: locked(
        EscrowAccount.select(
            *columns_of(EscrowAccount), EscrowTransaction.select(peewee.fn.MAX(EscrowTransaction.id))
        ).where(EscrowAccount.id == Parameter("id"))
    ),
    EscrowAccount,
)
_INSERT: Final = Statement(
    lambda: EscrowTransaction.insert(parameters(*columns_of(EscrowTransaction)[1:])),
    unique=(EscrowTransaction.reference,),
)


def _with_reference() -> Any:
    return EscrowTransaction.select().where(EscrowTransaction.reference == Parameter("reference"))


_FIND: Final = Statement(_with_reference, EscrowTransaction)
_FIND_NEWEST: Final = Statement(lambda: locked(_with_reference()), EscrowTransaction)


def lock_transaction(
    key: int | None, actor_id: int | None = None, *, with_account: bool
) -> tuple[EscrowTransaction, Actor]:
    """Return the transaction, locked, and the user who acts on it, in one query; raises NotFound.

    ``with_account`` locks the account too and puts it into ``account``. Uses primary keys.
    """
    found = (_LOCK_WITH_ACCOUNT if with_account else _LOCK).first(id=key, actor_id=actor_id)
    if found is None:
        raise not_found(EscrowTransaction, key)
    *rows, known_id = found
    row: EscrowTransaction = rows[0]
    if with_account:
        assign(row, {"account": rows[1]})
    return row, Actor(actor_id, exists=known_id == actor_id)


def _in_escrow(row: EscrowTransaction) -> EscrowTransaction:
    """Fund and hold a transaction that is locked with its account, as far as that is not done."""
    for verb in ("fund", "hold"):
        if row.status in TRANSITIONS[verb].sources:
            apply_transition(row, verb, Actor(row.initiated_by_id))
    return row


def _payment(
    account: EscrowAccount | int,
    reference: str,
    amount: Decimal | int,
    fee_amount: Decimal | int,
    currency_code: str | None,
    initiated_by: User | int,
    counterparty: User | int | None,
    project: Project | int | None,
    gig: Gig | int | None,
    **values: Any,
) -> EscrowTransaction:
    """Return a new transaction, not stored yet, whose values fit; raises RefusedValue."""
    row = EscrowTransaction
    gross, fee = exact(row.amount, amount), exact(row.fee_amount, fee_amount)
    if gross <= 0:
        reject(row.amount, f"{gross} is not more than 0")
    if currency_code is not None:
        require_currency(row.currency_code, currency_code)
    payment = EscrowTransaction(
        account=id_of(row.account, account),
        reference=required_text(row.reference, reference),
        amount=gross,
        fee_amount=fee,
        net_amount=_net_of(gross, fee),
        initiated_by=id_of(row.initiated_by, initiated_by),
        counterparty=optional_id_of(row.counterparty, counterparty),
        project=optional_id_of(row.project, project),
        gig=optional_id_of(row.gig, gig),
        **values,
    )
    for name in values:
        stored_value(row._meta.fields[name], values[name])
    return payment


def _net_of(amount: Decimal, fee: Decimal) -> Decimal:
    if not 0 <= fee <= amount:
        reject(EscrowTransaction.fee_amount, f"{fee} is not between 0 and the amount, {amount}")
    return exact(EscrowTransaction.net_amount, EXACT.subtract(amount, fee))


def _parents(payment: EscrowTransaction) -> list[tuple[Any, int | None]]:
    names = ("initiated_by", "counterparty", "project", "gig")
    return [(EscrowTransaction._meta.fields[name], payment.__data__.get(name)) for name in names]


def _initiated(payment: EscrowTransaction, currency_code: str | None) -> EscrowTransaction:
    """Insert ``payment`` and return it with its account locked, or return the row that has its reference already."""
    locked_with_previous = _LOCK_ACCOUNT.first(id=payment.account_id)
    if locked_with_previous is None:
        raise not_found(EscrowAccount, payment.account_id)
    account, previous = locked_with_previous
    payment.currency_code = currency_code or account.currency_code
    require_payable(EscrowTransaction.amount, payment.amount, payment.currency_code)
    require_payable(EscrowTransaction.fee_amount, payment.fee_amount, payment.currency_code)
    payload = payload_of(payment, _PAYLOAD)
    refusal: Exception | None = account.funding_refusal(payment.currency_code)
    if refusal is None:
        try:
            if _insert(payment, payload, account, previous):
                certify(account)
                assign(payment, {"account": account})
                return payment
        except peewee.IntegrityError as error:
            if servers.of(current()).names_conflict_target:
                raise
            # MySQL looks for parents before it looks for the reference: one of a first call may be deleted by now.
            refusal = error
    found = _FIND.first(reference=payment.reference) or _FIND_NEWEST.first(reference=payment.reference)
    if found is None:
        raise refusal or Contention(
            f"another session has just used reference {payment.reference!r}, and the snapshot of this transaction "
            f"does not show its row. Nothing was changed; run the transaction again.",
            table=EscrowTransaction._meta.table_name,
        )
    first: EscrowTransaction = found[0]
    _require_same_payload(first, payload)
    return first


def _insert(
    payment: EscrowTransaction, payload: Mapping[str, Any], account: EscrowAccount, previous: int | None
) -> bool:
    at = now()
    entry = new_entry(payment, "initiate", {"status": TransactionStatus.INITIATED}, at, payment.initiated_by_id)
    first = initiation(entry, payload, account, previous)
    assign(
        payment,
        {
            "status": TransactionStatus.INITIATED,
            "audit_trail": [first],
            "created_at": at,
            "updated_at": at,
        },
    )
    return _INSERT.insert(payment)


def _require_same_payload(first: EscrowTransaction, payload: Mapping[str, Any]) -> None:
    entries = entries_of(first)
    recorded = entries[0].get("payload") if entries and isinstance(entries[0], dict) else None
    recorded = recorded or payload_of(first, _PAYLOAD)
    fields = [name for name in _PAYLOAD if recorded.get(name) != payload[name]]
    if fields:
        differences = "; ".join(f"{name} was {recorded.get(name)!s:.60}, now {payload[name]!s:.60}" for name in fields)
        raise ReferenceConflict(
            f"reference {first.reference!r} belongs to escrow transaction {first.id} with another payload: "
            f"{differences}. Nothing was changed; take a new reference for a new payment.",
            fields,
            **error_data(first),
        )
