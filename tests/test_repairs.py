"""edb.repair: the one way past the verbs, which leaves a trace in the same transaction."""

import escrow
import pytest
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def traced(monkeypatch):
    """Transactions that keep their repairs in the audit trail, the least that a model with a history does."""

    def trace(row, repair):
        entry = {"action": "repair", "actorId": repair.by_id, "notes": repair.reason, "from": repair.before["status"]}
        return {"audit_trail": [*row.audit_trail, entry]}

    monkeypatch.setattr(edb.EscrowTransaction, "trace_repair", trace)


def test_a_repair_writes_the_column_and_its_trace(traced):
    admin, payment = make_user(), escrow.payment_in("funded")
    done = edb.repair(payment, by=admin, reason="chargeback 77", status="refunded", milestone_label=None)
    assert (done.before, done.after, done.changed) == ({"status": "funded"}, {"status": "refunded"}, True)
    assert (done.by_id, done.reason, done.row) == (admin.id, "chargeback 77", payment)
    stored = edb.EscrowTransaction.get_by_id(payment.id)
    assert payment.status is stored.status is edb.TransactionStatus.REFUNDED
    assert stored.audit_trail[-1] == {
        "action": "repair",
        "actorId": admin.id,
        "notes": "chargeback 77",
        "from": "funded",
    }
    assert payment.audit_trail == stored.audit_trail
    assert payment.updated_at == stored.updated_at == done.at
    assert payment.dirty_fields == []


def test_a_repair_compares_with_the_stored_row_not_with_a_stale_one(traced):
    payment = escrow.payment_in("funded")
    tamper(payment, status="released")
    assert edb.repair(payment, by=None, reason="as it was", status="funded").before == {"status": "released"}


def test_a_repair_that_changes_nothing_leaves_no_trace():
    payment = escrow.payment_in("funded")
    done = edb.repair(payment, by=None, reason="again", status=edb.TransactionStatus.FUNDED)
    assert not done.changed
    assert len(edb.EscrowTransaction.get_by_id(payment.id).audit_trail) == 2


REFUSED = {
    "unknown column": (TypeError, "statsu", {"statsu": "funded"}),
    "id": (TypeError, "'id'", {"id": 7}),
    "bad value": (edb.RefusedValue, "is not one of", {"status": "gone"}),
    "expression": (edb.RefusedValue, "expression", {"amount": edb.EscrowTransaction.amount + 1}),
    "blank reason": (edb.Refused, "needs a reason", {"reason": " ", "status": "refunded"}),
    "long reason": (edb.Refused, "needs a reason", {"reason": "x" * 1001, "status": "refunded"}),
    "unknown user": (edb.NotFound, "by: users 999", {"by": 999, "status": "refunded"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_repair_that_is_refused_changes_nothing(traced, case):
    error, message, arguments = REFUSED[case]
    payment = escrow.payment_in("funded")
    with pytest.raises(error, match=message):
        edb.repair(payment, **{"by": None, "reason": "why", **arguments})
    stored = edb.EscrowTransaction.get_by_id(payment.id)
    assert (stored.status, len(stored.audit_trail)) == ("funded", 2)


def test_a_row_that_is_gone_is_not_found():
    with pytest.raises(edb.NotFound, match="feed_posts 7 does not exist"):
        edb.repair(edb.FeedPost(id=7), by=None, reason="why", content="x")


def test_an_append_only_table_is_not_repaired():
    entry = edb.FeedActivityLog.record("noted")
    with pytest.raises(edb.Protected, match="append-only"):
        edb.repair(entry, by=None, reason="why", action="forged")


def test_a_model_without_a_history_is_not_repaired():
    gig = edb.Gig.create(title="Logo")
    with pytest.raises(edb.Refused, match="gigs keeps no history"):
        edb.repair(gig, by=None, reason="why", title="Icon")
    assert edb.Gig.get_by_id(gig.id).title == "Logo"
