"""How our verbs and queries grow with the tables: the same small batches on databases of several sizes."""

import contextlib
import gc
import statistics
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import servers

from benchmarks.verbs import databases, peer_engagement_db, rows, work


def measure(server: servers.Server, sizes: Sequence[int], rounds: int) -> dict[str, dict[int, float]]:
    """Return the median milliseconds by operation and size. All sizes take their turns in each round."""
    with contextlib.ExitStack() as stack:
        peers = {}
        for size in sizes:
            url = stack.enter_context(databases.database(server))
            rows.fill(url, rows.Size(posts=size, reactions=2 * size, comments=size, transactions=size))
            peers[size] = peer_engagement_db.Peer(url)
            stack.callback(peers[size].close)
            print(f"filled {size:,} rows", file=sys.stderr, flush=True)
        found: dict[str, dict[int, list[float]]] = {}
        for number in range(-1, rounds):
            for title, operation, calls, is_linear in _work():
                # Once each: they take minutes, and so much work needs no warming up.
                if is_linear and number != 0:
                    continue
                for size, peer in peers.items():
                    gc.collect()
                    spent = peer.run(operation, calls)
                    if number >= 0:
                        found.setdefault(title, {}).setdefault(size, []).append(spent.wall / len(calls))
        return {
            title: {size: statistics.median(times) for size, times in by_size.items()}
            for title, by_size in found.items()
        }


def _work() -> list[tuple[str, str, list[list[Any]], bool]]:
    """Return title, operation and arguments of each batch, and whether it reads whole tables."""
    posts = range(1, 11)
    return [
        ("feed page of 50", "feed", [[work.READER]] * 5, False),
        ("thread of 500", "thread", [[rows.THREAD_POST]] * 3, False),
        ("react, new", "react", [[post, rows.USERS, "like"] for post in posts], False),
        ("react, remove", "unreact", [[post, rows.USERS] for post in posts], False),
        (
            "escrow, initiate to release",
            "cycle",
            [[account, uuid.uuid4().hex] for account in range(1, 6)],
            False,
        ),
        ("release queue", "release_queue", [[]] * 3, False),
        ("find_problems", "find_problems", [[]], True),
        ("escrow_totals", "escrow_totals", [[]], True),
    ]
