"""The rows that everything is measured on."""

import contextlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from benchmarks.verbs import databases, work

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
USERS = 1_000
ACCOUNTS = 101
# Its thread is measured, so no other comments are on it.
THREAD_POST = 77
THREAD_SIZE = 500
THREAD_ROOTS = 40
REACTION_TYPES = ("like", "celebrate", "support", "love", "insightful")
_CHUNK = 1_000


@dataclass(frozen=True)
class Size:
    """How many rows there are."""

    posts: int = 10_000
    reactions: int = 100_000
    comments: int = 20_000
    transactions: int = 100_000


def moment_of(number: int) -> datetime:
    """Return when the row of that number was created."""
    return EPOCH + timedelta(seconds=number)


def fill(url: str, size: Size) -> None:
    """Write the rows, the same ones each time, and the statistics."""
    chance = random.Random(5)
    with contextlib.closing(databases.connect(url)) as connection:
        table = _Writer(databases.server_of(url), connection)
        table.insert("users", ("firstName", "lastName", "email"), _users())
        table.insert("feed_posts", ("userId", "content", "visibility", "metadata"), _posts(size.posts, chance))
        table.insert("feed_reactions", ("postId", "userId", "reactionType"), _reactions(size, chance))
        table.insert("feed_comments", ("postId", "userId", "parentId", "body"), _comments(size, chance))
        table.insert("feed_shares", ("postId", "userId", "channel"), _shares(size.posts, chance))
        table.insert("escrow_accounts", ("userId", "provider", "status", "currencyCode"), _accounts())
        table.insert(
            "escrow_transactions",
            (
                *("accountId", "reference", "status", "amount", "feeAmount", "netAmount", "initiatedById"),
                *("releasedAt", "refundedAt", "cancelledAt", "auditTrail"),
            ),
            _transactions(size.transactions, databases.server_of(url)),
            "scheduledReleaseAt",
        )
        table.add_up()
        table.analyze()


class _Writer:
    def __init__(self, server: str, connection: Any) -> None:
        self._server = server
        self._cursor = connection.cursor()

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], *times: str) -> None:
        """Insert the rows, a second between them, in chunks; each has the same time in all its columns of times."""
        times = ("createdAt", "updatedAt", *times)
        names = ", ".join(f'"{name}"' for name in (*columns, *times))
        mark = "?" if self._server == "sqlite" else "%s"
        one = f"({', '.join([mark] * (len(columns) + len(times)))})"
        chunk: list[Any] = []
        self._cursor.execute("BEGIN")
        count = 0
        for row in rows:
            moment = databases.stored(self._server, moment_of(count))
            chunk += [*row, *[moment] * len(times)]
            count += 1
            if count % _CHUNK == 0:
                self._cursor.execute(f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * _CHUNK)}", chunk)
                chunk = []
        rest = count % _CHUNK
        if rest:
            self._cursor.execute(f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * rest)}", chunk)
        self._cursor.execute("COMMIT")

    def add_up(self) -> None:
        """Give each account the balances that its transactions add up to."""

        def total(column: str) -> str:
            return (
                f'(SELECT COALESCE(SUM(t."{column}"), 0) FROM escrow_transactions t '
                "WHERE t.\"accountId\" = escrow_accounts.id AND t.status IN ('funded', 'in_escrow', 'disputed'))"
            )

        self._cursor.execute(
            f'UPDATE escrow_accounts SET "currentBalance" = {total("amount")}, '
            f'"pendingReleaseTotal" = {total("netAmount")}'
        )

    def analyze(self) -> None:
        if self._server in ("postgres", "sqlite"):
            self._cursor.execute("VACUUM ANALYZE" if self._server == "postgres" else "ANALYZE")
            return
        tables = "feed_posts, feed_reactions, feed_comments, feed_shares, escrow_transactions, escrow_accounts, users"
        self._cursor.execute(f"ANALYZE TABLE {tables}")
        self._cursor.fetchall()


def _users() -> Iterable[tuple[Any, ...]]:
    return ((f"First {number}", f"Last {number}", f"user{number}@example.org") for number in range(USERS))


def _posts(count: int, chance: random.Random) -> Iterable[tuple[Any, ...]]:
    for number in range(count):
        visibility = "public" if number % 5 else "connections"
        yield chance.randint(1, USERS), f"post {number} " + "x" * 180, visibility, '{"source":"web"}'


def _reactions(size: Size, chance: random.Random) -> Iterable[tuple[Any, ...]]:
    """Return reactions of distinct users, as many to each post. Those of the last users are what is measured."""
    for post in range(1, size.posts + 1):
        for number in range(max(1, size.reactions // size.posts)):
            yield post, (post * 31 + number * 17) % (USERS - 50) + 1, chance.choice(REACTION_TYPES)


def _comments(size: Size, chance: random.Random) -> Iterable[tuple[Any, ...]]:
    for number in range(THREAD_SIZE):
        parent = None if number < THREAD_ROOTS else chance.randint(number // 12 + 1, number)
        yield THREAD_POST, chance.randint(1, USERS), parent, f"comment {number} " + "y" * 80
    for number in range(THREAD_SIZE, size.comments):
        post = chance.randint(1, size.posts)
        yield (1 if post == THREAD_POST else post), chance.randint(1, USERS), None, f"comment {number}"


def _shares(posts: int, chance: random.Random) -> Iterable[tuple[Any, ...]]:
    return ((chance.randint(1, posts), chance.randint(1, USERS), "email") for _ in range(posts // 2))


def _accounts() -> Iterable[tuple[Any, ...]]:
    return ((number + 1, work.PROVIDER, "active", "USD") for number in range(ACCOUNTS))


def _transactions(count: int, server: str) -> Iterable[tuple[Any, ...]]:
    """Return transactions of which nine in ten are settled, the oldest ones, and none is of the last account."""
    settled, held = ("released", "released", "released", "refunded", "cancelled"), ("initiated", "funded", "in_escrow")
    for number in range(count):
        status = settled[number % 5] if number < count * 9 // 10 else held[number % 3]
        account = number % (ACCOUNTS - 1) + 1
        created_at = moment_of(number)
        moment = databases.stored(server, created_at)
        ends = (moment if status == end else None for end in ("released", "refunded", "cancelled"))
        amounts = tuple(map(str, (work.AMOUNT, work.FEE, work.NET)))
        yield (
            account,
            f"seed-{number}",
            status,
            *amounts,
            work.PAYER,
            *ends,
            _trail(account, status, number, created_at),
        )


def _trail(account: int, status: str, previous: int, at: datetime) -> str:
    """Return the audit trail of a transaction that came to this status by the verbs."""
    trail = _trail_to_complete(account, status).replace(EPOCH.isoformat(), at.isoformat())
    return trail.replace('"previous": -1', f'"previous": {previous or "null"}')


@cache
def _trail_to_complete(account: int, status: str) -> str:
    ends = {
        "released": work.RELEASE,
        "refunded": work.Move("refund", "in_escrow", "refunded", -1),
        "cancelled": work.Move("cancel", "initiated", "cancelled"),
    }
    reached = {"initiated": (), "funded": (work.FUND,), "cancelled": ()}.get(status, (work.FUND, work.HOLD))
    moves = (*reached, *([ends[status]] if status in ends else []))
    first = work.first_entry(account, account, -1, EPOCH)
    first["payload"]["scheduled_release_at"] = EPOCH.isoformat()
    return json.dumps([first, *(work.entry(move, EPOCH) for move in moves)])
