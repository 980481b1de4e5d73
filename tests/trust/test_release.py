"""What is due is released once, oldest first, by however many workers."""

import json
import threading
from datetime import UTC, datetime, timedelta

import escrow
import pytest
from click.testing import CliRunner
from tampering import tamper

import engagement_db as edb
from engagement_db.cli import main
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


def test_the_release_queue_has_what_is_due_oldest_first():
    home, start = escrow.account(), datetime(2027, 1, 1, tzinfo=UTC)
    due = {}
    for days in (3, 1, 2, 9):
        payment = escrow.payment(home, scheduled_release_at=start + timedelta(days=days))
        payment.fund()
        payment.hold()
        due[days] = payment
    funded = escrow.payment(home, scheduled_release_at=start)
    funded.fund()
    unscheduled = escrow.payment(home)
    unscheduled.fund()
    unscheduled.hold()
    now = start + timedelta(days=3)
    assert list(edb.release_queue(now)) == [due[1], due[2], due[3]]
    assert list(edb.release_queue(now, limit=1)) == [due[1]]
    assert list(edb.release_queue(now).where(edb.EscrowTransaction.id != due[1].id)) == [due[2], due[3]]
    due[1].release()
    assert list(edb.release_queue(now)) == [due[2], due[3]]


def due(home: edb.EscrowAccount | None = None, minutes: int = 1) -> edb.EscrowTransaction:
    """Return a payment in escrow whose release has been due for this long."""
    payment = escrow.payment(home or escrow.account(), scheduled_release_at=edb.now() - timedelta(minutes=minutes))
    payment.fund()
    payment.hold()
    return payment


def test_what_is_due_is_released_oldest_first_up_to_the_limit():
    clerk = make_user()
    payments = {minutes: due(minutes=minutes) for minutes in (1, 3, 2)}
    escrow.payment_in("in_escrow")
    run = edb.release_due(limit=2, by=clerk)
    assert run.released == (payments[3], payments[2])
    assert run.failed == ()
    assert edb.release_due().released == (payments[1],)
    assert edb.release_due() == edb.ReleaseRun((), ())
    row = edb.EscrowTransaction.get_by_id(payments[3].id)
    assert (row.status, row.audit_trail[-1]["actorId"]) == ("released", clerk.id)
    assert run.released[0].released_at == row.released_at
    assert edb.find_problems() == []


def test_what_is_due_later_can_be_asked_for():
    payment = due(minutes=-60)
    assert edb.release_due().released == ()
    assert edb.release_due(at=edb.now() + timedelta(hours=2)).released == (payment,)


def test_a_transaction_that_cannot_be_released_is_reported_and_the_queue_continues():
    stuck, other = due(minutes=2), due()
    tamper(edb.EscrowAccount.get_by_id(stuck.account_id), current_balance=1)
    run = edb.release_due()
    assert run.released == (other,)
    assert [(failure.transaction, type(failure.error)) for failure in run.failed] == [(stuck, edb.Refused)]
    assert edb.EscrowTransaction.get_by_id(stuck.id).status == "in_escrow"
    assert edb.release_due(limit=1).failed[0].transaction == stuck


def test_an_unknown_user_or_a_limit_out_of_bounds_releases_nothing():
    payment = due()
    with pytest.raises(edb.NotFound):
        edb.release_due(by=2_000_000_000)
    for limit in (0, 1001, "5"):
        with pytest.raises(edb.RefusedValue, match="limit"):
            edb.release_due(limit)
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "in_escrow"


def test_transactions_locked_by_another_session_are_skipped(database, server):
    if server.name == "sqlite":
        pytest.skip("one session at a time writes on this server")
    held, other = due(minutes=2), due()
    done = threading.Event()
    runs = []

    def release() -> None:
        with database.connection_context():
            runs.append(edb.release_due())
        done.set()

    with database.atomic():
        held.refund()
        worker = threading.Thread(target=release)
        worker.start()
        assert done.wait(timeout=60)
        worker.join()
    assert runs[0].released == (other,)
    assert edb.EscrowTransaction.get_by_id(held.id).status == "refunded"


@pytest.mark.parametrize("accounts", [150, 1])
def test_workers_side_by_side_release_each_transaction_once(database, server, accounts):
    homes = [escrow.account() for _ in range(accounts)]
    payments = [due(homes[number % accounts], minutes=number + 1) for number in range(150)]
    runs = []

    def release() -> None:
        with database.connection_context():
            while (run := edb.release_due(limit=20)).released:
                runs.append(run)

    workers = [threading.Thread(target=release) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    released = [payment.id for run in runs for payment in run.released]
    assert sorted(released) == sorted(payment.id for payment in payments)
    assert [run.failed for run in runs if run.failed] == []
    assert edb.find_problems() == []


def test_the_command_releases_and_reports_what_it_could_not(url_of_tables):
    clerk, stuck, other = make_user(), due(minutes=2), due()
    tamper(edb.EscrowAccount.get_by_id(stuck.account_id), current_balance=1)
    ended = CliRunner().invoke(
        main, ["release-due", "--database", url_of_tables, "--by", str(clerk.id), "--limit", "5"]
    )
    assert ended.exit_code == 1
    assert f"- {stuck.reference}: " in ended.output
    assert ended.output.endswith("1 released, 1 failed.\n")
    assert edb.EscrowTransaction.get_by_id(other.id).audit_trail[-1]["actorId"] == clerk.id
    tamper(edb.EscrowAccount.get_by_id(stuck.account_id), current_balance=100)
    ended = CliRunner().invoke(main, ["release-due", "--database", url_of_tables, "--json"])
    assert (ended.exit_code, json.loads(ended.stdout)) == (0, {"released": [stuck.reference], "failed": {}})
    ended = CliRunner().invoke(main, ["release-due", "--database", url_of_tables])
    assert (ended.exit_code, ended.output.splitlines()[-1]) == (0, "0 released, 0 failed.")
    assert CliRunner().invoke(main, ["release-due", "--database", url_of_tables, "--by", "2000000000"]).exit_code == 2
