"""Who listens for moves is told of each that is committed, and of no other."""

import contextlib

import pytest
from escrow import account, payment, payment_in

import engagement_db as edb


@pytest.fixture
def told(database):
    """The moves that a listener was told of, as (verb, after)."""
    moves = []
    listener = edb.on_move(lambda move: moves.append((move.verb, str(move.after))))
    yield moves
    edb.remove_move_listener(listener)


def test_each_committed_move_is_announced_once(told):
    row = payment(account())
    row.fund()
    row.fund()
    row.hold()
    row.release()
    assert told == [("fund", "funded"), ("hold", "in_escrow"), ("release", "released")]


def test_move_is_announced_with_its_amounts_and_its_actor(database):
    moves = []
    listener = edb.on_move(moves.append)
    row = payment(account())
    row.fund(by=row.initiated_by_id)
    edb.remove_move_listener(listener)
    (move,) = moves
    assert (move.reference, move.amount, move.net_amount, move.currency_code) == (row.reference, 100, 90, "USD")
    assert (move.transaction_id, move.account_id, move.actor_id) == (row.id, row.account_id, row.initiated_by_id)
    assert move.at.utcoffset().total_seconds() == 0


def test_move_is_announced_when_the_transaction_of_the_caller_is_committed(told, database):
    row = payment(account())
    with database.atomic():
        row.fund()
        assert told == []
    assert told == [("fund", "funded")]


def test_move_that_is_rolled_back_is_not_announced(told, database):
    row, other = payment(account()), payment(account())
    with contextlib.suppress(ZeroDivisionError), database.atomic():
        row.fund()
        raise ZeroDivisionError
    with database.atomic():
        with contextlib.suppress(ZeroDivisionError), database.atomic():
            row.fund()
            raise ZeroDivisionError
        other.fund()
    assert told == [("fund", "funded")]


def test_verb_that_fails_after_its_move_is_not_announced(told, database):
    row = payment_in("in_escrow")
    del told[:]
    with contextlib.suppress(edb.EngagementError), database.atomic():
        edb.DisputeCase.open(row, 10**6, "late", "Nothing came.")
    assert told == []


def test_failure_of_a_listener_reaches_neither_the_caller_nor_other_listeners(told, database, caplog):
    def failing(move):
        raise ZeroDivisionError

    edb.on_move(failing)
    later = []
    listener = edb.on_move(later.append)
    try:
        row = payment(account())
        assert row.fund().changed
    finally:
        edb.remove_move_listener(failing)
        edb.remove_move_listener(listener)
    assert len(told) == len(later) == 1
    assert edb.EscrowTransaction.get_by_id(row.id).status == "funded"
    assert "a listener of on_move failed" in caplog.text


def test_moves_are_logged(database, caplog):
    row = payment(account())
    with caplog.at_level("INFO", "engagement_db.trust"):
        row.fund()
    assert f"escrow {row.reference!r}: fund, initiated to funded" in caplog.messages
