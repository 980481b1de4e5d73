"""What holds after processes have raced for payments, each of which wrote down what it knows to have changed."""

from collections import Counter
from pathlib import Path

import engagement_db as edb


def lines_of(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def trails():
    """Return each payment with the entries of its audit trail, after the first."""
    return [(payment, payment.audit_trail[1:]) for payment in edb.EscrowTransaction.select()]


def assert_each_change_happened_once(changes, kills):
    """Every move that a process wrote down is in a trail once; a killed one may have made one more."""
    recorded = Counter(f"{payment.reference} {entry['action']}" for payment, trail in trails() for entry in trail)
    written = Counter(changes)
    assert written - recorded == Counter()
    assert (recorded - written).total() <= kills


def assert_trails_are_whole():
    for payment, trail in trails():
        status = "initiated"
        for entry in trail:
            assert entry["from"] == status
            status = entry["to"]
        assert payment.status == status


def assert_the_books_add_up():
    assert edb.find_problems() == []
    held = Counter()
    for payment in edb.EscrowTransaction.select():
        if payment.status in ("funded", "in_escrow", "disputed"):
            held[payment.account_id] += payment.amount
    for account in edb.EscrowAccount.select():
        assert account.current_balance == held.get(account.id, 0)
