"""Visibility fails closed: who sees which post, in timelines and through every verb that takes a viewer."""

import pytest
from feed_rows import a_post, logged_actions

import engagement_db as edb
from engagement_db import ANONYMOUS, EVERYTHING, FeedComment, FeedPost, FeedReaction, FeedShare, User
from engagement_db.testing import make_user


@pytest.fixture
def people(database):
    """Ada and Bob, each with a public post in capitals and one for connections; Cleo, who has none."""
    ada, bob, cleo = make_user("ada"), make_user("bob"), make_user("cleo")
    for author, letter in ((ada, "a"), (bob, "b")):
        a_post(author, letter.upper())
        a_post(author, letter, visibility="connections")
    return {"ada": ada, "bob": bob, "cleo": cleo}


VIEWS = {
    "nothing given": (lambda people: {}, "BA"),
    "none": (lambda people: {"viewer": None}, "BA"),
    "anonymous": (lambda people: {"viewer": ANONYMOUS}, "BA"),
    "everything": (lambda people: {"viewer": EVERYTHING}, "bBaA"),
    "an author": (lambda people: {"viewer": people["ada"]}, "BaA"),
    "an author who is their own connection": (
        lambda people: {"viewer": people["ada"], "connections": [people["ada"]]},
        "BaA",
    ),
    "a stranger": (lambda people: {"viewer": people["cleo"].id}, "BA"),
    "a connection": (lambda people: {"viewer": people["cleo"], "connections": [people["bob"]]}, "bBA"),
    "a connection by a query": (
        lambda people: {"viewer": people["cleo"], "connections": User.select().where(User.first_name == "bob")},
        "bBA",
    ),
    "everybody's connection": (
        lambda people: {"viewer": people["cleo"], "connections": (people[name].id for name in ("ada", "bob"))},
        "bBaA",
    ),
}


def contents(posts):
    return "".join(post.content for post in posts)


def pages(limit, arguments):
    """Return the contents of the pages forwards, and of those that lead back from the last one."""
    forwards = [FeedPost.timeline(limit=limit, **arguments())]
    while forwards[-1].next_cursor is not None:
        forwards.append(FeedPost.timeline(limit=limit, after=forwards[-1].next_cursor, **arguments()))
    backwards = [forwards[-1]]
    while list(backwards[-1]):
        backwards.append(FeedPost.timeline(limit=limit, before=backwards[-1].previous_cursor, **arguments()))
    return [contents(page) for page in forwards], [contents(page) for page in backwards[1:-1]]


@pytest.mark.parametrize("view", VIEWS)
def test_timeline_shows_the_posts_that_the_viewer_may_see(people, view):
    arguments, expected = VIEWS[view]
    assert contents(FeedPost.timeline(**arguments(people))) == expected
    forwards, backwards = pages(1, lambda: arguments(people))
    assert forwards == list(expected)
    assert backwards == forwards[-2::-1]
    assert FeedPost.timeline(**arguments(people)).count() == len(expected)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("visibility", list(edb.Visibility))
def test_timeline_of_one_visibility_shows_no_more(people, view, visibility):
    arguments, expected = VIEWS[view]
    wanted = [letter for letter in expected if letter.isupper() == (visibility == "public")]
    assert contents(FeedPost.timeline(visibility=visibility, **arguments(people))) == "".join(wanted)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("author", ["ada", "bob", "cleo"])
def test_timeline_of_one_author_shows_no_more(people, view, author):
    arguments, expected = VIEWS[view]
    wanted = [letter for letter in expected if letter.lower() == author[0]]
    assert contents(FeedPost.timeline(author=people[author], **arguments(people))) == "".join(wanted)


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "nothing given"])
def test_visible_to_is_a_predicate_for_any_query(people, view):
    arguments, expected = VIEWS[view]
    query = FeedPost.select().where(FeedPost.visible_to(**arguments(people))).order_by(FeedPost.id.desc())
    assert contents(query) == expected


def test_timeline_that_is_narrowed_still_shows_no_more(people):
    page = FeedPost.timeline(viewer=people["ada"], limit=2).where(FeedPost.content != "B")
    assert contents(page) == "aA"
    assert contents(FeedPost.timeline(viewer=people["cleo"]).join(User).where(User.first_name == "ada")) == "A"
    shown = FeedPost.timeline(viewer=people["cleo"]).select(FeedPost.id).alias("shown")
    assert contents(FeedPost.select().join(shown, on=(FeedPost.id == shown.c.id)).order_by(FeedPost.id.desc())) == "BA"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"viewer": 1, "connections": "12"}, "in a list, not '12'"),
        ({"viewer": 1, "connections": b"12"}, "in a list"),
        ({"viewer": 1, "connections": 12}, "in a list, not 12"),
        ({"viewer": 1, "connections": None}, "in a list, not None"),
        ({"viewer": 1, "connections": ["x"]}, "is not an id"),
        ({"viewer": 1, "connections": [None]}, "a value is required"),
        ({"viewer": 1, "connections": range(1, 10_002)}, "10001 rows are too many"),
        ({"viewer": "ada"}, "is not an id"),
        ({"viewer": User(first_name="new")}, "is not stored yet"),
        ({"connections": [1]}, "belong to a user"),
        ({"viewer": EVERYTHING, "connections": [1]}, "belong to a user"),
    ],
    ids=repr,
)
def test_a_viewer_or_connections_that_are_not_users_are_refused(database, arguments, reason):
    with pytest.raises(edb.RefusedValue, match=reason):
        FeedPost.timeline(**arguments)
    with pytest.raises(edb.RefusedValue, match=reason):
        FeedComment.of_post(1, **{"viewer": None, **arguments})


VERBS = {
    "react": lambda post, user, **viewer: FeedReaction.react(post, user, **viewer),
    "reply": lambda post, user, **viewer: FeedComment.reply(post, user, "hello", **viewer),
    "share": lambda post, user, **viewer: FeedShare.share(post, user, "mail", **viewer),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_post_that_the_viewer_may_not_see_is_not_found(people, verb):
    act, cleo = VERBS[verb], people["cleo"]
    hidden = FeedPost.get(FeedPost.content == "b")
    for viewer in ({"viewer": cleo}, {"viewer": cleo, "connections": [people["ada"]]}, {"viewer": None}):
        with pytest.raises(edb.NotFound, match=f"feed_posts {hidden.id} does not exist"):
            act(hidden, cleo, **viewer)
    with pytest.raises(edb.NotFound, match="feed_posts 1000000 does not exist"):
        act(10**6, cleo, viewer=cleo)
    assert logged_actions() == []
    act(hidden, cleo, viewer=cleo, connections=[people["bob"]])
    act(hidden, people["bob"], viewer=people["bob"])
    act(FeedPost.get(FeedPost.content == "B"), cleo, viewer=cleo)
    assert len(logged_actions()) == 3


def test_comments_of_a_post_that_the_viewer_may_not_see_are_not_shown(people):
    hidden, cleo = FeedPost.get(FeedPost.content == "b"), people["cleo"]
    comment = FeedComment.reply(hidden, people["bob"], "secret")
    for viewer in ({"viewer": cleo}, {"viewer": None}, {"viewer": ANONYMOUS}):
        assert list(FeedComment.of_post(hidden, **viewer)) == []
        assert FeedComment.thread(hidden, **viewer).entries == ()
    for viewer in ({}, {"viewer": people["bob"]}, {"viewer": cleo, "connections": [people["bob"]]}):
        assert list(FeedComment.of_post(hidden, **viewer)) == [comment]
        assert [entry.comment for entry in FeedComment.thread(hidden, **viewer).entries] == [comment]
