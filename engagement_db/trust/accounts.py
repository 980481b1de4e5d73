"""Escrow accounts: open, activate, suspend, close."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from engagement_db import servers
from engagement_db.errors import Contention, InvalidTransition, Refused
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
)
from engagement_db.orm.models import BaseModel, assign, update_of
from engagement_db.orm.rows import (
    UNCHANGED,
    Unchanged,
    copy_state,
    differences,
    error_data,
    given_values,
    id_of,
    not_found,
    required_text,
    write_with_parents,
)
from engagement_db.orm.statements import Parameter, Statement, columns_of, parameters
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User, resolve_actor_id
from engagement_db.repairs import Repair
from engagement_db.trust.money import require_currency
from engagement_db.trust.payload import payload_of
from engagement_db.trust.transitions import ACCEPTS_FUNDING, ACCOUNT_TRANSITIONS
from engagement_db.trust.words import AccountStatus

if TYPE_CHECKING:
    from engagement_db.trust.transactions import EscrowTransaction


@dataclass(frozen=True)
class AccountChange:
    """Result of ``activate``, ``suspend`` or ``close``; ``changed`` is False if the account had that status already."""

    account: "EscrowAccount"
    changed: bool
    before: AccountStatus
    after: AccountStatus


_log: Final = logging.getLogger(__name__)


class EscrowAccount(BaseModel):
    """A user's account with a payment provider, in one currency."""

    transactions: ClassVar[Backref["EscrowTransaction"]]
    user_id: ClassVar[Column[int]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the account.")
    user: Reference[User] = ReferenceField(
        User,
        column_name="userId",
        object_id_name="user_id",
        backref="escrow_accounts",
        on_delete="RESTRICT",
        help_text="The owner, who cannot be deleted while the account exists.",
    )
    provider: Column[str] = VarcharField(max_length=80, help_text="The payment provider that holds the money.")
    external_id: Column[str | None] = VarcharField(
        max_length=120,
        column_name="externalId",
        null=True,
        default=None,
        help_text="What the provider calls the account.",
    )
    status: Column[AccountStatus] = EnumField(
        AccountStatus,
        default=AccountStatus.PENDING,
        help_text="Whether the account takes new payments: pending and active ones do.",
    )
    currency_code: Column[str] = VarcharField(
        max_length=3,
        column_name="currencyCode",
        default="USD",
        help_text="The ISO 4217 code of the currency of every amount in the account.",
    )
    current_balance: Column[Decimal] = MoneyField(
        column_name="currentBalance",
        default=Decimal(0),
        help_text="The sum of the amounts of the transactions that are funded, in escrow or disputed.",
    )
    pending_release_total: Column[Decimal] = MoneyField(
        column_name="pendingReleaseTotal",
        default=Decimal(0),
        help_text="The sum of the net amounts of the same transactions: what the counterparties would get.",
    )
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Whatever else the service keeps about the account."
    )
    last_reconciled_at: Column[datetime | None] = UTCDateTimeField(
        column_name="lastReconciledAt",
        null=True,
        default=None,
        help_text="When the account was last reconciled without a problem.",
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the account was opened."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "escrow_accounts"
        verb_columns = {
            "user": "",
            "provider": "",
            "status": "activate, suspend or close",
            "currency_code": "",
            "current_balance": "fund, release or refund of a transaction",
            "pending_release_total": "fund, release or refund of a transaction",
            "last_reconciled_at": "reconcile",
        }
        indexes = (
            (("user", "provider", "currency_code"), True),
            (("provider",), False),
            (("status",), False),
        )
        checks = (
            ("currentBalance", '"currentBalance" >= 0'),
            ("pendingReleaseTotal", '"pendingReleaseTotal" >= 0'),
        )

    @classmethod
    def open(cls, user: User | int, provider: str, currency_code: str = "USD") -> "EscrowAccount":
        """Return the account of ``user`` (a row or id) with ``provider`` in this currency; create it if it is missing.

        An existing account is returned in whatever status it has. Calls at the same time return the same row.

        ``provider`` has 1 to 80 characters, ``currency_code`` is a code of ISO 4217. Raises RefusedValue for other
        values, NotFound for an unknown user, and Contention inside a caller's own transaction whose snapshot cannot
        show the account that another session has just opened. Nothing is changed on error. Uses
        escrow_accounts_user_id_provider_currency_code.
        """
        user_id = id_of(cls.user, user)
        wanted = {
            "user": user_id,
            "provider": required_text(cls.provider, provider),
            "currency_code": require_currency(cls.currency_code, currency_code),
        }
        found = _FIND.first(**wanted)
        if found is not None:
            account: EscrowAccount = found[0]
            return account
        work = _insert_or_find if _has_unique_key() else _find_or_insert
        return write_with_parents(lambda: work(wanted), (cls.user, user_id))

    def activate(self) -> AccountChange:
        """Activate the account: it accepts funding, again if it was suspended or closed.

        The first money activates a pending account by itself. Returns what changed. Raises NotFound. Nothing is
        changed on error, here and below.
        """
        return self._change(AccountStatus.ACTIVE)

    def suspend(self) -> AccountChange:
        """Suspend the account: it accepts no funding; what it holds can still be released or refunded.

        Returns what changed. Raises InvalidTransition for a closed account, and NotFound.
        """
        return self._change(AccountStatus.SUSPENDED)

    def close(self) -> AccountChange:
        """Close the account: it holds no money and accepts none.

        Returns what changed. Raises InvalidTransition while the account holds money, and NotFound.
        """
        return self._change(AccountStatus.CLOSED)

    def edit(
        self,
        *,
        external_id: str | Unchanged | None = UNCHANGED,
        metadata: object = UNCHANGED,
        by: User | int | None = None,
    ) -> AccountChange:
        """Change the provider's id of the account or its metadata; what is not given stays as it is.

        The change is logged by the logger ``engagement_db.trust.accounts``, at level INFO. The traces of repairs in
        the metadata are kept. Equal values change nothing. Raises RefusedValue for a value that does not fit, and
        NotFound for an account or user that does not exist. Nothing is changed on error. Uses primary keys.
        """
        wanted = given_values(EscrowAccount, external_id=external_id, metadata=metadata)

        def work() -> tuple[EscrowAccount, dict[str, Any], int | None]:
            account, actor_id = locked_account(self.id), resolve_actor_id(by)
            if "metadata" in wanted:
                wanted["metadata"] = _with_repairs(wanted["metadata"], _repairs_in(account.metadata))
            changes = differences(account, wanted)
            before = payload_of(account, changes)
            if changes:
                update_of(EscrowAccount, (*changes, "updated_at")).execute(id=account.id, updated_at=now(), **changes)
                assign(account, changes)
            return account, before, actor_id

        account, before, actor_id = transaction(work)
        if before:
            _log.info(
                "escrow account %s: user %s changed %s to %s", account.id, actor_id, before, payload_of(account, before)
            )
        copy_state(self, account)
        return AccountChange(self, bool(before), self.status, self.status)

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Return the metadata with an entry for this repair under ``repairs``; raises Refused if it is no object."""
        metadata = repair.after.get("metadata", self.metadata)
        entry = {
            "actorId": repair.by_id,
            "at": repair.at.isoformat(),
            "notes": repair.reason,
            "from": payload_of(self, repair.after),
            "to": payload_of(EscrowAccount(**repair.after), repair.after),
        }
        return {"metadata": _with_repairs(metadata, [*_repairs_in(self.metadata), entry])}

    def _change(self, target: AccountStatus) -> AccountChange:
        def work() -> AccountChange:
            account = locked_account(self.id)
            before = account.status
            if before == target:
                return AccountChange(account, False, before, target)
            if before not in ACCOUNT_TRANSITIONS[target]:
                raise InvalidTransition(
                    f"escrow account {account.id} is {before} and cannot become {target}; only "
                    f"{' or '.join(ACCOUNT_TRANSITIONS[target])} can. Activate it first.",
                    **error_data(account, allowed=ACCOUNT_TRANSITIONS[target]),
                )
            if target == AccountStatus.CLOSED and account.current_balance != 0:
                raise InvalidTransition(
                    f"escrow account {account.id} still holds {account.current_balance} "
                    f"{account.currency_code}; release or refund its transactions, then close it.",
                    **error_data(account),
                )
            changes = {"status": target, "updated_at": now()}
            update_of(EscrowAccount, tuple(changes)).execute(id=account.id, **changes)
            assign(account, changes)
            return AccountChange(account, True, before, target)

        change = transaction(work)
        copy_state(self, change.account)
        return replace(change, account=self)

    def require_funding(self, currency_code: str) -> None:
        """Raise Refused if the account accepts no funding, or none in this currency."""
        refusal = self.funding_refusal(currency_code)
        if refusal is not None:
            raise refusal

    def funding_refusal(self, currency_code: str) -> Refused | None:
        """Return the error that says why the account accepts no funding in this currency, or None."""
        if self.status not in ACCEPTS_FUNDING:
            return Refused(
                f"escrow account {self.id} is {self.status} and accepts no funding; activate it or use another one.",
                **error_data(self, allowed=ACCEPTS_FUNDING),
            )
        if currency_code != self.currency_code:
            return Refused(
                f"escrow account {self.id} is in {self.currency_code}, the transaction in {currency_code}; "
                f"open an account in {currency_code} for it.",
                **error_data(self, allowed=[self.currency_code]),
            )
        return None


def _repairs_in(metadata: Any) -> list[Any]:
    found = metadata.get("repairs") if isinstance(metadata, dict) else None
    return found if isinstance(found, list) else []


def _with_repairs(metadata: Any, repairs: list[Any]) -> Any:
    if not repairs:
        return metadata
    if metadata is not None and not isinstance(metadata, dict):
        raise Refused(
            "the metadata of an escrow account keeps the traces of its repairs, and so has to be an object or None. "
            "Nothing was changed.",
            table=EscrowAccount._meta.table_name,
            column=EscrowAccount.metadata.column_name,
            attribute="metadata",
        )
    return {**(metadata or {}), "repairs": repairs}


def _with_key() -> Any:
    return EscrowAccount.select().where(
        EscrowAccount.user == Parameter("user"),
        EscrowAccount.provider == Parameter("provider"),
        EscrowAccount.currency_code == Parameter("currency_code"),
    )


_FIND: Final = Statement(lambda: _with_key().order_by(EscrowAccount.id).limit(1), EscrowAccount)
_FIND_NEWEST: Final = Statement(lambda: locked(_with_key()), EscrowAccount)
_INSERT: Final = Statement(
    lambda: EscrowAccount.insert(parameters(*columns_of(EscrowAccount)[1:])),
    unique=(EscrowAccount.user, EscrowAccount.provider, EscrowAccount.currency_code),
)
_LOCK: Final = Statement(
    lambda: locked(EscrowAccount.select().where(EscrowAccount.id == Parameter("id"))), EscrowAccount
)


def _insert_or_find(wanted: dict[str, Any]) -> EscrowAccount:
    at = now()
    row = EscrowAccount(**wanted, created_at=at, updated_at=at)
    if _INSERT.insert(row):
        return row
    found = _FIND.first(**wanted) or _FIND_NEWEST.first(**wanted)
    if found is None:
        raise Contention(
            f"another session has just opened this account of user {wanted['user']}, and the snapshot of this "
            f"transaction does not show it. Nothing was changed; run the transaction again.",
            table=EscrowAccount._meta.table_name,
        )
    account: EscrowAccount = found[0]
    return account


def _has_unique_key() -> bool:
    """Return whether the database refuses a second account; one that was adopted may lack the index. Asks once."""
    database: Any = current()
    if not getattr(database, "_engagement_db_accounts_are_unique", False):
        live = servers.read(database).table(EscrowAccount._meta.table_name)
        key = {field.column_name for field in (EscrowAccount.user, EscrowAccount.provider, EscrowAccount.currency_code)}
        database._engagement_db_accounts_are_unique = live is not None and any(
            index.unique and index.valid and set(index.columns) == key for index in live.indexes
        )
    return bool(database._engagement_db_accounts_are_unique)


def _find_or_insert(wanted: dict[str, Any]) -> EscrowAccount:
    """Find or insert without a unique index: sessions that open an account of one user wait for each other."""
    locked(User.select(User.id).where(User.id == wanted["user"])).first()
    found = _FIND.first(**wanted)
    if found is None:
        _refuse_stale_snapshot(f"an account of user {wanted['user']}")
    account: EscrowAccount = found[0] if found else EscrowAccount.create(**wanted)
    return account


def _refuse_stale_snapshot(what: str) -> None:
    """Raise Contention if the caller's snapshot may hide a row that must exist once only."""
    database = current()
    question = servers.of(database).stale_reads_query
    if question is not None and database.execute_sql(question).fetchone()[0]:
        raise Contention(
            f"{what} cannot be opened inside a REPEATABLE READ transaction, which does not see what other sessions "
            "open; open it before the transaction begins. Nothing was changed.",
            table=EscrowAccount._meta.table_name,
        )


def locked_account(account_id: int | None) -> EscrowAccount:
    """Return the account, locked; raises NotFound. Uses the primary key."""
    found = _LOCK.first(id=account_id)
    if found is None:
        raise not_found(EscrowAccount, account_id)
    account: EscrowAccount = found[0]
    return account
