"""Shares and the activity log: counts by channel, pages of entries, and entries that stay."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from feed_rows import a_post, logged_actions

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment, FeedReaction, FeedShare
from engagement_db.testing import make_user

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def ada(database):
    return make_user("ada")


@pytest.fixture
def post(ada):
    return a_post(ada)


def test_a_share_is_a_row_each_time_and_in_the_log(post, ada):
    first = FeedShare.share(post, ada, "mail", "look at this")
    second = FeedShare.share(post.id, ada.id, "mail")
    rows = FeedShare.select().order_by(FeedShare.id)
    assert [(row.id, row.channel, row.message) for row in rows] == [
        (first.id, "mail", "look at this"),
        (second.id, "mail", None),
    ]
    newest = FeedActivityLog.history(post)[0]
    assert (newest.action, newest.actor_id) == ("post_shared", ada.id)
    assert newest.metadata == {"channel": "mail", "shareId": second.id}


@pytest.mark.parametrize("missing", ["feed_posts", "users"])
def test_a_share_of_or_by_what_does_not_exist_is_refused(post, ada, missing):
    target, user = (10**6, ada) if missing == "feed_posts" else (post, 10**6)
    with pytest.raises(edb.NotFound, match=f"{missing} 1000000 does not exist"):
        FeedShare.share(target, user, "mail")
    assert FeedShare.select().count() == 0


@pytest.mark.parametrize("channel", ["x" * 61, "a\x00b", None, 7], ids=["long", "NUL", "none", "a number"])
def test_a_channel_that_does_not_fit_is_refused(post, ada, channel):
    with pytest.raises(edb.RefusedValue, match="feed_shares.channel"):
        FeedShare.share(post, ada, channel)
    assert logged_actions() == []


def test_shares_are_counted_by_channel_from_the_start_and_before_the_end(post, ada):
    for channel, seconds in (
        ("mail", -1),
        ("mail", 0),
        ("mail", 59),
        ("chat", 59),
        ("chat", 60),
        ("print", 5),
    ):
        FeedShare.create(post=post, user=ada, channel=channel, created_at=NOON + timedelta(seconds=seconds))
    counts = FeedShare.counts_by_channel(["mail", "chat", "fax"], NOON, NOON + timedelta(seconds=60))
    assert counts == Counter(mail=2, chat=1)
    assert counts["fax"] == 0


def test_a_time_that_others_spelled_shorter_counts_too(server, database, post, ada):
    share = FeedShare.share(post, ada, "mail")
    quote = database.quote
    column, key = (f"{quote[0]}{name}{quote[1]}" for name in ("createdAt", "id"))
    database.execute_sql(
        f"UPDATE feed_shares SET {column} = {database.param} WHERE {key} = {database.param}",
        ("2024-05-01 12:00:00", share.id),
    )
    second = timedelta(seconds=1)
    assert FeedShare.counts_by_channel(["mail"], NOON, NOON + second) == Counter(mail=1)
    assert FeedShare.counts_by_channel(["mail"], NOON - second, NOON) == Counter()


@pytest.mark.parametrize(
    ("channels", "since", "until", "reason"),
    [
        ([], NOON, NOON, "channels: 0 .* from 1 to 200"),
        (["x"] * 201, NOON, NOON, "channels: 201"),
        (["x"], NOON.replace(tzinfo=None), NOON, "naive"),
        (["x"], NOON, NOON.replace(tzinfo=None), "naive"),
        (["x"], NOON, NOON - timedelta(1), "ends before it starts"),
        (["x"], "yesterday", NOON, "is not a time"),
        (["x"], None, NOON, "a value is required"),
        ([7], NOON, NOON, "is not text"),
    ],
    ids=[
        "no channel",
        "many channels",
        "naive start",
        "naive end",
        "backwards",
        "text",
        "nothing",
        "no text",
    ],
)
def test_an_invalid_count_is_refused(database, channels, since, until, reason):
    with pytest.raises(edb.RefusedValue, match=reason):
        FeedShare.counts_by_channel(channels, since, until)


def test_the_log_is_read_by_post_by_actor_and_by_action(post, ada):
    bob = make_user("bob")
    other = a_post(bob)
    FeedReaction.react(post, bob)
    FeedShare.share(other, ada, "mail")
    FeedComment.reply(post, ada, "hello")
    assert [entry.action for entry in FeedActivityLog.history(post)] == ["comment_added", "reaction_added"]
    assert [entry.action for entry in FeedActivityLog.by_actor(ada.id)] == ["comment_added", "post_shared"]
    assert [entry.actor_id for entry in FeedActivityLog.by_action(edb.FeedAction.REACTION_ADDED)] == [bob.id]


@pytest.mark.parametrize("walk", ["history", "by_actor", "by_action"])
def test_the_log_comes_in_pages(post, ada, walk):
    for number in range(5):
        FeedActivityLog.record("noted", actor=ada, post=post, metadata=number)
    argument = {"history": post, "by_actor": ada, "by_action": "noted"}[walk]
    pages = getattr(FeedActivityLog, walk)
    first = pages(argument, limit=3)
    second = pages(argument, limit=3, after=first.next_cursor)
    assert [entry.metadata for entry in first] == [4, 3, 2]
    assert [entry.metadata for entry in second] == [1, 0]
    assert second.next_cursor is None
    assert [entry.metadata for entry in pages(argument, before=second.previous_cursor)] == [4, 3, 2]
    with pytest.raises(edb.RefusedValue, match="limit"):
        pages(argument, limit=201)


REWRITES = {
    "save": lambda entry: entry.save(),
    "delete_instance": lambda entry: entry.delete_instance(),
    "update": lambda entry: FeedActivityLog.update(action="forged").execute(),
    "set_by_id": lambda entry: FeedActivityLog.set_by_id(entry.id, {"action": "forged"}),
    "bulk_update": lambda entry: FeedActivityLog.bulk_update([entry], ["action"]),
    "delete": lambda entry: FeedActivityLog.delete().execute(),
    "delete_by_id": lambda entry: FeedActivityLog.delete_by_id(entry.id),
    "replace": lambda entry: FeedActivityLog.replace(id=entry.id, action="forged").execute(),
    "replace_many": lambda entry: FeedActivityLog.replace_many([{"id": entry.id, "action": "forged"}]).execute(),
    "on_conflict_replace": lambda entry: FeedActivityLog.insert(id=entry.id, action="forged").on_conflict_replace(),
    "on_conflict update": lambda entry: FeedActivityLog.insert(id=entry.id, action="forged").on_conflict(
        conflict_target=[FeedActivityLog.id], update={FeedActivityLog.action: "forged"}
    ),
    "insert_from": lambda entry: FeedActivityLog.insert_from(
        FeedActivityLog.select(FeedActivityLog.id, FeedActivityLog.action), ["id", "action"]
    ).on_conflict_replace(),
}


@pytest.mark.parametrize("way", REWRITES)
def test_an_entry_cannot_be_changed_or_removed_through_the_model(post, ada, way):
    entry = FeedActivityLog.record("noted", actor=ada, post=post)
    entry.action = "forged"
    with pytest.raises(edb.Refused, match="feed_activity_logs is append-only"):
        REWRITES[way](entry)
    assert logged_actions() == ["noted"]
    assert FeedActivityLog.get().post_id == post.id


def test_entries_are_added_in_every_other_way(post, ada):
    FeedActivityLog(action="saved").save()
    FeedActivityLog.insert_many([{"action": "many"}, {"action": "more"}]).execute()
    FeedActivityLog.bulk_create([FeedActivityLog(action="bulk")])
    FeedActivityLog.insert(action="inserted").on_conflict_ignore().execute()
    assert logged_actions() == ["saved", "many", "more", "bulk", "inserted"]


@pytest.mark.parametrize("recursive", [False, True])
def test_entries_outlive_the_post_the_comment_and_the_user(post, ada, recursive):
    bob = make_user("bob")
    comment = FeedComment.reply(post, bob, "hello")
    FeedShare.share(post, bob, "mail")
    post.delete_instance(recursive=recursive)
    bob.delete_instance(recursive=recursive)
    assert logged_actions() == ["comment_added", "post_shared"]
    for entry in FeedActivityLog.select():
        assert (entry.post_id, entry.comment_id, entry.actor_id) == (
            None,
            comment.id if entry.action == "comment_added" else None,
            None,
        )
    assert FeedComment.get_or_none(FeedComment.id == comment.id) is None


def test_a_repair_is_in_the_log_without_any_text(post, ada):
    bob, other = make_user("bob"), a_post(ada)
    comment = FeedComment.reply(post, ada, "hello")
    edb.repair(comment, by=bob, reason="wrong post", post=other, body="new words")
    entry = FeedActivityLog.history(post)[0]
    assert (entry.action, entry.actor_id, entry.comment_id) == ("row_repaired", bob.id, comment.id)
    assert entry.metadata == {
        "table": "feed_comments",
        "id": comment.id,
        "reason": "wrong post",
        "columns": {"post": [post.id, other.id], "body": None},
    }
    for row in (FeedReaction.react(post, ada).reaction, FeedShare.share(post, ada, "mail"), post):
        assert edb.repair(row, by=None, reason="wrong user", user=bob).changed
    assert logged_actions().count("row_repaired") == 4


def test_a_repair_makes_no_cycle_of_replies(post, ada):
    first = FeedComment.reply(post, ada, "1")
    second = FeedComment.reply(post, ada, "2", parent=first)
    third = FeedComment.reply(post, ada, "3", parent=second)
    for parent in (first, second, third):
        with pytest.raises(edb.Refused, match=f"comment {first.id} cannot be a reply to itself, nor"):
            edb.repair(first, by=ada, reason="a try", parent=parent)
    assert edb.repair(third, by=ada, reason="one up", parent=first).changed
    assert edb.find_feed_problems() == []
