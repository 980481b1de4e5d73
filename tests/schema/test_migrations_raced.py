"""Many deployers at once, deployers that wait, tables that are busy, and what is said when a step fails."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import commands
import peewee
import pytest
import servers
from cluster_plays import stopped_after
from commands import FIRST_THREE, Deployer, Ended, copy_scripts, engagement_db_command, pw_migrate_command
from cut_proxy import CutProxy, Point
from independent_catalog import Snapshot, definitions, history, rows
from platform_database import build, execute, family, query, session
from waiting import wait_until

from engagement_db.orm.urls import open_database
from engagement_db.schema import execute as execute_module
from engagement_db.schema import script_files
from engagement_db.schema.execute import LOCK_TIMEOUT_SECONDS
from engagement_db.schema.lock import hold_migration_lock
from engagement_db.schema.settings import LOCK_TIMEOUT_VARIABLE
from engagement_db.servers import named as named_server
from engagement_db.servers import of as server_of

REVISIONS = FIRST_THREE
pytestmark = pytest.mark.usefixtures("first_three")
EIGHT = 8
ROUNDS = 3
# Each round of a server takes seconds.
SERVER_ROUNDS = ROUNDS if os.environ.get("ENGAGEMENT_DB_EVERY_POINT") else 1
# So often a deployer meets the table that somebody holds.
MEETINGS = 5
# Long against what a laden machine adds to the short lock waits (0.05 s and 1 s).
SLACK_SECONDS = 1.5


@pytest.fixture
def platform(url: str) -> str:
    build(url)
    return url


def migrate(url: str, number: int = 0) -> list[str]:
    return (engagement_db_command, pw_migrate_command)[number % 2]("migrate", url)


def take_back_all(url: str) -> list[str]:
    return engagement_db_command("rollback", url, "--to", script_files.BASE)


def succeed(command: list[str]) -> Ended:
    ended = commands.run(command)
    assert ended.code == 0, ended.words
    return ended


def sample(platform: str, what: str) -> str:
    return f"{family(platform)}, {what} at once: {SERVER_ROUNDS} of {ROUNDS} rounds"


def all_of(deployers: list[Deployer]) -> list[Ended]:
    return [deployer.wait() for deployer in deployers]


def test_eight_deployers_at_once_all_succeed(platform: str, record_property: Any) -> None:
    succeed(migrate(platform))
    alone = definitions(platform)
    before = rows(platform)
    for _ in range(SERVER_ROUNDS):
        succeed(take_back_all(platform))
        ended = all_of([commands.start(migrate(platform, number)) for number in range(EIGHT)])
        assert [each.code for each in ended] == [0] * EIGHT, "\n".join(each.words for each in ended if each.code)
        assert history(platform) == list(REVISIONS)
        assert definitions(platform) == alone
    assert rows(platform) == before
    record_property("sample", sample(platform, "eight deployers migrate"))


def test_eight_deployers_at_once_on_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    both = [
        ["engagement-db", "migrate"],
        ["pw_migrate", "migrate", "--directory", str(script_files.scripts_directory())],
    ]
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        ended = all_of([commands.start(both[each % 2], folder=folder) for each in range(EIGHT)])
        assert [each.code for each in ended] == [0] * EIGHT, "\n".join(each.words for each in ended if each.code)
        url = f"sqlite:///{folder}/engagement.db"
        assert history(url) == list(REVISIONS)
        with session(url) as database:
            assert database.ask("PRAGMA journal_mode") == [("wal",)]


def test_migrating_and_rolling_back_at_once(platform: str, record_property: Any) -> None:
    succeed(migrate(platform))
    up = definitions(platform)
    succeed(take_back_all(platform))
    down = definitions(platform)
    for _ in range(SERVER_ROUNDS):
        started = [migrate(platform, number) if number % 3 else take_back_all(platform) for number in range(EIGHT)]
        for each in all_of([commands.start(command) for command in started]):
            assert each.code == 0, each.words
            assert "Traceback" not in each.words
        # Each had the database to itself, so all of the revisions are there, or none.
        assert (history(platform), definitions(platform)) in ((list(REVISIONS), up), ([], down))
    record_property("sample", sample(platform, "eight deployers migrate and roll back"))


@pytest.mark.parametrize("command", [engagement_db_command, pw_migrate_command])
def test_lock_timeout_names_the_holder(platform: str, command: Callable[..., list[str]]) -> None:
    def wait_one_second() -> None:
        os.environ[LOCK_TIMEOUT_VARIABLE] = "1"

    database = open_database(platform)
    with database.connection_context(), hold_migration_lock(database):
        session_id = server_of(database).session_id(database)
        holder = "another process writes to this file" if session_id is None else str(session_id)
        before = definitions(platform)
        began = time.monotonic()
        ended = commands.start(command("migrate", platform), wait_one_second).wait()
        waited = time.monotonic() - began
        assert definitions(platform) == before
    assert ended.code in (1, 2), ended.words
    assert "waited 1 s for the migration lock" in ended.words
    assert holder in ended.words
    assert "Nothing was changed" in ended.words
    assert "Traceback" not in ended.words
    assert 1 <= waited < LOCK_TIMEOUT_SECONDS
    assert history(platform) == []


def test_the_option_bounds_the_wait_too(platform: str) -> None:
    database = open_database(platform)
    with database.connection_context(), hold_migration_lock(database):
        ended = commands.run(engagement_db_command("migrate", platform, "--lock-timeout", "0"))
    assert ended.code == 2
    assert "waited 0 s for the migration lock" in ended.words


def test_a_lock_never_outlives_its_process(platform: str, tmp_path: Path) -> None:
    held = tmp_path / "held"

    def hold() -> None:
        database = open_database(platform)
        with database.connection_context(), hold_migration_lock(database):
            held.touch()
            time.sleep(600)

    holder = commands.start([], hold)
    wait_until(held.exists, "the lock is held")
    turned_away = tmp_path / "turned away"
    # SQLite waits inside of a statement.
    place, waits = (peewee.Database, "execute_sql") if family(platform) == "sqlite" else (time, "sleep")
    waiting = commands.start(migrate(platform), lambda: note_calls(place, waits, turned_away))
    wait_until(turned_away.exists, "the deployer waits")
    assert history(platform) == []
    holder.kill()
    assert holder.wait().code == commands.KILLED
    ended = waiting.wait()
    assert ended.code == 0, ended.words
    assert history(platform) == list(REVISIONS)


def test_a_deployer_from_which_nothing_more_is_heard_is_replaced(platform: str) -> None:
    if family(platform) == "sqlite":
        pytest.skip("the operating system has the lock of a file, and knows which processes there are")
    with stopped_after("CREATE TABLE feed_comments", migrate(platform), silence_seconds=5) as stopped:
        succeed(migrate(platform))
        succeed(take_back_all(platform))
        before = definitions(platform)
    ended = stopped.wait()
    assert ended.code in (1, 2), ended.words
    assert "Traceback" not in ended.words
    assert definitions(platform) == before
    assert history(platform) == []


def test_a_session_is_as_patient_after_the_lock_as_before(platform: str) -> None:
    settings = {
        "mysql": "SELECT @@SESSION.wait_timeout",
        "mariadb": "SELECT @@SESSION.wait_timeout",
        "postgres": "SELECT name, setting FROM pg_settings WHERE name IN ('client_connection_check_interval', "
        "'idle_session_timeout', 'idle_in_transaction_session_timeout') ORDER BY 1",
        "sqlite": "PRAGMA busy_timeout",
    }
    question = settings[family(platform)]
    database = open_database(platform)
    with database.connection_context():
        before = database.execute_sql(question).fetchall()
        with hold_migration_lock(database):
            assert database.execute_sql(question).fetchall() != before or family(platform) == "sqlite"
        assert database.execute_sql(question).fetchall() == before


def note_calls(place: Any, name: str, file: Path) -> None:
    """Let the file grow by one byte with each call of the function."""
    noted = getattr(place, name)

    def note(*arguments: Any) -> Any:
        with file.open("a") as notes:
            notes.write(".")
        return noted(*arguments)

    setattr(place, name, note)


# Point nine: errors for people.

BROKEN = """
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import create_table
from engagement_db.tables import check, integer, key, table

revision = Revision(
    "004_broken",
    create_table(table("first_one", key(), integer("size"))),
    create_table(table("second_one", key(), integer("size"), check("size", 'no_such_function("size") > 0'))),
)
migrate = revision.migrate
rollback = revision.rollback
"""


def test_a_failed_step_is_explained_and_completed_by_the_next_run(platform: str, tmp_path: Path) -> None:
    scripts = copy_scripts(tmp_path)
    script = scripts / "004_broken.py"
    script.write_text(BROKEN)
    command = ["pw_migrate", "migrate", "--database", platform, "--directory", str(scripts)]
    ended = commands.run(command)
    assert ended.code == 1, ended.words
    assert "004_broken: step 2 of 2 (create table second_one) failed" in ended.words
    assert "no_such_function" in ended.words
    assert stands(platform, "create table first_one") in ended.words
    assert "run the same command again" in ended.words
    assert "Traceback" not in ended.words
    # On SQLite the lock is the transaction, so that the revisions before it go with it.
    assert history(platform) == ([] if family(platform) == "sqlite" else list(REVISIONS))
    script.write_text(BROKEN.replace("no_such_function", "abs"))
    succeed(command)
    assert history(platform) == [*REVISIONS, "004_broken"]
    assert {"first_one", "second_one"} <= {*rows(platform)}


def stands(url: str, done: str) -> str:
    """What the message says of that which came before."""
    if family(url) == "sqlite":
        return "The whole run is one transaction and was rolled back"
    if named_server(family(url)).transactional_ddl:
        return "The revision is one transaction and was rolled back"
    return f"Completed steps: {done}."


@pytest.fixture
def login_with_password(platform: str) -> Iterator[str]:
    """The URL of the platform's database with a user who has a password."""
    user, password = "deployer_with_password", "aVerySecretWord"
    if family(platform) == "postgres":
        execute(platform, f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
        drop = f"DROP ROLE {user}"
    else:
        name = f"'{user}'@'127.0.0.1'"
        execute(platform, f"CREATE USER {name} IDENTIFIED BY '{password}'", f"GRANT ALL ON *.* TO {name}")
        drop = f"DROP USER {name}"
    scheme, _, rest = platform.partition("://")
    url = f"{scheme}://{user}:{password}@{rest.rpartition('@')[2]}"
    # MySQL takes a password over a plain connection only from those whom it knows from an encrypted one.
    query(url, "SELECT 1")
    yield url
    if family(platform) == "postgres":
        execute(platform, f"REASSIGN OWNED BY {user} TO CURRENT_USER", f"DROP OWNED BY {user}")
    execute(platform, drop)


@pytest.mark.parametrize("command", [engagement_db_command, pw_migrate_command])
def test_a_lost_connection_is_explained(
    server: servers.Server, request: pytest.FixtureRequest, command: Callable[..., list[str]]
) -> None:
    if server.name == "sqlite":
        return  # There is no connection to lose, and no password.
    url = request.getfixturevalue("login_with_password")
    with CutProxy(url) as proxy:
        deployer = commands.start(command("migrate", proxy.own_url))
        proxy.watch(deployer.process, Point("CREATE TABLE escrow_transactions", "before"))
        ended = deployer.wait()
        assert proxy.was_struck
    assert ended.code in (1, 2), ended.words
    assert "002_trust_payments: step 2 of 4 (create table escrow_transactions) failed" in ended.words
    assert "connection" in ended.words.partition("failed on")[2].lower()
    assert stands(url, "create table escrow_accounts") in ended.words
    assert "run the same command again" in ended.words
    assert "Traceback" not in ended.words
    assert "aVerySecretWord" not in ended.words
    succeed(command("migrate", url))
    assert history(url) == list(REVISIONS)


# Point four, small: a transaction of somebody else's holds a table while a revision wants it.

BUSY = [
    # Which revision goes (up or down), which table is held, which table others write to meanwhile.
    ("003_add_project_owner", "up", "projects", "projects"),
    ("003_add_project_owner", "up", "users", "projects"),
    ("003_add_project_owner", "down", "projects", "projects"),
    ("003_add_project_owner", "down", "users", "projects"),
    ("002_trust_payments", "up", "projects", "users"),
    ("002_trust_payments", "down", "projects", "users"),
]


def command_for(url: str, revision: str, direction: str, *options: str) -> list[str]:
    """Bring the database to just before the revision, or to it, and return the command that takes it on."""
    before = ([script_files.BASE, *REVISIONS])[REVISIONS.index(revision)]
    succeed(engagement_db_command("migrate", url, "--to", before if direction == "up" else revision))
    if direction == "up":
        return engagement_db_command("migrate", url, "--to", revision, *options)
    return engagement_db_command("rollback", url, "--to", before, *options)


@contextlib.contextmanager
def held(url: str, table: str) -> Iterator[str]:
    """Somebody's transaction has written to the table; yields the number of its session."""
    with session(url) as other:
        other.ask("BEGIN")
        other.ask(f'UPDATE "{table}" SET id = id WHERE id = 1')
        asked = "SELECT pg_backend_pid()" if family(url) == "postgres" else "SELECT CONNECTION_ID()"
        yield str(other.ask(asked)[0][0])
        other.ask("ROLLBACK")


class Writer:
    """Writes single rows of a table without a pause, and keeps how long each took."""

    def __init__(self, url: str, table: str) -> None:
        self._url, self._table = url, table
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.seconds: list[float] = []

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        with session(self._url) as own:
            while not self._over.is_set():
                began = time.monotonic()
                own.ask(f'UPDATE "{self._table}" SET id = id WHERE id = 2')
                self.seconds.append(time.monotonic() - began)
                time.sleep(0.005)


@pytest.mark.parametrize(("revision", "direction", "held_table", "written_table"), BUSY)
def test_a_busy_table_is_migrated_without_blocking_writers(
    platform: str, revision: str, direction: str, held_table: str, written_table: str, tmp_path: Path
) -> None:
    if not named_server(family(platform)).supports_for_update:
        return  # One writer at a time holds the whole file: the migration waits for the lock before it begins.
    if revision != REVISIONS[-1] and not named_server(family(platform)).transactional_ddl:
        return  # Each statement stands by itself: none keeps a lock while the next one waits.
    command = command_for(platform, revision, direction)
    lock_wait_seconds = 0.05 if family(platform) == "postgres" else 1
    # MariaDB adds the unchecked key without touching its parent, if it comes before the transaction is old.
    may_pass = (family(platform), held_table, direction) == ("mariadb", "users", "up")
    met = tmp_path / "met"
    met.touch()
    with held(platform, held_table):
        deployer = commands.start(command, lambda: note_calls(execute_module, "_pause", met))
        with Writer(platform, written_table) as writer, Writer(platform, "project_audit") as unaffected:
            often = met.stat().st_size + MEETINGS
            wait_until(
                lambda: (
                    len(writer.seconds) > 10
                    and (met.stat().st_size >= often or (may_pass and revision in history(platform)))
                ),
                "the deployer has met the table often",
            )
        if not may_pass:
            assert (revision in history(platform)) == (direction == "down"), "the table was not in the way"
    ended = deployer.wait()
    assert ended.code == 0, ended.words
    assert (revision in history(platform)) == (direction == "up")
    print(f"{family(platform)}, {revision} {direction}: longest write {max(writer.seconds):.3f} s")
    # A machine that stands still stops the other writer too.
    assert max(writer.seconds) < lock_wait_seconds + SLACK_SECONDS + max(unaffected.seconds)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_table_lock_timeout_names_the_blocking_session(platform: str, direction: str) -> None:
    if not named_server(family(platform)).supports_for_update:
        return  # See above.
    revision = REVISIONS[-1]
    command = command_for(platform, revision, direction, "--lock-timeout", "2")
    before: Snapshot = definitions(platform)
    with held(platform, "projects") as number:
        ended = commands.run(command)
        assert ended.code == 2, ended.words
    assert f"{revision}: step" in ended.words
    assert "kept a table locked for 2 s" in ended.words
    assert f"session {number} " in ended.words
    if family(platform) != "mariadb":
        assert "projects" in ended.words.partition(f"session {number} ")[2]
    assert definitions(platform) == before
    succeed(command)
