"""A post's life: publish, edit, remove; comments edited; each in the log."""

import pytest
from feed_rows import a_post, logged_actions

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment, FeedPost, FeedReaction, FeedShare, Visibility
from engagement_db.testing import make_user


@pytest.fixture
def ada(database):
    return make_user("ada")


def newest():
    entry = FeedActivityLog.select().order_by(FeedActivityLog.id.desc()).get()
    return entry.action, entry.actor_id, entry.post_id, entry.comment_id, entry.metadata


def test_publishing_adds_a_post_and_logs_it(ada):
    post = FeedPost.publish(ada, "Shipped!", visibility="connections", metadata={"lang": "en"})
    row = FeedPost.get_by_id(post.id)
    assert (row.user_id, row.content, row.visibility) == (ada.id, "Shipped!", Visibility.CONNECTIONS)
    assert row.metadata == {"lang": "en"}
    assert newest() == ("post_published", ada.id, post.id, None, {"visibility": "connections"})
    assert FeedPost.publish(ada.id, "Again").visibility is Visibility.PUBLIC


def test_publishing_for_an_unknown_author_or_blank_text_is_refused(ada):
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        FeedPost.publish(10**6, "hello")
    for content in ("", "  \n", None, 7):
        with pytest.raises(edb.RefusedValue, match="feed_posts.content"):
            FeedPost.publish(ada, content)
    for visibility in ("friends", None):
        with pytest.raises(edb.RefusedValue, match="feed_posts.visibility"):
            FeedPost.publish(ada, "hello", visibility=visibility)
    assert (FeedPost.select().count(), logged_actions()) == (0, [])


def test_editing_changes_what_is_given_and_logs_no_text(ada):
    bob, post = make_user("bob"), a_post(ada, "first", metadata={"a": 1})
    assert post.edit(by=bob, content="second", visibility="connections") is True
    row = FeedPost.get_by_id(post.id)
    assert (row.content, row.visibility, row.metadata) == ("second", Visibility.CONNECTIONS, {"a": 1})
    assert (post.content, post.visibility, post.updated_at) == (row.content, row.visibility, row.updated_at)
    details = {"changed": ["content", "visibility"], "visibility": ["public", "connections"]}
    assert newest() == ("post_edited", bob.id, post.id, None, details)
    assert post.edit(by=None, metadata=None) is True
    assert newest() == ("post_edited", None, post.id, None, {"changed": ["metadata"]})
    assert post.edit(by=ada, content="second", metadata=None) is post.edit(by=ada) is False
    assert logged_actions() == ["post_edited"] * 2


def test_an_edit_that_does_not_fit_changes_nothing(ada):
    post = a_post(ada, "first")
    with pytest.raises(edb.RefusedValue, match="feed_posts.content"):
        post.edit(by=ada, content=" ")
    with pytest.raises(edb.RefusedValue, match="feed_posts.visibility"):
        post.edit(by=ada, visibility=None)
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        post.edit(by=10**6, content="second")
    assert FeedPost.get().content == post.content == "first"
    post.delete_instance()
    with pytest.raises(edb.NotFound, match=f"feed_posts {post.id} does not exist"):
        post.edit(by=ada, content="second")


def test_editing_a_comment_changes_it_and_logs_no_text(ada):
    comment = FeedComment.reply(a_post(ada), ada, "first")
    assert comment.edit(by=ada, body="second", metadata={"edited": True}) is True
    row = FeedComment.get()
    assert (row.body, row.metadata) == (comment.body, comment.metadata) == ("second", {"edited": True})
    details = {"changed": ["body", "metadata"]}
    assert newest() == ("comment_edited", ada.id, comment.post_id, comment.id, details)
    assert comment.edit(by=ada, body="second") is False
    with pytest.raises(edb.RefusedValue, match="feed_comments.body"):
        comment.edit(by=ada, body="\t")
    comment.soft_delete(ada, "spam")
    with pytest.raises(edb.Refused, match=f"comment {comment.id} is deleted; restore it before editing"):
        comment.edit(by=ada, body="third")
    assert FeedComment.get().body == "second"


def chain(post, user, length):
    parent = None
    for number in range(length):
        parent = FeedComment.reply(post, user, str(number), parent=parent)
    return parent


def test_removing_a_post_takes_all_that_belongs_to_it_and_keeps_the_log(ada):
    bob = make_user("bob")
    post, other = a_post(ada), a_post(ada)
    for target in (post, other):
        chain(target, bob, 6)
        FeedReaction.react(target, bob)
        FeedShare.share(target, bob, "mail")
    entries = FeedActivityLog.select().count()
    assert post.remove(by=bob) is True
    assert newest() == ("post_removed", bob.id, None, None, {"postId": post.id})
    assert FeedActivityLog.select().count() == entries + 1
    assert [row.id for row in FeedPost.select()] == [other.id]
    counts = [model.select().count() for model in (FeedComment, FeedReaction, FeedShare)]
    assert counts == [6, 1, 1]
    assert post.remove(by=bob) is False
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        other.remove(by=10**6)
    assert FeedComment.select().count() == 6


def test_erasing_a_feed_takes_what_the_user_did_and_keeps_what_others_did(ada):
    bob, cleo = make_user("bob"), make_user("cleo")
    mine, theirs = a_post(ada), a_post(bob)
    chain(mine, bob, 5)
    root = FeedComment.reply(theirs, ada, "mine")
    answer = FeedComment.reply(theirs, bob, "an answer", parent=root)
    for user in (ada, bob):
        FeedReaction.react(theirs, user)
        FeedShare.share(theirs, user, "mail")
    edb.erase_feed(ada, by=cleo)
    assert newest() == ("feed_erased", cleo.id, None, None, {"userId": ada.id})
    assert [row.id for row in FeedPost.select()] == [theirs.id]
    assert [(row.id, row.parent_id) for row in FeedComment.select()] == [(answer.id, None)]
    assert [row.user_id for row in FeedReaction.select()] == [row.user_id for row in FeedShare.select()] == [bob.id]
    assert FeedActivityLog.select().where(FeedActivityLog.actor == ada).count() == 0
    assert edb.User.select().where(edb.User.id == ada.id).exists()
    with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
        edb.erase_feed(10**6)


ERASURES = {
    "the post": lambda post, author, commenter: post.remove(by=None),
    "its author": lambda post, author, commenter: edb.erase_user(author),
    "its commenter": lambda post, author, commenter: edb.erase_user(commenter),
    "what the author did": lambda post, author, commenter: edb.erase_feed(author),
    "what the commenter did": lambda post, author, commenter: edb.erase_feed(commenter),
}


@pytest.mark.parametrize("what", ERASURES)
def test_replies_of_60_levels_are_erased_with(ada, what):
    bob = make_user("bob")
    posts = [a_post(ada) for _ in range(2)]
    for post in posts:
        chain(post, bob, 60)
    ERASURES[what](posts[0], ada, bob)
    assert FeedComment.select().count() == (60 if what == "the post" else 0)
    assert edb.find_feed_problems() == []


def test_erasing_a_user_deletes_the_user_too_unless_rows_that_are_kept_refer_to_them(ada):
    bob = make_user("bob")
    for user in (ada, bob):
        chain(a_post(user), user, 5)
    edb.EscrowAccount.open(bob, "stripe")
    edb.erase_user(ada)
    assert [row.id for row in edb.User.select()] == [bob.id]
    before = FeedComment.select().count(), FeedActivityLog.select().count()
    with pytest.raises(edb.Protected, match=f"users {bob.id} cannot be erased: .*1 of escrow_accounts by userId"):
        edb.erase_user(bob)
    assert (FeedComment.select().count(), FeedActivityLog.select().count()) == before


def test_an_interrupted_removal_is_finished_by_removing_again(ada, monkeypatch):
    from engagement_db.feed import erasure

    monkeypatch.setattr(erasure, "BATCH", 3)
    post = a_post(ada)
    chain(post, ada, 10)
    clear, calls = erasure._clear, []

    def fail_later(reference, key):
        calls.append(key)
        if len(calls) == 3:
            raise OSError("the power went")
        return clear(reference, key)

    monkeypatch.setattr(erasure, "_clear", fail_later)
    with pytest.raises(OSError, match="the power went"):
        post.remove(by=ada)
    assert FeedComment.select().count() == 4
    assert post.remove(by=ada) is True
    assert (FeedComment.select().count(), FeedPost.select().count()) == (0, 0)
