"""A transaction whose money left the account is never settled again, whatever its status says by then."""

import escrow
import pytest
from tampering import tamper

import engagement_db as edb

pytestmark = pytest.mark.usefixtures("database")

VERBS = ("fund", "hold", "release", "refund", "cancel")


def money_of_somebody_else(home):
    """Put money into the account that a second settlement could take out."""
    escrow.payment(home, "1000", "0").fund()


@pytest.mark.parametrize("settled", ["released", "refunded", "cancelled"])
@pytest.mark.parametrize("status", ["initiated", "funded", "in_escrow", "disputed"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_settled_transaction_with_another_status_is_refused_by_every_verb(settled, status, verb):
    payment = escrow.payment_in(settled)
    money_of_somebody_else(payment.account)
    tamper(payment, status=status)
    books = escrow.books(payment.account)
    if {"fund": "funded", "hold": "in_escrow"}.get(verb) == status:
        assert not getattr(payment, verb)().changed
    else:
        with pytest.raises(edb.Refused):
            getattr(payment, verb)()
    assert escrow.books(payment.account) == books
    assert edb.EscrowTransaction.get_by_id(payment.id).status == status


@pytest.mark.parametrize("settled", ["released", "refunded"])
@pytest.mark.parametrize("keeps_status", [False, True])
@pytest.mark.parametrize("end", ["release", "refund", "withdraw"])
def test_a_case_over_a_settled_transaction_is_refused_by_every_end(settled, keeps_status, end):
    payment = escrow.payment_in("disputed")
    money_of_somebody_else(payment.account)
    case = payment.dispute_cases.get()
    # Another client paid the disputed transaction directly.
    tamper(
        payment,
        **{f"{settled}_at": edb.now()},
        status=settled if keeps_status else "disputed",
    )
    books = escrow.books(payment.account)
    with pytest.raises(edb.Refused, match=rf"{payment.reference}.* already {settled} .*never settled twice"):
        case.withdraw() if end == "withdraw" else case.resolve(end, "Yes.")
    assert escrow.books(payment.account) == books
    assert edb.DisputeCase.get_by_id(case.id).status == "open"


def test_a_settled_transaction_is_not_disputed_again():
    payment = escrow.payment_in("released")
    tamper(payment, status="in_escrow")
    with pytest.raises(edb.Refused, match="never settled twice"):
        escrow.dispute(payment)
    assert edb.DisputeCase.select().count() == 0
