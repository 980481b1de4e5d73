"""The books of a database that the Node platform writes too: what it does is no problem, what it breaks is named."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import escrow
import peewee
import pytest
from tampering import tamper

import engagement_db as edb
from engagement_db import DisputeCase, DisputeEvent, EscrowAccount, EscrowTransaction, ProblemKind
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


class Platform:
    """Writes rows as the platform's trust service does: its trail entries, its events, its order of steps."""

    def __init__(self) -> None:
        self.account = EscrowAccount.create(user=make_user(), provider="stripe", status="pending")

    def deposit(self, amount: str = "100", fee: str = "10", **values: Any) -> EscrowTransaction:
        net = Decimal(amount) - Decimal(fee)
        row = EscrowTransaction.create(
            account=self.account,
            reference=f"N-{EscrowTransaction.select().count()}",
            status="in_escrow",
            amount=Decimal(amount),
            fee_amount=Decimal(fee),
            net_amount=net,
            initiated_by=self.account.user_id,
            audit_trail=[
                {
                    "action": "initiated",
                    "actorId": self.account.user_id,
                    "amount": float(amount),
                    "fee": float(fee),
                    "net": float(net),
                    "at": iso(edb.now()),
                }
            ],
            **values,
        )
        self.book(Decimal(amount), net)
        return row

    def book(self, amount: Decimal, net: Decimal) -> None:
        account = EscrowAccount.get_by_id(self.account.id)
        tamper(
            account,
            status="active",
            current_balance=max(account.current_balance + amount, 0),
            pending_release_total=max(account.pending_release_total + net, 0),
            last_reconciled_at=edb.now(),
        )

    def settle(self, row: EscrowTransaction, status: str) -> None:
        row = EscrowTransaction.get_by_id(row.id)
        self.update(row, {"action": status, "actorId": None}, status=status, **{f"{status}_at": edb.now()})
        self.book(-row.amount, -row.net_amount)

    def edit(self, row: EscrowTransaction, **values: Any) -> None:
        columns = [EscrowTransaction._meta.fields[name].column_name for name in values]
        self.update(row, {"type": "update", "actorId": None, "metadata": {"fields": columns}}, **values)

    def update(self, row: EscrowTransaction, entry: dict[str, Any], **values: Any) -> None:
        trail = EscrowTransaction.get_by_id(row.id).audit_trail
        trail = [*(trail if isinstance(trail, list) else []), {**entry, "at": iso(edb.now())}]
        tamper(row, audit_trail=trail, updated_at=edb.now(), **values)

    def dispute(self, row: EscrowTransaction) -> DisputeCase:
        opened_by = row.initiated_by_id
        case = DisputeCase.create(escrow_transaction=row, opened_by=opened_by, reason_code="late", summary="No parcel.")
        self.update(row, {"action": "dispute_opened", "actorId": opened_by, "reasonCode": "late"}, status="disputed")
        self.event(case, actor=opened_by, notes=case.summary, metadata={"system": True})
        return case

    def event(self, case: DisputeCase, **values: Any) -> None:
        DisputeEvent.create(dispute_case=case, event_at=edb.now(), **values)

    def append(self, case: DisputeCase, action_type: str = "comment", **changes: Any) -> None:
        """What it calls appending an event: the case changes, and the event does not say what."""
        self.event(case, action_type=action_type, notes="See above.")
        tamper(case, updated_at=edb.now(), **self.resolved(changes))

    def update_case(self, case: DisputeCase, **changes: Any) -> None:
        changes = self.resolved(changes)
        tamper(case, updated_at=edb.now(), **changes)
        updates = {
            DisputeCase._meta.fields[name].column_name: iso(value) if isinstance(value, datetime) else value
            for name, value in changes.items()
        }
        self.event(case, action_type="status_change", metadata={"updates": updates})

    def resolved(self, changes: dict[str, Any]) -> dict[str, Any]:
        is_end = changes.get("status") in ("settled", "closed")
        return {**changes, "resolved_at": edb.now()} if is_end else changes


def iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def platform() -> Platform:
    return Platform()


def problems_of(row: Any) -> list[tuple[ProblemKind, str]]:
    table = row._meta.table_name
    return [(p.kind, p.column) for p in edb.find_problems() if (p.table, p.id) == (table, row.id)]


# Its ordinary course is no problem


def test_transactions_of_node_in_every_status_are_no_problem(platform):
    rows = {status: platform.deposit("0.3", "0.1") for status in ("in_escrow", "released", "refunded", "disputed")}
    platform.settle(rows["released"], "released")
    platform.settle(rows["refunded"], "refunded")
    platform.dispute(rows["disputed"])
    platform.edit(rows["in_escrow"], milestone_label="Second draft", scheduled_release_at=edb.now())
    assert edb.find_problems() == []
    assert edb.reconcile(platform.account).adds_up


@pytest.mark.parametrize("how", ["append", "update_case"])
@pytest.mark.parametrize("status", ["released", "refunded"])
def test_disputes_of_node_may_end_in_any_way_that_moves_the_money(platform, how, status):
    row = platform.deposit()
    case = platform.dispute(row)
    getattr(platform, how)(case, stage="mediation", customer_deadline_at=edb.now() + timedelta(days=3))
    getattr(platform, how)(case, status="awaiting_customer", priority="urgent", assigned_to=row.initiated_by_id)
    getattr(platform, how)(case, status="settled", resolution_notes="Fair enough.")
    platform.settle(row, status)
    assert edb.find_problems() == []
    assert edb.reconcile(platform.account).adds_up


def test_amounts_that_it_changes_before_the_money_moves_on_are_what_they_are_now(platform):
    row = platform.deposit()
    platform.edit(row, fee_amount=Decimal(20), net_amount=Decimal(80))
    platform.book(Decimal(0), Decimal(-10))
    assert edb.find_problems() == []
    platform.settle(row, "released")
    assert edb.find_problems() == []


def test_a_status_that_it_sets_by_hand_is_not_compared_with_the_entries_before(platform):
    row = platform.deposit()
    platform.edit(row, status="released", released_at=edb.now())
    platform.book(-row.amount, -row.net_amount)
    assert edb.find_problems() == []


def test_both_write_to_one_transaction_in_turns(platform):
    row = platform.deposit()
    case = escrow.dispute(row)
    platform.append(case, "status_change", status="under_review")
    platform.update_case(case, priority="high")
    DisputeCase.get_by_id(case.id).resolve("release", "It came.")
    ours = escrow.payment_in("in_escrow", EscrowAccount.get_by_id(platform.account.id))
    platform.settle(ours, "refunded")
    assert edb.find_problems() == []


# Rows from before the adoption


def adopt(database: peewee.Database, minutes: int) -> None:
    """Record revision 002 as applied this many minutes from now, as ``engagement-db adopt`` does."""
    history, moment = peewee.Table("migratehistory"), edb.now() + timedelta(minutes=minutes)
    database.execute_sql("CREATE TABLE migratehistory (name VARCHAR(255), migrated_at TIMESTAMP NULL)")
    row = {history.c.name: "002_trust_payments", history.c.migrated_at: moment.replace(tzinfo=None)}
    history.insert(row).execute(database)


@pytest.fixture
def adopted(database):
    yield lambda minutes: adopt(database, minutes)
    database.execute_sql("DROP TABLE IF EXISTS migratehistory")


def test_older_rows_without_a_trail_or_events_are_judged_by_their_columns(platform, adopted):
    row = platform.deposit()
    case = platform.dispute(platform.deposit())
    tamper(row, audit_trail=None)
    peewee.ModelDelete(DisputeEvent).execute()
    assert problems_of(row) == [(ProblemKind.TRAIL_MISSING, "auditTrail")]
    assert problems_of(case) == [(ProblemKind.MISSING_ROWS, "openedAt")]
    adopted(minutes=1)
    assert edb.find_problems() == []
    EscrowTransaction.get_by_id(row.id).release()
    assert edb.find_problems() == []
    tamper(row, net_amount=91, refunded_at=edb.now())
    assert problems_of(row) == [(ProblemKind.SETTLEMENT, "releasedAt"), (ProblemKind.CONTRADICTION, "netAmount")]


def test_rows_created_after_the_adoption_need_their_trail(platform, adopted):
    adopted(minutes=-1)
    row = platform.deposit()
    tamper(row, audit_trail=None)
    assert problems_of(row) == [(ProblemKind.TRAIL_MISSING, "auditTrail")]


# What it breaks


def test_a_trail_that_node_erased_is_noticed(platform):
    """It reads a trail that its driver hands over as text for no trail at all, and starts a new one."""
    row = escrow.payment_in("in_escrow")
    tamper(row, audit_trail=None)
    platform.account = EscrowAccount.get_by_id(row.account_id)
    platform.settle(row, "released")
    assert problems_of(row) == [(ProblemKind.TRAIL_BROKEN, "auditTrail")]


@pytest.mark.parametrize("status", ["initiated", "released", "refunded", "cancelled"])
def test_a_dispute_over_money_that_is_not_held_is_noticed(platform, status):
    row = escrow.payment_in(status)
    platform.dispute(row)
    assert (ProblemKind.TRANSITION, "status") in problems_of(row)


def test_money_that_left_twice_is_noticed(platform):
    row = escrow.payment_in("released")
    platform.account = row.account
    platform.dispute(row)
    platform.settle(row, "refunded")
    found = dict(problems_of(row))
    assert ProblemKind.SETTLEMENT in found
    assert edb.find_problems()[0].cure.startswith("Ask the provider")


def test_a_disputed_transaction_settled_without_its_case_is_reported(platform):
    row = escrow.payment_in("disputed")
    platform.account = row.account
    platform.settle(row, "refunded")
    case = DisputeCase.get()
    assert problems_of(case) == [(ProblemKind.DISPUTE, "status")]
    assert problems_of(row) == []


@pytest.mark.parametrize("status", ["settled", "closed"])
def test_a_case_that_node_ended_without_the_money_is_noticed(platform, status):
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    platform.update_case(case, status=status)
    assert problems_of(case) == [(ProblemKind.DISPUTE, "status")]


def test_a_second_active_case_is_noticed(platform):
    row = escrow.payment_in("disputed")
    second = platform.dispute(row)
    assert (ProblemKind.DISPUTE, "status") in problems_of(second)


def test_a_currency_overwritten_while_the_account_holds_money_is_the_accounts_problem(platform):
    platform.deposit()
    tamper(platform.account, currency_code="EUR")
    assert problems_of(platform.account) == [(ProblemKind.CURRENCY, "currencyCode")]
    assert len(edb.find_problems()) == 1


def test_an_amount_that_node_changed_without_the_balance_is_noticed(platform):
    row = platform.deposit()
    platform.edit(row, amount=Decimal(50), net_amount=Decimal(40))
    assert [(p.kind, p.column) for p in edb.find_problems()] == [
        (ProblemKind.BALANCE, "currentBalance"),
        (ProblemKind.BALANCE, "pendingReleaseTotal"),
    ]


# Values that cannot be read


def test_values_that_cannot_be_read_do_not_stop_the_books(database, server):
    payment = escrow.payment_in("funded")
    if server.name != "sqlite":
        pytest.skip("the columns of this server refuse values of another type")
    for column, value in (("releasedAt", "soon"), ("createdAt", "2026-01-01T10:00:00Z"), ("scheduledReleaseAt", 17)):
        database.execute_sql(f'UPDATE escrow_transactions SET "{column}" = ? WHERE id = ?', (value, payment.id))
    database.execute_sql("PRAGMA ignore_check_constraints = ON")
    database.execute_sql("UPDATE escrow_transactions SET \"auditTrail\" = '[{'")
    database.execute_sql("PRAGMA ignore_check_constraints = OFF")
    malformed = {(p.column, p.found) for p in edb.find_problems() if p.kind == ProblemKind.MALFORMED}
    assert malformed == {
        ("releasedAt", "soon"),
        ("createdAt", "2026-01-01T10:00:00Z"),
        ("scheduledReleaseAt", "17"),
        ("auditTrail", "[{"),
    }


def test_an_amount_that_is_no_number_is_reported(database, server):
    if server.name != "sqlite":
        pytest.skip("the columns of this server refuse values of another type")
    payment = escrow.payment_in("funded")
    database.execute_sql("UPDATE escrow_transactions SET \"netAmount\" = 'much' WHERE id = ?", (payment.id,))
    assert (ProblemKind.MALFORMED, "netAmount") in problems_of(payment)


def test_documents_of_any_shape_do_not_stop_the_books():
    for trail in (
        0,
        True,
        "x",
        {},
        {"at": 5},
        [None],
        [[]],
        [{"to": 5, "at": []}],
        [{"type": "update", "metadata": 1}],
    ):
        payment = escrow.payment_in("funded")
        tamper(payment, audit_trail=json.loads(json.dumps(trail)))
        assert problems_of(payment), trail
