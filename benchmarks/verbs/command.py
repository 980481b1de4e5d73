"""Measure the verbs and queries of engagement_db beside the bare driver and four ORMs; print tables in Markdown.

On each server a database is made, filled, measured and dropped. The server of TEST_<NAME>_URL is used as given,
otherwise a throwaway one is started. README.md tells what the peers do.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import servers

from benchmarks.verbs import databases, growth, peers, plans, race, rounds, rows, tables


def main() -> None:
    options = _options()
    # A process for each server, because Django has one database for the process.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as pool:
        if options.plans:
            found = dict(
                zip(options.servers, pool.map(functools.partial(_measure_plans, options), options.servers), strict=True)
            )
            print(tables.plans(found))
            return
        if options.growth:
            for table in pool.map(functools.partial(_measure_growth, options), options.servers):
                print(f"{table}\n", flush=True)
            return
        measured = []
        for each in pool.map(functools.partial(_measure, options), options.servers):
            measured.append(each)
            if options.json is not None:
                options.json.write_text(json.dumps([dataclasses.asdict(each) for each in measured], indent=1))
    _print(measured)


def _print(measured: list[tables.Measured]) -> None:
    for each in measured:
        print(
            f"{each.server}: {each.rounds} rounds, load {each.load_before:.1f} before and {each.load_after:.1f} after."
        )
        for name, reason in each.missing.items():
            print(f"Without {name}: {reason}.")
    for quantity, title in (("wall", "Wall time"), ("cpu", "CPU time of the client")):
        print(f"\n### {title}\n\n{tables.summary(measured, quantity)}")
    print(f"\n### Clients at the same time\n\n{tables.races(measured)}")
    for each in measured:
        print(f"\n### {each.server}\n\n{tables.details(each)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.verbs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listed = functools.partial(str.split, sep=",")
    parser.add_argument("--servers", type=listed, default=["postgres", "mysql", "sqlite"], help="also mariadb")
    parser.add_argument("--peers", type=listed, default=list(peers.ALL), help=", ".join(peers.ALL))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sequelize", type=Path, help="node_modules made from tests/interop/package.json")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    size = rows.Size()
    parser.add_argument("--posts", type=int, default=size.posts, help="at least 100, with ten times the reactions")
    parser.add_argument("--comments", type=int, default=size.comments, help="at least 600")
    parser.add_argument("--transactions", type=int, default=size.transactions)
    parser.add_argument("--clients", type=int, default=8, help="processes that do cycles at the same time; 0 for none")
    parser.add_argument("--cycles", type=int, default=60, help="of each of them")
    parser.add_argument("--growth", action="store_true", help="measure ours alone, on tables of these sizes")
    parser.add_argument("--plans", action="store_true", help="show what each query reads of large, skewed tables")
    parser.add_argument("--scale", type=int, default=10, help="how many times 100,000 rows --plans makes")
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[10_000, 100_000, 1_000_000]
    )
    return parser.parse_args()


def _measure(options: argparse.Namespace, name: str) -> tables.Measured:
    size = rows.Size(options.posts, options.posts * 10, options.comments, options.transactions)
    with servers.running(name) as server, databases.database(server) as url:
        rows.fill(url, size)
        before = databases.load_average()
        figures, missing = rounds.measure(url, options.peers, options.sequelize, options.rounds)
        races = {
            peer: race.race(url, peer, options.sequelize, clients=options.clients, cycles=options.cycles)
            for peer in options.peers
            if peer not in missing and options.clients and name != "sqlite"
        }
        version = f"{name} {server.version.split('-')[0]}"
        after = databases.load_average()
        return tables.Measured(version, before, after, options.rounds, figures, races, missing)


def _measure_plans(options: argparse.Namespace, name: str) -> dict[str, str]:
    with servers.running(name) as server:
        return plans.measure(server, options.scale)


def _measure_growth(options: argparse.Namespace, name: str) -> str:
    with servers.running(name) as server:
        before = databases.load_average()
        found = growth.measure(server, options.sizes, options.rounds)
        after = databases.load_average()
        version = f"{name} {server.version.split('-')[0]}"
        table = tables.growth(version, found)
        return f"{version}: {options.rounds} rounds, load {before:.1f} before and {after:.1f} after.\n\n{table}"
