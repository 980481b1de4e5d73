"""How sessions of each server wait: for the migration lock, for a table, and what they report meanwhile."""

import contextlib
import threading
import time

import peewee
import pytest

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.schema.lock import hold_migration_lock


@pytest.fixture
def server_room(live):
    return servers.of(live)


@contextlib.contextmanager
def second_session(url):
    other = open_database(url)
    with other.connection_context():
        yield other


def test_migration_lock_excludes_a_second_session(live, url):
    with (
        second_session(url) as other,
        hold_migration_lock(live),
        pytest.raises(edb.MigrationBusy),
        hold_migration_lock(other, 0),
    ):
        pass
    with second_session(url) as other, hold_migration_lock(other, 0):
        assert other.execute_sql("SELECT 1").fetchone() == (1,)


def test_migration_lock_is_waited_for_and_released_after_an_error(live, url):
    held = threading.Event()

    def hold():
        with second_session(url) as other, pytest.raises(ZeroDivisionError), hold_migration_lock(other):
            held.set()
            time.sleep(0.3)
            raise ZeroDivisionError

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    with hold_migration_lock(live, 10):
        holder.join()


def test_lock_timeout_bounds_the_wait_and_is_restored(live, url, server_room):
    if server_room.lock_attempt_seconds is None:
        pytest.skip("this server locks no single table")
    live.execute_sql("CREATE TABLE held (id INTEGER PRIMARY KEY)")
    longest = server_room.lock_attempt_seconds
    with second_session(url) as other, live.atomic():
        live.execute_sql("INSERT INTO held VALUES (1)")
        for _ in range(2):
            began = time.monotonic()
            with server_room.lock_timeout(other, longest), pytest.raises(peewee.OperationalError):
                other.execute_sql("DROP TABLE held")
            # With a wrong unit it would be a thousand times as long.
            assert longest * 0.9 <= time.monotonic() - began < longest + 20
        usual = {"postgresql": "SHOW lock_timeout"}.get(server_room.name, "SELECT @@SESSION.lock_wait_timeout")
        assert other.execute_sql(usual).fetchone() == live.execute_sql(usual).fetchone()


def test_session_id_is_the_number_of_the_session(live, url, server_room):
    with second_session(url) as other:
        ids = [server_room.session_id(database) for database in (live, other, live)]
    assert ids[0] == ids[2]
    assert ids[0] is None or ids[0] != ids[1]


def test_progress_of_an_idle_session_is_nothing_or_its_state(live, url, server_room):
    session_id = server_room.session_id(live) or 0
    with second_session(url) as other:
        progress = server_room.progress(other, session_id)
    assert progress is None or server_room.name == "mariadb"
