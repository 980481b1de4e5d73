"""A rollback that rewrites no table, where the server has such a way; what it leaves is the same."""

import contextlib
import os

import pymysql
import pytest
from commands import FIRST_THREE, run
from independent_catalog import everything, history, unlike
from platform_database import build, execute, family

from engagement_db.orm.urls import open_database
from engagement_db.schema import runner

pytestmark = pytest.mark.usefixtures("first_three")


@pytest.fixture
def migrated(url):
    """A database with all revisions, and everything that it had before the last."""
    build(url)
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database, to=FIRST_THREE[1])
        before = everything(url)
        runner.migrate(database)
        execute(url, 'UPDATE projects SET "ownerId" = 1, "updatedAt" = "updatedAt" WHERE id < 9')
        yield database, before


def test_it_leaves_what_the_atomic_one_leaves(migrated, url):
    _, before = migrated
    ended = run(["engagement-db", "rollback", "--online", "--discard-rows", "--database", url])
    assert ended.code == 0, ended.words
    assert unlike(before, everything(url)) == {}
    assert history(url) == list(FIRST_THREE[:2])
    assert ("changing only the description of projects" in ended.words) == (family(url) == "mysql")


def test_without_it_mysql_says_what_the_rewrite_costs_and_what_the_other_way_is(migrated, url):
    if family(url) != "mysql":
        pytest.skip("only MySQL rewrites a table to drop a column")
    database, before = migrated
    lines = []
    runner.rollback(database, discard_rows=True, report=lines.append)
    (cost,) = [line for line in lines if "rewriting projects in one atomic statement" in line]
    assert " rows and " in cost
    assert "--online" in cost
    assert unlike(before, everything(url)) == {}


@pytest.mark.parametrize("online", [True, False], ids=["online", "atomic"])
def test_a_run_killed_between_its_statements_is_finished_by_the_next(migrated, url, online, monkeypatch):
    if family(url) != "mysql":
        pytest.skip("elsewhere it is one statement, or one transaction")
    database, before = migrated
    sent = []
    execute_sql = database.execute_sql

    def die_before_the_second(sql, *rest):
        if sql.startswith("ALTER TABLE"):
            sent.append(sql)
            if len(sent) == 2:
                raise KeyboardInterrupt
        return execute_sql(sql, *rest)

    monkeypatch.setattr(database, "execute_sql", die_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        runner.rollback(database, discard_rows=True, online=True)
    monkeypatch.setattr(database, "execute_sql", execute_sql)
    assert "DROP INDEX" in sent[0]
    assert sent[1].endswith("DROP COLUMN `ownerId`, ALGORITHM=INSTANT")
    assert history(url) == list(FIRST_THREE)
    assert runner.rollback(database, discard_rows=True, online=online) == (FIRST_THREE[2],)
    assert unlike(before, everything(url)) == {}
    assert history(url) == list(FIRST_THREE[:2])


def test_a_table_whose_row_versions_are_used_up_is_rewritten(migrated, url):
    if family(url) != "mysql":
        pytest.skip("only MySQL has row versions")
    if not os.environ.get("ENGAGEMENT_DB_EVERY_POINT"):
        pytest.skip("it takes hundreds of changes to use them up; ENGAGEMENT_DB_EVERY_POINT=1 makes them")
    database, _ = migrated
    changes = [f"ALTER TABLE projects {change} COLUMN spare" for change in ("ADD", "DROP")]
    instantly = (f"{changes[0]} INT, ALGORITHM=INSTANT", f"{changes[1]}, ALGORITHM=INSTANT")
    with pytest.raises(pymysql.err.OperationalError, match="Maximum row versions"):
        execute(url, *instantly * 128)
    lines = []
    assert runner.rollback(database, discard_rows=True, online=True, report=lines.append) == (FIRST_THREE[2],)
    assert any("rebuilds the table while writes continue" in line for line in lines)
