"""Whatever is done in whatever order, books and statuses are those of a few lines of plain arithmetic."""

from dataclasses import dataclass
from decimal import Decimal

import escrow
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import engagement_db as edb
from engagement_db.testing import make_user

FEW = settings(
    max_examples=12,
    stateful_step_count=25,
    database=None,
)
HELD = ("funded", "in_escrow", "disputed")
MOVES = {
    "fund": {"initiated": "funded"},
    "hold": {"funded": "in_escrow"},
    "release": {"funded": "released", "in_escrow": "released"},
    "refund": {"funded": "refunded", "in_escrow": "refunded"},
    "cancel": {"initiated": "cancelled"},
}
ENDS = {verb: set(edges.values()) for verb, edges in MOVES.items()}
# SQLite keeps 15 digits: what is added up here stays within them on every server.
AMOUNTS = st.decimals(Decimal("0.0001"), Decimal("99999.9999"), places=4)


@dataclass
class Expected:
    """What the arithmetic says of a payment."""

    row: edb.EscrowTransaction
    home: int
    amount: Decimal
    net: Decimal
    status: str = "initiated"
    disputed_from: str | None = None
    moves: int = 1


class Ledger(RuleBasedStateMachine):
    """Two accounts, any payments, any verbs; some of them in transactions that are rolled back."""

    payments = Bundle("payments")

    @initialize()
    def open_accounts(self):
        self.homes = [escrow.account(), escrow.account()]
        self.closed_to_money = [False, False]
        self.expected = []

    @rule(target=payments, home=st.integers(0, 1), amount=AMOUNTS, share=st.decimals(0, 1, places=2))
    def initiate(self, home, amount, share):
        fee = (amount * share).quantize(Decimal("0.0001"), "ROUND_DOWN")
        try:
            row = escrow.payment(self.homes[home], amount, fee)
        except edb.Refused:
            assert self.closed_to_money[home]
            return None
        assert not self.closed_to_money[home]
        expected = Expected(row, home, amount, amount - fee)
        self.expected.append(expected)
        return expected

    @rule(payment=payments, verb=st.sampled_from(sorted(MOVES)), rolls_back=st.booleans())
    def move(self, payment, verb, rolls_back):
        if payment is None:
            return
        target = MOVES[verb].get(payment.status)
        if verb == "fund" and self.closed_to_money[payment.home]:
            target = None
        row = edb.EscrowTransaction.get_by_id(payment.row.id)
        try:
            with edb.EscrowTransaction._meta.database.atomic() as outer:
                changed = getattr(row, verb)().changed
                if rolls_back:
                    outer.rollback()
        except edb.Refused:
            assert target is None
            assert payment.status not in ENDS[verb]
            return
        assert changed == (target is not None)
        if changed and not rolls_back:
            payment.status = target
            payment.moves += 1

    @rule(home=st.integers(0, 1), verb=st.sampled_from(("activate", "suspend", "close")))
    def change_account(self, home, verb):
        account = edb.EscrowAccount.get_by_id(self.homes[home].id)
        try:
            getattr(account, verb)()
        except edb.InvalidTransition:
            holds_money = self.balance(home) != 0
            assert (verb == "close" and holds_money) or (verb == "suspend" and account.status == "closed")
        else:
            self.closed_to_money[home] = verb != "activate"

    @rule(payment=payments)
    def initiate_again(self, payment):
        if payment is not None:
            again = escrow.payment(
                self.homes[payment.home],
                payment.amount,
                payment.amount - payment.net,
                reference=payment.row.reference,
            )
            assert (again.id, again.status) == (payment.row.id, payment.status)

    def balance(self, home):
        return sum(p.amount for p in self.expected if p.home == home and p.status in HELD)

    @invariant()
    def books_are_the_arithmetic(self):
        for number, home in enumerate(self.homes):
            pending = sum(p.net for p in self.expected if p.home == number and p.status in HELD)
            assert escrow.books(home) == (self.balance(number), pending)
        assert edb.find_problems() == []

    @invariant()
    def statuses_and_trails_are_the_arithmetic(self):
        rows = {row.id: row for row in edb.EscrowTransaction.select()}
        for payment in self.expected:
            row = rows[payment.row.id]
            assert (row.status, row.net_amount) == (payment.status, payment.net)
            assert len(row.audit_trail) == payment.moves
            assert row.audit_trail[-1]["to"] == payment.status


class Disputes(RuleBasedStateMachine):
    """One payment after another, disputed and settled in any order."""

    payments = Bundle("payments")

    @initialize()
    def open_account(self):
        self.home = escrow.account()
        self.people = [self.home.user_id, make_user().id]
        self.expected = []
        self.cases = {}

    @rule(target=payments, held=st.booleans())
    def pay(self, held):
        row = escrow.payment_in("in_escrow" if held else "funded", self.home)
        payment = Expected(row, 0, Decimal(100), Decimal(90), row.status)
        self.expected.append(payment)
        return payment

    @rule(payment=payments)
    def open(self, payment):
        try:
            case = escrow.dispute(payment.row)
        except edb.Refused:
            assert payment.status not in ("funded", "in_escrow", "disputed")
            return
        if payment.status == "disputed":
            assert case == self.cases[payment.row.id]["case"]
        else:
            assert payment.status in ("funded", "in_escrow")
            payment.disputed_from, payment.status = payment.status, "disputed"
            self.cases[payment.row.id] = {"case": case, "stage": "intake", "assigned": None, "events": 1}

    @rule(payment=payments, resolution=st.sampled_from(("release", "refund")))
    def resolve(self, payment, resolution):
        ends = {"release": "released", "refund": "refunded"}
        self.end(payment, ends[resolution], lambda case: case.resolve(resolution, "decided"))

    @rule(payment=payments)
    def withdraw(self, payment):
        self.end(payment, payment.disputed_from, lambda case: case.withdraw())

    def end(self, payment, target, verb):
        known = self.cases.get(payment.row.id)
        if known is None:
            return
        was_active = payment.status == "disputed"
        try:
            step = verb(known["case"])
        except edb.InvalidTransition:
            assert not was_active
            return
        assert step.changed == was_active
        if was_active:
            payment.status = target
            known["events"] += 1

    @rule(payment=payments, stage=st.sampled_from(("intake", "mediation", "arbitration")))
    def advance(self, payment, stage):
        order = ("intake", "mediation", "arbitration")
        known = self.cases.get(payment.row.id)
        if known is None:
            return
        steps = order.index(stage) - order.index(known["stage"])
        try:
            changed = known["case"].advance(stage).changed
        except edb.InvalidTransition:
            assert steps < 0 or payment.status != "disputed"
        else:
            assert changed == (steps > 0)
            known["stage"] = stage
            known["events"] += changed

    @rule(payment=payments, person=st.sampled_from((None, 0, 1)))
    def assign(self, payment, person):
        known = self.cases.get(payment.row.id)
        if known is None:
            return
        key = None if person is None else self.people[person]
        try:
            changed = known["case"].assign(key).changed
        except edb.InvalidTransition:
            assert payment.status != "disputed"
        else:
            assert changed == (known["assigned"] != key)
            known["assigned"] = key
            known["events"] += changed

    @rule(payment=payments, verb=st.sampled_from(("release", "refund")))
    def go_round_the_case(self, payment, verb):
        if payment.status == "disputed":
            with pytest.raises(edb.InvalidTransition):
                getattr(payment.row, verb)()

    @invariant()
    def cases_payments_and_books_agree(self):
        held = [payment for payment in self.expected if payment.status in HELD]
        assert escrow.books(self.home) == (100 * len(held), 90 * len(held))
        assert edb.find_problems() == []
        for payment in self.expected:
            row = edb.EscrowTransaction.get_by_id(payment.row.id)
            assert row.status == payment.status
            active = row.dispute_cases.where(edb.DisputeCase.status.in_(("open", "awaiting_customer", "under_review")))
            assert active.count() == (payment.status == "disputed")
            known = self.cases.get(row.id)
            if known is not None:
                case = edb.DisputeCase.get_by_id(known["case"].id)
                assert case.events.count() == known["events"]
                assert case.assigned_to_id == known["assigned"]
                assert case.stage == (known["stage"] if payment.status == "disputed" else "resolved")


@pytest.mark.parametrize("machine", [Ledger, Disputes])
def test_any_order_of_operations(database, machine):
    run_state_machine_as_test(machine, settings=FEW)
