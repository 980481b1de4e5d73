"""People, accounts and payments for the tests of the trust suite."""

import itertools
from decimal import Decimal
from typing import Any

import engagement_db as edb
from engagement_db.testing import make_user

_numbers = itertools.count(1)


def account(currency_code: str = "USD") -> edb.EscrowAccount:
    return edb.EscrowAccount.open(make_user(), "stripe", currency_code)


def payment(home: edb.EscrowAccount, amount: Any = "100", fee: Any = "10", **values: Any) -> edb.EscrowTransaction:
    """Return a payment that is initiated in this account."""
    values.setdefault("reference", f"P-{next(_numbers)}")
    values.setdefault("initiated_by", home.user_id)
    return edb.EscrowTransaction.initiate(home, amount=Decimal(amount), fee_amount=Decimal(fee), **values)


def payment_in(status: str, home: edb.EscrowAccount | None = None, amount: Any = "100", fee: Any = "10") -> Any:
    """Return a payment that came to this status by legal moves."""
    row = payment(home or account(), amount, fee)
    path = {
        "initiated": (),
        "cancelled": ("cancel",),
        "funded": ("fund",),
        "in_escrow": ("fund", "hold"),
        "released": ("fund", "hold", "release"),
        "refunded": ("fund", "refund"),
        "disputed": ("fund", "hold"),
    }[status]
    for verb in path:
        getattr(row, verb)()
    if status == "disputed":
        dispute(row)
    assert row.status == status
    return row


def dispute(row: edb.EscrowTransaction, **values: Any) -> edb.DisputeCase:
    return edb.DisputeCase.open(row, row.initiated_by_id, "late", "Nothing came.", **values)


def books(home: edb.EscrowAccount) -> tuple[Decimal, Decimal]:
    """Return the account's balance and what is pending release, as they are stored."""
    stored = edb.EscrowAccount.get_by_id(home.id)
    return stored.current_balance, stored.pending_release_total
