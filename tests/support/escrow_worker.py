"""A process of the race tests: many random operations on few rows, each one written down once it is done.

A line of the log is what this process knows to have changed, or "-" where nothing was. A process that is
killed may have changed one thing more than its log says.
"""

import itertools
import os
import random
from decimal import Decimal
from pathlib import Path

import engagement_db as edb

PAYMENTS = 24
DISPUTED = 60
PROVIDERS = ("stripe", "paypal", "adyen")
CURRENCIES = ("USD", "EUR")


def work(url: str, game: str, seed: str, operations: int, log: Path, going: Path, users: list[int]) -> None:
    """Play so many operations, and go on for as long as the file ``going`` is there."""
    play = {"ledger": play_ledger, "accounts": play_accounts, "disputes": play_disputes}[game]
    chance = random.Random(seed)
    database = edb.connect(url)
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with database.connection_context():
        for number in itertools.count():
            if number >= operations and not going.exists():
                return
            try:
                change = play(chance, users)
            except edb.Refused:
                change = None
            os.write(lines, f"{change or '-'}\n".encode())


def play_ledger(chance: random.Random, users: list[int]) -> str | None:
    number = chance.randrange(PAYMENTS)
    reference = f"R{number}"
    payment = edb.EscrowTransaction.get_or_none(edb.EscrowTransaction.reference == reference)
    if payment is None or chance.random() < 0.1:
        payment = edb.EscrowTransaction.initiate(
            edb.EscrowAccount.select().order_by(edb.EscrowAccount.id)[number % len(users)],
            reference=reference,
            amount=Decimal(number + 1) + Decimal("0.1"),
            fee_amount=Decimal("0.0001") * number,
            initiated_by=users[number % len(users)],
        )
        return None
    verb = chance.choice(("fund", "hold", "release", "refund", "cancel", "fund", "hold"))
    move = getattr(payment, verb)(by=chance.choice(users))
    return f"{reference} {verb}" if move.changed else None


def play_accounts(chance: random.Random, users: list[int]) -> str | None:
    user, provider, currency_code = chance.choice(users), chance.choice(PROVIDERS), chance.choice(CURRENCIES)
    account = edb.EscrowAccount.open(user, provider, currency_code)
    return f"{user} {provider} {currency_code} {account.id}"


def play_disputes(chance: random.Random, users: list[int]) -> str | None:
    payment = edb.EscrowTransaction.get(reference=f"D{chance.randrange(DISPUTED)}")
    case = payment.dispute_cases.order_by(edb.DisputeCase.id.desc()).first()
    by = chance.choice(users)
    if case is None or chance.random() < 0.5:
        # Another summary each time: the same call again returns the active case, and disputes nothing.
        edb.DisputeCase.open(payment, by, "late", f"Nothing came. {chance.random()}")
        return f"{payment.reference} dispute"
    if chance.random() < 0.1:
        resolution = chance.choice(("release", "refund"))
        step = case.resolve(resolution, "decided", by=by)
        return f"{payment.reference} {resolution}" if step.changed else None
    if chance.random() < 0.3:
        case.assign(by)
        case.record(notes="more")
        return None
    return f"{payment.reference} withdraw" if case.withdraw(by=by).changed else None
