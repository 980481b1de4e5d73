"""Money that has already arrived enters escrow in one step."""

from decimal import Decimal

import escrow
import pytest

import engagement_db as edb

pytestmark = pytest.mark.usefixtures("database")


def deposit(home, **changes):
    values = {"reference": "D-1", "amount": Decimal(100), "fee_amount": Decimal(10), "initiated_by": home.user_id}
    return edb.EscrowTransaction.deposit(home, **{**values, **changes})


def test_a_deposit_is_in_escrow_booked_and_activates_the_account():
    home = escrow.account()
    payment = deposit(home)
    assert (payment.status, payment.net_amount) == ("in_escrow", 90)
    assert escrow.books(home) == (100, 90)
    assert edb.EscrowAccount.get_by_id(home.id).status == "active"
    stored = edb.EscrowTransaction.get_by_id(payment.id)
    assert [(entry["action"], entry["actorId"], entry["to"]) for entry in stored.audit_trail] == [
        ("initiate", home.user_id, "initiated"),
        ("fund", home.user_id, "funded"),
        ("hold", home.user_id, "in_escrow"),
    ]
    assert stored == payment
    assert payment.dirty_fields == []
    assert edb.find_problems() == []


def test_a_repeated_deposit_moves_no_money_twice():
    home = escrow.account()
    first = deposit(home)
    assert deposit(home) == first
    assert escrow.books(home) == (100, 90)
    first.release()
    assert deposit(home).status == "released"
    assert escrow.books(home) == (0, 0)


@pytest.mark.parametrize("verbs", [(), ("fund",)])
def test_a_deposit_completes_what_was_begun(verbs):
    home = escrow.account()
    payment = escrow.payment(home, reference="D-1")
    for verb in verbs:
        getattr(payment, verb)()
    done = deposit(home)
    assert (done, done.status) == (payment, "in_escrow")
    assert escrow.books(home) == (100, 90)
    assert len(done.audit_trail) == 3


def test_a_deposit_that_is_refused_leaves_nothing():
    home = escrow.account()
    home.suspend()
    with pytest.raises(edb.Refused, match="accepts no funding"):
        deposit(home)
    with pytest.raises(edb.NotFound, match="counterparty"):
        deposit(escrow.account(), counterparty=2_000_000_000)
    other = escrow.account()
    deposit(other)
    with pytest.raises(edb.ReferenceConflict):
        deposit(other, amount=Decimal(99))
    assert edb.EscrowTransaction.select().count() == 1


@pytest.mark.parametrize("verb", ["release", "refund"])
def test_a_funded_transaction_is_released_or_refunded_at_once(verb):
    payment = escrow.payment_in("funded")
    assert getattr(payment, verb)().changed
    assert escrow.books(payment.account) == (0, 0)
    assert edb.find_problems() == []


def test_the_first_money_activates_a_pending_account():
    home = escrow.account()
    payment = escrow.payment(home)
    assert edb.EscrowAccount.get_by_id(home.id).status == "pending"
    change = payment.fund()
    assert change.transaction.account.status == "active"
    assert edb.EscrowAccount.get_by_id(home.id).status == "active"
