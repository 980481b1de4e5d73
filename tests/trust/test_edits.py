"""What people edit, each with a trace: verbs for it, and repairs of what verbs alone change."""

import logging
from datetime import UTC, datetime
from decimal import Decimal

import escrow
import pytest
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")

UNKNOWN = 2_000_000_000
DUE = datetime(2027, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def stored(row):
    return type(row).get_by_id(row.id)


# Transactions


@pytest.mark.parametrize("status", ["initiated", "in_escrow", "disputed", "released"])
def test_a_transaction_is_edited_in_any_status_with_an_entry_in_its_trail(status):
    payment, actor = escrow.payment_in(status), make_user()
    values = {"milestone_label": "Draft", "scheduled_release_at": DUE, "external_id": "pi_1", "metadata": {"a": 1}}
    change = payment.edit(**values, by=actor, notes="asked")
    assert (change.changed, change.before, change.after) == (True, status, status)
    row = stored(payment)
    assert {name: getattr(row, name) for name in values} == values
    assert row.__data__ == payment.__data__
    entry = row.audit_trail[-1]
    assert [entry[name] for name in ("action", "actorId", "notes", "from", "to", "amount")] == [
        "edit",
        actor.id,
        "asked",
        status,
        status,
        100,
    ]
    assert entry["metadata"] == {
        "from": {"milestone_label": None, "scheduled_release_at": None, "external_id": None, "metadata": None},
        "to": {
            "milestone_label": "Draft",
            "scheduled_release_at": "2027-05-01T12:00:00.123456+00:00",
            "external_id": "pi_1",
            "metadata": '{"a": 1}',
        },
    }
    assert edb.find_problems() == []


def test_an_edit_leaves_alone_what_is_not_given_and_clears_what_is_none():
    payment = escrow.payment(escrow.account(), milestone_label="Draft", external_id="pi_1")
    assert payment.edit(milestone_label=None).changed
    assert (stored(payment).milestone_label, stored(payment).external_id) == (None, "pi_1")


def test_an_edit_to_equal_values_changes_nothing():
    payment = escrow.payment(escrow.account(), metadata={"a": 1}, scheduled_release_at=DUE)
    before = stored(payment).__data__
    for edit in (lambda: payment.edit(), lambda: payment.edit(metadata={"a": 1.0}, scheduled_release_at=DUE)):
        assert not edit().changed
    assert stored(payment).__data__ == before


def test_the_fee_is_edited_before_funding_and_the_net_follows():
    payment = escrow.payment(escrow.account(), "100", "10")
    assert payment.edit(fee_amount=Decimal("12.5")).changed
    assert (payment.fee_amount, payment.net_amount) == (Decimal("12.5"), Decimal("87.5"))
    assert (payment.audit_trail[-1]["fee"], payment.audit_trail[-1]["net"]) == (12.5, 87.5)
    payment.fund()
    assert escrow.books(payment.account) == (100, Decimal("87.5"))
    with pytest.raises(edb.InvalidTransition, match=f"{payment.reference}.* is funded; its fee"):
        payment.edit(fee_amount=0)
    assert edb.find_problems() == []


def test_an_edited_payment_is_still_the_answer_to_its_reference():
    home = escrow.account()
    payment = escrow.payment(home, "100", "10", reference="R", milestone_label="Draft")
    payment.edit(fee_amount=0, milestone_label="Final")
    assert escrow.payment(home, "100", "10", reference="R", milestone_label="Draft") == payment


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("feeAmount", {"fee_amount": Decimal("100.0001")}),
        ("feeAmount", {"fee_amount": -1}),
        ("feeAmount", {"fee_amount": 1.5}),
        ("milestoneLabel", {"milestone_label": "x" * 181}),
        ("milestoneLabel", {"milestone_label": edb.EscrowTransaction.reference}),
        ("scheduledReleaseAt", {"scheduled_release_at": datetime(2027, 1, 1)}),
        ("metadata", {"metadata": {1, 2}}),
        ("auditTrail", {"milestone_label": "x", "notes": 5}),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(column, values):
    payment = escrow.payment(escrow.account(), "100", "10")
    with pytest.raises(edb.RefusedValue, match=rf"escrow_transactions\.{column}"):
        payment.edit(**values)
    assert len(stored(payment).audit_trail) == 1


def test_an_edit_by_an_unknown_user_or_of_nothing_is_refused():
    payment = escrow.payment_in("funded")
    with pytest.raises(edb.NotFound, match=f"by: users {UNKNOWN}"):
        payment.edit(milestone_label="x", by=UNKNOWN)
    with pytest.raises(edb.NotFound, match=f"escrow_transactions {UNKNOWN}"):
        edb.EscrowTransaction(id=UNKNOWN).edit(milestone_label="x")
    with pytest.raises(TypeError, match="label"):
        payment.edit(label="x")


# Accounts


def test_an_account_is_edited_and_the_change_is_logged(caplog):
    home, actor = escrow.account(), make_user()
    with caplog.at_level(logging.INFO, "engagement_db.trust.accounts"):
        assert home.edit(external_id="acct_1", metadata={"plan": "pro"}, by=actor).changed
        assert not home.edit(external_id="acct_1").changed
    assert (stored(home).external_id, stored(home).metadata) == ("acct_1", {"plan": "pro"})
    (record,) = caplog.records
    assert record.getMessage() == (
        f"escrow account {home.id}: user {actor.id} changed {{'external_id': None, 'metadata': None}} to "
        f"{{'external_id': 'acct_1', 'metadata': '{{\"plan\": \"pro\"}}'}}"
    )


def test_an_edit_of_a_stale_account_undoes_no_move_of_money():
    """Sixty payments beside one who edits the account from a row that was read at the start."""
    home = escrow.account()
    stale = stored(home)
    for number in range(60):
        escrow.payment(home, "10", "1").fund()
        if number % 3 == 0:
            stale.external_id = f"acct_{number}"
            stale.save()
        elif number % 3 == 1:
            home.edit(metadata={"number": number})
    assert escrow.books(home) == (600, 540)
    assert edb.find_problems() == []


# Cases


def test_a_case_is_edited_with_an_event():
    case, mediator = escrow.dispute(escrow.payment_in("funded")), make_user()
    change = case.edit(priority="urgent", summary="Nothing came, twice.", by=mediator)
    assert (change.changed, case.priority, case.summary) == (True, "urgent", "Nothing came, twice.")
    assert stored(case).__data__ == case.__data__
    assert (change.event.actor_id, change.event.action_type) == (mediator.id, "system_notice")
    assert change.event.metadata == {
        "from": {"priority": "medium", "summary": "Nothing came."},
        "to": {"priority": "urgent", "summary": "Nothing came, twice."},
    }
    assert not case.edit(priority="urgent").changed
    with pytest.raises(edb.RefusedValue, match=r"dispute_cases\.summary"):
        case.edit(summary=" ")
    case.withdraw()
    with pytest.raises(edb.InvalidTransition, match="takes no more"):
        case.edit(priority="low")


def test_an_edited_case_is_still_the_answer_to_the_call_that_opened_it():
    payment = escrow.payment_in("funded")
    case = escrow.dispute(payment)
    case.edit(priority="urgent", summary="More.")
    assert escrow.dispute(payment) == case


# Stale rows


def test_a_stale_row_undoes_no_transition_and_pays_nothing_twice():
    payment = escrow.payment_in("initiated")
    stale = stored(payment)
    for verb in ("fund", "hold", "release"):
        getattr(payment, verb)()
    stale.milestone_label = "Draft"
    stale.save()
    row = stored(payment)
    assert (row.status, len(row.audit_trail), row.milestone_label) == ("released", 4, "Draft")
    for verb in ("fund", "hold"):
        with pytest.raises(edb.InvalidTransition):
            getattr(stale, verb)()
    assert escrow.books(payment.account) == (0, 0)


def test_a_stale_row_reopens_no_settled_case():
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    stale = stored(case)
    case.resolve("refund", "Yes.")
    stale.metadata = {"seen": True}
    stale.save()
    assert (stored(case).status, stored(case).metadata) == ("settled", {"seen": True})
    stale.priority = "urgent"
    with pytest.raises(edb.Protected, match=r"dispute_cases\.priority .* edit"):
        stale.save()


# Repairs


def test_a_repair_of_a_transaction_is_an_entry_in_its_trail():
    payment, admin = escrow.payment_in("released"), make_user()
    trail = payment.audit_trail
    tamper(payment, status="in_escrow", released_at=None)
    done = edb.repair(payment, by=admin, reason="ticket 9", status="released", released_at=DUE)
    row = stored(payment)
    assert (row.status, row.released_at, row.audit_trail[:-1]) == ("released", DUE, trail)
    entry = row.audit_trail[-1]
    assert (entry["action"], entry["actorId"], entry["notes"]) == ("repair", admin.id, "ticket 9")
    assert (entry["from"], entry["to"], entry["at"]) == ("in_escrow", "released", done.at.isoformat())
    assert entry["metadata"]["from"] == {"status": "in_escrow", "released_at": None}
    assert entry["metadata"]["to"] == {"status": "released", "released_at": DUE.isoformat()}
    assert edb.find_problems() == []


def test_a_repair_explains_what_no_verb_could_do():
    payment = escrow.payment_in("released")
    tamper(payment.account, current_balance=Decimal(100), pending_release_total=Decimal(90))
    edb.repair(payment, by=None, reason="the payout bounced", status="in_escrow", released_at=None)
    assert edb.find_problems() == []
    payment.refund()
    assert edb.find_problems() == []


def test_a_repaired_trail_is_kept_in_the_entry_that_replaces_it():
    payment = escrow.payment_in("funded")
    whole = payment.audit_trail
    tamper(payment, audit_trail=[{"action": "cut"}])
    edb.repair(payment, by=None, reason="from the backup", audit_trail=whole)
    row = stored(payment)
    assert row.audit_trail[:-1] == whole
    assert row.audit_trail[-1]["metadata"] == {"from": {"audit_trail": '[{"action": "cut"}]'}, "to": {}}


def test_a_repair_of_an_account_is_kept_in_its_metadata():
    home, admin = escrow.account(), make_user()
    home.edit(metadata={"plan": "pro"})
    tamper(home, current_balance=Decimal(7))
    edb.repair(home, by=admin, reason="ticket 9", current_balance=0)
    home.edit(metadata={"plan": "free"})
    edb.repair(home, by=None, reason="ticket 10", status="suspended")
    metadata = stored(home).metadata
    assert metadata["plan"] == "free"
    first, second = metadata["repairs"]
    assert (first["actorId"], first["notes"], first["from"], first["to"]) == (
        admin.id,
        "ticket 9",
        {"current_balance": "7.0000"},
        {"current_balance": "0.0000"},
    )
    assert second["to"] == {"status": "suspended"}
    assert edb.find_problems() == []


def test_an_account_whose_metadata_is_no_object_is_not_repaired():
    home = escrow.account()
    home.edit(metadata=["a"])
    with pytest.raises(edb.Refused, match="has to be an object"):
        edb.repair(home, by=None, reason="why", current_balance=1)
    assert escrow.books(home) == (0, 0)


def test_a_repair_of_a_case_is_an_event():
    case, admin = escrow.dispute(escrow.payment_in("funded")), make_user()
    tamper(case, status="settled")
    edb.repair(case, by=admin, reason="ticket 9", status="open")
    event = case.events.order_by(edb.DisputeEvent.id.desc()).first()
    assert (event.actor_id, event.action_type, event.notes) == (admin.id, "system_notice", "ticket 9")
    assert event.metadata == {"action": "repair", "from": {"status": "settled"}, "to": {"status": "open"}}
    assert stored(case).status == "open"
