"""The stock `pw_migrate` with the library's scripts: which database it works on, what it prints, what it leaves."""

import contextlib
from pathlib import Path

import pytest
from commands import FIRST_THREE, Ended, copy_scripts, pw_migrate
from independent_catalog import everything, history, unlike
from peewee_migrate import Router
from platform_database import build, execute, query

from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files
from engagement_db.schema.stub_tables import create_stub_tables

REVISIONS = FIRST_THREE
pytestmark = pytest.mark.usefixtures("first_three")
FEED, TRUST, OWNER = REVISIONS

FOURTH = '''"""An index for a list that came later."""

from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_index
from engagement_db.tables import index

revision = Revision("004_later", add_index("feed_shares", index("channel"), name="feed_shares_later"))
migrate = revision.migrate
rollback = revision.rollback
'''

FOURTH_OF_STOCK = """def migrate(migrator, database, *, fake=False):
    table = migrator.orm["feed_shares"]._meta.table_name
    migrator.sql(f"CREATE INDEX feed_shares_later ON {table} (channel)")


def rollback(migrator, database, *, fake=False):
    migrator.sql("DROP INDEX feed_shares_later")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the scripts."""
    copy_scripts(tmp_path)
    return tmp_path


def succeeded(result: Ended) -> str:
    assert result.code == 0, result.words
    assert "Traceback" not in result.words
    return result.words


def test_pw_migrate_applies_and_rolls_back_every_revision(folder: Path, url: str) -> None:
    build(url)
    before = everything(url)
    words = succeeded(pw_migrate(folder, "migrate", "--database", url))
    assert [f"- [x] {revision}" in words for revision in REVISIONS] == [True, True, True]
    assert "add column projects.ownerId" in words
    migrated = everything(url)
    assert history(url) == list(REVISIONS)

    assert "- [x]" not in succeeded(pw_migrate(folder, "migrate", "--database", url))
    assert unlike(migrated, everything(url)) == {}

    words = succeeded(pw_migrate(folder, "rollback", "--count", "3", "--database", url))
    assert [f"Downgraded migration: {revision}" in words for revision in REVISIONS] == [True, True, True]
    assert unlike(before, everything(url)) == {}
    assert history(url) == []

    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
    assert unlike(migrated, everything(url)) == {}


def test_one_revision_at_a_time(folder: Path, url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database, to=FEED)
        feed = everything(url)
        runner.migrate(database)
        everything_applied = everything(url)
        runner.rollback(database, count=3)
    for name, expected in ((FEED, feed), (OWNER, everything_applied)):
        succeeded(pw_migrate(folder, "migrate", "--name", name, "--database", url))
        assert unlike(expected, everything(url)) == {}


def test_what_any_pending_revision_lacks_stops_the_first(folder: Path, url: str) -> None:
    build(url)
    execute(url, "ALTER TABLE gigs RENAME TO all_gigs")
    before = everything(url)
    result = pw_migrate(folder, "migrate", "--database", url)
    assert result.code == 1
    assert "the platform's table gigs is missing" in result.words
    assert "Traceback" not in result.words
    assert unlike(before, everything(url)) == {}
    assert history(url) == []


def test_a_rollback_names_what_an_interrupted_revision_left(folder: Path, url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
    execute(url, f"DELETE FROM migratehistory WHERE name = '{OWNER}'")
    before = everything(url)
    result = pw_migrate(folder, "rollback", "--database", url)
    assert result.code == 1
    assert f"revision {OWNER} is not applied, but the database has objects of it" in " ".join(result.words.split())
    assert unlike(before, everything(url)) == {}
    assert history(url) == [FEED, TRUST]


@pytest.mark.parametrize("script", [FOURTH, FOURTH_OF_STOCK], ids=["our steps", "peewee-migrate's own"])
def test_a_new_script_runs_after_the_applied_ones_were_replayed(folder: Path, url: str, script: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database, to=TRUST)
    before = everything(url)
    (folder / "migrations" / "004_later.py").write_text(script)
    words = succeeded(pw_migrate(folder, "migrate", "--database", url))
    assert f"- [x] {OWNER}" in words
    assert "- [x] 004_later" in words
    assert history(url) == [*REVISIONS, "004_later"]
    changed = unlike(before, everything(url))
    assert "inspected indexes of feed_shares" in changed
    assert not any("feed_posts" in name or "escrow" in name for name in changed)


def test_list_reads_only(folder: Path, url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database, to=TRUST)
    before = everything(url)
    words = succeeded(pw_migrate(folder, "list", "--database", url))
    assert words.index(f"- [x] {TRUST}") < words.index(f"- [ ] {OWNER}") < words.index("Done: 2, Pending: 1")
    assert unlike(before, everything(url)) == {}


def test_fake_only_writes_the_history(folder: Path, url: str) -> None:
    build(url)
    before = everything(url)
    succeeded(pw_migrate(folder, "migrate", "--fake", "--database", url))
    assert history(url) == list(REVISIONS)
    assert unlike(before, everything(url)) == {}


# Which database: one file each tells.


def test_with_no_configuration_it_makes_a_file(folder: Path) -> None:
    words = succeeded(pw_migrate(folder, "migrate"))
    assert all(f"- [x] {revision}" in words for revision in REVISIONS)
    url = f"sqlite:///{folder / 'engagement.db'}"
    assert history(url) == list(REVISIONS)
    # Stand-ins for the platform's tables are there, and a person may own a project.
    execute(
        url,
        "INSERT INTO users (\"firstName\", \"lastName\", email) VALUES ('Ada', 'L', 'a@example.org')",
        "INSERT INTO projects (title, \"ownerId\") VALUES ('one', 1)",
    )
    assert "- [x]" not in succeeded(pw_migrate(folder, "migrate"))


def test_database_url_beats_the_default_and_the_option_beats_both(folder: Path) -> None:
    from_variable, from_option = (f"sqlite:///{folder / name}" for name in ("variable.db", "option.db"))
    for url in (from_variable, from_option):
        build(url)
    succeeded(pw_migrate(folder, "migrate", "--database", from_option, DATABASE_URL=from_variable))
    assert history(from_option) == list(REVISIONS)
    assert query(from_variable, "SELECT name FROM sqlite_master WHERE name = 'migratehistory'") == []
    succeeded(pw_migrate(folder, "migrate", DATABASE_URL=from_variable))
    assert history(from_variable) == list(REVISIONS)
    assert not (folder / "engagement.db").exists()


def test_the_directory_may_be_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    succeeded(pw_migrate(elsewhere, "migrate", "--directory", str(script_files.scripts_directory())))
    assert history(f"sqlite:///{elsewhere / 'engagement.db'}") == list(REVISIONS)


def test_a_named_database_gets_no_stub_tables(folder: Path) -> None:
    """Only the default gets stub tables: a database that somebody named has to have the platform's tables."""
    url = f"sqlite:///{folder / 'named.db'}"
    result = pw_migrate(folder, "migrate", "--database", url)
    assert result.code == 1
    assert "the platform's table users is missing" in result.words
    assert query(url, "SELECT name FROM sqlite_master WHERE name = 'users'") == []


# What it says when it refuses.


def test_every_conflict_is_printed_without_a_traceback(folder: Path, url: str) -> None:
    build(url)
    execute(url, "CREATE TABLE feed_posts (id INTEGER PRIMARY KEY)")
    before = everything(url)
    result = pw_migrate(folder, "migrate", "--database", url)
    assert result.code == 1
    assert "Traceback" not in result.words
    for words in (
        "001_feed_engagement cannot be applied; nothing was changed",
        "feed_posts.userId: the column is missing",
        "feed_posts.content: the column is missing",
        "feed_posts.updatedAt: the column is missing",
        "Run `engagement-db adopt`",
    ):
        assert words in result.stderr
    assert unlike(before, everything(url)) == {}
    assert history(url) == []


def test_a_refused_rollback_prints_no_traceback(folder: Path, url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
    execute(url, 'CREATE VIEW owned_projects AS SELECT id, "ownerId" FROM projects')
    before = everything(url)
    result = pw_migrate(folder, "rollback", "--database", url)
    assert result.code == 1
    assert "Traceback" not in result.words
    assert "the view owned_projects depends on projects.ownerId" in result.stderr
    assert unlike(before, everything(url)) == {}
    assert history(url) == list(REVISIONS)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://somebody:geheim@127.0.0.1/x", "oracle"),
        ("postgresql://somebody:geheim@127.0.0.1:1/x", "the database reported"),
        ("mysql://somebody:geheim@127.0.0.1:1/x", "the database reported"),
        ("sqlite:////nowhere/at/all.db", "the database reported"),
    ],
)
def test_a_database_that_cannot_be_reached(folder: Path, url: str, words: str) -> None:
    result = pw_migrate(folder, "migrate", "--database", url)
    assert result.code == 1
    assert words in result.stderr
    assert "Traceback" not in result.words
    assert "geheim" not in result.words


def test_more_rollbacks_than_revisions(folder: Path) -> None:
    succeeded(pw_migrate(folder, "migrate"))
    url = f"sqlite:///{folder / 'engagement.db'}"
    before = everything(url)
    result = pw_migrate(folder, "rollback", "--count", "4")
    assert result.code == 1
    assert "cannot roll back 4 revisions: only 3 are applied. Nothing was changed." in result.stderr
    assert "Traceback" not in result.words
    assert unlike(before, everything(url)) == {}
    assert history(url) == list(REVISIONS)


def test_merge_is_refused_in_one_sentence(folder: Path, url: str) -> None:
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database)
    scripts = {path.name: path.read_text("utf-8") for path in (folder / "migrations").glob("*.py")}
    before = everything(url)
    result = pw_migrate(folder, "merge", "--database", url)
    assert result.code == 1
    assert "never merged. Nothing was changed." in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert {path.name: path.read_text("utf-8") for path in (folder / "migrations").glob("*.py")} == scripts
    assert unlike(before, everything(url)) == {}
    assert history(url) == list(REVISIONS)


def test_one_process_may_use_routers_and_the_runner_on_several_databases(tmp_path: Path) -> None:
    """peewee-migrate's history model is one for the whole process; the runner must not leave it on another database."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "second", "third")]
    databases = [open_database(url) for url in urls]
    for database, by_router in zip(databases, (True, False, True), strict=True):
        create_stub_tables(database)
        if by_router:
            Router(database, migrate_dir=script_files.scripts_directory()).run()
        else:
            runner.migrate(database)
    assert [history(url) for url in urls] == [list(script_files.names())] * 3
    for database in databases:
        database.close()
