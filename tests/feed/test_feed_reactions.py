"""Reactions: one row for a post and a user, and an answer that says what changed."""

from collections import Counter

import pytest
from feed_rows import a_post, logged_actions
from playhouse.test_utils import count_queries

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedReaction, ReactionType
from engagement_db.testing import make_user


@pytest.fixture
def ada(database):
    return make_user("ada")


@pytest.fixture
def post(ada):
    return a_post(ada)


def test_a_first_reaction_is_added(post, ada):
    change = FeedReaction.react(post, ada, ReactionType.LOVE)
    assert change.changed
    assert (change.previous, change.current) == (None, ReactionType.LOVE)
    assert FeedReaction.get() == change.reaction
    assert FeedReaction.get().reaction_type is ReactionType.LOVE


def test_a_reaction_is_a_like_by_default(post, ada):
    assert FeedReaction.react(post, ada).reaction.reaction_type is ReactionType.LIKE


def test_another_reaction_changes_the_row_and_its_time(post, ada):
    first = FeedReaction.react(post, ada, "like").reaction
    change = FeedReaction.react(post.id, ada.id, "support")
    assert change.changed
    assert change.previous is ReactionType.LIKE
    (row,) = FeedReaction.select()
    assert (row.id, row.reaction_type) == (first.id, ReactionType.SUPPORT)
    assert row.created_at == FeedReaction.get_by_id(first.id).created_at
    assert row.updated_at > first.updated_at


def test_the_same_reaction_again_changes_nothing_and_logs_nothing(post, ada):
    FeedReaction.react(post, ada, "like")
    before = FeedReaction.get()
    change = FeedReaction.react(post, ada, "like")
    assert not change.changed
    assert change.previous is ReactionType.LIKE
    assert FeedReaction.get().updated_at == before.updated_at
    assert logged_actions() == ["reaction_added"]


def test_unreact_returns_whether_there_was_a_reaction(post, ada):
    FeedReaction.react(post, ada)
    assert FeedReaction.unreact(post, ada) is True
    assert FeedReaction.unreact(post.id, ada.id) is False
    assert FeedReaction.unreact(10**6, 10**6) is False
    assert FeedReaction.select().count() == 0
    assert logged_actions() == ["reaction_added", "reaction_removed"]


def test_unreact_leaves_the_reactions_of_others_alone(post, ada):
    bob = make_user("bob")
    other = a_post(bob)
    for target, user in ((post, ada), (post, bob), (other, ada)):
        FeedReaction.react(target, user)
    FeedReaction.unreact(post, ada)
    assert {(row.post_id, row.user_id) for row in FeedReaction.select()} == {
        (post.id, bob.id),
        (other.id, ada.id),
    }


def test_toggle_sets_the_reaction_and_removes_the_same_one(post, ada):
    changes = [FeedReaction.toggle(post, ada, kind) for kind in ("like", "love", "love", "love")]
    assert [(change.previous, change.current) for change in changes] == [
        (None, ReactionType.LIKE),
        (ReactionType.LIKE, ReactionType.LOVE),
        (ReactionType.LOVE, None),
        (None, ReactionType.LOVE),
    ]
    assert all(change.changed for change in changes)
    assert [row.reaction_type for row in FeedReaction.select()] == [ReactionType.LOVE]
    assert logged_actions() == ["reaction_added", "reaction_changed", "reaction_removed", "reaction_added"]


def test_toggle_refuses_what_react_refuses(post, ada):
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        FeedReaction.toggle(post, 10**6)
    with pytest.raises(edb.RefusedValue, match="feed_reactions.reactionType"):
        FeedReaction.toggle(post, ada, "hate")
    assert logged_actions() == []


def test_each_change_of_a_reaction_is_in_the_log(post, ada):
    FeedReaction.react(post, ada, "like")
    FeedReaction.react(post, ada, "love")
    FeedReaction.unreact(post, ada)
    entries = list(FeedActivityLog.history(post))
    assert [(entry.action, entry.metadata) for entry in entries] == [
        ("reaction_removed", {"reactionType": "love"}),
        ("reaction_changed", {"reactionType": "love", "previousType": "like"}),
        ("reaction_added", {"reactionType": "like"}),
    ]
    assert {(entry.actor_id, entry.post_id) for entry in entries} == {(ada.id, post.id)}


def test_the_summary_counts_by_type(post, ada):
    bob = make_user("bob")
    quiet = a_post(bob)
    FeedReaction.react(post, ada, "love")
    FeedReaction.react(post, bob, "love")
    FeedReaction.react(quiet, ada, "like")
    with count_queries() as counted:
        summary = FeedReaction.summary([post, quiet.id, 10**6])
    assert counted.count == 1
    assert summary == {
        post.id: Counter({ReactionType.LOVE: 2}),
        quiet.id: Counter({ReactionType.LIKE: 1}),
        10**6: Counter(),
    }


def test_the_summary_of_nothing_asks_nothing(database):
    with count_queries() as counted:
        assert FeedReaction.summary([]) == {}
    assert counted.count == 0


def test_the_summary_of_more_than_200_posts_is_refused(database):
    with pytest.raises(edb.RefusedValue, match="201 rows are too many"):
        FeedReaction.summary(range(1, 202))


@pytest.mark.parametrize("missing", ["feed_posts", "users"])
def test_a_reaction_to_or_of_what_does_not_exist_is_refused(post, ada, missing):
    target, user = (10**6, ada) if missing == "feed_posts" else (post, 10**6)
    with pytest.raises(edb.NotFound, match=f"{missing} 1000000 does not exist; nothing was changed"):
        FeedReaction.react(target, user)
    assert FeedReaction.select().count() == 0
    assert logged_actions() == []


@pytest.mark.parametrize("wrong", ["hate", "", "LIKE", 1, None], ids=repr)
def test_a_reaction_of_an_unknown_type_is_refused(post, ada, wrong):
    with pytest.raises(edb.RefusedValue, match="feed_reactions.reactionType"):
        FeedReaction.react(post, ada, wrong)
    assert FeedReaction.select().count() == 0


@pytest.mark.parametrize("wrong", [None, "x", 1.5, True, 2**63, -(2**63) - 1, object], ids=str)
def test_a_reaction_to_what_is_no_id_is_refused(ada, wrong):
    with pytest.raises(edb.RefusedValue, match="feed_reactions.postId"):
        FeedReaction.react(wrong, ada)
    with pytest.raises(edb.RefusedValue, match="feed_reactions.postId"):
        FeedReaction.unreact(wrong, ada)


def test_a_row_of_the_wrong_kind_or_not_yet_saved_is_refused(post, ada):
    with pytest.raises(edb.RefusedValue, match="is not an id"):
        FeedReaction.react(ada, ada)
    with pytest.raises(edb.RefusedValue, match="is not stored yet"):
        FeedReaction.react(edb.FeedPost(user=ada, content="draft"), ada)


def test_a_verb_inside_a_transaction_is_undone_with_it(database, post, ada):
    with pytest.raises(ZeroDivisionError), database.atomic():
        FeedReaction.react(post, ada)
        raise ZeroDivisionError
    assert FeedReaction.select().count() == 0
    assert logged_actions() == []


def test_a_refused_verb_leaves_the_transaction_around_it_usable(database, post, ada):
    with database.atomic():
        FeedReaction.react(post, ada)
        with pytest.raises(edb.NotFound):
            FeedReaction.react(10**6, ada)
        FeedReaction.react(a_post(ada), ada)
    assert FeedReaction.select().count() == 2


def test_a_verb_whose_log_entry_fails_changes_nothing(database, post, ada, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("the log is full")

    monkeypatch.setattr(FeedActivityLog, "record", fail)
    with pytest.raises(OSError, match="the log is full"):
        FeedReaction.react(post, ada)
    assert FeedReaction.select().count() == 0
