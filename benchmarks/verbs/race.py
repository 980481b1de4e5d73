"""How many cycles a second clients do at the same time, each a process: on 100 accounts, and all on one."""

import multiprocessing
import random
import time
import uuid
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.verbs import peers, rows

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


def race(url: str, name: str, modules: Path | None, *, clients: int, cycles: int, is_hot: bool) -> Race:
    """Have ``clients`` processes do ``cycles`` each; on one account if ``is_hot``, else on 100. Raises RuntimeError."""
    context = multiprocessing.get_context("spawn")
    start, finished = context.Barrier(clients), context.Queue()
    processes = [
        context.Process(target=_client, args=(url, name, modules, number, cycles, is_hot, start, finished))
        for number in range(clients)
    ]
    for process in processes:
        process.start()
    runs: list[_Run] = [finished.get(timeout=_PATIENCE_SECONDS) for _ in processes]
    for process in processes:
        process.join()
    if not any(run.cycles for run in runs):
        raise RuntimeError(f"{name}: {runs[0].errors}")
    seconds = max(run.ended for run in runs) - min(run.started for run in runs)
    return Race(sum(run.cycles for run in runs) / seconds, sum(len(run.errors) for run in runs))


def _client(
    url: str,
    name: str,
    modules: Path | None,
    number: int,
    cycles: int,
    is_hot: bool,
    start: Barrier,
    finished: "Queue[_Run]",
) -> None:
    chance = random.Random(number)
    done, errors = 0, []
    with peers.opened(name, url, modules) as peer:
        # The first cycle builds what the peer keeps.
        peer.run("cycle", [[number + 1, uuid.uuid4().hex]])
        start.wait(_PATIENCE_SECONDS)
        started = time.time()
        for _ in range(cycles):
            account = rows.ACCOUNTS if is_hot else chance.randint(1, rows.ACCOUNTS - 1)
            try:
                peer.run("cycle", [[account, uuid.uuid4().hex]])
                done += 1
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}"[:200])
        finished.put(_Run(started, time.time(), done, tuple(errors)))
