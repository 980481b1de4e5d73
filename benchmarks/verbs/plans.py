"""What each listing and query reads of large, skewed tables: its indexes, and the rows examined and returned.

The rows, the listings and the queries are those of the tests of plans, ten times as many rows.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import servers

import engagement_db as edb

_TESTS = Path(__file__).resolve().parents[2] / "tests"


def measure(server: servers.Server, scale: int) -> dict[str, str]:
    """Return, by query, the indexes, rows examined and rows returned. ``scale`` is in 100,000 rows."""
    os.environ["EXPLAIN_SCALE"] = str(scale)
    sys.path[:0] = [str(_TESTS / "feed"), str(_TESTS / "trust")]
    return {**_feed(server), **_listings(server), **_trust(server)}


def _feed(server: servers.Server) -> dict[str, str]:
    tests: Any = importlib.import_module("test_explain_feed")
    with _filled(server, tests.fill) as database:
        crowd = tests.crowd_in(database)
        tests.find_cursors()
        busy = edb.FeedPost.select(peewee.fn.MIN(edb.FeedPost.id)).scalar()
        calls = {title: lambda call=call: call(crowd) for title, (call, _) in tests.QUERIES.items()}
        for title, viewer in tests.VIEWERS.items():
            for start, after in (("", None), (", further down", tests.CURSORS["plain"])):
                page = edb.FeedPost.timeline(after=after, **viewer(crowd))
                calls[f"a timeline {title}{start}"] = lambda page=page: list(page)
        calls["a page of 50 with everything"] = edb.FeedPost.timeline(viewer=crowd.user, limit=50).entries
        for limit in (50, 500):
            calls[f"{limit} comments of a busy post"] = lambda limit=limit: edb.FeedComment.thread(busy, limit=limit)
        return _plans(server, database, calls)


def _listings(server: servers.Server) -> dict[str, str]:
    tests: Any = importlib.import_module("test_explain_listings")
    with _filled(server, lambda database: tests.fill()) as database:
        known = tests.known_rows()
        calls: dict[str, Callable[[], object]] = {}
        for title, listing in tests.LISTINGS.items():
            for start, after in (("", None), (", the next page", listing(known, None).next_cursor)):
                if after is not None or not start:
                    calls[f"{title}{start}"] = lambda listing=listing, after=after: list(listing(known, after))
        return _plans(server, database, calls)


def _trust(server: servers.Server) -> dict[str, str]:
    tests: Any = importlib.import_module("test_explain_trust")
    with _filled(server, lambda database: tests.fill()) as database:
        known = tests.known_rows()
        return _plans(
            server, database, {title: lambda call=call: call(known) for title, (call, _) in tests.QUERIES.items()}
        )


@contextlib.contextmanager
def _filled(server: servers.Server, fill: Callable[[Any], None]) -> Iterator[Any]:
    plans: Any = importlib.import_module("plans")
    url = server.create_database()
    try:
        database = edb.connect(url)
        with database.connection_context():
            database.create_tables(edb.MODELS)
            with database.atomic():
                fill(database)
            plans.refresh_statistics(server.name, database)
            print(f"filled {url.rpartition('/')[2]}", file=sys.stderr, flush=True)
            yield database
    finally:
        server.drop_database(url)


def _plans(server: servers.Server, database: Any, calls: dict[str, Callable[[], object]]) -> dict[str, str]:
    plans: Any = importlib.import_module("plans")
    found = {}
    for title, call in calls.items():
        each = plans.plans_of(server.name, database, call)
        indexes = sorted(set().union(*(plan.indexes for plan in each))) or ["primary key"]
        scanned = sorted(set().union(*(plan.scanned_tables for plan in each)) - {"CONSTANT"})
        read, returned = (sum(getattr(plan, name) for plan in each) for name in ("rows_read", "rows_returned"))
        whole = f", reads all of {', '.join(scanned)}" if scanned else ""
        found[title] = f"{read:,.0f} / {returned:,.0f}: {', '.join(indexes)}{whole}"
    return found
