"""`engagement-db check --rows` names what is wrong in rows; on SQLite `check` alone names values in another form."""

import contextlib
import json
from collections.abc import Iterator

import commands
import escrow
import peewee
import pytest
from feed_rows import a_post
from platform_database import execute
from tampering import tamper

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.testing import make_user


@pytest.fixture
def database(url: str) -> Iterator[peewee.Database]:
    with contextlib.closing(open_database(url)) as database, edb.bind_ctx(database):
        create_stub_tables(database)
        runner.migrate(database)
        yield database


def check(url: str, *options: str) -> commands.Ended:
    return commands.run(["engagement-db", "check", "--database", url, *options])


def test_books_comments_and_labels_are_checked_in_one_call(url: str, database: peewee.Database) -> None:
    home = escrow.payment_in("funded").account
    comment = edb.FeedComment.reply(a_post(make_user()), make_user("bob"), "first")
    said = check(url, "--rows")
    assert (said.code, said.words.splitlines()[-1]) == (0, "No problems in rows.")

    tamper(home, current_balance=99)
    tamper(comment, parent=comment)
    assert check(url).code == 0, "rows are checked when that is asked for"
    said = check(url, "--rows")
    assert said.code == 1
    assert f"- escrow_accounts {home.id}: currentBalance is 99.0000, expected 100.0000 (balance). " in said.words
    assert f"- feed_comments {comment.id}: parentId is one of {comment.id}, expected no cycle" in said.words
    assert said.words.splitlines()[-1] == "2 problems in rows."
    found = json.loads(check(url, "--rows", "--json").stdout)
    assert [(row["table"], row["id"], row["found"]) for row in found["problems"]] == [
        ("escrow_accounts", home.id, "99.0000"),
        ("feed_comments", comment.id, f"one of {comment.id}"),
    ]


def test_rows_of_tables_that_lack_columns_are_left_alone(url: str, database: peewee.Database) -> None:
    runner.rollback(database, to="001_feed_engagement")
    said = check(url, "--rows")
    assert said.code == 1
    assert "Rows were not checked, because tables or columns are missing." in said.words
    assert json.loads(check(url, "--rows", "--json").stdout)["problems"] is None


@pytest.mark.parametrize("stored", ["'2024-08-01T10:00:00Z'", "1722506400"])
def test_a_time_that_does_not_sort_as_times_do_is_named_by_check(
    server: object, url: str, database: peewee.Database, stored: str
) -> None:
    payment = escrow.payment(escrow.account())
    post = a_post(make_user())
    assert check(url).code == 0
    if not isinstance(database, peewee.SqliteDatabase):
        pytest.skip("the columns of this server hold times only")
    execute(url, f'UPDATE escrow_transactions SET "scheduledReleaseAt" = {stored} WHERE id = {payment.id}')
    execute(url, f'UPDATE feed_posts SET "createdAt" = {stored} WHERE id = {post.id}')
    said = check(url)
    assert said.code == 1
    for place in (f"feed_posts {post.id}: createdAt", f"escrow_transactions {payment.id}: scheduledReleaseAt"):
        assert f"- {place} is {stored.strip(chr(39))}, expected a UTC time" in said.words
    assert said.words.splitlines()[-1] == "2 problems in rows."
