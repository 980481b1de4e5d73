"""A migration that waits for a long transaction does not make other sessions queue behind it."""

import threading
import time
from collections.abc import Callable, Iterable

import peewee
import pytest
from waiting import INNODB_PAUSE_SECONDS, TIMEOUT_SECONDS, wait_until

from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, stub_tables
from engagement_db.schema.execute import LONG_TRANSACTION_SECONDS
from engagement_db.servers.base import OpenTransaction

WATCHED_SECONDS = 2.0
WAITS = "a table may be locked; session"
OLD_SECONDS = 1.1


@pytest.fixture
def before_three(url):
    """A connected database on the second revision, with one project."""
    database = open_database(url)
    with database.connection_context():
        stub_tables.create_stub_tables(database)
        database.execute_sql("INSERT INTO projects (title) VALUES ('a')")
        runner.migrate(database, to="002_trust_payments")
        yield database


def test_open_transaction_is_reported_with_its_age(before_three, url):
    server = servers.of(before_three)
    if server.session_id(before_three) is None:
        pytest.skip(f"{server.display_name} has one writer at a time, and waits for it in no queue")
    other, began = open_database(url), time.monotonic()

    def age(session):
        return {each.session: each.seconds for each in server.open_transactions(before_three)}.get(session, 0)

    with other.connection_context(), other.atomic():
        session = server.session_id(other)
        other.execute_sql("UPDATE projects SET title = 'held'")
        wait_until(lambda: age(session) >= OLD_SECONDS, "the transaction is old", pause=INNODB_PAUSE_SECONDS)
        # MariaDB counts whole seconds.
        assert age(session) <= time.monotonic() - began + 1


def test_no_lock_is_requested_while_a_long_transaction_is_open(before_three, url):
    server = servers.of(before_three)
    if (server.lock_attempt_seconds or 0) < LONG_TRANSACTION_SECONDS:
        pytest.skip(f"{server.display_name} waits in no queue, or too shortly for writers to notice")
    said: list[str] = []
    migrating = open_database(url)
    other = open_database(url)

    def migrate() -> None:
        with migrating.connection_context():
            runner.migrate(migrating, report=said.append)

    thread = threading.Thread(target=migrate)
    with other.connection_context():
        with other.atomic():
            other.execute_sql("UPDATE projects SET title = 'held'")
            wait_until(
                lambda: is_old(server.open_transactions(before_three)),
                "the transaction is old",
                pause=INNODB_PAUSE_SECONDS,
            )
            thread.start()
            seen = states_seen(before_three, lambda: [line for line in said if WAITS in line])
        thread.join()
    assert not [state for state in seen if "metadata lock" in state]
    assert any(WAITS in line for line in said)
    assert runner.status(before_three).pending == ()


def is_old(transactions: Iterable[OpenTransaction]) -> bool:
    return any(transaction.seconds >= LONG_TRANSACTION_SECONDS for transaction in transactions)


def states_seen(database: peewee.Database, waits: Callable[[], object]) -> set[str]:
    """States of this database's sessions until the migration ``waits``, and for some seconds more."""
    seen: set[str] = set()
    deadline, until = time.monotonic() + TIMEOUT_SECONDS, float("inf")
    while time.monotonic() < min(deadline, until):
        if until == float("inf") and waits():
            until = time.monotonic() + WATCHED_SECONDS
        rows = database.execute_sql("SELECT state FROM information_schema.processlist WHERE db = DATABASE()").fetchall()
        seen |= {str(state) for (state,) in rows}
        time.sleep(0.02)
    return seen
