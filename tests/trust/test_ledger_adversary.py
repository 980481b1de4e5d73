"""Verbs beside an adversary, compared with double-entry books that the test keeps by itself.

The adversary saves rows read long ago, rolls callers' transactions back, kills sessions before they commit and changes
rows by SQL. Whatever it does, no money moves but by a verb that was committed, and what SQL changed is reported.
"""

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

import escrow
import peewee
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tampering import tamper

import engagement_db as edb
from engagement_db.orm.urls import open_database

FEW = settings(
    max_examples=12,
    stateful_step_count=30,
    database=None,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.filter_too_much],
)
TARGETS = {
    "fund": {"initiated": "funded"},
    "hold": {"funded": "in_escrow"},
    "release": {"funded": "released", "in_escrow": "released"},
    "refund": {"funded": "refunded", "in_escrow": "refunded"},
    "cancel": {"initiated": "cancelled"},
}
AMOUNTS = st.decimals(Decimal("0.0001"), Decimal("9999.9999"), places=4)


class Journal:
    """Double-entry books: each posting debits one account and credits others, and all accounts add up to zero."""

    def __init__(self):
        self.accounts = Counter()

    def post(self, source, amounts):
        """Move amounts out of ``source`` into the accounts that they are given by."""
        for target, amount in amounts.items():
            self.accounts[source] -= amount
            self.accounts[target] += amount
        assert sum(self.accounts.values()) == 0


@dataclass
class Payment:
    row: edb.EscrowTransaction
    home: int
    gross: Decimal
    net: Decimal
    status: str = "initiated"
    entries: int = 1
    before_dispute: str | None = None
    case: edb.DisputeCase | None = None
    copies: list = field(default_factory=list)


class Adversary(RuleBasedStateMachine):
    """Two accounts of one currency, any payments and cases, and somebody who interferes."""

    payments = Bundle("payments")

    @initialize()
    def open_accounts(self):
        self.journal = Journal()
        self.homes = [escrow.account(), escrow.account()]
        self.old_homes = [edb.EscrowAccount.get_by_id(home.id) for home in self.homes]
        self.known = []

    # Verbs

    @rule(target=payments, home=st.integers(0, 1), amount=AMOUNTS, share=st.decimals(0, 1, places=2))
    def initiate(self, home, amount, share):
        fee = (amount * share).quantize(Decimal("0.0001"), "ROUND_DOWN")
        payment = Payment(escrow.payment(self.homes[home], amount, fee), home, amount, amount - fee)
        self.known.append(payment)
        return payment

    @rule(target=payments, home=st.integers(0, 1), amount=AMOUNTS, end=st.sampled_from(("release", "refund")))
    def settle(self, home, amount, end):
        payment = self.deposit(home, amount)
        self.move(payment, end)
        return payment

    def deposit(self, home, amount):
        account = self.homes[home]
        reference = f"D-{account.id}-{len(self.known)}"
        row = edb.EscrowTransaction.deposit(account, reference=reference, amount=amount, initiated_by=account.user_id)
        payment = Payment(row, home, amount, amount)
        self.known.append(payment)
        self.note(payment, "funded")
        self.note(payment, "in_escrow")
        return payment

    @rule(payment=payments, verb=st.sampled_from(sorted(TARGETS)))
    def move(self, payment, verb):
        target = TARGETS[verb].get(payment.status)
        try:
            changed = getattr(self.fresh(payment), verb)().changed
        except edb.Refused:
            assert target is None
            return
        assert changed == (target is not None)
        if changed:
            self.note(payment, target)

    @rule(payment=payments)
    def dispute(self, payment):
        if payment.status in ("funded", "in_escrow"):
            payment.case = escrow.dispute(payment.row)
            payment.before_dispute = payment.status
            self.note(payment, "disputed")

    @rule(payment=payments, end=st.sampled_from(("release", "refund", "withdraw")))
    def end(self, payment, end):
        if payment.status != "disputed":
            return
        payment.case.withdraw() if end == "withdraw" else payment.case.resolve(end, "decided")
        targets = {"release": "released", "refund": "refunded", "withdraw": payment.before_dispute}
        self.note(payment, targets[end])

    def note(self, payment, target):
        """Post what a committed transition moves."""
        escrow_account, payer = f"escrow {payment.home}", f"payer {payment.home}"
        if target == "funded" and payment.status == "initiated":
            self.journal.post(payer, {escrow_account: payment.gross})
        elif target == "released":
            fee = payment.gross - payment.net
            self.journal.post(escrow_account, {"receivers": payment.net, "fees": fee})
        elif target == "refunded":
            self.journal.post(escrow_account, {payer: payment.gross})
        payment.status = target
        payment.entries += 1

    # The adversary

    @rule(payment=payments)
    def remember(self, payment):
        payment.copies.append(self.fresh(payment))

    @rule(payment=payments, label=st.text("abc", min_size=1, max_size=5))
    def save_a_row_that_was_read_long_ago(self, payment, label):
        for stale in payment.copies:
            stale.milestone_label = label
            stale.save()
        for home in self.old_homes:
            home.external_id = label
            home.save()

    @rule(payment=payments, column=st.sampled_from(("status", "amount", "released_at", "audit_trail")))
    def save_what_only_verbs_change(self, payment, column):
        value = {"status": "initiated", "amount": Decimal(1), "released_at": None, "audit_trail": []}[column]
        row = self.fresh(payment)
        setattr(row, column, value)
        with pytest.raises(edb.Protected):
            row.save()
        with pytest.raises(edb.Protected):
            edb.EscrowTransaction.update({column: value}).execute()

    @rule(payment=payments, verbs=st.lists(st.sampled_from(sorted(TARGETS)), min_size=1, max_size=3))
    def roll_a_callers_transaction_back(self, payment, verbs):
        with edb.EscrowTransaction._meta.database.atomic() as outer:
            self.try_all(payment, verbs)
            outer.rollback()

    @rule(payment=payments, verbs=st.lists(st.sampled_from(sorted(TARGETS)), min_size=1, max_size=3))
    def kill_a_session_before_it_commits(self, payment, verbs):
        database = self.database
        is_sqlite = isinstance(database, peewee.SqliteDatabase)

        def die():
            with suppress(peewee.PeeweeException), database.atomic(*(["IMMEDIATE"] if is_sqlite else [])):
                self.try_all(payment, verbs)
                kill(database, self.url)
                database.execute_sql("SELECT 1")

        thread = threading.Thread(target=die)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()

    def try_all(self, payment, verbs):
        for verb in verbs:
            with suppress(edb.Refused):
                getattr(self.fresh(payment), verb)()

    @rule(home=st.integers(0, 1), column=st.sampled_from(("current_balance", "pending_release_total")))
    def change_a_balance_by_sql(self, home, column):
        row = edb.EscrowAccount.get_by_id(self.homes[home].id)
        self.tampered(row, **{column: getattr(row, column) + Decimal("0.0001")})

    @rule(payment=payments, column=st.sampled_from(("status", "released_at", "audit_trail", "amount")))
    def change_a_payment_by_sql(self, payment, column):
        row = self.fresh(payment)
        value = {
            "status": "in_escrow" if row.status == "initiated" else "initiated",
            "released_at": edb.now() if row.released_at is None else None,
            "audit_trail": row.audit_trail[1:],
            "amount": payment.gross + 1,
        }[column]
        self.tampered(row, **{column: value})

    def tampered(self, row, **changes):
        """Change a row by SQL, see it reported, and change it back."""
        before = {name: getattr(row, name) for name in changes}
        tamper(row, **changes)
        assert row.id in [problem.id for problem in edb.find_problems() if problem.table == row._meta.table_name]
        tamper(row, **before)

    @rule(
        payment=payments,
        status=st.sampled_from(("funded", "in_escrow", "disputed")),
        verb=st.sampled_from(("release", "refund")),
    )
    def reopen_a_settled_payment_by_sql(self, payment, status, verb):
        if payment.status in ("released", "refunded"):
            # The account holds as much for somebody else, which a second settlement would take.
            self.deposit(payment.home, payment.gross)
            tamper(payment.row, status=status)
            with pytest.raises(edb.Refused, match="never settled twice"):
                getattr(self.fresh(payment), verb)()
            tamper(payment.row, status=payment.status)

    def fresh(self, payment):
        return edb.EscrowTransaction.get_by_id(payment.row.id)

    # What holds

    @invariant()
    def the_books_are_the_journal(self):
        for number, home in enumerate(self.homes):
            held = [p for p in self.known if p.home == number and p.status in ("funded", "in_escrow", "disputed")]
            balance = self.journal.accounts[f"escrow {number}"]
            assert escrow.books(home) == (balance, sum(p.net for p in held))
            assert balance == sum(p.gross for p in held)
        assert edb.find_problems() == []

    @invariant()
    def every_payment_is_where_its_verbs_led(self):
        for payment in self.known:
            row = self.fresh(payment)
            assert (row.status, row.amount, row.net_amount) == (payment.status, payment.gross, payment.net)
            assert len(row.audit_trail) == payment.entries


def kill(database, url):
    """End this session as an operator or a crash does."""
    if isinstance(database, peewee.SqliteDatabase):
        database.connection().close()
        return
    if isinstance(database, peewee.PostgresqlDatabase):
        ask, end = "SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"
    else:
        ask, end = "SELECT CONNECTION_ID()", "KILL {}"
    (session,) = database.execute_sql(ask).fetchone()
    operator = open_database(url)
    with operator.connection_context():
        operator.execute_sql(end.format(session))


def test_no_money_moves_but_by_a_committed_verb(database, url_of_tables):
    class Machine(Adversary):
        pass

    Machine.database, Machine.url = database, url_of_tables
    run_state_machine_as_test(Machine, settings=FEW)
