"""The books add up exactly, name what does not, and can be read while money moves."""

import threading
from decimal import Decimal
from typing import Any

import escrow
import peewee
import pytest
from playhouse.test_utils import count_queries
from tampering import tamper

import engagement_db as edb
from engagement_db import EscrowAccount, EscrowTransaction, ProblemKind
from engagement_db.testing import make_user
from engagement_db.trust.audit import AUDIT_PAGE

pytestmark = pytest.mark.usefixtures("database")


def facts(problem: edb.Problem) -> tuple[Any, ...]:
    return problem.kind, problem.table, problem.id, problem.column, problem.expected, problem.found


# Balances


def test_what_create_made_in_place_of_a_verb_is_reported_whatever_its_status():
    home = escrow.account()
    order = {"account": home, "amount": 5, "net_amount": 5, "initiated_by": home.user_id}
    made = [
        EscrowTransaction.create(**order, reference=f"C-{status}", status=status) for status in edb.TransactionStatus
    ]
    case = edb.DisputeCase.create(
        escrow_transaction=escrow.payment_in("funded"), opened_by=home.user_id, reason_code="late", summary="Late"
    )
    rich = EscrowAccount.create(user=home.user_id, provider="paypal", current_balance=5)
    found = {(problem.kind, problem.table, problem.id) for problem in edb.find_problems()}
    assert {(ProblemKind.TRAIL_MISSING, "escrow_transactions", row.id) for row in made} <= found
    assert (ProblemKind.MISSING_ROWS, "dispute_cases", case.id) in found
    assert (ProblemKind.BALANCE, "escrow_accounts", rich.id) in found


def test_wrong_balances_and_net_amounts_are_found_and_named():
    home, other = escrow.account(), escrow.account()
    escrow.payment(other).fund()
    payment = escrow.payment(home)
    payment.fund()
    tamper(home, current_balance=Decimal("99.9999"), pending_release_total=0)
    tamper(payment, net_amount=Decimal("90.01"))
    assert [facts(problem) for problem in edb.find_balance_problems()] == [
        (ProblemKind.BALANCE, "escrow_accounts", home.id, "currentBalance", 100, Decimal("99.9999")),
        (ProblemKind.BALANCE, "escrow_accounts", home.id, "pendingReleaseTotal", Decimal("90.01"), 0),
        (ProblemKind.NET_AMOUNT, "escrow_transactions", payment.id, "netAmount", 90, Decimal("90.01")),
    ]
    assert edb.reconcile(other).adds_up
    reconciliation = edb.reconcile(home)
    assert not reconciliation.adds_up
    assert list(reconciliation.problems) == edb.find_problems()
    assert home.last_reconciled_at is None


def test_a_problem_has_a_remedy_in_one_line():
    home = escrow.account()
    tamper(home, current_balance=1)
    (problem,) = edb.find_problems()
    start = f"escrow_accounts {home.id}: currentBalance is 1.0000, expected 0.0000 (balance). "
    assert str(problem) == start + problem.cure
    assert "\n" not in str(problem)
    for kind in ProblemKind:
        assert edb.Problem(kind, "escrow_accounts", 1, "status", None, None).cure.endswith(".")


def test_an_account_without_transactions_holds_nothing():
    home = escrow.account()
    tamper(home, current_balance=Decimal("0.0001"))
    assert [(p.id, p.expected, p.found) for p in edb.find_problems()] == [(home.id, 0, Decimal("0.0001"))]


@pytest.mark.parametrize("status", ["pending", "closed"])
def test_a_pending_or_closed_account_holds_nothing(status):
    home = escrow.payment_in("funded").account
    tamper(home, status=status)
    assert [(p.kind, p.id) for p in edb.find_problems()] == [(ProblemKind.ACCOUNT_STATUS, home.id)]
    assert [p.kind for p in edb.reconcile(home).problems] == [ProblemKind.ACCOUNT_STATUS]


def test_reconciling_stamps_the_account_when_nothing_is_wrong():
    home = escrow.account()
    escrow.payment(home).fund()
    before = edb.now()
    assert edb.reconcile(home).account is home
    assert before <= home.last_reconciled_at <= edb.now()
    assert EscrowAccount.get().last_reconciled_at == home.last_reconciled_at
    assert edb.reconcile(home.id).account == home


def test_large_amounts_add_up_to_the_last_place():
    home = escrow.account()
    for amount in ("99999999999.9999", "12345678901.2345", "0.0001", "99999.9999"):
        escrow.payment(home, amount, "0.0001").fund()
    assert escrow.books(home) == (Decimal("112345778901.2344"), Decimal("112345778901.2340"))
    assert edb.find_problems() == []
    assert edb.reconcile(home).adds_up


def test_an_overwritten_currency_is_the_accounts_problem_and_not_that_of_its_transactions():
    home = escrow.account()
    for _ in range(3):
        escrow.payment(home).fund()
    tamper(home, currency_code="EUR")
    (problem,) = edb.find_problems()
    assert facts(problem) == (ProblemKind.CURRENCY, "escrow_accounts", home.id, "currencyCode", "USD", "EUR")


@pytest.mark.parametrize("limit", [0, 1001, True, "10", None])
def test_a_limit_out_of_bounds_is_refused(limit):
    for call in (edb.find_problems, edb.find_balance_problems):
        with pytest.raises(edb.RefusedValue, match="limit"):
            call(limit)


def test_the_limit_bounds_the_problems_of_each_kind():
    homes = [escrow.account() for _ in range(3)]
    payments = [escrow.payment(home) for home in homes]
    for home, payment in zip(homes, payments, strict=True):
        tamper(home, current_balance=1)
        tamper(payment, audit_trail=None)
    assert [p.kind for p in edb.find_problems(limit=1)] == [ProblemKind.BALANCE, ProblemKind.TRAIL_MISSING]
    assert [p.kind for p in edb.find_balance_problems(limit=2)] == [ProblemKind.BALANCE] * 2
    assert len(edb.find_problems()) == 6


# Pages of trails


def test_an_audit_reads_each_transaction_once_shows_progress_and_can_be_resumed():
    home = escrow.account()
    payments = [escrow.payment(home) for _ in range(7)]
    for number in (0, 3, 6):
        tamper(payments[number], audit_trail=None)
    pages = list(edb.audit_trails(page_size=3))
    assert [page.transactions for page in pages] == [3, 3, 1]
    assert [page.position for page in pages] == [payments[number].id for number in (2, 5, 6)]
    assert {page.last_id for page in pages} == {payments[-1].id}
    progress = [page.progress for page in pages]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert [[p.id for p in page.problems] for page in pages] == [[payments[number].id] for number in (0, 3, 6)]
    assert list(edb.audit_trails(after=pages[0].position, page_size=3)) == pages[1:]
    assert list(edb.audit_trails(after=payments[-1].id)) == []


@pytest.mark.parametrize(
    "arguments", [{"page_size": 0}, {"page_size": 5001}, {"after": -1}, {"after": "1"}, {"after": None}]
)
def test_an_audit_refuses_pages_out_of_bounds(arguments):
    with pytest.raises(edb.RefusedValue):
        list(edb.audit_trails(**arguments))


def test_an_audit_takes_few_queries_for_a_page_whatever_its_size():
    home = escrow.account()
    for _ in range(5):
        escrow.dispute(escrow.payment_in("funded", home))
    with count_queries() as few:
        edb.find_problems()
    for _ in range(20):
        escrow.dispute(escrow.payment_in("funded", home))
    with count_queries() as many:
        edb.find_problems()
    assert many.count == few.count
    with count_queries() as counted:
        edb.find_balance_problems()
    assert len([query for query in counted.get_queries() if query.msg[0].startswith("SELECT")]) == 3


def test_an_account_of_several_pages_is_reconciled(monkeypatch):
    monkeypatch.setattr("engagement_db.trust.audit.AUDIT_PAGE", 2)
    home = escrow.account()
    payments = [escrow.payment_in("funded", home) for _ in range(5)]
    assert edb.reconcile(home).adds_up
    tamper(payments[4], audit_trail=None)
    assert [p.id for p in edb.reconcile(home).problems] == [payments[4].id]
    assert AUDIT_PAGE > 2


def test_the_books_can_be_read_while_money_moves(database):
    """A page is read in one snapshot: no half of a dispute is taken for a problem."""
    home = escrow.account()
    payments = [escrow.payment_in("in_escrow", home) for _ in range(4)]
    done = threading.Event()

    def dispute_and_withdraw() -> None:
        with database.connection_context():
            while not done.is_set():
                for payment in payments:
                    escrow.dispute(EscrowTransaction.get_by_id(payment.id)).withdraw()

    mover = threading.Thread(target=dispute_and_withdraw)
    mover.start()
    try:
        found = [problem for _ in range(30) for problem in edb.find_problems()]
    finally:
        done.set()
        mover.join()
    assert found == []


def test_the_books_lock_nothing(database):
    payment = escrow.payment_in("in_escrow")
    pages = edb.audit_trails()
    next(pages)
    assert not database.in_transaction()
    with database.atomic("IMMEDIATE" if isinstance(database, peewee.SqliteDatabase) else None):
        payment.release()
        assert edb.find_problems() == []
    assert list(pages) == []


# Rows without parents


def test_rows_that_lost_their_parent_are_reported(database, server):
    post = edb.FeedPost.create(user=make_user(), content="Shipped!")
    comment = edb.FeedComment.reply(post, post.user_id, "Congratulations!")
    case = escrow.dispute(escrow.payment_in("funded"))
    event = case.events.get()
    with without_foreign_keys(database, server):
        peewee.ModelDelete(edb.FeedPost).execute()
        peewee.ModelDelete(edb.DisputeCase).execute()
    orphans = [facts(p)[1:4] for p in edb.find_problems() if p.kind == ProblemKind.ORPHAN]
    assert orphans == [("dispute_events", event.id, "disputeCaseId"), ("feed_comments", comment.id, "postId")]


class without_foreign_keys:
    """A block in which the session does not enforce foreign keys."""

    STATEMENTS = {
        "sqlite": "PRAGMA foreign_keys = {}",
        "postgres": "SET session_replication_role = {}",
        "mysql": "SET foreign_key_checks = {}",
        "mariadb": "SET foreign_key_checks = {}",
    }

    def __init__(self, database: peewee.Database, server: Any) -> None:
        self.database, self.statement = database, self.STATEMENTS[server.name]
        self.values = ("replica", "origin") if server.name == "postgres" else (0, 1)

    def __enter__(self) -> None:
        self.database.execute_sql(self.statement.format(self.values[0]))

    def __exit__(self, *_: object) -> None:
        self.database.execute_sql(self.statement.format(self.values[1]))
