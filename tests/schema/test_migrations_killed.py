"""A migration that is killed anywhere is finished by the same command, without a trace.

The command dies before and after each statement on the wire, in three ways: its connection is cut, it is
killed, the server is killed. What is left behind is finished by the same command: to the very catalog of a run
that nobody disturbed, with every row of the platform, and a history with each revision once.

Reading changes nothing, so a death before, between or after reads is the same death. Unless
ENGAGEMENT_DB_EVERY_POINT is set, the points around plain reads and session settings are left out. A server sees the
same of a killed process, of whichever command, and of a cut connection, so that these three take the rest in turns:
on MySQL and MariaDB, where each statement stands by itself, all of them; elsewhere an even sample, as for the
servers' deaths, which take seconds each. The summary of the run says how many points were taken, of how many.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import psycopg2
import pymysql
import pytest
import servers
import sqlite_statements
from commands import Ended, engagement_db_command, pw_migrate_command
from cut_proxy import CutProxy, Point
from independent_catalog import Snapshot, definitions, history, rows, unlike
from platform_database import build, execute, family, session
from waiting import wait_until

from engagement_db.schema import script_files
from engagement_db.servers import named as named_server

EVERY_POINT = bool(os.environ.get("ENGAGEMENT_DB_EVERY_POINT"))
REVISIONS = script_files.names()
CHANGES_NOTHING = ("SELECT", "SHOW", "SET", "PRAGMA")
# In each direction, of each way to die.
DEATHS, SERVER_DEATHS = 15, 6

Command = Callable[[str, str], list[str]]


def engagement_db(direction: str, url: str) -> list[str]:
    if direction == "up":
        return engagement_db_command("migrate", url)
    return engagement_db_command("rollback", url, "--to", script_files.BASE)


def pw_migrate(direction: str, url: str) -> list[str]:
    if direction == "up":
        return pw_migrate_command("migrate", url)
    # It knows only how many, so that the same command is the one for as many as are left.
    return pw_migrate_command("rollback", url, f"--count={len(history(url))}")


def state(url: str) -> Snapshot:
    """Every definition, every row, and the history."""
    return definitions(url) | rows(url) | {"history": history(url)}


@dataclass
class Ordeal:
    """A platform, and what it looks like after runs up and down that nobody disturbed."""

    url: str
    command: Command
    points: dict[str, list[Point]]
    undisturbed: dict[str, Snapshot]

    def is_finished_by_the_same_command(self, direction: str, died: Ended, point: Point) -> None:
        """Run the command again, and hold what is there against the run that nobody disturbed."""
        ended = commands.run(self.command(direction, self.url)) if self.has_more_to_do(direction) else Ended(0, "", "")
        assert ended.code == 0, f"{direction}, dead {point}:\n{died.words}\nAnd again:\n{ended.words}"
        differences = unlike(self.undisturbed[direction], state(self.url))
        assert not differences, f"{direction}, dead {point}:\n{died.words}\nAnd again:\n{ended.words}"

    def has_more_to_do(self, direction: str) -> bool:
        # pw_migrate fails with RuntimeError where nothing is left to roll back.
        return self.command is engagement_db or direction == "up" or bool(history(self.url))


@pytest.fixture
def platform(url: str, server: servers.Server) -> str:
    build(url)
    if server.can_be_killed:
        # PostgreSQL counts a sequence on by up to 32 when it recovers; after a checkpoint it knows better.
        server.stop()
        server.start()
    return url


def prove(
    platform: str,
    command: Command,
    way: str,
    die: Callable[[list[str], Point], Ended],
    count: Callable[[list[str]], list[str]],
    sample: int = DEATHS,
    turn: int = 0,
) -> str:
    """Die at every point, or a sample that begins ``turn`` points later, up and down in turns.

    Returns how many points that were.
    """
    before = state(platform)
    assert before["project_members"]
    points, undisturbed, possible = {}, {}, 0
    for direction in ("up", "down"):
        statements = count(command(direction, platform))
        points[direction] = chosen(statements, sample, turn)
        possible += 2 * len(statements)
        undisturbed[direction] = state(platform)
    ordeal = Ordeal(platform, command, points, undisturbed)
    assert undisturbed["up"]["history"] == list(REVISIONS)
    assert undisturbed["down"] == before
    began, died, finished = time.monotonic(), 0, 0
    while points["up"] or points["down"]:
        for direction in ("up", "down"):
            if points[direction]:
                point = points[direction].pop(0)
                ended = die(command(direction, platform), point)
                died += 1
                ordeal.is_finished_by_the_same_command(direction, ended, point)
                finished += 1
            else:
                assert commands.run(command(direction, platform)).code == 0
    seconds = time.monotonic() - began
    words = f"{family(platform)}, {way}: died at {died} of {possible} points, finished at {finished} ({seconds:.0f} s)"
    print(words)
    return words


def chosen(statements: list[str], sample: int, turn: int) -> list[Point]:
    """The points to die at: both sides of each statement, or a sample of those that change anything."""
    assert len(statements) > 20, statements
    points = [
        Point(number, side)
        for number, statement in enumerate(statements, 1)
        for side in ("before", "after")
        if EVERY_POINT or not statement.lstrip().upper().startswith(CHANGES_NOTHING)
    ]
    # An odd step takes both sides in turns.
    return points if EVERY_POINT else points[turn :: -(-len(points) // sample) | 1]


def on_the_wire(platform: str) -> Callable[[list[str]], list[str]]:
    def count(command: list[str]) -> list[str]:
        with CutProxy(platform) as proxy:
            deployer = commands.start(through(proxy, command))
            proxy.watch(deployer.process)
            ended = deployer.wait()
            assert ended.code == 0, ended.words
            return proxy.statements

    return count


def through(proxy: CutProxy, command: list[str]) -> list[str]:
    return [proxy.own_url if word == proxy.url else word for word in command]


def struck(platform: str, command: list[str], point: Point, strike: Callable[[commands.Deployer], None]) -> Ended:
    with CutProxy(platform) as proxy:
        deployer = commands.start(through(proxy, command))
        proxy.watch(deployer.process, point, lambda: strike(deployer))
        ended = deployer.wait()
        # MariaDB 10.11 has crashed of itself soon after a recovery: one more death to be finished after.
        assert proxy.was_struck or is_down(platform), f"{command} ended before it could die {point}:\n{ended.words}"
        return ended


def is_down(url: str) -> bool:
    try:
        history(url)
    except (psycopg2.OperationalError, pymysql.err.OperationalError):
        return True
    return False


@pytest.fixture(params=[engagement_db, pw_migrate], ids=["engagement-db", "pw_migrate"])
def command(request: pytest.FixtureRequest) -> Command:
    return request.param


def test_a_killed_migration_is_resumed(platform: str, command: Command, tmp_path: Path, record_property: Any) -> None:
    if family(platform) == "sqlite":
        numbers = iter(range(1_000_000))

        def count(words: list[str]) -> list[str]:
            statements = tmp_path / str(next(numbers))
            ended = commands.start(words, sqlite_statements.record(statements)).wait()
            assert ended.code == 0, ended.words
            return statements.read_text().splitlines()

        def die(words: list[str], point: Point) -> Ended:
            ended = commands.start(words, sqlite_statements.die_at(point.statement, point.side)).wait()
            assert ended.code == commands.KILLED, ended.words
            return ended
    else:
        count = on_the_wire(platform)

        def die(words: list[str], point: Point) -> Ended:
            ended = struck(platform, words, point, commands.Deployer.kill)
            assert ended.code == commands.KILLED, ended.words
            return ended

    turn = [engagement_db, pw_migrate].index(command)
    record_property("sample", prove(platform, command, f"{command.__name__}, killed", die, count, turn=turn))


def test_a_migration_whose_connection_was_cut_is_resumed(platform: str, record_property: Any) -> None:
    if family(platform) == "sqlite":
        return  # There is no connection to cut: the file is read and written in the process itself.

    def die(words: list[str], point: Point) -> Ended:
        ended = struck(platform, words, point, lambda deployer: None)
        assert "Traceback" not in ended.words, ended.words
        return ended

    count = on_the_wire(platform)
    record_property("sample", prove(platform, engagement_db, "connection cut", die, count, turn=2))


def test_a_migration_on_a_killed_server_is_resumed(platform: str, server: servers.Server, record_property: Any) -> None:
    if family(platform) == "sqlite":
        return  # There is no server to kill.
    if not server.can_be_killed:
        pytest.skip(f"{server.name} was given by its URL: only a throwaway server may be killed")

    def die(words: list[str], point: Point) -> Ended:
        ended = struck(platform, words, point, lambda deployer: server.kill())
        assert "Traceback" not in ended.words, ended.words
        server.start()
        return ended

    count = on_the_wire(platform)
    record_property("sample", prove(platform, engagement_db, "server killed", die, count, sample=SERVER_DEATHS))


def test_a_migration_killed_during_a_long_index_build_is_resumed(platform: str, server: servers.Server) -> None:
    if not named_server(server.name).builds_outside_transaction:
        return  # Elsewhere the build is inside of one statement that is undone as a whole.
    assert commands.run(engagement_db_command("migrate", platform, "--to", REVISIONS[1])).code == 0
    invalid = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('projects_owner_id_idx') AND NOT indisvalid"
    lock = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
    with session(platform) as other, session(platform) as watcher:
        other.ask("INSERT INTO projects (title) SELECT 'many' FROM generate_series(1, 200000)")
        # The column exists, as after an earlier interruption, so that the transaction blocks the build only.
        other.ask('ALTER TABLE projects ADD COLUMN "ownerId" INTEGER')
        before = rows(platform)["projects"]
        other.ask("BEGIN")
        other.ask("UPDATE projects SET title = title WHERE id = 1")
        deployer = commands.start(engagement_db_command("migrate", platform))
        wait_until(lambda: watcher.ask(invalid), "the index is being built")
        deployer.kill()
        assert deployer.wait().code == commands.KILLED
        # The server notices that nobody is there any more, though the build still waits.
        wait_until(lambda: not watcher.ask(lock), "the server has noticed")
        assert watcher.ask(invalid)
        other.ask("ROLLBACK")
        ended = commands.run(engagement_db_command("migrate", platform))
        assert ended.code == 0, ended.words
        assert not watcher.ask(invalid)
    assert "index projects_owner_id_idx" in definitions(platform)
    assert rows(platform)["projects"] == before
    assert history(platform) == list(REVISIONS)


def test_rows_left_unchecked_by_a_killed_run_are_checked_by_the_next(platform: str) -> None:
    if family(platform) not in ("mariadb", "mysql"):
        return  # Elsewhere the server itself knows which key it has not checked yet.
    migrate = engagement_db_command("migrate", platform)
    assert commands.run([*migrate, "--to", REVISIONS[1]]).code == 0
    execute(platform, 'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER')
    execute(platform, 'UPDATE projects SET "ownerId" = 987654 WHERE id = 7')
    point = Point("ALTER TABLE projects ADD CONSTRAINT", "after")
    assert struck(platform, migrate, point, commands.Deployer.kill).code == commands.KILLED
    ended = commands.run(migrate)
    assert ended.code != 0, ended.words
    assert "(first ids: 7)" in ended.words
    assert REVISIONS[2] not in history(platform)
    execute(platform, 'UPDATE projects SET "ownerId" = NULL WHERE id = 7')
    ended = commands.run(migrate)
    assert ended.code == 0, ended.words
    assert history(platform) == list(REVISIONS)
