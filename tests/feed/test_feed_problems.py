"""Comments that cannot be right are reported: orphans, cycles, and parents on another post."""

import pytest
from feed_rows import a_post

import engagement_db as edb
from engagement_db import FeedComment
from engagement_db.orm.models import verb_update
from engagement_db.testing import make_user


@pytest.fixture
def ada(database):
    return make_user("ada")


def reparent(comment, parent):
    verb_update(FeedComment, {"parent": parent}).where(FeedComment.id == comment.id).execute()


def kinds():
    problems = edb.find_feed_problems()
    assert edb.find_problems() == problems, "one call finds them all"
    return [(problem.kind, problem.id) for problem in problems]


def test_nothing_is_reported_where_all_is_well(ada):
    root = FeedComment.reply(a_post(ada), ada, "root")
    FeedComment.reply(root.post, ada, "reply", parent=root)
    assert edb.find_feed_problems() == []


def test_a_cycle_of_replies_is_reported_once_without_the_replies_below_it(ada):
    post = a_post(ada)
    first, second, third = (FeedComment.reply(post, ada, str(number)) for number in range(3))
    reparent(first, second)
    reparent(second, first)
    reparent(third, second)
    assert kinds() == [("cycle", first.id)]
    (problem,) = edb.find_feed_problems()
    assert f"parentId is one of {first.id}, {second.id}, expected no cycle of replies" in str(problem)
    reparent(first, None)
    assert kinds() == []
    reparent(first, first)
    assert kinds() == [("cycle", first.id)]


def test_a_parent_with_a_higher_id_alone_is_no_problem(ada):
    post = a_post(ada)
    first, second = (FeedComment.reply(post, ada, str(number)) for number in range(2))
    reparent(first, second)
    assert kinds() == []


def test_a_parent_on_another_post_is_reported(ada):
    comment, other = (FeedComment.reply(a_post(ada), ada, "root") for _ in range(2))
    reparent(other, comment)
    assert kinds() == [("foreign_parent", other.id)]


def test_a_comment_whose_post_is_gone_is_reported(server, database, ada):
    comment = FeedComment.reply(a_post(ada), ada, "root")
    off, on = {
        "sqlite": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
        "postgres": ("SET session_replication_role = replica", "SET session_replication_role = origin"),
    }.get(server.name, ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1"))
    database.execute_sql(off)
    database.execute_sql("DELETE FROM feed_posts")
    database.execute_sql(on)
    assert kinds() == [("orphan", comment.id)]


@pytest.mark.parametrize("limit", [0, 1001, "5"], ids=repr)
def test_a_limit_out_of_bounds_is_refused(database, limit):
    with pytest.raises(edb.RefusedValue, match="from 1 to 1000"):
        edb.find_feed_problems(limit)
