"""SQLite files and folders that cannot be written, and file systems without shared memory."""

import contextlib
import sqlite3

import permissions
import pytest
from commands import start
from platform_database import family

from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files
from engagement_db.schema.stub_tables import create_stub_tables

ADVICE = "to write the file, its folder and the files beside it"


@pytest.fixture
def file(url, tmp_path):
    """A file with the platform's tables and revision 001, in a folder of its own."""
    if family(url) != "sqlite":
        pytest.skip("only SQLite's databases are files")
    path = tmp_path / "folder" / "platform.db"
    path.parent.mkdir()
    with contextlib.closing(open_database(f"sqlite:///{path}")) as database:
        create_stub_tables(database)
        runner.migrate(database, to="001")
    yield path
    path.parent.chmod(0o755)


def engagement_db(command, url):
    return start(["engagement-db", *command, "--database", url], permissions.heed).wait()


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize("unwritable", ["file", "folder"])
def test_what_cannot_be_written_is_named_and_read_where_possible(file, journal, unwritable):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    (file if unwritable == "file" else file.parent).chmod(0o555)
    before = file.read_bytes()
    for command in (["migrate"], ["rollback", "--discard-rows"]):
        ended = engagement_db(command, f"sqlite:///{file}")
        assert ended.code == 2
        assert "Traceback" not in ended.words
        assert ADVICE in " ".join(ended.words.split())
    ended = engagement_db(["status"], f"sqlite:///{file}")
    if (journal, unwritable) == ("WAL", "folder"):
        # SQLite reads no such file without its shared memory beside it.
        assert ADVICE in " ".join(ended.words.split())
    else:
        assert ended.code == 1, ended.words
        assert f"1 applied, {len(script_files.names()) - 1} pending" in ended.stdout
    assert file.read_bytes() == before
    file.parent.chmod(0o755)
    for path in file.parent.iterdir():
        path.chmod(0o644)
    assert engagement_db(["migrate"], f"sqlite:///{file}").code == 0


def test_a_file_system_without_shared_memory(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    # This way of SQLite to reach files has no shared memory, as some network file systems have none.
    with contextlib.closing(open_database(f"sqlite:///file:{file}%3Fvfs=unix-dotfile?uri=true")) as database:
        assert database.execute_sql("PRAGMA journal_mode").fetchone() == ("delete",)
        assert runner.migrate(database) == script_files.names()[1:]
        runner.rollback(database, to=script_files.BASE)
