"""A migration does not wait for somebody's long transaction in a way that makes others wait behind it."""

import threading
import time

import peewee
import pytest

from engagement_db import dialects
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, stub_tables

WATCHED_SECONDS = 3.0
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


def test_the_age_of_an_open_transaction_is_told(before_three, url):
    dialect = dialects.of(before_three)
    if dialect.lock_holders is None:
        pytest.skip(f"{dialect.title} has one writer at a time, and waits for it in no queue")
    other = open_database(url)
    with other.connection_context(), other.atomic():
        session = other.execute_sql(dialect.connection_id).fetchone()[0]
        other.execute_sql("UPDATE projects SET title = 'held'")
        time.sleep(OLD_SECONDS)
        ages = {row[0]: float(row[3]) for row in before_three.execute_sql(dialect.lock_holders).fetchall()}
    assert OLD_SECONDS * 0.9 < ages[session] < 60


def test_no_lock_is_asked_for_while_an_old_transaction_is_open(before_three, url):
    dialect = dialects.of(before_three)
    if not dialect.looks_before_waiting:
        pytest.skip(f"{dialect.title} waits in no queue, or so shortly that it need not look: {dialect.lock_wait}")
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
            time.sleep(OLD_SECONDS)
            thread.start()
            seen = states_seen(before_three)
        thread.join()
    assert not [state for state in seen if "metadata lock" in state]
    assert any("a table may be busy; session" in line for line in said)
    assert runner.status(before_three).pending == ()


def states_seen(database: peewee.Database) -> set[str]:
    """What the sessions of this database were doing, looked at for some seconds."""
    seen: set[str] = set()
    until = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < until:
        rows = database.execute_sql("SELECT state FROM information_schema.processlist WHERE db = DATABASE()").fetchall()
        seen |= {str(state) for (state,) in rows}
        time.sleep(0.02)
    return seen
