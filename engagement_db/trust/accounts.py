"""Escrow accounts: open, activate, suspend, close."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from engagement_db import servers
from engagement_db.errors import Contention, InvalidTransition, Refused
from engagement_db.orm.bound import current, now
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    MoneyField,
    ReferenceField,
    UTCDateTimeField,
    VarcharField,
)
from engagement_db.orm.models import BaseModel, store
from engagement_db.orm.rows import copy_state, not_found, required_text
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User
from engagement_db.trust.money import currency
from engagement_db.trust.transitions import ACCEPTS_FUNDING, ACCOUNT_TRANSITIONS
from engagement_db.trust.words import AccountStatus


@dataclass(frozen=True)
class AccountChange:
    """What ``activate``, ``suspend`` or ``close`` did; ``changed`` is False where it was done before."""

    account: "EscrowAccount"
    changed: bool
    before: AccountStatus
    after: AccountStatus


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
    last_reconciled_at = UTCDateTimeField(column_name="lastReconciledAt", null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

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
    def open(cls, user: Any, provider: str, currency_code: str = "USD") -> "EscrowAccount":
        """See to it that ``user`` (a row or id) has one account with ``provider`` in this currency.

        Returns that account; one that is there already as it stands, closed or suspended ones too. Two
        processes that open the same account at once get the same row: the second waits for the lock on
        the user's row.

        ``provider`` has 1 to 80 characters, ``currency_code`` three capital letters. Raises RefusedValue
        for other values, NotFound for an unknown user, and Contention inside a caller's REPEATABLE READ
        transaction on PostgreSQL, whose snapshot would hide an account that was opened a moment ago;
        nothing was changed then. Uses
        escrow_accounts_user_id_provider_currency_code.
        """
        wanted = {
            "user": cls.user.db_value(user),
            "provider": required_text(cls.provider, provider),
            "currency_code": currency(cls.currency_code, currency_code),
        }

        def find() -> Any:
            return cls.select().filter(**wanted).order_by(cls.id)

        def work() -> EscrowAccount:
            if locked(User.select(User.id).where(User.id == wanted["user"])).first() is None:
                raise not_found(User, wanted["user"])
            first = locked(find()).first()
            if first is None:
                _refuse_stale_snapshot(f"an account of user {wanted['user']}")
            return first or cls.create(**wanted)

        return find().first() or transaction(work)

    def activate(self) -> AccountChange:
        """The account is active: it takes new money, again if it was suspended or closed.

        Returns what changed. Raises NotFound; nothing was changed then.
        """
        return self._change(AccountStatus.ACTIVE)

    def suspend(self) -> AccountChange:
        """The account is suspended: it takes no new money; what it holds can still be released or refunded.

        Returns what changed. Raises InvalidTransition for a closed account, and NotFound; nothing was changed then.
        """
        return self._change(AccountStatus.SUSPENDED)

    def close(self) -> AccountChange:
        """The account is closed: it holds no money and takes none.

        Returns what changed. Raises InvalidTransition while the account holds money, and NotFound; nothing was
        changed then.
        """
        return self._change(AccountStatus.CLOSED)

    def _change(self, target: AccountStatus) -> AccountChange:
        def work() -> AccountChange:
            account = locked_account(self.id)
            before = account.status
            if before == target:
                return AccountChange(account, False, before, target)
            if before not in ACCOUNT_TRANSITIONS[target]:
                raise InvalidTransition(
                    f"escrow account {account.id} is {before} and cannot become {target}; only "
                    f"{' or '.join(ACCOUNT_TRANSITIONS[target])} can. Activate it first."
                )
            if target == AccountStatus.CLOSED and account.current_balance != 0:
                raise InvalidTransition(
                    f"escrow account {account.id} still holds {account.current_balance} "
                    f"{account.currency_code}; release or refund its transactions, then close it."
                )
            store(account, {"status": target})
            return AccountChange(account, True, before, target)

        move = transaction(work)
        copy_state(self, move.account)
        return replace(move, account=self)

    def require_funding(self, currency_code: str) -> None:
        if self.status not in ACCEPTS_FUNDING:
            raise Refused(
                f"escrow account {self.id} is {self.status} and takes no new money; activate it, "
                f"or use another account."
            )
        if currency_code != self.currency_code:
            raise Refused(
                f"escrow account {self.id} is in {self.currency_code}, the transaction in {currency_code}; "
                f"open an account in {currency_code} for it."
            )


def locked_account(account_id: int | None) -> EscrowAccount:
    """Return the account as it stands, locked; raises NotFound. Walks the primary key."""
    account: EscrowAccount | None = locked(EscrowAccount.select().where(EscrowAccount.id == account_id)).first()
    if account is None:
        raise not_found(EscrowAccount, account_id)
    return account


def _refuse_stale_snapshot(what: str) -> None:
    """Raise Contention where the caller's snapshot may hide a row that must exist once only."""
    database = current()
    question = servers.of(database).stale_reads_query
    if question is not None and database.execute_sql(question).fetchone()[0]:
        raise Contention(
            f"{what} cannot be opened inside a REPEATABLE READ transaction, which does not see what others open; "
            "open it before the transaction begins. Nothing was changed."
        )
