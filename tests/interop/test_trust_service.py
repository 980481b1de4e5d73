"""The trust service in Node and the verbs in Python on the same payments: turn by turn, then both at once.

Each difference that docs/beside-node.md lists is shown here.
"""

import contextlib
import random
import threading
from decimal import Decimal

import pytest
from node import Refused, trust_service

import engagement_db as edb
from engagement_db import ProblemKind

AMOUNT, FEE = Decimal("100.0003"), Decimal("0.1")
PAYMENTS, THREADS = 24, 3
SETTLED = ("released", "refunded")


@pytest.fixture
def node(shared):
    """The running trust service on the database to which the models are bound."""
    with trust_service(shared) as service:
        yield service


@pytest.fixture
def account(shared):
    return edb.EscrowAccount.open(1, "stripe")


def deposit_by_node(node, account, reference, **values):
    values = {"accountId": account.id, "amount": str(AMOUNT), "fee": str(FEE), "actorId": 1, **values}
    return edb.EscrowTransaction.get_by_id(node.ask("initiate", reference=reference, **values)["id"])


def deposit(account, reference):
    return edb.EscrowTransaction.deposit(account, reference=reference, amount=AMOUNT, fee_amount=FEE, initiated_by=1)


def again(row):
    return type(row).get_by_id(row.id)


def problems_of(row):
    table = row._meta.table_name
    return {problem.kind for problem in edb.find_problems() if (problem.table, problem.id) == (table, row.id)}


def held():
    """What the transactions that were never settled hold."""
    row = edb.EscrowTransaction
    rows = row.select().where(row.released_at.is_null(), row.refunded_at.is_null(), row.cancelled_at.is_null())
    return sum((each.amount for each in rows), Decimal(0))


def balances():
    return sum((each.current_balance for each in edb.EscrowAccount.select()), Decimal(0))


# Turn by turn


def test_what_node_deposits_python_releases_and_the_other_way_round(node, account):
    first, second = deposit_by_node(node, account, "N-1"), deposit(account, "P-1")
    assert (first.status, second.status) == ("in_escrow", "in_escrow")
    assert again(account).status == "active"
    assert again(account).current_balance == 2 * AMOUNT
    assert first.release(by=2, notes="Done").changed
    assert node.ask("release", id=second.id, actorId=2) == {"changed": True, "status": "released"}
    assert node.ask("refund", id=first.id) == {"changed": False, "status": "released"}
    assert not again(second).release().changed
    trail = node.ask("read", id=first.id)["auditTrail"]
    assert [(entry["action"], entry["actorId"]) for entry in trail] == [("initiated", 1), ("release", 2)]
    assert [entry["action"] for entry in again(second).audit_trail] == ["initiate", "fund", "hold", "released"]
    assert again(account).current_balance == again(account).pending_release_total == 0
    assert edb.find_problems() == []


def test_a_case_of_nodes_is_withdrawn_into_escrow_or_resolved_with_its_money(node, account):
    rows = [deposit_by_node(node, account, f"N-{number}") for number in range(2)]
    cases = [node.ask("dispute", id=row.id, actorId=2, summary="No parcel.")["id"] for row in rows]
    withdrawn, resolved = map(edb.DisputeCase.get_by_id, cases)
    assert [event.notes for event in edb.case_timeline(withdrawn)] == ["No parcel."]
    ours = edb.DisputeCase.open(deposit(account, "P-1"), 2, "late", "Nothing came.")
    assert [event.notes for event in edb.case_timeline(ours)] == ["Nothing came."]
    ours.resolve("release", "It came.", by=3)
    withdrawn.withdraw(by=2)
    resolved.resolve("refund", "Lost.", by=3)
    assert [again(row).status for row in rows] == ["in_escrow", "refunded"]
    assert balances() == held() == AMOUNT
    assert node.ask("release", id=rows[0].id)["changed"]
    assert balances() == held() == 0
    assert edb.find_problems() == []


def test_a_repeated_reference_is_refused_by_node_and_compared_by_python(node, account):
    row = deposit_by_node(node, account, "R-1")
    with pytest.raises(Refused) as refused:
        deposit_by_node(node, account, "R-1")
    assert refused.value.name == "SequelizeUniqueConstraintError"
    assert deposit(account, "R-1").id == row.id
    with pytest.raises(edb.ReferenceConflict):
        edb.EscrowTransaction.deposit(account, reference="R-1", amount=1, initiated_by=1)
    assert balances() == AMOUNT


def test_only_node_books_into_a_suspended_or_closed_account(node, account):
    account.activate()
    account.suspend()
    with pytest.raises(edb.Refused):
        deposit(account, "P-1")
    row = deposit_by_node(node, account, "N-1")
    assert again(account).status == "active", "Node makes an account active whenever it books"
    node.ask("updateAccount", id=account.id, status="closed")
    assert ProblemKind.ACCOUNT_STATUS in problems_of(account)
    assert row.release().changed


def test_the_time_of_the_last_reconciliation_is_no_proof(node, account):
    assert again(account).last_reconciled_at is None
    node.ask("updateAccount", id=account.id, externalId="acct_1")
    assert again(account).last_reconciled_at is not None


def test_a_balance_that_node_keeps_at_zero_is_named(node, account):
    row = deposit_by_node(node, account, "N-1")
    node.ask("updateAccount", id=account.id, currentBalance="1.0000", pendingReleaseTotal="1.0000")
    with pytest.raises(edb.Refused, match="takes out more"):
        row.release()
    assert node.ask("release", id=row.id)["changed"]
    deposit(account, "P-1")
    node.ask("updateAccount", id=account.id, currentBalance="1.0000")
    assert ProblemKind.BALANCE in problems_of(account)


def test_a_currency_that_node_overwrites_is_named(node, account):
    row = deposit_by_node(node, account, "N-1")
    euros = edb.EscrowAccount.open(1, "stripe", "EUR")
    with pytest.raises(Refused) as refused:
        node.ask("updateAccount", id=account.id, currencyCode="EUR")
    assert refused.value.name == "SequelizeUniqueConstraintError"
    node.ask("updateAccount", id=euros.id, currencyCode="GBP")
    node.ask("updateAccount", id=account.id, currencyCode="EUR")
    assert problems_of(row) | problems_of(account) >= {ProblemKind.CURRENCY}


def test_a_released_payment_that_node_disputes_is_never_settled_again(node, account):
    row = deposit(account, "P-1")
    row.release()
    case = edb.DisputeCase.get_by_id(node.ask("dispute", id=row.id, actorId=2, summary="Late")["id"])
    node.ask("dispute", id=row.id, actorId=3, summary="Late as well")
    for settle in (lambda: case.resolve("refund", "No."), case.withdraw, again(row).refund):
        with pytest.raises(edb.Refused):
            settle()
    assert problems_of(row) >= {ProblemKind.SETTLEMENT, ProblemKind.TRANSITION}
    assert balances() == held() == 0


def test_a_disputed_payment_that_node_refunds_is_named_and_not_paid_twice(node, account):
    row = deposit(account, "P-1")
    case = edb.DisputeCase.open(row, 2, "late", "Late")
    assert node.ask("refund", id=row.id)["changed"]
    with pytest.raises(edb.Refused):
        case.resolve("release", "Here it is.")
    assert problems_of(row) | problems_of(case) == {ProblemKind.DISPUTE}
    assert balances() == held() == 0


def test_a_case_may_go_to_any_stage_in_node_and_end_without_its_money(node, account):
    row = deposit(account, "P-1")
    case = edb.DisputeCase.open(row, 2, "late", "Late")
    node.ask("updateCase", id=case.id, stage="arbitration")
    with pytest.raises(edb.InvalidTransition):
        again(case).advance("mediation")
    node.ask("updateCase", id=case.id, stage="intake")
    node.ask("updateCase", id=case.id, stage="resolved", status="settled")
    assert problems_of(row) | problems_of(case) == {ProblemKind.DISPUTE}
    assert again(row).status == "disputed"
    assert balances() == AMOUNT


# Both at once


def in_threads(url, work):
    """Run ``work(number)`` in threads, each with a connection of its own; return what they raised."""
    raised = []

    def run(number):
        database = edb.User._meta.database
        with database.connection_context():
            try:
                work(number)
            except BaseException as error:
                raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads, raised


def joined(threads, raised):
    for thread in threads:
        thread.join(120)
    assert raised == []


def test_what_both_settle_at_once_is_settled_once(node, shared, account):
    rows = [
        deposit_by_node(node, account, f"N-{number}") if number % 2 else deposit(account, f"P-{number}")
        for number in range(PAYMENTS)
    ]
    won = []

    def settle(number):
        chance = random.Random(number)
        for row in chance.sample(rows, len(rows)):
            try:
                if getattr(row, chance.choice(("release", "refund")))(by=1).changed:
                    won.append(row.id)
            except edb.InvalidTransition:
                pass

    chance = random.Random("node")
    threads, raised = in_threads(shared, settle)
    asked = [
        (row.id, node.start(chance.choice(("release", "refund")), id=row.id, actorId=1))
        for row in chance.sample(rows, len(rows))
    ]
    won += [row_id for row_id, answer in asked if answer.result(120)["changed"]]
    joined(threads, raised)
    assert sorted(won) == sorted(row.id for row in rows)
    for row in map(again, rows):
        assert row.status in SETTLED
        last = [entry["action"] for entry in row.audit_trail if entry["action"] in ("release", "refund", *SETTLED)]
        assert len(last) == 1
    assert balances() == held() == 0
    assert edb.find_problems() == []


def test_what_both_deposit_at_once_is_booked_once(node, shared, account):
    numbers = range(PAYMENTS)

    def deposit_all(seed):
        for number in random.Random(seed).sample(numbers, PAYMENTS):
            deposit(account, f"R-{number}")

    threads, raised = in_threads(shared, deposit_all)
    values = {"accountId": account.id, "amount": str(AMOUNT), "fee": str(FEE), "actorId": 1}
    asked = [node.start("initiate", reference=f"R-{number}", **values) for number in numbers]
    refused = [answer.exception(120) for answer in asked]
    joined(threads, raised)
    assert {error.name for error in refused if error} <= {"SequelizeUniqueConstraintError"}
    assert edb.EscrowTransaction.select().count() == PAYMENTS
    assert balances() == held() == PAYMENTS * AMOUNT
    assert edb.find_problems() == []


def test_what_one_disputes_while_the_other_settles_is_paid_once_or_held(node, shared, account):
    rows = [deposit(account, f"P-{number}") for number in range(PAYMENTS)]

    def settle(number):
        for row in random.Random(number).sample(rows, len(rows)):
            with contextlib.suppress(edb.Refused):
                row.release(by=1)
            for case in row.dispute_cases:
                with contextlib.suppress(edb.Refused):
                    case.resolve("refund", "Decided.", by=1)

    threads, raised = in_threads(shared, settle)
    asked = [node.start("dispute", id=row.id, actorId=2, summary="Late") for row in rows]
    assert [answer.exception(120) for answer in asked] == [None] * len(asked)
    joined(threads, raised)
    reported = {(problem.table, problem.id) for problem in edb.find_problems()}
    for row in map(again, rows):
        paid = [entry for entry in row.audit_trail if entry["action"] in ("release", "refund")]
        assert len(paid) == bool(row.released_at or row.refunded_at)
        # Node disputes what is released already, and that is named.
        is_odd = row.status == "disputed" and bool(paid)
        assert ((row._meta.table_name, row.id) in reported) == is_odd
    assert balances() == held()
