"""One audit trail for this library and for Node: what is written, and what is read of what the other one wrote."""

import json
from decimal import Decimal

import escrow
import pytest
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")

NODE_ENTRY = {
    "action": "initiated",
    "actorId": 7,
    "at": "2027-01-01T10:00:00.000Z",
    "notes": None,
    "metadata": {"amount": 12.5},
}


def test_an_entry_has_the_names_of_node_first():
    home, actor = escrow.account("EUR"), make_user()
    payment = escrow.payment(home, "1200.50", "60.03")
    payment.fund(by=actor, notes="Paid by card.", metadata={"charge": "ch_1"})
    entry = dict(edb.EscrowTransaction.get_by_id(payment.id).audit_trail[-1])
    assert entry.pop("at") == payment.updated_at.isoformat()
    assert entry == {
        "action": "fund",
        "actorId": actor.id,
        "notes": "Paid by card.",
        "metadata": {"charge": "ch_1"},
        "from": "initiated",
        "to": "funded",
        "amount": 1200.5,
        "fee": 60.03,
        "net": 1140.47,
        "currency": "EUR",
    }


@pytest.mark.parametrize(
    ("amount", "written"),
    [("100", 100), ("0.1", 0.1), ("99999999999.9999", 99999999999.9999), ("0.0001", 0.0001)],
)
def test_an_amount_is_a_number_that_is_exact(amount, written):
    payment = escrow.payment(escrow.account(), amount, "0")
    (entry,) = edb.EscrowTransaction.get_by_id(payment.id).audit_trail
    assert entry["amount"] == written
    assert Decimal(json.dumps(entry["amount"])) == Decimal(amount)


def test_an_amount_that_a_number_does_not_hold_is_text(server):
    if server.name == "sqlite":
        pytest.skip("does not apply to SQLite: such an amount is refused there")
    payment = escrow.payment(escrow.account(), "12345678901234.5678", "0")
    (entry,) = edb.EscrowTransaction.get_by_id(payment.id).audit_trail
    assert entry["amount"] == "12345678901234.5678"


@pytest.mark.parametrize("verb", ["fund", "hold", "release", "refund", "cancel"])
def test_every_verb_takes_notes_and_metadata(verb):
    status = {"fund": "initiated", "hold": "funded", "cancel": "initiated"}.get(verb, "in_escrow")
    payment = escrow.payment_in(status)
    getattr(payment, verb)(notes="why", metadata=[1, {"a": None}])
    assert (payment.audit_trail[-1]["notes"], payment.audit_trail[-1]["metadata"]) == ("why", [1, {"a": None}])


@pytest.mark.parametrize("values", [{"notes": 1}, {"notes": "x" * 70_000}, {"notes": "\0"}, {"metadata": {1, 2}}])
def test_notes_and_metadata_that_do_not_fit_are_refused(values):
    payment = escrow.payment_in("initiated")
    with pytest.raises(edb.RefusedValue, match=r"escrow_transactions\.auditTrail"):
        payment.fund(**values)
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "initiated"
    assert escrow.books(payment.account) == (0, 0)


def made_by_node(**columns):
    """Return a disputed transaction as Node's service leaves it: entries without from and to."""
    payment = escrow.payment_in("in_escrow")
    trail = [NODE_ENTRY, {**NODE_ENTRY, "action": "dispute_opened"}]
    tamper(payment, **{"status": "disputed", "audit_trail": trail, **columns})
    case = edb.DisputeCase.create(
        escrow_transaction=payment, opened_by=payment.initiated_by, reason_code="late", summary="Nothing came."
    )
    return payment, case


def test_a_case_that_node_opened_is_withdrawn_into_escrow():
    payment, case = made_by_node()
    assert case.withdraw(by=payment.initiated_by).changed
    stored = edb.EscrowTransaction.get_by_id(payment.id)
    assert stored.status == "in_escrow"
    assert stored.audit_trail[:2] == [NODE_ENTRY, {**NODE_ENTRY, "action": "dispute_opened"}]
    assert (stored.audit_trail[2]["from"], stored.audit_trail[2]["to"]) == ("disputed", "in_escrow")


@pytest.mark.parametrize("trail", [None, [], {"note": "not a list"}, [NODE_ENTRY, 5]])
def test_a_trail_without_statuses_leads_back_into_escrow(trail):
    payment, case = made_by_node(audit_trail=trail)
    case.withdraw()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "in_escrow"


def test_a_dispute_that_node_opened_over_a_funded_transaction_leads_back_to_funded():
    payment = escrow.payment_in("funded")
    tamper(
        payment,
        status="disputed",
        audit_trail=[*payment.audit_trail, {**NODE_ENTRY, "action": "dispute_opened"}],
    )
    case = edb.DisputeCase.create(
        escrow_transaction=payment, opened_by=payment.initiated_by, reason_code="late", summary="Nothing came."
    )
    case.withdraw()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "funded"


def test_a_case_that_node_opened_is_returned_to_the_same_call():
    payment, case = made_by_node()
    assert escrow.dispute(payment) == case
    with pytest.raises(edb.Refused, match=f"already disputed in case {case.id}"):
        escrow.dispute(payment, metadata={"other": 1})


def test_opening_a_case_writes_its_summary_as_a_comment():
    case = escrow.dispute(escrow.payment_in("funded"))
    (event,) = case.events
    assert (event.action_type, event.notes, event.actor_id) == ("comment", "Nothing came.", case.opened_by_id)
    assert event.metadata["transaction"] == {"from": "funded", "to": "disputed"}


def test_the_same_call_returns_the_active_case_as_it_is_by_then():
    payment = escrow.payment_in("in_escrow")
    case = escrow.dispute(payment, metadata={"b": 1, "a": 2.0})
    case.advance("mediation")
    again = escrow.dispute(payment.id and payment, metadata={"a": 2, "b": 1.0})
    assert (again, again.stage) == (case, "mediation")
    assert edb.DisputeEvent.select().count() == 2
