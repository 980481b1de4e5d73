"""PostgreSQL with several schemas in the search_path: a name means what a SELECT finds by it."""

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from commands import run
from platform_database import execute, family, query

import engagement_db as edb
from engagement_db.schema import script_files

pytestmark = pytest.mark.usefixtures("first_three")


@dataclass(frozen=True)
class Path:
    """A search_path, the schema in it that has the platform's tables, and the one that gets the library's."""

    schemas: str
    platform: str
    ours: str


PATHS = (
    Path("app", "app", "app"),
    Path("tenant, app", "app", "tenant"),
    Path("nowhere, app, decoy", "app", "app"),
    Path("tenant, app, decoy", "app", "tenant"),
)


@pytest.fixture(params=PATHS, ids=lambda path: path.schemas)
def path(request, url):
    """A search_path in a database where schemas outside it, or late in it, have tables of the same names."""
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL has a search_path")
    execute(url, "CREATE SCHEMA app", "CREATE SCHEMA tenant", "CREATE SCHEMA decoy")
    for table in ("users", "projects", "gigs"):
        texts = '"firstName" TEXT, "lastName" TEXT, email TEXT' if table == "users" else "title TEXT"
        times = '"createdAt" TIMESTAMPTZ DEFAULT now(), "updatedAt" TIMESTAMPTZ DEFAULT now()'
        execute(
            url,
            f"CREATE TABLE app.{table} (id SERIAL PRIMARY KEY, {texts}, description TEXT, status TEXT, {times})",
            f'CREATE TABLE decoy.{table} (id UUID PRIMARY KEY, "ownerId" TEXT)',
            f"CREATE TABLE public.{table} (id UUID PRIMARY KEY)",
        )
    execute(url, "CREATE TABLE decoy.migratehistory (id SERIAL, name TEXT)", "CREATE TABLE public.feed_posts (id TEXT)")
    return request.param


@pytest.fixture
def here(path, url):
    """The URL of the database with that search_path."""
    return f"{url}?options={quote(f'-c search_path={path.schemas}'.replace(', ', ','))}"


def tables(url, schema):
    found = query(url, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    return {name for (name,) in found}


def test_a_name_means_what_a_select_finds(path, here, url):
    if "decoy" in path.schemas:
        execute(url, "DROP TABLE decoy.migratehistory")
    strange = {schema: tables(url, schema) for schema in ("public", "decoy")}
    assert run(["engagement-db", "migrate", "--database", here]).code == 0
    assert {"feed_posts", "dispute_events", "migratehistory"} <= tables(url, path.ours)
    owners = "SELECT table_schema FROM information_schema.columns WHERE column_name = 'ownerId'"
    assert query(url, f"{owners} AND table_schema <> 'decoy'") == [(path.platform,)]
    assert {schema: tables(url, schema) for schema in strange} == strange
    for command in ("status", "check"):
        ended = run(["engagement-db", command, "--database", here])
        assert ended.code == 0, ended.words
    database = edb.connect(here)
    with database.connection_context():
        edb.verify()
        ada = edb.User.create(first_name="Ada", last_name="", email="")
        assert edb.FeedPost.publish(ada, "here").id == 1
    execute(url, f"ALTER SEQUENCE {path.ours}.feed_activity_logs_id_seq RESTART")
    ended = run(["engagement-db", "check", "--database", here])
    assert "feed_activity_logs.id: its sequence gives 1 next" in ended.stdout, ended.words
    execute(url, f"TRUNCATE {path.ours}.feed_posts CASCADE", f"DELETE FROM {path.ours}.migratehistory")
    ended = run(["engagement-db", "adopt", "--database", here])
    assert ended.code == 0, ended.words
    ended = run(["pw_migrate", "list", "--directory", str(script_files.scripts_directory()), "--database", here])
    assert ended.code == 0, ended.words
    ended = run(["engagement-db", "rollback", "--to", "0", "--discard-rows", "--database", here])
    assert ended.code == 0, ended.words
    assert not {"feed_posts", "dispute_events"} & tables(url, path.ours)
    types = query(url, "SELECT typname FROM pg_type WHERE typname LIKE 'enum_%'")
    assert types == []
    assert {schema: tables(url, schema) for schema in strange} == strange


def test_a_history_that_a_select_finds_counts(path, here, url):
    if "decoy" not in path.schemas:
        pytest.skip("its schema is not in this path")
    execute(url, f"INSERT INTO decoy.migratehistory (name) VALUES ('{script_files.names()[0]}')")
    assert "[x] 001_feed_engagement" in run(["engagement-db", "status", "--database", here]).stdout
