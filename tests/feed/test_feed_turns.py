"""How often each verb and query of the feed waits for the server, BEGIN and COMMIT included."""

import pytest
import turns
from feed_rows import a_post

import engagement_db as edb
from engagement_db import FeedComment, FeedPost, FeedReaction, FeedShare
from engagement_db.testing import make_user

# At most, on every server.
VERBS = {
    "react, new": 5,
    "react, change": 5,
    "react, same": 3,
    "react, new, with a viewer": 6,
    "toggle, off": 5,
    "unreact": 5,
    "unreact, none": 3,
    "reply to the post": 4,
    "reply to a comment": 4,
    "soft_delete": 5,
    "soft_delete, again": 4,
    "restore": 5,
    "share": 4,
    "publish": 4,
    "edit a post": 5,
    "edit a post, same": 3,
    "edit a comment": 5,
}
QUERIES = {
    "a timeline": 1,
    "a viewer's timeline": 2,
    "a viewer's timeline with entries": 3,
    "a thread": 1,
    "the comments of a post": 1,
    "roots with entries": 2,
    "the summary": 1,
}


@pytest.fixture
def counter(database, url_of_tables):
    with turns.counted(url_of_tables) as counter:
        yield counter
    edb.bind(database)


def calls():
    """Return each call with the rows that it needs already there."""
    ada, bob, cleo = make_user("ada"), make_user("bob"), make_user("cleo")
    post = a_post(ada)
    for user in (bob, cleo):
        FeedReaction.react(post, user, "like")
    comment, spam, again = (FeedComment.reply(post, bob, "hello") for _ in range(3))
    again.soft_delete(ada, "spam")
    return {
        "react, new": lambda: FeedReaction.react(post, ada, "like"),
        "react, change": lambda: FeedReaction.react(post, bob, "love"),
        "react, same": lambda: FeedReaction.react(post, bob, "like"),
        "react, new, with a viewer": lambda: FeedReaction.react(post, ada, "like", viewer=ada, connections=[bob]),
        "toggle, off": lambda: FeedReaction.toggle(post, bob, "like"),
        "unreact": lambda: FeedReaction.unreact(post, bob),
        "unreact, none": lambda: FeedReaction.unreact(post, ada),
        "reply to the post": lambda: FeedComment.reply(post, ada, "hello"),
        "reply to a comment": lambda: FeedComment.reply(post, ada, "hello", parent=comment),
        "soft_delete": lambda: spam.soft_delete(ada, "spam"),
        "soft_delete, again": lambda: again.soft_delete(ada, "spam"),
        "restore": lambda: again.restore(ada),
        "share": lambda: FeedShare.share(post, ada, "mail"),
        "a timeline": lambda: [entry.user.email for entry in FeedPost.timeline()],
        "a viewer's timeline": lambda: list(FeedPost.timeline(viewer=ada, connections=[bob, cleo])),
        "a viewer's timeline with entries": lambda: FeedPost.timeline(viewer=ada, connections=[bob]).entries(),
        "a thread": lambda: FeedComment.thread(post),
        "the comments of a post": lambda: list(FeedComment.of_post(post)),
        "roots with entries": lambda: FeedComment.roots(post).entries(),
        "publish": lambda: FeedPost.publish(ada, "hello"),
        "edit a post": lambda: post.edit(by=ada, content="better"),
        "edit a post, same": lambda: post.edit(by=ada, content=post.content),
        "edit a comment": lambda: comment.edit(by=ada, body="better"),
        "the summary": lambda: FeedReaction.summary([post]),
    }


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_waits_for_the_server_at_most_so_often(counter, name):
    assert counter.of(calls()[name]) <= VERBS[name]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_waits_for_the_server_at_most_so_often(counter, name):
    assert counter.of(calls()[name]) <= QUERIES[name]


def test_all_calls_have_a_limit(database):
    assert set(calls()) == set(VERBS) | set(QUERIES)
