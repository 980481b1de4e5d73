"""Whatever is changed in a row behind the library's back, the books show it, or this file says why they cannot.

Each tampering is a table, the state of a row, a column and its new value. It is written with plain SQL into books
that are in order, in a transaction that is rolled back afterwards.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import escrow
import peewee
import pytest
import servers

import engagement_db as edb
from engagement_db import DisputeCase, DisputeEvent, EscrowAccount, EscrowTransaction
from engagement_db.testing import make_user

TRANSACTION_STATES = (
    "initiated",
    "funded",
    "in_escrow",
    "released",
    "refunded",
    "cancelled",
    "disputed",
    "settled",
    "withdrawn",
)
HOLDING_STATES = ("funded", "in_escrow", "disputed", "withdrawn")
CASE_STATES = ("disputed", "settled", "withdrawn")
STATUSES = ("initiated", "funded", "in_escrow", "released", "refunded", "cancelled", "disputed")


class Books:
    """Rows in every state, each transaction in an account of its own, and somebody else with the same."""

    def __init__(self) -> None:
        self.other = escrow.account()
        self.project = edb.Project.create(title="Site")
        self.other_project = edb.Project.create(title="Shop")
        self.gig = edb.Gig.create(title="Logo")
        self.transactions = {state: self.transaction_in(state) for state in TRANSACTION_STATES}
        self.cases = {state: DisputeCase.get(escrow_transaction=self.transactions[state]) for state in CASE_STATES}

    def transaction_in(self, state: str) -> EscrowTransaction:
        row = escrow.payment(
            escrow.account(),
            counterparty=make_user(),
            project=self.project,
            scheduled_release_at=edb.now() + timedelta(days=7),
        )
        if state in ("initiated", "cancelled"):
            if state == "cancelled":
                row.cancel()
            return row
        row.fund()
        if state == "funded":
            return row
        row.hold()
        if state in ("released", "refunded"):
            getattr(row, "release" if state == "released" else "refund")()
        if state in CASE_STATES:
            case = escrow.dispute(row)
            case.record(notes="The parcel never came.", by=row.initiated_by_id)
            case.assign(self.other.user_id)
            case.set_deadlines(customer_deadline_at=edb.now() + timedelta(days=2), provider_deadline_at=None)
            case.set_status("under_review")
            case.advance("mediation")
            if state == "settled":
                case.resolve("refund", "The carrier lost it.")
            if state == "withdrawn":
                case.withdraw("It came after all.")
        return EscrowTransaction.get_by_id(row.id)


@pytest.fixture(scope="module")
def kept_books(server: servers.Server) -> Iterator[tuple[str, Books]]:
    server.start()
    url = server.create_database()
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        books = Books()
    yield url, books
    server.start()
    server.drop_database(url)


@pytest.fixture
def books(server: servers.Server, kept_books: tuple[str, Books]) -> Iterator[Books]:
    """The books, for one test that changes them: what it did is rolled back."""
    server.start()
    url, books = kept_books
    database = edb.connect(url)
    with database.connection_context(), database.atomic() as outer:
        yield books
        outer.rollback()


def write(row: Any, name: str, value: Any) -> None:
    """Write one column of one row with plain SQL."""
    field, database = row._meta.fields[name], row._meta.database
    mark = database.param
    statement = f"UPDATE {row._meta.table_name} SET {quoted(field.column_name)} = {mark} WHERE id = {mark}"
    database.execute_sql(statement, (field.db_value(value), row.id))


def quoted(name: str) -> str:
    left, right = EscrowAccount._meta.database.quote
    return f"{left}{name}{right}"


def delete(row: Any) -> None:
    peewee.ModelDelete(type(row)).where(type(row).id == row.id).execute()


def add_hours(name: str, hours: float) -> Callable[[Any, Books], Any]:
    return lambda row, books: getattr(row, name) + timedelta(hours=hours)


def now(row: Any, books: Books) -> Any:
    return edb.now()


def without(*numbers: int) -> Callable[[Any, Books], Any]:
    """The trail without the entries of these numbers; a negative one counts from the end."""

    def shortened(row: Any, books: Books) -> Any:
        trail = list(row.audit_trail)
        for number in numbers:
            del trail[number]
        return trail

    return shortened


def swapped(row: Any, books: Books) -> Any:
    *rest, before, last = row.audit_trail
    return [*rest, last, before]


def edited(**changes: Any) -> Callable[[Any, Books], Any]:
    """The trail, the last entry of which says something else."""
    return lambda row, books: [*row.audit_trail[:-1], {**row.audit_trail[-1], **changes}]


Value = Any
# The column, what it is set to (a value, or a function of row and books), and the states it is tried in.
TRANSACTION_TAMPERING: list[tuple[str, str, Value, tuple[str, ...]]] = [
    *(("status", status, status, TRANSACTION_STATES) for status in STATUSES),
    ("amount", "raised", Decimal("100.01"), TRANSACTION_STATES),
    ("amount", "lowered", Decimal("99"), TRANSACTION_STATES),
    ("fee_amount", "raised", Decimal("10.01"), TRANSACTION_STATES),
    ("fee_amount", "waived", Decimal(0), TRANSACTION_STATES),
    ("net_amount", "raised", Decimal("90.0001"), TRANSACTION_STATES),
    ("net_amount", "zero", Decimal(0), TRANSACTION_STATES),
    ("currency_code", "another", "EUR", TRANSACTION_STATES),
    ("account", "another", lambda row, books: books.other.id, TRANSACTION_STATES),
    ("initiated_by", "another", lambda row, books: books.other.user_id, TRANSACTION_STATES),
    ("counterparty", "another", lambda row, books: books.other.user_id, TRANSACTION_STATES),
    ("project", "another", lambda row, books: books.other_project.id, TRANSACTION_STATES),
    ("gig", "added", lambda row, books: books.gig.id, TRANSACTION_STATES),
    ("type", "another", "retainer", TRANSACTION_STATES),
    ("scheduled_release_at", "brought forward", now, TRANSACTION_STATES),
    ("scheduled_release_at", "removed", None, TRANSACTION_STATES),
    ("released_at", "added", now, tuple(state for state in TRANSACTION_STATES if state != "released")),
    ("released_at", "moved", add_hours("released_at", 1), ("released",)),
    ("released_at", "removed", None, ("released",)),
    ("refunded_at", "added", now, tuple(s for s in TRANSACTION_STATES if s not in ("refunded", "settled"))),
    ("refunded_at", "moved", add_hours("refunded_at", -1), ("refunded", "settled")),
    ("refunded_at", "removed", None, ("refunded", "settled")),
    ("cancelled_at", "added", now, tuple(state for state in TRANSACTION_STATES if state != "cancelled")),
    ("cancelled_at", "moved", add_hours("cancelled_at", 1), ("cancelled",)),
    ("cancelled_at", "removed", None, ("cancelled",)),
    ("created_at", "moved", add_hours("created_at", -1), TRANSACTION_STATES),
    ("updated_at", "moved back", add_hours("updated_at", -1), TRANSACTION_STATES),
    ("audit_trail", "removed", None, TRANSACTION_STATES),
    ("audit_trail", "emptied", [], TRANSACTION_STATES),
    ("audit_trail", "not a list", "released by me", TRANSACTION_STATES),
    ("audit_trail", "entries that are no objects", [1, 2], TRANSACTION_STATES),
    ("audit_trail", "without its first entry", without(0), tuple(s for s in TRANSACTION_STATES if s != "initiated")),
    ("audit_trail", "without its last entry", without(-1), TRANSACTION_STATES),
    ("audit_trail", "without its second entry", without(1), tuple(s for s in TRANSACTION_STATES if s != "initiated")),
    ("audit_trail", "out of order", swapped, tuple(s for s in TRANSACTION_STATES if s != "initiated")),
    ("audit_trail", "with another amount", edited(amount=1000), TRANSACTION_STATES),
    ("audit_trail", "with another target", edited(to="funded"), tuple(s for s in TRANSACTION_STATES if s != "funded")),
    ("audit_trail", "from the past", edited(at="2001-01-01T00:00:00+00:00"), TRANSACTION_STATES),
]


ACCOUNT_TAMPERING: list[tuple[str, str, Value, tuple[str, ...]]] = [
    ("current_balance", "raised", Decimal("100.01"), TRANSACTION_STATES),
    ("current_balance", "lowered", Decimal("99"), HOLDING_STATES),
    ("current_balance", "emptied", Decimal(0), HOLDING_STATES),
    ("pending_release_total", "raised", Decimal("91"), TRANSACTION_STATES),
    ("pending_release_total", "emptied", Decimal(0), HOLDING_STATES),
    ("currency_code", "another", "EUR", TRANSACTION_STATES),
    ("user", "another", lambda row, books: books.transactions["funded"].counterparty_id, TRANSACTION_STATES),
    ("provider", "another", "paypal", TRANSACTION_STATES),
    ("status", "closed", "closed", HOLDING_STATES),
    ("status", "pending", "pending", HOLDING_STATES),
]

CASE_TAMPERING: list[tuple[str, str, Value, tuple[str, ...]]] = [
    ("escrow_transaction", "another", lambda row, books: books.transactions["released"].id, CASE_STATES),
    ("opened_by", "another", lambda row, books: books.other.user_id, CASE_STATES),
    ("assigned_to", "another", lambda row, books: books.transactions["funded"].initiated_by_id, CASE_STATES),
    *(("stage", stage, stage, CASE_STATES) for stage in ("intake", "mediation", "arbitration", "resolved")),
    *(
        ("status", status, status, CASE_STATES)
        for status in ("open", "awaiting_customer", "under_review", "settled", "closed")
    ),
    ("customer_deadline_at", "moved", add_hours("customer_deadline_at", 9), CASE_STATES),
    ("customer_deadline_at", "removed", None, CASE_STATES),
    ("provider_deadline_at", "added", now, CASE_STATES),
    ("priority", "another", "low", CASE_STATES),
    ("reason_code", "another", "fraud", CASE_STATES),
    ("summary", "rewritten", "Nothing is wrong.", CASE_STATES),
    ("resolution_notes", "rewritten", "He was right.", ("settled", "withdrawn")),
    ("opened_at", "moved", add_hours("opened_at", -5), CASE_STATES),
    ("resolved_at", "moved", add_hours("resolved_at", 1), ("settled", "withdrawn")),
    ("resolved_at", "removed", None, ("settled", "withdrawn")),
    ("resolved_at", "added", now, ("disputed",)),
]
# The events of a case in the order in which they were written, and the states in which their absence shows.
# A comment is missed by nothing, nor is a stage once the case has ended.
EVENTS = {
    "opened": (0, CASE_STATES),
    "assigned": (2, CASE_STATES),
    "deadlines set": (3, CASE_STATES),
    "under review": (4, CASE_STATES),
    "advanced": (5, ("disputed",)),
    "ended": (6, ("settled", "withdrawn")),
}


def every(tampering: list[tuple[str, str, Value, tuple[str, ...]]]) -> list[Any]:
    return [pytest.param(name, value, states, id=f"{name}-{label}") for name, label, value, states in tampering]


def tampered(
    books: Books, rows: dict[str, Any], name: str, value: Value, states: tuple[str, ...]
) -> Iterator[tuple[str, Any, list[edb.Problem]]]:
    """Write the value into the row of each state in turn; yield state, row and what the books say about it."""
    database, tried = EscrowAccount._meta.database, 0
    for state in states:
        row = rows[state]
        new = value(row, books) if callable(value) else value
        if new == getattr(row, name):
            continue
        with database.atomic() as savepoint:
            write(row, name, new)
            yield state, row, edb.find_problems()
            savepoint.rollback()
        tried += 1
    assert tried


def named(problems: list[edb.Problem]) -> set[tuple[str, int]]:
    return {(problem.table, problem.id) for problem in problems}


def names_of(row: EscrowTransaction) -> set[tuple[str, int]]:
    """The transaction and its cases: a change to one of them may show in another."""
    cases = DisputeCase.select(DisputeCase.id).where(DisputeCase.escrow_transaction == row.id)
    return {("escrow_transactions", row.id), *(("dispute_cases", case.id) for case in cases)}


def test_books_in_order_have_no_problems(books):
    assert edb.find_problems() == []
    for row in books.transactions.values():
        assert edb.reconcile(row.account_id).adds_up


@pytest.mark.parametrize(("name", "value", "states"), every(TRANSACTION_TAMPERING))
def test_a_tampered_transaction_is_named(books, name, value, states):
    for state, row, problems in tampered(books, books.transactions, name, value, states):
        assert named(problems) & names_of(row), state
        assert not edb.reconcile(EscrowTransaction.get_by_id(row.id).account_id).adds_up, state


@pytest.mark.parametrize(("name", "value", "states"), every(ACCOUNT_TAMPERING))
def test_a_tampered_account_is_named(books, name, value, states):
    accounts = {state: EscrowAccount.get_by_id(row.account_id) for state, row in books.transactions.items()}
    for state, account, problems in tampered(books, accounts, name, value, states):
        assert named(problems) == {("escrow_accounts", account.id)}, state
        assert named(edb.reconcile(account.id).problems) == named(problems), state


@pytest.mark.parametrize(("name", "value", "states"), every(CASE_TAMPERING))
def test_a_tampered_case_is_named(books, name, value, states):
    for state, case, problems in tampered(books, books.cases, name, value, states):
        row = books.transactions[state]
        assert named(problems) & {("dispute_cases", case.id), *names_of(row)}, state
        assert not edb.reconcile(row.account_id).adds_up, state


@pytest.mark.parametrize(
    ("state", "event"), [(state, event) for event, (_, states) in EVENTS.items() for state in states]
)
def test_a_deleted_event_is_missed_by_its_case(books, state, event):
    case = books.cases[state]
    delete(list(case.events.order_by(DisputeEvent.id))[EVENTS[event][0]])
    assert ("dispute_cases", case.id) in named(edb.find_problems())


@pytest.mark.parametrize("state", CASE_STATES)
def test_a_deleted_case_is_missed_by_its_transaction(books, state):
    case = books.cases[state]
    for event in case.events:
        delete(event)
    delete(case)
    assert ("escrow_transactions", case.escrow_transaction_id) in named(edb.find_problems())


def delete_with_cases(row: EscrowTransaction) -> None:
    for case in row.dispute_cases:
        for event in case.events:
            delete(event)
        delete(case)
    delete(row)


@pytest.mark.parametrize("state", HOLDING_STATES)
def test_a_deleted_transaction_that_held_money_is_missed_by_its_account(books, state):
    row = books.transactions[state]
    delete_with_cases(row)
    assert ("escrow_accounts", row.account_id) in named(edb.find_problems())


@pytest.mark.parametrize("state", TRANSACTION_STATES[:-1])
def test_a_deleted_transaction_is_missed_by_the_one_initiated_after_it(books, state):
    row = books.transactions[state]
    after = next(other for other in books.transactions.values() if other.id > row.id)
    delete_with_cases(row)
    (missing,) = [p for p in edb.find_problems() if p.kind == edb.ProblemKind.MISSING_ROWS]
    assert (missing.table, missing.id) == ("escrow_transactions", after.id)
    assert missing.expected == f"escrow transaction {row.id}, initiated before it"


def test_a_repaired_owner_is_the_one_that_the_books_expect_from_then_on(books):
    row = books.transactions["funded"]
    edb.repair(row.account, by=None, reason="opened for the wrong user", user=books.other.user_id, provider="paypal")
    escrow.payment(EscrowAccount.get_by_id(row.account_id))
    assert edb.find_problems() == []
    write(row.account, "user", row.initiated_by_id)
    assert named(edb.find_problems()) == {("escrow_accounts", row.account_id)}


def test_an_edited_schedule_is_the_one_that_the_books_expect_from_then_on(books):
    row = EscrowTransaction.get_by_id(books.transactions["funded"].id)
    row.edit(scheduled_release_at=edb.now() + timedelta(days=1))
    assert edb.find_problems() == []
    write(row, "scheduled_release_at", edb.now())
    assert named(edb.find_problems()) == {("escrow_transactions", row.id)}
    edb.repair(EscrowTransaction.get_by_id(row.id), by=None, reason="agreed by phone", scheduled_release_at=None)
    assert edb.find_problems() == []


@pytest.mark.parametrize(
    ("name", "value", "states"),
    every([row for row in TRANSACTION_TAMPERING if row[0] not in ("audit_trail", "updated_at")]),
)
def test_a_repair_of_a_tampered_transaction_leaves_no_problem(books, name, value, states):
    for state, row, _ in tampered(books, books.transactions, name, value, states):
        edb.repair(EscrowTransaction.get_by_id(row.id), by=None, reason="set back", **{name: getattr(row, name)})
        assert edb.find_problems() == [], state


@pytest.mark.parametrize(
    ("name", "value", "states"), every([row for row in CASE_TAMPERING if row[0] != "escrow_transaction"])
)
def test_a_repair_of_a_tampered_case_leaves_no_problem(books, name, value, states):
    for state, case, _ in tampered(books, books.cases, name, value, states):
        edb.repair(DisputeCase.get_by_id(case.id), by=None, reason="set back", **{name: getattr(case, name)})
        assert edb.find_problems() == [], state


def test_a_repair_to_another_value_is_what_the_books_expect_from_then_on(books):
    row = EscrowTransaction.get_by_id(books.transactions["released"].id)
    new = {
        "account": books.other.id,
        "type": "gig",
        "counterparty": None,
        "created_at": row.created_at - timedelta(days=1),
    }
    edb.repair(row, by=None, reason="entered wrongly", **new)
    case = books.cases["settled"]
    edb.repair(case, by=None, reason="entered wrongly", opened_at=case.opened_at - timedelta(days=1), priority="low")
    assert edb.find_problems() == []
    write(row, "type", "project")
    write(case, "priority", "medium")
    assert named(edb.find_problems()) == {("escrow_transactions", row.id), ("dispute_cases", case.id)}
