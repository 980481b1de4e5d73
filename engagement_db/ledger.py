"""Escrow accounts and transactions, and the verbs that move money.

Whoever needs several rows locks them in this order: the user, the account, the transaction, the
dispute case. What a verb decides by, it reads under the account's lock.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final

import peewee

from engagement_db import dialects
from engagement_db.errors import Contention, IllegalMove, NotFound, ReferenceConflict, Refused
from engagement_db.orm.bound import now, proxy, target
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    MoneyField,
    ReferenceField,
    TextField,
    TimeField,
    VarcharField,
    refuse,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import Gig, Project, User
from engagement_db.trust import (
    ACCOUNT_MOVES,
    ACTIVE_DISPUTE,
    HELD,
    MOVES,
    SETTLED_AT,
    TAKES_NEW_MONEY,
    AccountStatus,
    TransactionStatus,
    TransactionType,
)

# The caller's decimal context may round; the books never do.
EXACT: Final = Context(prec=40)

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


@dataclass(frozen=True)
class AccountMove:
    """What ``activate``, ``suspend`` or ``close`` did; ``changed`` is False where it was done before."""

    account: "EscrowAccount"
    changed: bool
    before: AccountStatus
    after: AccountStatus


@dataclass(frozen=True)
class Move:
    """What a verb did to a transaction; ``changed`` is False where it was done before.

    ``transaction`` is as it stands now, ``transaction.account`` too, both without another query.
    """

    transaction: "EscrowTransaction"
    changed: bool
    before: TransactionStatus
    after: TransactionStatus


class EscrowAccount(BaseModel):
    """A person's account with a payment provider, in one currency."""

    user_id: int

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

    @classmethod
    def open(cls, user: Any, provider: str, currency_code: str = "USD") -> "EscrowAccount":
        """See to it that ``user`` (a row or id) has one account with ``provider`` in this currency.

        Returns that account; one that is there already as it stands, closed or suspended ones too. Two
        processes that open the same account at once get the same row: the second waits for the lock on
        the user's row.

        ``provider`` has 1 to 80 characters, ``currency_code`` three capital letters. Raises RefusedValue
        for other values, NotFound for an unknown user, and Contention inside a caller's REPEATABLE READ
        transaction on PostgreSQL, whose snapshot would hide an account that was opened a moment ago;
        nothing was changed then. Walks escrow_accounts_user_id.
        """
        wanted = {
            "user": cls.user.db_value(user),
            "provider": required_text(cls.provider, provider),
            "currency_code": _currency(cls.currency_code, currency_code),
        }

        def find() -> Any:
            return cls.select().filter(**wanted).order_by(cls.id)

        def work() -> EscrowAccount:
            if locked(User.select(User.id).where(User.id == wanted["user"])).first() is None:
                raise NotFound(f"user {wanted['user']} does not exist; no account was opened.")
            first = locked(find()).first()
            if first is None:
                _refuse_stale_snapshot(f"an account of user {wanted['user']}")
            return first or cls.create(**wanted)

        return find().first() or transaction(work)

    def activate(self) -> AccountMove:
        """The account is active: it takes new money, again if it was suspended or closed.

        Returns what changed. Raises NotFound; nothing was changed then.
        """
        return self._change(AccountStatus.ACTIVE)

    def suspend(self) -> AccountMove:
        """The account is suspended: it takes no new money; what it holds can still be released or refunded.

        Returns what changed. Raises IllegalMove for a closed account, and NotFound; nothing was changed then.
        """
        return self._change(AccountStatus.SUSPENDED)

    def close(self) -> AccountMove:
        """The account is closed: it holds no money and takes none.

        Returns what changed. Raises IllegalMove while the account holds money, and NotFound; nothing was
        changed then.
        """
        return self._change(AccountStatus.CLOSED)

    def _change(self, target: AccountStatus) -> AccountMove:
        def work() -> AccountMove:
            account = locked_account(self.id)
            before = account.status
            if before == target:
                return AccountMove(account, False, before, target)
            if before not in ACCOUNT_MOVES[target]:
                raise IllegalMove(
                    f"escrow account {account.id} is {before} and cannot become {target}; only "
                    f"{' or '.join(ACCOUNT_MOVES[target])} can. Activate it first."
                )
            if target == AccountStatus.CLOSED and account.current_balance != 0:
                raise IllegalMove(
                    f"escrow account {account.id} still holds {account.current_balance} "
                    f"{account.currency_code}; release or refund its transactions, then close it."
                )
            account.status = target
            account.save(only=[EscrowAccount.status])
            return AccountMove(account, True, before, target)

        move = transaction(work)
        take_over(self, move.account)
        return replace(move, account=self)

    def _take_new_money(self, currency_code: str) -> None:
        if self.status not in TAKES_NEW_MONEY:
            raise Refused(
                f"escrow account {self.id} is {self.status} and takes no new money; activate it, "
                f"or use another account."
            )
        if currency_code != self.currency_code:
            raise Refused(
                f"escrow account {self.id} is in {self.currency_code}, the transaction in {currency_code}; "
                f"open an account in {currency_code} for it."
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
            _currency(cls.currency_code, currency_code)
        if wanted.initiated_by_id is None:
            refuse(cls.initiated_by, "nobody initiated it; pass a user")
        if wanted.amount <= 0:
            refuse(cls.amount, f"{wanted.amount} is not more than 0")
        if not 0 <= wanted.fee_amount <= wanted.amount:
            refuse(cls.fee_amount, f"{wanted.fee_amount} is not between 0 and the amount, {wanted.amount}")
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
                home._take_new_money(wanted.currency_code)
                try:
                    with proxy.atomic():
                        return wanted._insert(home, payload)
                except peewee.IntegrityError as error:
                    _refuse_strangers(wanted)
                    first = locked(find()).first()
                    if first is None:
                        raise Contention(
                            f"another transaction has just written reference {wanted.reference!r}, and this "
                            f"transaction's snapshot does not show it; nothing was changed, run it again."
                        ) from error
            _refuse_another_payload(first, payload)
            return first

        done: EscrowTransaction = transaction(work)
        return done

    def _insert(self, account: EscrowAccount, payload: dict[str, Any]) -> "EscrowTransaction":
        values = dict(self.__data__, created_at=now())
        row = EscrowTransaction(**values)
        row.updated_at = row.created_at
        entry = _entry(row, "initiate", None, row.status, row.created_at, row.initiated_by_id)
        row.audit_trail = [{**entry, "payload": payload}]
        row.save(force_insert=True)
        assign(row, {"account": account})
        return row

    def fund(self, *, by: Any = None) -> Move:
        """The transaction is funded: its amount is in the account's balance, its net is pending release.

        From initiated. ``by`` is the user (a row or id) who did it, None for the system itself.
        Returns what changed; on a transaction that is funded already, nothing does.

        Raises, with nothing changed: IllegalMove from any other status; Refused when the account is
        suspended or closed; RefusedValue when the new balance does not fit its column; NotFound for a
        transaction or user that does not exist. The same holds for the verbs below. They walk primary keys.
        """
        return self._move("fund", by)

    def hold(self, *, by: Any = None) -> Move:
        """The transaction is in_escrow: its money stays in the account until it is released or refunded.

        From funded. Arguments, result and errors are those of ``fund``.
        """
        return self._move("hold", by)

    def release(self, *, by: Any = None) -> Move:
        """The transaction is released, at ``released_at``: its money has left the account for its receiver.

        From in_escrow. A disputed one is released by ``DisputeCase.resolve``, and refused here while its case
        is active. Arguments, result and errors are those of ``fund``.
        """
        return self._move("release", by)

    def refund(self, *, by: Any = None) -> Move:
        """The transaction is refunded, at ``refunded_at``: its money has left the account for its payer.

        From funded and in_escrow. A disputed one is refunded by ``DisputeCase.resolve``, and refused here
        while its case is active. Arguments, result and errors are those of ``fund``.
        """
        return self._move("refund", by)

    def cancel(self, *, by: Any = None) -> Move:
        """The transaction is cancelled, at ``cancelled_at``, before any money came.

        From initiated. Arguments, result and errors are those of ``fund``.
        """
        return self._move("cancel", by)

    def _move(self, verb: str, by: Any) -> Move:
        def work() -> Move:
            row = locked_transaction(self.id, self.account_id)
            if row.status == TransactionStatus.DISPUTED:
                refuse_while_disputed(row, verb)
            return move(row, verb, by)

        done = transaction(work)
        take_over(self, done.transaction)
        return replace(done, transaction=self)


def locked_transaction(key: int | None, account_id: int | None = None) -> EscrowTransaction:
    """Return the transaction as it stands, its account in ``account``, both locked; raises NotFound.

    ``account_id``, which never changes, saves a query where the caller knows it. Walks primary keys.
    """
    stranger = NotFound(f"escrow transaction {key} does not exist; nothing was changed.")
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


def active_case(transaction: EscrowTransaction) -> Any:
    """Return a transaction's active dispute case, locked, or None.

    Walks dispute_cases_escrow_transaction_id.
    """
    cases = transaction.dispute_cases
    return locked(cases.where(cases.model.status.in_(ACTIVE_DISPUTE)).order_by(cases.model.id)).first()


def refuse_while_disputed(transaction: EscrowTransaction, verb: str) -> None:
    """Raise IllegalMove if an active dispute case decides over the transaction."""
    case = active_case(transaction)
    if case is not None:
        raise IllegalMove(
            f"escrow {transaction.reference!r} is disputed in case {case.id}; {verb} is up to that case. "
            f"Resolve or withdraw the case instead."
        )


def move(row: EscrowTransaction, verb: str, by: Any) -> Move:
    """Make a legal move of a transaction that ``locked_transaction`` returned; row and account follow.

    To be called in a transaction of the database. Raises what ``EscrowTransaction.fund`` does.
    """
    account, before, rule = row.account, row.status, MOVES[verb]
    if before == rule.target:
        return Move(row, False, before, before)
    if before not in rule.sources:
        raise IllegalMove(_advice(row, verb))
    after = rule.target or _status_before_dispute(row)
    at = now()
    came = (after in HELD) - (before in HELD)
    if came > 0:
        account._take_new_money(row.currency_code)
    changes: dict[str, Any] = {
        "status": after,
        "audit_trail": [*_trail(row), _entry(row, verb, before, after, at, person(by))],
        "updated_at": at,
    }
    if after in SETTLED_AT:
        changes[SETTLED_AT[after]] = at
    if came:
        _book(row, came, at)
    guarded = EscrowTransaction.update(**changes).where(
        EscrowTransaction.id == row.id, EscrowTransaction.status == before
    )
    if guarded.execute() != 1:
        raise Contention(
            f"escrow {row.reference!r} is no longer {before}: it was changed in spite of the lock. "
            f"Nothing was changed; try again."
        )
    assign(row, changes)
    return Move(row, True, before, after)


def _book(row: EscrowTransaction, came: int, at: datetime) -> None:
    account = row.account
    balance = EXACT.fma(row.amount, came, account.current_balance)
    pending = EXACT.fma(row.net_amount, came, account.pending_release_total)
    if balance < 0 or pending < 0:
        raise Refused(
            f"escrow account {account.id} holds {account.current_balance} {account.currency_code}, "
            f"of which {account.pending_release_total} are pending; escrow {row.reference!r} takes out more. "
            f"The books do not add up: look at find_problems()."
        )
    changes = {"current_balance": balance, "pending_release_total": pending, "updated_at": at}
    EscrowAccount.update(**changes).where(EscrowAccount.id == account.id).execute()
    assign(account, changes)


def locked_account(account_id: int | None) -> EscrowAccount:
    """Return the account as it stands, locked; raises NotFound. Walks the primary key."""
    account: EscrowAccount | None = locked(EscrowAccount.select().where(EscrowAccount.id == account_id)).first()
    if account is None:
        raise NotFound(f"escrow account {account_id} does not exist; nothing was changed.")
    return account


def _advice(row: EscrowTransaction, verb: str) -> str:
    starts = " or ".join(MOVES[verb].sources)
    ways = [name for name, rule in MOVES.items() if row.status in rule.sources]
    advice = f"From there it can: {', '.join(ways)}." if ways else "It is settled: initiate a new one instead."
    return f"escrow {row.reference!r} is {row.status}; {verb} starts from {starts}. {advice}"


def _status_before_dispute(row: EscrowTransaction) -> TransactionStatus:
    for entry in reversed(_trail(row)):
        if isinstance(entry, dict) and entry.get("to") == TransactionStatus.DISPUTED:
            status = entry.get("from")
            if status in MOVES["dispute"].sources:
                return TransactionStatus(status)
    raise Refused(
        f"the audit trail of escrow {row.reference!r} does not say where it was before the dispute; "
        f"release or refund it instead."
    )


def _trail(row: EscrowTransaction) -> list[Any]:
    trail = row.audit_trail
    if not trail:
        return []
    return trail if isinstance(trail, list) else [trail]


def _entry(
    row: EscrowTransaction,
    verb: str,
    before: TransactionStatus | None,
    after: TransactionStatus,
    at: datetime,
    by: int | None,
) -> dict[str, Any]:
    return {
        "at": at.isoformat(),
        "by": by,
        "move": verb,
        "from": before,
        "to": after,
        "amount": str(row.amount),
        "fee": str(row.fee_amount),
        "net": str(row.net_amount),
        "currency": row.currency_code,
    }


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


def _refuse_another_payload(first: EscrowTransaction, payload: Mapping[str, Any]) -> None:
    trail = _trail(first)
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


def _refuse_strangers(row: EscrowTransaction) -> None:
    for name in ("initiated_by", "counterparty", "project", "gig"):
        field, key = EscrowTransaction._meta.fields[name], row.__data__.get(name)
        if key is not None:
            require(field.rel_model, key, name)


def require(model: Any, key: Any, role: str) -> None:
    """Raise NotFound unless ``model`` has a row of this id. Walks the primary key."""
    if not model.select(model.id).where(model.id == key).exists():
        raise NotFound(f"{role} {key}: there is no such row in {model._meta.table_name}; nothing was changed.")


def person(by: Any) -> int | None:
    """Return the id of the user who acts, None for the system; raises NotFound. Walks the primary key."""
    key: int | None = EscrowTransaction.initiated_by.db_value(by)
    if key is not None:
        require(User, key, "by")
    return key


def required_text(field: VarcharField | TextField, value: str) -> str:
    """Return the text as it is stored; raises RefusedValue for a blank one too."""
    text = field.db_value(value)
    if not isinstance(text, str) or not text.strip():
        refuse(field, f"{value!r} is blank; it has to say something")
    return text


def _refuse_stale_snapshot(what: str) -> None:
    """Raise Contention where the caller's snapshot may hide a row that must exist once only."""
    database = target(proxy)
    question = dialects.of(database).reads_stale_rows
    if question is not None and database.execute_sql(question).fetchone()[0]:
        raise Contention(
            f"{what} cannot be opened inside a REPEATABLE READ transaction, which does not see what others open; "
            "open it before the transaction begins. Nothing was changed."
        )


def _currency(field: VarcharField, value: str) -> str:
    code = required_text(field, value)
    if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        refuse(field, f"{code!r} is not a currency code, which has three capital letters, as USD has")
    return code


def assign(row: Any, changes: Mapping[str, Any]) -> None:
    """``row`` holds these values, which are stored already: there is nothing left to save."""
    for name, value in changes.items():
        setattr(row, name, value)
    row._dirty.clear()


def take_over(row: Any, fresh: Any) -> None:
    """The caller's ``row`` holds what ``fresh`` holds, and has nothing left to save."""
    row.__data__.update(fresh.__data__)
    row.__rel__.update(fresh.__rel__)
    row._dirty.clear()
