"""The migration lease, which replaces the session's lock on a Galera cluster and behind a pooler.

Here every server but SQLite is treated as if its sessions were shared, so that only the lease excludes other deployers.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import peewee
import pytest
import servers
from cluster_plays import stopped_after
from commands import engagement_db_command, pw_migrate_command
from platform_database import query
from waiting import TIMEOUT_SECONDS, wait_until

from engagement_db.errors import MigrationBusy
from engagement_db.orm.urls import open_database
from engagement_db.schema import history, lease, runner, script_files
from engagement_db.schema.lease import Lease
from engagement_db.schema.lock import hold_migration_lock
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.servers import of as server_of

EVERY_POINT = bool(os.environ.get("ENGAGEMENT_DB_EVERY_POINT"))


@pytest.fixture(autouse=True)
def shared_sessions(server: servers.Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if server.name == "sqlite":
        pytest.skip("one process at a time writes to the file, and nothing pools its sessions")
    with opened(url) as database:
        create_stub_tables(database)
        monkeypatch.setattr(type(server_of(database)), "shares_sessions", lambda self, database: True)


@contextlib.contextmanager
def opened(url: str) -> Iterator[peewee.Database]:
    with contextlib.closing(open_database(url)) as database:
        database.connect()
        yield database


def history_of(url: str) -> list[str]:
    with opened(url) as database:
        return history.applied_names(database)


def test_deployers_at_once_apply_each_revision_once(url: str) -> None:
    done: list[str] = []

    def deploy() -> None:
        with opened(url) as database:
            done.extend(runner.migrate(database))

    deployers = [threading.Thread(target=deploy) for _ in range(4)]
    for deployer in deployers:
        deployer.start()
    for deployer in deployers:
        deployer.join(TIMEOUT_SECONDS)
    assert sorted(done) == list(script_files.names())
    assert history_of(url) == list(script_files.names())


def test_a_lease_that_is_held_is_waited_for_and_its_holder_named(url: str) -> None:
    with opened(url) as holder, opened(url) as other:
        busy = pytest.raises(MigrationBusy, match=rf"process {os.getpid()} on .* holds it, for \d+ s")
        with hold_migration_lock(holder), busy:
            runner.migrate(other, lock_timeout_seconds=0.2)
        assert runner.migrate(other, lock_timeout_seconds=0.2) == tuple(script_files.names())


def test_a_lease_is_renewed_for_as_long_as_its_block_runs(url: str) -> None:
    def expires() -> float:
        return query(url, f"SELECT expires FROM {lease.TABLE}")[0][0]

    with opened(url) as holder, opened(url) as other, Lease(holder, seconds=4).hold(0):
        for _ in range(2):
            before = expires()
            wait_until(lambda before=before: expires() > before, "the lease is renewed")
        with pytest.raises(MigrationBusy), Lease(other, seconds=4).hold(0):
            pass


def test_who_has_the_lease_waits_for_a_deployer_with_a_lock_of_its_session(server: servers.Server, url: str) -> None:
    if server.name != "postgres":
        pytest.skip("on this server all deployers have a lease, or none")
    with opened(url) as direct, opened(url) as other:
        busy = pytest.raises(MigrationBusy, match=r"backend \d+ holds it")
        with server_of(direct).migration_lock(direct, 0), busy:
            runner.migrate(other, lock_timeout_seconds=0.2)
        assert runner.migrate(other, lock_timeout_seconds=0.2) == tuple(script_files.names())


def test_a_holder_whose_lease_was_taken_over_writes_no_history(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when its machine stood still: it renews nothing.
    monkeypatch.setattr(Lease, "_renew_until", lambda self, done: None)
    with opened(url) as stopped, opened(url) as other, Lease(stopped, seconds=0.3).hold(0):
        history.create(stopped)
        with Lease(other).hold(5):
            for write in (history.add, history.remove):
                with pytest.raises(MigrationBusy, match="another process took it over"), stopped.transaction():
                    write(stopped, "001_feed_engagement")
        assert history_of(url) == []


@pytest.mark.parametrize("command", [engagement_db_command, pw_migrate_command])
def test_a_paused_command_changes_nothing_after_its_lease_was_taken_over(
    url: str, command: Callable[..., list[str]]
) -> None:
    with opened(url) as other, contextlib.ExitStack() as until_the_end:
        with stopped_after("CREATE TABLE feed_shares", command("migrate", url)) as stopped:
            until_the_end.enter_context(Lease(other).hold(10))
        ended = stopped.wait()
        assert ended.code in (1, 2)
        assert "another process took it over" in ended.words
        assert "Traceback" not in ended.words
        assert history_of(url) == []
        has_its_tables = not server_of(other).transactional_ddl
        assert server_of(other).read(other).has_table("feed_shares") == has_its_tables
        assert not server_of(other).read(other).has_table("escrow_accounts")
        if has_its_tables:
            assert not server_of(other).read(other).has_table("feed_activity_logs")


DEPLOYER = """
import os, sys
from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.schema import lease, runner
url, last = sys.argv[1], int(sys.argv[2])
database = open_database(url)
database.connect()
type(servers.of(database)).shares_sessions = lambda self, database: True
lease.Lease.__init__.__defaults__ = (1.0,)
execute_sql, sent = database.execute_sql, 0
def send(*arguments):
    global sent
    sent += 1
    if sent == last:
        os._exit(9)
    return execute_sql(*arguments)
database.execute_sql = send
runner.migrate(database, lock_timeout_seconds=20)
"""


def deploy(url: str, last: int) -> int:
    """Run a deployer that is killed before its statement ``last``; return its exit code."""
    command = [sys.executable, "-c", DEPLOYER, url, str(last)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert ended.returncode in (0, 9), ended.stderr
    return ended.returncode


def test_a_deployer_that_is_killed_is_replaced_when_its_lease_has_expired(server: servers.Server, url: str) -> None:
    points = range(2, 400) if EVERY_POINT else (8, 100)
    for point in points:
        other = server.create_database()
        try:
            with opened(other) as database:
                create_stub_tables(database)
            if deploy(other, point) == 0:
                break
            # It waits for the lease of one second, and would give up a lease of the usual length.
            assert deploy(other, 0) == 0
            assert history_of(other) == list(script_files.names())
        finally:
            server.drop_database(other)


def test_a_revision_is_recorded_once_by_any_client(url: str) -> None:
    with opened(url) as database:
        runner.migrate(database)
        with pytest.raises(peewee.IntegrityError):
            history.add(database, script_files.names()[0])
    assert history_of(url) == list(script_files.names())
