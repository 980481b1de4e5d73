"""Interleaved rounds: in each, every peer does a small batch of every item, one right after the other."""

import gc
import statistics
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import turns

from benchmarks.verbs import databases, peers, rows, work

_REACTIONS, _REPLIES, _CYCLES, _DISPUTES = 20, 10, 5, 3
_LOADED, _PUBLISHED = 10_000, 1_000


@dataclass(frozen=True)
class Item:
    """One row of the table. ``calls`` returns the arguments of a batch for the peer that has this user."""

    title: str
    operation: str
    calls: Callable[[int], Sequence[Sequence[Any]]]
    # What each call needs, done before it and not measured.
    before: Callable[[], tuple[str, Sequence[Any]]] | None = None
    peers: tuple[str, ...] = peers.ALL
    is_heavy: bool = False
    # What reads and judges all rows takes many seconds, and varies little.
    most_rounds: int | None = None
    # By how many a batch's time is divided, where that is not the number of its calls.
    per_call: int = 1


@dataclass(frozen=True)
class Figure:
    """Medians of one peer and item, in milliseconds per operation; on SQLite there are no turns."""

    wall: float
    cpu: float
    rounds: int
    turns: float | None = None


def items(url: str) -> list[Item]:
    """Return what is measured on this database, which has its rows."""
    sample = f'SELECT "postId", id FROM feed_comments WHERE id > {rows.THREAD_SIZE} ORDER BY id LIMIT {_REPLIES}'
    parents = databases.execute(url, sample)
    posts = range(1, _REACTIONS + 1)
    queries = (peers.OURS, peers.DRIVER)
    return [
        Item("feed page of 50", "feed", lambda user: [[work.READER]] * 5),
        Item("react, new", "react", lambda user: [[post, user, "like"] for post in posts]),
        Item("react, change", "react", lambda user: [[post, user, "love"] for post in posts]),
        Item("react, remove", "unreact", lambda user: [[post, user] for post in posts]),
        Item("thread of 500", "thread", lambda user: [[rows.THREAD_POST]] * 3),
        Item("reply", "reply", lambda user: [[post, user, "a reply", parent] for post, parent in parents]),
        Item(
            "escrow, initiate to release",
            "cycle",
            lambda user: [[account, uuid.uuid4().hex] for account in range(1, _CYCLES + 1)],
        ),
        Item("dispute, open to resolve", "dispute", lambda user: [[]] * _DISPUTES, before=_payment),
        Item("create a post", "publish", lambda user: [[_PUBLISHED]], is_heavy=True, per_call=_PUBLISHED),
        Item("create 1,000 posts in bulk", "publish_all", lambda user: [[_PUBLISHED]], is_heavy=True),
        Item("10,000 posts to models", "load_posts", lambda user: [[_LOADED]], is_heavy=True),
        Item("10,000 transactions to models", "load_transactions", lambda user: [[_LOADED]], is_heavy=True),
        Item("release queue", "release_queue", lambda user: [[]] * 2),
        Item("find_balance_problems", "find_balance_problems", lambda user: [[]], peers=queries, is_heavy=True),
        Item("find_problems", "find_problems", lambda user: [[]], peers=(peers.OURS,), is_heavy=True, most_rounds=2),
        Item("escrow_totals", "escrow_totals", lambda user: [[]], peers=queries, is_heavy=True),
    ]


def _payment() -> tuple[str, Sequence[Any]]:
    return "pay", [50, uuid.uuid4().hex]


def measure(
    url: str, names: Sequence[str], modules: Path | None, rounds: int
) -> tuple[dict[str, dict[str, Figure]], dict[str, str]]:
    """Return the figures by item and peer, and why peers are missing. An item that is heavy has a third of the rounds.

    Raises RuntimeError if a peer does other work than ours.
    """
    found: dict[str, work.Peer] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            found[name] = peers.open_peer(name, url, modules)
        except work.Missing as reason:
            missing[name] = str(reason)
    try:
        peers.require_same_work(found, url)
        todo = items(url)
        spent = _rounds(found, todo, rounds)
    finally:
        for peer in found.values():
            peer.close()
    counted = {} if databases.server_of(url) == "sqlite" else _turns(url, list(found), modules, todo)
    figures = {
        title: {
            name: Figure(
                statistics.median(each.wall for each in batches),
                statistics.median(each.cpu for each in batches),
                len(batches),
                counted.get((title, name)),
            )
            for name, batches in by_peer.items()
        }
        for title, by_peer in spent.items()
    }
    return figures, missing


def _rounds(
    found: Mapping[str, work.Peer], todo: Sequence[Item], rounds: int
) -> dict[str, dict[str, list[work.Spent]]]:
    spent: dict[str, dict[str, list[work.Spent]]] = {item.title: {} for item in todo}
    for number in range(-1, rounds):
        for item in todo:
            if number >= _rounds_of(item, rounds):
                continue
            names = [name for name in found if name in item.peers]
            turned = number % len(names)
            batches = {name: _batch(found[name], item) for name in names[turned:] + names[:turned]}
            if number < 0:
                # The first round warms up, and shows whether all read the same.
                _require_same_rows(item, batches)
                continue
            for name, batch in batches.items():
                spent[item.title].setdefault(name, []).append(batch)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return spent


def _rounds_of(item: Item, rounds: int) -> int:
    wanted = max(1, rounds // 3) if item.is_heavy else rounds
    return wanted if item.most_rounds is None else min(wanted, item.most_rounds)


def _batch(peer: work.Peer, item: Item) -> work.Spent:
    """Return what one operation takes."""
    calls = item.calls(_user_of(peer.name))
    gc.collect()
    if item.before is None:
        batches = [peer.run(item.operation, calls)]
    else:
        batches = []
        for call in calls:
            operation, arguments = item.before()
            peer.run(operation, [arguments])
            batches.append(peer.run(item.operation, [call]))
    operations = len(calls) * item.per_call
    wall, cpu = (sum(getattr(each, name) for each in batches) / operations for name in ("wall", "cpu"))
    return work.Spent(wall, cpu, batches[-1].rows)


def _user_of(peer: str) -> int:
    return rows.USERS - 1 - peers.ALL.index(peer)


def _require_same_rows(item: Item, batches: Mapping[str, work.Spent]) -> None:
    counts = {name: batch.rows for name, batch in batches.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{item.title}: the peers do not find the same rows: {counts}")


def _turns(url: str, names: Sequence[str], modules: Path | None, todo: Sequence[Item]) -> dict[tuple[str, str], float]:
    """Count the turns of each operation, in a pass of its own, because the proxy takes time."""
    counted: dict[tuple[str, str], float] = {}
    for name in names:
        with turns.through(url) as (counted_url, counter), peers.opened(name, counted_url, modules) as peer:
            # What connecting takes is not counted.
            peer.run("feed", [[work.READER]])
            for item in todo:
                if name not in item.peers or item.is_heavy:
                    continue
                calls = item.calls(_user_of(name))
                if item.before is not None:
                    operation, arguments = item.before()
                    peer.run(operation, [arguments])
                    calls = calls[:1]
                count = counter.of(lambda work=peer.run, item=item, calls=calls: work(item.operation, calls))
                counted[item.title, name] = count / len(calls)
    return counted
