"""What `engagement-db sql` prints, fed to the server's own client, does what `engagement-db migrate` does."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import FIRST_THREE, copy_scripts, run
from independent_catalog import everything, snapshot, unlike
from platform_database import build, execute, family
from revision_examples import EXAMPLES, OUR_ROWS
from servers import without_driver

from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.schema import history, preview, runner

DIALECTS = [dialect.name for dialect in servers.ALL]
REVISIONS = FIRST_THREE
pytestmark = pytest.mark.usefixtures("first_three")


def feed(url: str, script: str) -> str:
    """Run a script through the server's own client, and return what it says."""
    parts = urlsplit(url)
    place = parts.path.removeprefix("/")
    match family(url):
        case "sqlite":
            command = ["sqlite3", "-bail", place]
        case "postgres":
            command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", without_driver(url)]
        case _:
            client = shutil.which("mariadb") or "mysql"
            command = [client, "-N", "-h", str(parts.hostname), "-P", str(parts.port), "-u", "root", place]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(*options: str) -> str:
    ended = run(["engagement-db", "sql", *options])
    assert ended.code == 0, ended.words
    return ended.words


def recorded(url: str) -> list[str]:
    with contextlib.closing(open_database(url)) as database:
        return history.applied_names(database)


def test_printed_statements_create_and_drop_the_same_schema(url: str) -> None:
    build(url)
    before = everything(url)
    with contextlib.closing(open_database(url)) as database:
        dialect = servers.of(database).name
        assert statements(printed("--dialect", dialect)) == statements(printed("--database", url))
        runner.migrate(database)
        expected = everything(url)
        runner.rollback(database, count=len(REVISIONS))

    up = printed("--dialect", dialect)
    assert unlike(before, everything(url)) == {}
    feed(url, up)
    assert unlike(expected, everything(url)) == {}
    assert recorded(url) == list(REVISIONS)
    assert statements(printed("--database", url)) == statements(up)[: len(statements(up)) - len(changes(up))]

    execute(url, *OUR_ROWS)
    down = printed("--dialect", dialect, "--rollback")
    assert statements(down) == statements(printed("--database", url, "--rollback"))
    feed(url, down)
    assert unlike(before, everything(url)) == {}
    assert recorded(url) == []


def statements(script: str) -> list[str]:
    return [line for line in script.splitlines() if line and not line.startswith("--")]


def changes(script: str) -> list[str]:
    """The statements after the opening, which prepares the session and the history."""
    lines = script.splitlines()
    first = lines.index(f"-- {REVISIONS[0]}")
    return statements("\n".join(lines[first:]))


def test_a_partially_migrated_database_gets_only_the_missing_statements(url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
        expected = snapshot(url)
        runner.rollback(database)
        runner.migrate(database, to=REVISIONS[1])
    opening, revision = printed("--database", url).split(f"-- {REVISIONS[2]}")
    first = next(line for line in revision.splitlines() if "ADD COLUMN" in line)
    feed(url, opening + first)

    rest = printed("--database", url)
    assert first not in rest
    said = feed(url, rest + ("SELECT 'checks', @@foreign_key_checks;" if "foreign_key_checks" in rest else ""))
    assert unlike(expected, snapshot(url)) == {}
    assert recorded(url) == list(REVISIONS)
    if family(url) in ("mariadb", "mysql"):
        assert said.split() == ["checks", "1"]


def test_every_step_is_printed_as_it_is_made(url: str, tmp_path: Path) -> None:
    build(url)
    scripts = copy_scripts(tmp_path)
    for name, text in EXAMPLES.items():
        (scripts / f"{name}.py").write_text(text)
    revisions = runner.load(scripts)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
        execute(url, *OUR_ROWS)
        before = everything(url)
        runner.migrate(database, directory=scripts)
        expected = snapshot(url)
        runner.rollback(database, to=REVISIONS[-1], directory=scripts, discard_rows=True)

        dialect, live = servers.of(database), servers.read(database)
        up = lines(preview.script_up(dialect, revisions, live, REVISIONS))
        database.close()
        feed(url, up)
        assert unlike(expected, snapshot(url)) == {}
        assert recorded(url) == [revision.name for revision in revisions]
        with database.connection_context():
            live_down = lines(preview.script_down(dialect, revisions, servers.read(database)))
    feed(url, live_down.split(f"-- {REVISIONS[-1]}")[0].removesuffix("\n"))
    assert unlike(before, everything(url)) == {}


def lines(script: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in script)


def run_module(folder: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `engagement-db` in a process that has loaded nothing yet."""
    return subprocess.run(
        [sys.executable, "-m", "engagement_db.cli", *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("way", [(), ("--rollback",)], ids=["up", "down"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_printing_for_a_dialect_needs_neither_server_nor_driver(
    dialect: str, way: tuple[str, ...], tmp_path: Path
) -> None:
    for driver in ("psycopg2", "psycopg", "pymysql", "MySQLdb", "mysql"):
        (tmp_path / f"{driver}.py").write_text("raise ImportError('no driver here')\n")
    command = ["sql", "--dialect", dialect, *way]
    done = run_module(
        tmp_path, command, PYTHONPATH=str(tmp_path), DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert statements(done.stdout) == statements(run_module(tmp_path.parent, command).stdout)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".py"] * 5
    for revision in REVISIONS:
        assert f"-- {revision}" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dialect", "oracle"], "'oracle' is not a dialect; the names are sqlite, postgresql, mariadb, mysql."),
        (["--dialect", "mysql", "--database", "sqlite:///x.db"], "--database and --dialect are mutually exclusive"),
    ],
)
def test_what_cannot_be_printed_is_refused_in_words(options: list[str], words: str) -> None:
    ended = run(["engagement-db", "sql", *options])
    assert ended.code == 2
    assert words in ended.words
    assert "Traceback" not in ended.words
