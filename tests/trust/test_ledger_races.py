"""Eight processes at once, some of them killed and replaced: no money appears or vanishes, nothing happens twice."""

import random
import time
from decimal import Decimal

import escrow
import escrow_worker
from ledger_race import (
    assert_each_change_happened_once,
    assert_the_books_add_up,
    assert_trails_are_whole,
    lines_of,
    trails,
)
from processes import CONTEXT

import engagement_db as edb
from engagement_db.testing import make_user

WORKERS = 8
OPERATIONS = 200
KILLS = 6
TIMEOUT_SECONDS = 240


def race(url, game, folder, users):
    """Play the game in eight processes, kill some on the way and start others in their place.

    Returns what the processes wrote down, and how many were killed.
    """
    chance = random.Random(game)
    logs = [folder / f"{game}-{number}" for number in range(WORKERS)]
    # While it is there nobody stops, so that each kill meets somebody at work.
    kills_to_come = folder / f"{game}-kills-to-come"
    kills_to_come.touch()

    def start(number, seed, operations):
        arguments = (url, game, seed, operations, logs[number], kills_to_come, [user.id for user in users])
        process = CONTEXT.Process(target=escrow_worker.work, args=arguments)
        process.start()
        return process

    def seed_of(number):
        # All open the same accounts in the same order, to meet at each of them.
        return game if game == "accounts" else f"{game} {number}"

    def done(number):
        return len(lines_of(logs[number]))

    processes = [start(number, seed_of(number), OPERATIONS) for number in range(WORKERS)]
    kills, end = 0, time.monotonic() + TIMEOUT_SECONDS
    try:
        while any(process.is_alive() for process in processes):
            assert time.monotonic() < end, "the processes do not come to an end"
            total = sum(done(number) for number in range(WORKERS))
            running = [number for number, process in enumerate(processes) if process.is_alive()]
            due = total > (kills + 1) * WORKERS * OPERATIONS / (KILLS + 2)
            if kills < KILLS and due and running:
                victim = chance.choice(running)
                processes[victim].kill()
                processes[victim].join()
                kills += 1
                processes[victim] = start(victim, f"{seed_of(victim)} {kills}", OPERATIONS - done(victim))
                if kills == KILLS:
                    kills_to_come.unlink()
            time.sleep(0.01)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * WORKERS
    assert min(done(number) for number in range(WORKERS)) >= OPERATIONS
    return [line for log in logs for line in lines_of(log) if line != "-"], kills


def test_money_is_exact_in_a_race(database, url_of_tables, tmp_path):
    users = [make_user() for _ in range(3)]
    for user in users:
        edb.EscrowAccount.open(user, "stripe")
    changes, kills = race(url_of_tables, "ledger", tmp_path, users)
    assert kills == KILLS
    assert len(changes) > escrow_worker.PAYMENTS
    references = [payment.reference for payment in edb.EscrowTransaction.select()]
    assert sorted(references) == sorted(f"R{number}" for number in range(escrow_worker.PAYMENTS))
    assert_trails_are_whole()
    assert_each_change_happened_once(changes, kills)
    assert_the_books_add_up()


def test_accounts_are_opened_once_in_a_race(database, url_of_tables, tmp_path):
    users = [make_user() for _ in range(20)]
    opened, kills = race(url_of_tables, "accounts", tmp_path, users)
    assert kills == KILLS
    keys = [(account.user_id, account.provider, account.currency_code) for account in edb.EscrowAccount.select()]
    assert len(keys) == len(set(keys))
    assert set(opened) == {
        f"{account.user_id} {account.provider} {account.currency_code} {account.id}"
        for account in edb.EscrowAccount.select()
    }


def test_disputes_are_settled_once_in_a_race(database, url_of_tables, tmp_path):
    users = [make_user() for _ in range(3)]
    homes = [edb.EscrowAccount.open(user, "stripe") for user in users]
    for number in range(escrow_worker.DISPUTED):
        payment = escrow.payment(homes[number % 3], Decimal(number + 1), "0.5", reference=f"D{number}")
        payment.fund()
        if number % 2:
            payment.hold()
    before = len([entry for _, trail in trails() for entry in trail])
    changes, kills = race(url_of_tables, "disputes", tmp_path, users)
    assert kills == KILLS
    changes += [f"{payment.reference} fund" for payment, _ in trails()]
    changes += [f"{payment.reference} hold" for payment, _ in trails() if int(payment.reference[1:]) % 2]
    assert len(changes) > before
    assert_trails_are_whole()
    assert_each_change_happened_once(changes, kills)
    assert_the_books_add_up()
    for payment in edb.EscrowTransaction.select():
        cases = list(payment.dispute_cases)
        active = [case for case in cases if case.status in ("open", "awaiting_customer", "under_review")]
        assert len(active) == (payment.status == "disputed")
        assert len(cases) == len([entry for entry in payment.audit_trail if entry["action"] == "dispute"])
        for case in cases:
            assert case.events.order_by(edb.DisputeEvent.id).first().notes.startswith("Nothing came.")
            ends = [event.notes for event in case.events if event.action_type == "status_change"]
            assert len(ends) == (0 if case in active else 1)
