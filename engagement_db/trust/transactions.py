"""Escrow transactions, and the verbs that move money.

Whoever needs several rows locks them in this order: the user, the account, the transaction, the
dispute case. What a verb decides by, it reads under the account's lock.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import peewee

from engagement_db.errors import Contention, ReferenceConflict
from engagement_db.orm.bound import current, now
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    MoneyField,
    ReferenceField,
    UTCDateTimeField,
    VarcharField,
    reject,
)
from engagement_db.orm.models import BaseModel, assign
from engagement_db.orm.rows import copy_state, not_found, require_rows, required_text
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import Gig, Project, User
from engagement_db.trust.accounts import EscrowAccount, locked_account
from engagement_db.trust.money import EXACT, currency
from engagement_db.trust.moves import TransactionChange, audit_entry, move, refuse_while_disputed, trail_of
from engagement_db.trust.words import TransactionStatus, TransactionType

# The fields that tell one payment from another: the payload of its reference.
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
    """Money on its way from one person to another, held in an account until it is due."""

    account_id: int
    initiated_by_id: int
    dispute_cases: Any

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
    scheduled_release_at = UTCDateTimeField(column_name="scheduledReleaseAt", null=True)
    released_at = UTCDateTimeField(column_name="releasedAt", null=True)
    refunded_at = UTCDateTimeField(column_name="refundedAt", null=True)
    cancelled_at = UTCDateTimeField(column_name="cancelledAt", null=True)
    metadata = JsonField(null=True)
    audit_trail = JsonField(column_name="auditTrail", null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

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
            "fee_amount": "",
            "net_amount": "",
            "initiated_by": "",
            "counterparty": "",
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
        account: Any,
        *,
        reference: str,
        amount: Decimal | int,
        initiated_by: Any,
        fee_amount: Decimal | int = 0,
        currency_code: str | None = None,
        type: TransactionType = TransactionType.PROJECT,
        counterparty: Any = None,
        project: Any = None,
        gig: Any = None,
        milestone_label: str | None = None,
        scheduled_release_at: datetime | None = None,
        external_id: str | None = None,
        metadata: Any = None,
    ) -> "EscrowTransaction":
        """There is one transaction of this ``reference``, initiated in ``account``; return it.

        ``reference`` is the idempotency key, 1 to 120 characters. The same call again, from any process and
        at any time, returns the row of the first, wherever it stands by now. ``amount`` is the gross, more
        than 0; ``fee_amount`` is 0 to ``amount``; ``net_amount`` becomes their difference.
        ``currency_code`` is the account's unless given. Rows are taken as rows or ids.

        Raises, with nothing changed: RefusedValue for a value that does not fit; ReferenceConflict when
        the reference came with another payload, its ``fields`` saying what differs; Refused when the account
        is suspended or closed or in another currency; NotFound for an account, user, project or gig that
        does not exist; Contention inside a caller's own transaction whose snapshot cannot show the row
        that another process has just inserted. Walks escrow_transactions_reference.
        """
        wanted = cls(
            account=cls.account.db_value(account),
            reference=required_text(cls.reference, reference),
            type=type,
            amount=cls.amount.exact(amount),
            fee_amount=cls.fee_amount.exact(fee_amount),
            initiated_by=cls.initiated_by.db_value(initiated_by),
            counterparty=cls.counterparty.db_value(counterparty),
            project=cls.project.db_value(project),
            gig=cls.gig.db_value(gig),
            milestone_label=milestone_label,
            scheduled_release_at=scheduled_release_at,
            external_id=external_id,
            metadata=metadata,
        )
        if currency_code is not None:
            currency(cls.currency_code, currency_code)
        if wanted.initiated_by_id is None:
            reject(cls.initiated_by, "nobody initiated it; pass a user")
        if wanted.amount <= 0:
            reject(cls.amount, f"{wanted.amount} is not more than 0")
        if not 0 <= wanted.fee_amount <= wanted.amount:
            reject(cls.fee_amount, f"{wanted.fee_amount} is not between 0 and the amount, {wanted.amount}")
        wanted.net_amount = cls.net_amount.exact(EXACT.subtract(wanted.amount, wanted.fee_amount))
        cls.metadata.db_value(metadata)
        payload = _payload(wanted)

        def find() -> Any:
            return cls.select().where(cls.reference == wanted.reference)

        def work() -> Any:
            home = locked_account(wanted.account_id)
            payload["currency_code"] = wanted.currency_code = currency_code or home.currency_code
            first = find().first()
            if first is None:
                home.require_funding(wanted.currency_code)
                try:
                    with current().atomic():
                        return wanted._insert(home, payload)
                except peewee.IntegrityError as error:
                    _require_related_rows(wanted)
                    first = locked(find()).first()
                    if first is None:
                        raise Contention(
                            f"another transaction has just written reference {wanted.reference!r}, and this "
                            f"transaction's snapshot does not show it; nothing was changed, run it again."
                        ) from error
            _require_same_payload(first, payload)
            return first

        done: EscrowTransaction = transaction(work)
        return done

    def _insert(self, account: EscrowAccount, payload: dict[str, Any]) -> "EscrowTransaction":
        values = dict(self.__data__, created_at=now())
        row = EscrowTransaction(**values)
        row.updated_at = row.created_at
        entry = audit_entry(row, "initiate", None, row.status, row.created_at, row.initiated_by_id)
        row.audit_trail = [{**entry, "payload": payload}]
        row.save(force_insert=True)
        assign(row, {"account": account})
        return row

    def fund(self, *, by: Any = None) -> TransactionChange:
        """The transaction is funded: its amount is in the account's balance, its net is pending release.

        From initiated. ``by`` is the user (a row or id) who did it, None for the system itself.
        Returns what changed; on a transaction that is funded already, nothing does.

        Raises, with nothing changed: InvalidTransition from any other status; Refused when the account is
        suspended or closed; RefusedValue when the new balance does not fit its column; NotFound for a
        transaction or user that does not exist. The same holds for the verbs below. They walk primary keys.
        """
        return self._move("fund", by)

    def hold(self, *, by: Any = None) -> TransactionChange:
        """The transaction is in_escrow: its money stays in the account until it is released or refunded.

        From funded. Arguments, result and errors are those of ``fund``.
        """
        return self._move("hold", by)

    def release(self, *, by: Any = None) -> TransactionChange:
        """The transaction is released, at ``released_at``: its money has left the account for its receiver.

        From in_escrow. A disputed one is released by ``DisputeCase.resolve``, and refused here while its case
        is active. Arguments, result and errors are those of ``fund``.
        """
        return self._move("release", by)

    def refund(self, *, by: Any = None) -> TransactionChange:
        """The transaction is refunded, at ``refunded_at``: its money has left the account for its payer.

        From funded and in_escrow. A disputed one is refunded by ``DisputeCase.resolve``, and refused here
        while its case is active. Arguments, result and errors are those of ``fund``.
        """
        return self._move("refund", by)

    def cancel(self, *, by: Any = None) -> TransactionChange:
        """The transaction is cancelled, at ``cancelled_at``, before any money came.

        From initiated. Arguments, result and errors are those of ``fund``.
        """
        return self._move("cancel", by)

    def _move(self, verb: str, by: Any) -> TransactionChange:
        def work() -> TransactionChange:
            row = locked_transaction(self.id, self.account_id)
            if row.status == TransactionStatus.DISPUTED:
                refuse_while_disputed(row, verb)
            return move(row, verb, by)

        done = transaction(work)
        copy_state(self, done.transaction)
        return replace(done, transaction=self)


def locked_transaction(key: int | None, account_id: int | None = None) -> EscrowTransaction:
    """Return the transaction as it stands, its account in ``account``, both locked; raises NotFound.

    ``account_id``, which never changes, saves a query where the caller knows it. Walks primary keys.
    """
    stranger = not_found(EscrowTransaction, key)
    if account_id is None:
        found = EscrowTransaction.select(EscrowTransaction.account).where(EscrowTransaction.id == key).first()
        if found is None:
            raise stranger
        account_id = found.account_id
    account = locked_account(account_id)
    query = EscrowTransaction.select().where(EscrowTransaction.id == key, EscrowTransaction.account == account.id)
    row: EscrowTransaction | None = locked(query).first()
    if row is None:
        raise stranger
    assign(row, {"account": account})
    return row


def _payload(row: EscrowTransaction) -> dict[str, Any]:
    return {name: _plain(EscrowTransaction._meta.fields[name], row.__data__.get(name)) for name in _PAYLOAD}


def _plain(field: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(field, JsonField):
        # As text, since a server may spell a number of its own accord.
        return json.dumps(value, sort_keys=True, default=lambda null: None)
    value = field.python_value(field.db_value(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _require_same_payload(first: EscrowTransaction, payload: Mapping[str, Any]) -> None:
    trail = trail_of(first)
    recorded = trail[0].get("payload") if trail and isinstance(trail[0], dict) else None
    recorded = recorded or _payload(first)
    fields = [name for name in _PAYLOAD if recorded.get(name) != payload[name]]
    if fields:
        differences = "; ".join(f"{name} was {recorded.get(name)!s:.60}, now {payload[name]!s:.60}" for name in fields)
        raise ReferenceConflict(
            f"reference {first.reference!r} belongs to escrow transaction {first.id} with another payload: "
            f"{differences}. Nothing was changed; take a new reference for a new payment.",
            fields,
        )


def _require_related_rows(row: EscrowTransaction) -> None:
    for name in ("initiated_by", "counterparty", "project", "gig"):
        require_rows((EscrowTransaction._meta.fields[name], row.__data__.get(name)))
