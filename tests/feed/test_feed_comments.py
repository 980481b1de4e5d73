"""Comments: replies, threads, soft deletion, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from feed_rows import a_post, logged_actions
from playhouse.test_utils import count_queries

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment
from engagement_db.orm.models import verb_update
from engagement_db.testing import make_user

MOMENT = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def ada(database):
    return make_user("ada")


@pytest.fixture
def post(ada):
    return a_post(ada)


@pytest.fixture
def say(post, ada):
    """Return a function that comments on the post, all comments within one moment unless told otherwise."""

    def say(body, parent=None, seconds=0):
        comment = FeedComment.reply(post, ada, body, parent=parent)
        comment.created_at = MOMENT + timedelta(seconds=seconds)
        comment.save()
        return comment

    return say


def outline(thread):
    """Return a thread as text: a comment's depth and body, a placeholder as a dash."""
    return " ".join(f"{entry.depth}{entry.comment.body or '-'}" for entry in thread.entries)


def test_a_reply_refers_to_its_parent_and_is_logged(post, ada):
    comment = FeedComment.reply(post, ada, "first", metadata={"lang": "en"})
    answer = FeedComment.reply(post.id, ada.id, "second", parent=comment)
    row = FeedComment.get_by_id(answer.id)
    assert (row.post_id, row.user_id, row.parent_id, row.body) == (post.id, ada.id, comment.id, "second")
    assert FeedComment.get_by_id(comment.id).metadata == {"lang": "en"}
    entries = list(FeedActivityLog.history(post))
    assert [(entry.action, entry.comment_id, entry.metadata) for entry in entries] == [
        ("comment_added", answer.id, {"parentId": comment.id}),
        ("comment_added", comment.id, None),
    ]


def test_a_reply_to_a_comment_on_another_post_is_refused(post, ada):
    elsewhere = FeedComment.reply(a_post(ada), ada, "elsewhere")
    with pytest.raises(edb.Refused, match=f"comment {elsewhere.id} belongs to post {elsewhere.post_id}"):
        FeedComment.reply(post, ada, "here", parent=elsewhere)
    assert FeedComment.select().count() == 1
    assert logged_actions() == ["comment_added"]


def test_a_reply_to_a_deleted_comment_is_refused(post, ada, say):
    comment = say("a")
    comment.soft_delete(ada, "spam")
    with pytest.raises(edb.Refused, match=f"comment {comment.id} is deleted; restore it"):
        say("b", comment)
    comment.restore(ada)
    assert say("b", comment).parent_id == comment.id


def test_a_comment_cannot_reply_to_itself(say):
    comment = say("a")
    comment.parent = comment
    with pytest.raises(edb.Protected, match=f"feed_comments.parentId of feed_comments {comment.id}"):
        comment.save()
    assert FeedComment.get().parent_id is None


@pytest.mark.parametrize("missing", ["feed_posts", "users", "feed_comments"])
def test_a_reply_to_or_of_what_does_not_exist_is_refused(post, ada, missing):
    arguments = {"post": post, "user": ada, "parent": None}
    arguments[{"feed_posts": "post", "users": "user", "feed_comments": "parent"}[missing]] = 10**6
    with pytest.raises(edb.NotFound, match=f"{missing} 1000000 does not exist"):
        FeedComment.reply(body="hello", **arguments)
    assert FeedComment.select().count() == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("x" * 2**20, "1,048,576 bytes; at most 65,535"),
        ("\U0001f600" * 17_000, "68,000 bytes"),
        ("a\x00b", "NUL"),
        ("\ud800", "surrogate"),
        (None, "a value is required"),
        (7, "is not text"),
        (b"bytes", "is not text"),
    ],
    ids=["a megabyte", "many emoji", "NUL", "half a pair", "nothing", "a number", "bytes"],
)
def test_a_body_that_does_not_fit_is_refused(post, ada, body, reason):
    with pytest.raises(edb.RefusedValue, match=f"feed_comments.body: .*{reason}"):
        FeedComment.reply(post, ada, body)
    assert FeedComment.select().count() == 0


def test_deletion_keeps_the_row_and_records_who_and_why(ada, say):
    comment = say("a")
    bob = make_user("bob")
    assert comment.soft_delete(bob, "spam") is True
    row = FeedComment.get_by_id(comment.id)
    assert row.deleted_at == comment.deleted_at
    assert row.updated_at > comment.created_at
    (entry,) = FeedActivityLog.by_action("comment_deleted")
    assert (entry.actor_id, entry.comment_id, entry.post_id) == (bob.id, comment.id, comment.post_id)
    assert entry.metadata == {"reason": "spam"}


def test_deleting_or_restoring_twice_returns_that_nothing_changed(ada, say):
    comment = say("a")
    assert comment.restore(ada) is False
    assert comment.soft_delete(ada, "spam") is True
    deleted_at = comment.deleted_at
    assert comment.soft_delete(ada, "more spam") is False
    assert FeedComment.get().deleted_at == comment.deleted_at == deleted_at
    assert comment.restore(None, "a mistake") is True
    assert comment.restore(ada) is False
    assert FeedComment.get().deleted_at is comment.deleted_at is None
    assert logged_actions() == ["comment_added", "comment_deleted", "comment_restored"]


def test_deleting_what_does_not_exist_is_refused(ada, say):
    comment = say("a")
    FeedComment.delete().execute()
    with pytest.raises(edb.NotFound, match=f"feed_comments {comment.id} does not exist"):
        comment.soft_delete(ada, "spam")


def test_deletion_by_an_unknown_user_changes_nothing(say):
    comment = say("a")
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        comment.soft_delete(10**6, "spam")
    assert FeedComment.get().deleted_at is comment.deleted_at is None


@pytest.mark.parametrize("reason", ["", "x" * 1001, None, 7], ids=["empty", "long", "none", "a number"])
def test_a_deletion_needs_a_reason_of_reasonable_length(ada, say, reason):
    comment = say("a")
    with pytest.raises(edb.RefusedValue, match="a reason is a text of 1 to 1000 characters"):
        comment.soft_delete(ada, reason)
    assert FeedComment.get().deleted_at is None


def test_live_leaves_deleted_comments_out(ada, say):
    kept, removed = say("kept"), say("removed")
    removed.soft_delete(ada, "spam")
    assert list(FeedComment.live()) == [kept]
    assert list(FeedComment.live(FeedComment.body).where(FeedComment.id > 0).tuples()) == [("kept",)]
    assert FeedComment.select().count() == 2


def test_the_comments_of_a_post_come_in_pages_without_the_deleted_ones(post, ada, say):
    comments = [say(letter, seconds=second // 2) for second, letter in enumerate("abcde")]
    comments[1].soft_delete(ada, "spam")
    first = FeedComment.of_post(post, limit=3)
    assert [comment.body for comment in first] == ["e", "d", "c"]
    assert [comment.body for comment in FeedComment.of_post(post, after=first.next_cursor)] == ["a"]
    assert [comment.body for comment in FeedComment.of_post(post, with_deleted=True)] == [
        "e",
        "d",
        "c",
        "b",
        "a",
    ]


def test_a_thread_is_read_depth_first_with_siblings_by_age(post, say):
    late = say("late", seconds=9)
    early = say("early", seconds=1)
    say("deep", say("reply", early, seconds=20), seconds=30)
    say("twin1", early, seconds=10)
    say("twin2", early, seconds=10)
    say("after", late, seconds=40)
    with count_queries() as counted:
        thread = FeedComment.thread(post)
    assert counted.count == 1
    assert outline(thread) == "1early 2twin1 2twin2 2reply 3deep 1late 2after"
    assert thread.complete


def test_a_thread_holds_the_comments_of_its_own_post_only(post, ada, say):
    say("here")
    FeedComment.reply(a_post(ada), ada, "elsewhere")
    assert outline(FeedComment.thread(post)) == "1here"
    assert outline(FeedComment.thread(10**6)) == ""


def test_a_thread_has_every_column_of_a_comment(post, ada):
    FeedComment.reply(post, ada, "a", metadata={"mood": ["good"]})
    (entry,) = FeedComment.thread(post).entries
    assert entry.comment == FeedComment.get()
    assert entry.comment.metadata == {"mood": ["good"]}
    assert entry.comment.created_at == FeedComment.get().created_at


def test_a_deleted_comment_is_a_placeholder_while_it_has_a_live_reply(post, ada, say):
    root = say("root")
    child = say("child", root)
    grandchild = say("grandchild", child)
    say("other")
    root.soft_delete(ada, "spam")
    child.soft_delete(ada, "spam")
    thread = FeedComment.thread(post)
    assert outline(thread) == "1- 2- 3grandchild 1other"
    assert [entry.is_placeholder for entry in thread.entries] == [True, True, False, False]
    grandchild.soft_delete(ada, "spam")
    assert outline(FeedComment.thread(post)) == "1other"
    grandchild.restore(ada)
    root.restore(ada)
    assert outline(FeedComment.thread(post)) == "1root 2- 3grandchild 1other"


def test_a_placeholder_shows_no_text(post, ada):
    secret = FeedComment.reply(post, ada, "secret", metadata={"secret": True})
    FeedComment.reply(post, ada, "reply", parent=secret)
    secret.soft_delete(ada, "spam")
    placeholder = FeedComment.thread(post).entries[0].comment
    assert (placeholder.id, placeholder.body, placeholder.metadata) == (secret.id, None, None)


def test_replies_to_a_removed_comment_move_up(post, say):
    root = say("root")
    say("reply", root)
    FeedComment.delete().where(FeedComment.id == root.id).execute()
    assert outline(FeedComment.thread(post)) == "1reply"


def test_a_thread_ends_at_its_depth(post, say):
    parent = None
    for depth in range(1, 6):
        parent = say(f"x{depth}", parent)
    assert outline(FeedComment.thread(post, depth=3)) == "1x1 2x2 3x3"
    assert outline(FeedComment.thread(post, depth=5)) == "1x1 2x2 3x3 4x4 5x5"


def test_a_thread_cut_short_keeps_the_parent_of_every_row(post, say):
    first = say("a", seconds=1)
    say("deep", say("b", first, seconds=2), seconds=3)
    say("c", seconds=4)
    thread = FeedComment.thread(post, limit=3)
    assert outline(thread) == "1a 2b 1c"
    assert not thread.complete
    assert FeedComment.thread(post, limit=4).complete


def test_deleted_comments_that_show_nothing_do_not_use_the_limit_up(post, ada, say):
    for number in range(5):
        say(f"spam{number}").soft_delete(ada, "spam")
    say("live")
    thread = FeedComment.thread(post, limit=1)
    assert outline(thread) == "1live"
    assert thread.complete


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"depth": 0}, "depth: 0 .* from 1 to 50"),
        ({"depth": 51}, "depth: 51 .* from 1 to 50"),
        ({"limit": 0}, "limit: 0 .* from 1 to 1000"),
        ({"limit": 10**9}, "limit: 1000000000 .* from 1 to 1000"),
    ],
    ids=repr,
)
def test_bounds_of_a_thread_are_checked(post, bounds, reason):
    with pytest.raises(edb.RefusedValue, match=f"feed_comments.{reason}"):
        FeedComment.thread(post, **bounds)


def chain(say, length, start=None):
    """Return comments each of which replies to the one before."""
    found = []
    for number in range(1, length + 1):
        found.append(say(f"x{number}", found[-1] if found else start, seconds=number))
    return found


def more(thread):
    """Return the bodies of the entries that have more replies than the thread shows."""
    return [entry.comment.body or "-" for entry in thread.entries if entry.has_more]


def test_a_thread_that_its_depth_cuts_off_is_not_complete(post, say):
    comments = chain(say, 5)
    cut = FeedComment.thread(post, depth=3)
    assert (outline(cut), more(cut), cut.complete, cut.next_cursor) == ("1x1 2x2 3x3", ["x3"], False, None)
    below = FeedComment.thread(under=comments[2])
    assert (outline(below), more(below), below.complete) == ("1x4 2x5", [], True)
    assert FeedComment.thread(post, depth=5).complete


def test_a_thread_below_a_comment_has_its_replies_only(post, ada, say):
    root = say("root")
    reply = say("reply", root)
    say("deep", reply)
    say("other", say("sibling"))
    assert outline(FeedComment.thread(under=root)) == outline(FeedComment.thread(post, under=root.id)) == "1reply 2deep"
    assert outline(FeedComment.thread(under=FeedComment.get(body="deep"))) == ""
    with pytest.raises(edb.NotFound, match="under: feed_comments 1000000 does not exist"):
        FeedComment.thread(under=10**6)
    with pytest.raises(edb.RefusedValue, match=f"comment {root.id} belongs to post {post.id}, not to post"):
        FeedComment.thread(a_post(ada), under=root)
    with pytest.raises(edb.RefusedValue, match="a value is required"):
        FeedComment.thread()


def everything_in(post, limit, depth, under=None):
    """Return all comments of a thread, read as far as cursors and entries with more lead."""
    bodies, after = [], None
    while True:
        thread = FeedComment.thread(post, under=under, depth=depth, limit=limit, after=after)
        for entry in thread.entries:
            bodies.append(entry.comment.body)
            if entry.has_more:
                shown = {other.comment.id for other in thread.entries}
                rest = everything_in(post, limit, depth, entry.comment)
                bodies += [body for body in rest if FeedComment.get(body=body).id not in shown]
        assert thread.complete == (thread.next_cursor is None and more(thread) == [])
        if thread.next_cursor is None:
            return bodies
        after = thread.next_cursor


@pytest.mark.parametrize(("limit", "depth"), [(1, 1), (2, 1), (3, 2), (2, 50), (5, 3), (100, 2), (100, 50)])
def test_what_a_thread_cuts_off_can_be_read_by_cursor_and_below_comments(post, say, limit, depth):
    said = [say(f"r{number}", seconds=number // 2) for number in range(4)]
    for parent, number in [(0, 0), (0, 1), (0, 2), (2, 3), (4, 4), (4, 5), (8, 6), (10, 7), (3, 8)]:
        said.append(say(f"c{number}", said[parent], seconds=10 + number))
    assert set(everything_in(post, limit, depth)) == {comment.body for comment in said}


def test_a_cursor_of_a_thread_continues_with_later_comments_of_the_first_level(post, say):
    for number in range(5):
        say(f"{number}", seconds=number // 2)
    first = FeedComment.thread(post, limit=2)
    assert outline(first) == "10 11"
    say("late", seconds=20)
    second = FeedComment.thread(post, limit=2, after=first.next_cursor)
    assert outline(second) == "12 13"
    assert outline(FeedComment.thread(post, limit=2, after=second.next_cursor)) == "14 1late"
    with pytest.raises(edb.RefusedValue, match="belongs to the pages of thread, not of comments"):
        FeedComment.of_post(post, after=first.next_cursor)


def test_a_placeholder_stays_while_live_replies_are_cut_off_below_it(post, ada, say):
    root, _, _ = chain(say, 3)
    root.soft_delete(ada, "spam")
    for thread in (FeedComment.thread(post, depth=1), FeedComment.thread(post, limit=1)):
        assert (outline(thread), more(thread), thread.complete) == ("1-", ["-"], False)


def test_comments_bring_their_authors(post, ada, say):
    say("a", say("b"))
    FeedComment.reply(post, make_user("bob"), "c")
    with count_queries() as counted:
        names = [entry.comment.user.first_name for entry in FeedComment.thread(post).entries]
        names += [comment.user.first_name for comment in FeedComment.of_post(post)]
    assert counted.count == 2
    assert names == ["ada", "ada", "bob", "bob", "ada", "ada"]


def test_a_cycle_among_parents_ends_no_thread_and_no_recursion(post, say):
    first, second, third = chain(say, 3)
    verb_update(FeedComment, {"parent": second}).where(FeedComment.id == first.id).execute()
    say("other")
    assert outline(FeedComment.thread(post)) == "1other"
    assert outline(FeedComment.thread(under=first)) == "1x2 2x3"
    assert outline(FeedComment.thread(under=third)) == ""


def test_roots_are_pages_of_comments_on_the_post_with_their_replies_counted(post, ada, say):
    first, second = say("first", seconds=1), say("second", seconds=2)
    answer = say("answer", first, seconds=3)
    say("deep", answer, seconds=4)
    say("spam", first, seconds=5).soft_delete(ada, "spam")
    say("other", first, seconds=6)
    with count_queries() as counted:
        entries = FeedComment.roots(post).entries()
        assert [(entry.comment.body, entry.reply_count, entry.author.first_name) for entry in entries] == [
            ("second", 0, "ada"),
            ("first", 2, "ada"),
        ]
    assert counted.count == 2
    page = FeedComment.roots(post, limit=1)
    assert [comment.id for comment in page] == [second.id]
    assert [comment.id for comment in FeedComment.roots(post, limit=1, after=page.next_cursor)] == [first.id]
    assert FeedComment.roots(10**6).entries() == []


def test_a_deleted_root_is_listed_without_its_text_while_it_has_replies(post, ada, say):
    root, lonely = say("root"), say("lonely")
    say("reply", root)
    for comment in (root, lonely):
        comment.soft_delete(ada, "spam")
    (entry,) = FeedComment.roots(post).entries()
    assert (entry.comment.id, entry.comment.body, entry.is_placeholder, entry.reply_count) == (root.id, None, True, 1)
    assert [comment.body for comment in FeedComment.roots(post)] == [None]


def test_roots_of_a_post_that_the_viewer_may_not_see_are_none(ada):
    hidden = a_post(ada, visibility="connections")
    comment = FeedComment.reply(hidden, ada, "secret")
    assert list(FeedComment.roots(hidden, viewer=None)) == []
    assert list(FeedComment.roots(hidden, viewer=ada)) == [comment]
