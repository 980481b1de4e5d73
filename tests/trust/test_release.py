"""What is due is released once, oldest first, by however many workers."""

from datetime import UTC, datetime, timedelta

import escrow
import pytest

import engagement_db as edb

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
