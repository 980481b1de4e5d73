"""A dispute stops the money, and its end moves it: out, back, or to where it was."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import escrow
import pytest
from playhouse.test_utils import count_queries
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")

UNKNOWN = 2_000_000_000
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def stored(case):
    return edb.DisputeCase.get_by_id(case.id)


def events(case):
    return list(case.events.order_by(edb.DisputeEvent.id))


# Worked examples


def test_a_customer_disputes_and_gets_the_money_back():
    payment, mediator = escrow.payment_in("in_escrow"), make_user()
    customer, home = payment.initiated_by, payment.account
    case = edb.DisputeCase.open(payment, customer, "not_delivered", "Nothing came.", priority="high")
    assert (payment.status, case.status, case.stage, case.priority) == ("disputed", "open", "intake", "high")
    assert escrow.books(home) == (100, 90)

    case.record("evidence_upload", by=customer, actor_type="customer", evidence_key="s3://mail.pdf")
    case.assign(mediator, by=mediator)
    case.advance("mediation", by=mediator)
    case.set_deadlines(customer_deadline_at=None, provider_deadline_at=NOW, by=mediator)
    case.set_status("awaiting_customer", by=mediator)
    case.record(notes="I still wait.", by=customer, actor_type="customer")

    step = case.resolve("refund", "No sign of life from the provider.", by=mediator)
    assert step.changed
    assert (case.status, case.stage, case.resolution_notes) == (
        "settled",
        "resolved",
        "No sign of life from the provider.",
    )
    refunded = step.case.escrow_transaction
    assert (refunded.status, refunded.account.current_balance) == ("refunded", 0)
    assert escrow.books(home) == (0, 0)
    assert stored(case).resolved_at == case.resolved_at
    assert [(event.actor_id, event.actor_type, event.action_type) for event in events(case)] == [
        (customer.id, "customer", "comment"),
        (customer.id, "customer", "evidence_upload"),
        (mediator.id, "admin", "system_notice"),
        (mediator.id, "mediator", "stage_advanced"),
        (mediator.id, "mediator", "deadline_adjusted"),
        (mediator.id, "mediator", "status_change"),
        (customer.id, "customer", "comment"),
        (mediator.id, "admin", "status_change"),
    ]
    assert events(case)[-1].metadata == {
        "action": "refund",
        "from": "awaiting_customer",
        "to": "settled",
        "transaction": {"from": "disputed", "to": "refunded"},
    }
    assert edb.find_problems() == []


@pytest.mark.parametrize("status", ["funded", "in_escrow"])
def test_a_withdrawn_dispute_puts_the_payment_back_where_it_was(status):
    payment = escrow.payment_in(status)
    for _ in range(2):
        case = escrow.dispute(payment)
        step = case.withdraw("It came after all.", by=payment.initiated_by)
        assert (step.changed, case.status, case.stage) == (True, "closed", "resolved")
        assert edb.EscrowTransaction.get_by_id(payment.id).status == status
        assert step.case.escrow_transaction.status == status
        assert escrow.books(payment.account) == (100, 90)
    assert len(payment.dispute_cases) == 2


def test_a_second_withdrawal_puts_the_payment_back_to_where_it_was_by_then():
    payment = escrow.payment_in("funded")
    escrow.dispute(payment).withdraw()
    edb.EscrowTransaction.get_by_id(payment.id).hold()
    escrow.dispute(payment).withdraw()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "in_escrow"


def test_a_dispute_that_the_provider_wins_releases_the_money():
    payment = escrow.payment_in("in_escrow")
    case = escrow.dispute(payment)
    case.resolve("release", "It was delivered.")
    assert edb.EscrowTransaction.get_by_id(payment.id).released_at is not None
    assert escrow.books(payment.account) == (0, 0)


# Moves


def test_a_payment_has_one_active_case():
    payment = escrow.payment_in("in_escrow")
    case = escrow.dispute(payment)
    with pytest.raises(edb.Refused, match=f"already disputed in case {case.id}"):
        escrow.dispute(payment, priority="urgent")
    assert edb.DisputeCase.select().count() == 1
    assert edb.DisputeEvent.select().count() == 1
    case.withdraw()
    assert escrow.dispute(payment).id != case.id


@pytest.mark.parametrize("status", ["initiated", "released", "refunded", "cancelled"])
def test_a_payment_without_money_in_escrow_is_not_disputed(status):
    payment = escrow.payment_in(status)
    with pytest.raises(edb.InvalidTransition, match=f"is {status}; dispute starts from funded or in_escrow"):
        escrow.dispute(payment)
    assert edb.DisputeCase.select().count() == 0


def test_a_payment_that_was_disputed_without_a_case_gets_none():
    payment = escrow.payment_in("in_escrow")
    tamper(payment, status="disputed")
    with pytest.raises(edb.InvalidTransition, match="without a case"):
        escrow.dispute(payment)
    assert edb.DisputeCase.select().count() == 0


@pytest.mark.parametrize("verb", ["release", "refund", "fund", "hold", "cancel"])
def test_while_disputed_the_money_moves_through_the_case_alone(verb):
    payment = escrow.payment_in("disputed")
    with pytest.raises(edb.InvalidTransition, match=r"is disputed in case \d+; .* Resolve or withdraw the case"):
        getattr(payment, verb)()
    assert escrow.books(payment.account) == (100, 90)


def test_an_end_repeated_changes_nothing_and_another_end_is_refused():
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    case.resolve("release", "It was delivered.")
    before = stored(case).__data__
    again = case.resolve("release", "Said again.")
    assert (again.changed, again.event) == (False, None)
    for other in (lambda: case.resolve("refund", "No."), case.withdraw):
        with pytest.raises(edb.InvalidTransition, match=f"case {case.id} is settled"):
            other()
    assert stored(case).__data__ == before
    assert len(events(case)) == 2

    withdrawn = escrow.dispute(escrow.payment_in("in_escrow"))
    withdrawn.withdraw()
    assert not withdrawn.withdraw().changed
    with pytest.raises(edb.InvalidTransition, match="is closed"):
        withdrawn.resolve("release", "Too late.")


def test_stages_go_forward_only():
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    assert not case.advance("intake").changed
    assert case.advance("arbitration").changed
    assert not case.advance("arbitration").changed
    with pytest.raises(edb.InvalidTransition, match="already in arbitration and cannot go back to mediation"):
        case.advance("mediation")
    with pytest.raises(edb.Refused, match="resolve or withdraw"):
        case.advance("resolved")
    assert stored(case).stage == "arbitration"
    assert len(events(case)) == 2
    assert events(case)[-1].metadata == {"from": {"stage": "intake"}, "to": {"stage": "arbitration"}}


def test_a_step_repeated_changes_nothing_and_writes_no_event():
    case, mediator = escrow.dispute(escrow.payment_in("in_escrow")), make_user()
    steps = (
        lambda: case.assign(mediator),
        lambda: case.set_deadlines(customer_deadline_at=NOW, provider_deadline_at=None),
        lambda: case.set_status("under_review"),
        lambda: case.assign(None),
    )
    for number, step in enumerate(steps, start=2):
        first, second = step(), step()
        assert first.changed
        assert first.case is case
        assert (second.changed, second.event) == (False, None)
        assert len(events(case)) == number
    assert (case.assigned_to_id, case.customer_deadline_at, case.status) == (None, NOW, "under_review")
    assert stored(case).__data__ == case.__data__


@pytest.mark.parametrize("end", [lambda case: case.withdraw(), lambda case: case.resolve("refund", "So be it.")])
def test_an_ended_case_refuses_every_verb(end):
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    end(case)
    steps = (
        lambda: case.record(notes="One more thing."),
        lambda: case.assign(make_user()),
        lambda: case.advance("mediation"),
        lambda: case.set_status("open"),
        lambda: case.set_deadlines(customer_deadline_at=NOW, provider_deadline_at=NOW),
    )
    for step in steps:
        with pytest.raises(edb.InvalidTransition, match=f"dispute case {case.id} is {case.status} and takes no more"):
            step()
    assert len(events(case)) == 2


def test_money_that_cannot_move_leaves_the_case_as_it_was():
    payment = escrow.payment_in("disputed")
    case = payment.dispute_cases.get()
    tamper(payment.account, current_balance=Decimal(1))
    with pytest.raises(edb.Refused, match="find_problems"):
        case.resolve("refund", "Yes.")
    assert stored(case).status == "open"
    assert len(events(case)) == 1


def test_verbs_join_a_callers_transaction_and_are_rolled_back_with_it(database):
    payment = escrow.payment_in("in_escrow")
    with database.atomic() as outer:
        case = escrow.dispute(payment)
        case.resolve("refund", "Yes.")
        assert escrow.books(payment.account) == (0, 0)
        outer.rollback()
    assert edb.DisputeCase.select().count() == 0
    assert escrow.books(payment.account) == (100, 90)
    assert edb.EscrowTransaction.get().status == "in_escrow"


# Queues


@pytest.fixture
def cases():
    """Cases of every priority and several deadlines, by name."""
    made = {}
    for name, priority, customer_hours, provider_hours in (
        ("low overdue", "low", -3, None),
        ("high late", "high", 50, 60),
        ("urgent none", "urgent", None, None),
        ("high soon", "high", 70, 5),
        ("medium both", "medium", 2, -1),
        ("urgent soon", "urgent", None, 24),
    ):
        case = escrow.dispute(escrow.payment_in("funded"), priority=priority)
        case.set_deadlines(
            customer_deadline_at=None if customer_hours is None else NOW + timedelta(hours=customer_hours),
            provider_deadline_at=None if provider_hours is None else NOW + timedelta(hours=provider_hours),
        )
        made[name] = case
    closed = escrow.dispute(escrow.payment_in("funded"), priority="urgent", customer_deadline_at=NOW)
    closed.withdraw()
    return made


def names(query, cases):
    by_id = {case.id: name for name, case in cases.items()}
    return [by_id[case.id] for case in query]


def test_the_queue_is_ordered_by_priority_then_deadline(cases):
    in_order = ["urgent soon", "urgent none", "high soon", "high late", "medium both", "low overdue"]
    assert names(edb.DisputeCase.queue(), cases) == in_order
    assert names(edb.DisputeCase.queue(limit=2), cases) == in_order[:2]
    assert names(edb.DisputeCase.queue().where(edb.DisputeCase.priority == "high"), cases) == in_order[2:4]


def test_overdue_cases_come_oldest_first(cases):
    assert names(edb.DisputeCase.overdue(NOW), cases) == ["low overdue", "medium both"]
    assert names(edb.DisputeCase.overdue(NOW - timedelta(hours=3)), cases) == []


def test_cases_due_within_hours_are_ordered_by_deadline(cases):
    assert names(edb.DisputeCase.due_within(24, NOW), cases) == ["medium both", "high soon", "urgent soon"]
    assert names(edb.DisputeCase.due_within(23, NOW), cases) == ["medium both", "high soon"]


def test_each_assignee_has_a_queue(cases):
    mediator, other = make_user(), make_user()
    cases["low overdue"].assign(mediator)
    cases["urgent none"].assign(mediator)
    cases["high soon"].assign(other)
    assert names(edb.DisputeCase.queue_for(mediator), cases) == ["urgent none", "low overdue"]
    assert names(edb.DisputeCase.queue_for(other.id), cases) == ["high soon"]
    cases["urgent none"].withdraw()
    assert names(edb.DisputeCase.queue_for(mediator), cases) == ["low overdue"]


# Refusals


@pytest.mark.parametrize(
    ("table", "column", "changes", "reason"),
    [
        ("dispute_cases", "reasonCode", {"reason_code": "x" * 81}, "at most 80"),
        ("dispute_cases", "reasonCode", {"reason_code": ""}, "blank"),
        ("dispute_cases", "summary", {"summary": "x" * 2**20}, "1,048,576 bytes; at most 65,535"),
        ("dispute_cases", "summary", {"summary": "a\0"}, "NUL"),
        ("dispute_cases", "summary", {"summary": None}, "blank"),
        ("dispute_cases", "priority", {"priority": "immediate"}, "not one of"),
        ("dispute_cases", "customerDeadlineAt", {"customer_deadline_at": datetime(2027, 1, 1)}, "naive"),
        ("dispute_cases", "providerDeadlineAt", {"provider_deadline_at": "soon"}, "not a time"),
        ("dispute_cases", "metadata", {"metadata": float("inf")}, "not JSON"),
        ("dispute_cases", "openedById", {"opened_by": "me"}, "not an id"),
        ("dispute_events", "actorType", {"actor_type": "judge"}, "not one of"),
    ],
)
def test_a_case_with_a_value_that_does_not_fit_is_refused(table, column, changes, reason):
    payment = escrow.payment_in("in_escrow")
    values = {"opened_by": payment.initiated_by, "reason_code": "late", "summary": "Nothing came.", **changes}
    with pytest.raises(edb.RefusedValue, match=rf"{table}\.{column}: .*{reason}"):
        edb.DisputeCase.open(payment, **values)
    assert edb.DisputeCase.select().count() == 0
    assert edb.EscrowTransaction.get().status == "in_escrow"


def test_a_case_of_an_unknown_user_or_transaction_is_refused():
    payment = escrow.payment_in("in_escrow")
    with pytest.raises(edb.NotFound, match=f"by: users {UNKNOWN} does not exist"):
        edb.DisputeCase.open(payment, UNKNOWN, "late", "Nothing came.")
    with pytest.raises(edb.RefusedValue, match="openedById: a value is required"):
        edb.DisputeCase.open(payment, None, "late", "Nothing came.")
    with pytest.raises(edb.NotFound, match=f"escrow_transactions {UNKNOWN} does not exist"):
        edb.DisputeCase.open(UNKNOWN, payment.initiated_by, "late", "Nothing came.")
    assert edb.EscrowTransaction.get().status == "in_escrow"


def test_an_unknown_case_or_actor_is_refused():
    case = stored(escrow.dispute(escrow.payment_in("in_escrow")))
    stranger = edb.DisputeCase(id=UNKNOWN, escrow_transaction=case.escrow_transaction_id)
    steps = (
        lambda case, by: case.record(notes="Hello.", by=by),
        lambda case, by: case.assign(case.opened_by_id, by=by),
        lambda case, by: case.advance("mediation", by=by),
        lambda case, by: case.set_status("under_review", by=by),
        lambda case, by: case.resolve("refund", "Yes.", by=by),
        lambda case, by: case.withdraw(by=by),
    )
    for step in steps:
        with pytest.raises(edb.NotFound, match=f"dispute_cases {UNKNOWN} does not exist"):
            step(stranger, None)
        with pytest.raises(edb.NotFound, match=f"by: users {UNKNOWN} does not exist"):
            step(case, UNKNOWN)
    with pytest.raises(edb.NotFound, match=f"assigned_to: users {UNKNOWN}"):
        case.assign(UNKNOWN)
    assert stored(case).__data__ == case.__data__
    assert len(events(case)) == 1


@pytest.mark.parametrize(
    ("error", "values", "reason"),
    [
        (edb.Refused, {"action_type": "stage_advanced", "notes": "x"}, "written by the verb that performs it"),
        (edb.Refused, {"action_type": "comment"}, "needs notes"),
        (edb.Refused, {"action_type": "comment", "notes": " "}, "needs notes"),
        (edb.Refused, {"action_type": "evidence_upload", "notes": "x"}, "evidence_key or evidence_url"),
        (edb.RefusedValue, {"action_type": "verdict", "notes": "x"}, "not one of"),
        (edb.RefusedValue, {"notes": "x" * 2**20}, "at most 65,535"),
        (edb.RefusedValue, {"notes": "a\0"}, "NUL"),
        (edb.RefusedValue, {"action_type": "evidence_upload", "evidence_key": "x" * 256}, "at most 255"),
        (edb.RefusedValue, {"notes": "x", "evidence_file_name": "x" * 181}, "at most 180"),
        (edb.RefusedValue, {"notes": "x", "actor_type": "judge"}, "not one of"),
    ],
)
def test_an_empty_or_invalid_event_is_refused(error, values, reason):
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    with pytest.raises(error, match=reason):
        case.record(**values)
    assert len(events(case)) == 1


def test_an_end_that_does_not_fit_is_refused():
    case = stored(escrow.dispute(escrow.payment_in("in_escrow")))
    for error, step in (
        (edb.RefusedValue, lambda: case.resolve("split", "Half each.")),
        (edb.RefusedValue, lambda: case.resolve("refund", "x" * 2**20)),
        (edb.RefusedValue, lambda: case.resolve("refund", " ")),
        (edb.RefusedValue, lambda: case.withdraw("\0")),
        (edb.RefusedValue, lambda: case.advance("appeal")),
        (edb.RefusedValue, lambda: case.set_status("lost")),
        (edb.Refused, lambda: case.set_status("settled")),
        (edb.RefusedValue, lambda: case.assign("me")),
        (
            edb.RefusedValue,
            lambda: case.set_deadlines(customer_deadline_at=datetime(2027, 1, 1), provider_deadline_at=None),
        ),
    ):
        with pytest.raises(error):
            step()
    assert stored(case).__data__ == case.__data__
    assert edb.EscrowTransaction.get().status == "disputed"


def test_queues_refuse_limits_and_times_that_are_none():
    for query in (
        lambda: edb.DisputeCase.queue(limit=10**30),
        lambda: edb.DisputeCase.overdue(limit=0),
        lambda: edb.DisputeCase.due_within(0),
        lambda: edb.DisputeCase.due_within(10**9),
        lambda: edb.DisputeCase.due_within(1.5),
        lambda: list(edb.DisputeCase.due_within(1, datetime(2027, 1, 1))),
        lambda: list(edb.DisputeCase.overdue(datetime(2027, 1, 1))),
        lambda: edb.DisputeCase.queue_for("me"),
    ):
        with pytest.raises(edb.RefusedValue):
            query()


# Queries


def test_the_queue_is_one_query():
    for _ in range(5):
        escrow.dispute(escrow.payment_in("funded"))
    with count_queries() as counted:
        assert len(edb.DisputeCase.queue()) == 5
    assert counted.count == 1
