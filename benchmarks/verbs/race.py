"""How many cycles a second clients do at the same time, each a process: on 100 accounts, and all on one."""

import multiprocessing
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.verbs import peers, rows, work

_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Race:
    """What the clients did together. A lost race that a peer does not run again counts as an error."""

    cycles_per_second: float
    errors: int


@dataclass(frozen=True)
class _Run:
    started: float
    ended: float
    cycles: int
    errors: tuple[str, ...]


def race(url: str, name: str, modules: Path | None, *, clients: int, cycles: int) -> dict[str, Race]:
    """Have ``clients`` processes do ``cycles`` each, on 100 accounts and then on one. Raises RuntimeError."""
    context = multiprocessing.get_context("spawn")
    start, finished = context.Barrier(clients), context.Queue()
    processes = [
        context.Process(target=_client, args=(url, name, modules, number, cycles, start, finished))
        for number in range(clients)
    ]
    for process in processes:
        process.start()
    runs: list[dict[str, _Run]] = [finished.get(timeout=_PATIENCE_SECONDS) for _ in processes]
    for process in processes:
        process.join()
    return {title: _together([each[title] for each in runs]) for title in runs[0]}


def _together(runs: Sequence[_Run]) -> Race:
    if not any(run.cycles for run in runs):
        raise RuntimeError(f"no client finished a cycle: {runs[0].errors}")
    seconds = max(run.ended for run in runs) - min(run.started for run in runs)
    return Race(sum(run.cycles for run in runs) / seconds, sum(len(run.errors) for run in runs))


def _client(
    url: str,
    name: str,
    modules: Path | None,
    number: int,
    cycles: int,
    start: Barrier,
    finished: "Queue[dict[str, _Run]]",
) -> None:
    chance = random.Random(number)
    with peers.opened(name, url, modules) as peer:
        # The first cycle builds what the peer keeps.
        peer.run("cycle", [[number + 1, uuid.uuid4().hex]])
        runs = {}
        for title, first, last in (("on 100 accounts", 1, rows.ACCOUNTS - 1), ("on one account", *[rows.ACCOUNTS] * 2)):
            start.wait(_PATIENCE_SECONDS)
            runs[title] = _cycles(peer, [chance.randint(first, last) for _ in range(cycles)])
        finished.put(runs)


def _cycles(peer: work.Peer, accounts: Sequence[int]) -> _Run:
    started, errors = time.time(), []
    for account in accounts:
        try:
            peer.run("cycle", [[account, uuid.uuid4().hex]])
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:200])
    return _Run(started, time.time(), len(accounts) - len(errors), tuple(errors))
