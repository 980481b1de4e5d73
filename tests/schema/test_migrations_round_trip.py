"""Applying and rolling back on a live platform: the platform's own objects stay exactly as they were."""

import contextlib
import itertools
from pathlib import Path

import pytest
from commands import copy_scripts, pw_migrate
from independent_catalog import everything, rows, snapshot, unlike
from peewee_migrate import Router
from peewee_migrate.models import MigrateHistory
from platform_database import PROJECTS, build, execute, query

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.schema import check, runner, script_files
from engagement_db.schema.compare import differences
from engagement_db.schema.revision import declared
from engagement_db.schema.steps import AddColumn
from engagement_db.schema.stub_tables import create_stub_tables

REVISIONS = script_files.names()
OWN_TABLES = {model._meta.table_name for model in edb.MODELS} - {"users", "projects", "gigs"}

# What a careful operator's server tells every session.
CUT_SHORT = "sql_safe_updates = 1, group_concat_max_len = 4, sql_select_limit = 1"


@pytest.fixture
def platform_url(url: str) -> str:
    build(url)
    return url


def fill_our_tables(url: str) -> None:
    execute(
        url,
        "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (2, 'two')",
        'INSERT INTO feed_comments ("postId", "userId", body) VALUES (1, 2, \'first\')',
        'INSERT INTO feed_activity_logs ("postId", "actorId", action) VALUES (1, 2, \'comment\')',
        "INSERT INTO escrow_accounts (\"userId\", provider) VALUES (1, 'bank')",
        'INSERT INTO escrow_transactions ("accountId", reference, amount, "initiatedById", "projectId", '
        "\"gigId\") VALUES (1, 'r-1', 12.5, 1, 3, 4)",
        'INSERT INTO dispute_cases ("escrowTransactionId", "openedById", "reasonCode", summary) '
        "VALUES (1, 1, 'late', 'It is late.')",
        'INSERT INTO dispute_events ("disputeCaseId", "actorId") VALUES (1, 1)',
        'UPDATE projects SET "ownerId" = 5, "updatedAt" = "updatedAt" WHERE id <= 40',
    )


def test_each_way_passes_the_same_schemas(platform_url: str) -> None:
    passed = [everything(platform_url)]
    with contextlib.closing(open_database(platform_url)) as database:
        for revision in REVISIONS:
            assert runner.migrate(database, to=revision) == (revision,)
            passed.append(everything(platform_url))
        assert all(unlike(before, after) for before, after in itertools.pairwise(passed))
        for revision, expected in zip(reversed(REVISIONS), reversed(passed[:-1]), strict=True):
            assert runner.rollback(database) == (revision,)
            assert unlike(expected, everything(platform_url)) == {}
        assert runner.migrate(database) == REVISIONS
    assert unlike(passed[-1], everything(platform_url)) == {}


def test_sessions_that_were_set_otherwise_pass_the_same_schemas(server, platform_url: str) -> None:
    contrary = {
        "postgres": {"options": "-c quote_all_identifiers=on"},
        "mariadb": {"init_command": f"SET SESSION sql_mode = 'ORACLE', {CUT_SHORT}"},
        "mysql": {"init_command": f"SET SESSION sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', {CUT_SHORT}"},
    }
    before = everything(platform_url)
    with contextlib.closing(open_database(platform_url, **contrary.get(server.name, {}))) as database:
        runner.migrate(database)
        assert list(check.detect_drift(database, declared(runner.load()), [])) == []
        migrated = everything(platform_url)
        runner.rollback(database, to=script_files.BASE)
    assert unlike(before, everything(platform_url)) == {}
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database)
    assert unlike(migrated, everything(platform_url)) == {}


def test_rows_everywhere_and_the_platform_comes_through_untouched(platform_url: str) -> None:
    before = everything(platform_url)
    rows_before = rows(platform_url)
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database)
        fill_our_tables(platform_url)
        assert len(query(platform_url, 'SELECT id FROM projects WHERE "ownerId" = 5')) == 40
        # Until its column is gone again, projects has one value more in each row.
        for revision in reversed([script_files.BASE, *REVISIONS[:2]]):
            runner.rollback(database, to=revision, discard_rows=True)
            now = rows(platform_url)
            assert {table: now[table] for table in rows_before} == rows_before
    assert unlike(before, everything(platform_url)) == {}


def test_nothing_of_the_platform_changes_but_the_new_column(platform_url: str) -> None:
    before = everything(platform_url)
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database, to="002_trust_payments")
        assert unlike(before, everything(platform_url)).keys() & before.keys() == {"inspected tables"}
        runner.migrate(database)
    after = everything(platform_url)
    changed = unlike(before, after).keys() & before.keys() - {"inspected tables"}
    # SQLite's view over `*` has the new column too; elsewhere a view's columns are settled when it is made.
    assert {name for name in changed if name.split()[-1] not in ("projects", "open_projects")} == set()
    assert [row[:-1] for row in after["rows of projects"]] == before["rows of projects"]


def test_keys_are_alive_after_a_round_trip(platform_url: str) -> None:
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database)
        runner.rollback(database, count=len(REVISIONS))
    members = query(platform_url, 'SELECT COUNT(*) FROM project_members WHERE "projectId" = 7')[0][0]
    assert members > 0
    execute(platform_url, "DELETE FROM projects WHERE id = 7")
    assert query(platform_url, 'SELECT COUNT(*) FROM project_members WHERE "projectId" = 7') == [(0,)]
    # The trigger has seen it, and the counter goes on behind the row that was deleted long ago.
    assert query(platform_url, 'SELECT COUNT(*) FROM project_audit WHERE "projectId" = 7') == [(1,)]
    execute(platform_url, "INSERT INTO projects (title) VALUES ('next')")
    assert query(platform_url, "SELECT MAX(id) FROM projects") == [(PROJECTS + 1,)]


def test_the_key_of_revision_three_lives(platform_url: str) -> None:
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database)
    execute(
        platform_url,
        'INSERT INTO users (id, "firstName", "lastName", email, password) '
        "VALUES (900, 'Ada', 'Byron', 'ada@example.org', '')",
        'UPDATE projects SET "ownerId" = 900 WHERE id = 9',
        "UPDATE users SET id = 901 WHERE id = 900",
    )
    assert query(platform_url, 'SELECT "ownerId" FROM projects WHERE id = 9') == [(901,)]
    execute(platform_url, "DELETE FROM users WHERE id = 901")
    assert query(platform_url, 'SELECT "ownerId" FROM projects WHERE id = 9') == [(None,)]


def test_models_and_migrations_make_the_same_tables(server, url: str) -> None:
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        runner.migrate(database)
    other_url = server.create_database()
    try:
        with contextlib.closing(edb.connect(other_url)) as database:
            database.create_tables(edb.MODELS)
        migrated, created = snapshot(url), snapshot(other_url)
    finally:
        server.drop_database(other_url)
    # SQLite keeps the text: ALTER TABLE writes a key beside its column, CREATE TABLE after all columns. Its
    # own list of keys, which is compared too, says that they are the same.
    added = {step.table for revision in runner.load() for step in revision.steps if isinstance(step, AddColumn)}
    of_text = {"inspected foreign keys of projects"} | {f"table {table}" for table in added}
    spelled_otherwise = of_text if server.name == "sqlite" else set()
    assert unlike(migrated, created).keys() == spelled_otherwise


def test_create_auto_finds_no_change(tmp_path: Path, url: str) -> None:
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        runner.migrate(database)
    scripts = copy_scripts(tmp_path)
    names, before = sorted(scripts.glob("*.py")), snapshot(url)
    created = pw_migrate(tmp_path, "create", "--auto", "--auto-source", "engagement_db", "--database", url, "later")
    assert created.code == 0, created.words
    assert "Traceback" not in created.words
    assert "No changes found" in created.words
    assert sorted(scripts.glob("*.py")) == names
    assert unlike(before, snapshot(url)) == {}


def test_the_library_sees_no_difference_either(platform_url: str) -> None:
    with contextlib.closing(open_database(platform_url)) as database:
        runner.migrate(database)
        reader = servers.read(database)
        contract = declared(runner.load())
        found = [
            str(difference) for name in OWN_TABLES for difference in differences(contract[name], reader.table(name))
        ]
    assert set(contract) == OWN_TABLES | {"users", "projects", "gigs"}
    assert found == []


def test_a_router_in_code_migrates_the_same(platform_url: str, tmp_path) -> None:
    scripts = copy_scripts(tmp_path)
    before = everything(platform_url)
    with contextlib.closing(open_database(platform_url)) as database:
        # peewee-migrate's own model keeps the first database that it met in this process.
        MigrateHistory.bind(database)
        router = Router(database, migrate_dir=scripts)
        assert router.run() == list(REVISIONS)
        migrated = everything(platform_url)
        assert runner.status(database).applied == REVISIONS
        for _ in REVISIONS:
            Router(database, migrate_dir=scripts).rollback()
        assert unlike(before, everything(platform_url)) == {}
        runner.migrate(database)
    assert unlike(migrated, everything(platform_url)) == {}
