"""The timeline: pages by keyset, cursors, filters, and a page with everything in three queries."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode

import pytest
from feed_rows import a_post
from playhouse.test_utils import count_queries

import engagement_db as edb
from engagement_db import (
    FeedActivityLog,
    FeedComment,
    FeedPost,
    FeedReaction,
    FeedShare,
    ReactionType,
    servers,
)
from engagement_db.orm import cursors
from engagement_db.testing import make_user

MOMENT = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def posts(database):
    """Nine posts, oldest first, three to each of three seconds."""
    ada = make_user()
    return [a_post(ada, str(number), created_at=MOMENT + timedelta(seconds=number // 3)) for number in range(9)]


def contents(page):
    return "".join(post.content for post in page)


def all_pages(limit, **filters):
    pages = [FeedPost.timeline(limit=limit, **filters)]
    while pages[-1].next_cursor is not None:
        pages.append(FeedPost.timeline(limit=limit, after=pages[-1].next_cursor, **filters))
    return [contents(page) for page in pages]


def test_pages_follow_each_other_newest_first_through_equal_times(posts):
    assert all_pages(4) == ["8765", "4321", "0"]
    assert all_pages(1) == list("876543210")


def test_the_last_page_knows_that_it_is_the_last(posts):
    assert all_pages(3) == ["876", "543", "210"]
    assert FeedPost.timeline(limit=9).next_cursor is None


def test_an_empty_timeline_is_a_page_without_cursors(database):
    page = FeedPost.timeline()
    assert list(page) == []
    assert page.next_cursor is None
    assert page.previous_cursor is None
    assert page.entries() == []


def test_paging_backwards_shows_the_same_pages(posts):
    first = FeedPost.timeline(limit=4)
    second = FeedPost.timeline(limit=4, after=first.next_cursor)
    back = FeedPost.timeline(limit=4, before=second.previous_cursor)
    assert contents(back) == contents(first)
    assert contents(FeedPost.timeline(limit=4, after=back.next_cursor)) == contents(second)


def test_later_posts_are_before_the_previous_cursor(posts):
    cursor = FeedPost.timeline(limit=3).previous_cursor
    assert contents(FeedPost.timeline(before=cursor)) == ""
    for letter in "abc":
        a_post(posts[0].user, letter)
    nearest = FeedPost.timeline(limit=2, before=cursor)
    assert contents(nearest) == "ba"
    assert contents(FeedPost.timeline(before=nearest.previous_cursor)) == "c"


def test_an_empty_page_keeps_the_place_from_which_to_look_again(posts):
    cursor = FeedPost.timeline().previous_cursor
    nothing_new = FeedPost.timeline(before=cursor)
    assert list(nothing_new) == []
    assert nothing_new.previous_cursor == cursor


def test_rows_that_arrive_and_vanish_meanwhile_neither_repeat_nor_hide_others(posts):
    first = FeedPost.timeline(limit=4)
    assert contents(first) == "8765"
    a_post(posts[0].user, "new")
    FeedPost.delete().where(FeedPost.content.in_(["5", "8"])).execute()
    assert contents(FeedPost.timeline(limit=4, after=first.next_cursor)) == "4321"


def test_a_cursor_survives_a_url(posts):
    cursor = FeedPost.timeline(limit=4).next_cursor
    assert urlencode({"after": cursor}) == f"after={cursor}"
    assert parse_qs(f"after={cursor}") == {"after": [cursor]}


def test_a_page_composes_like_any_query(posts):
    page = FeedPost.timeline(limit=2).where(FeedPost.content != "7").where(FeedPost.content != "8")
    assert contents(page) == "65"
    following = FeedPost.timeline(limit=2, after=page.next_cursor).where(FeedPost.content != "4")
    assert contents(following) == "32"


def test_a_page_counts_its_rows_without_reading_them(posts):
    assert FeedPost.timeline(limit=4).count() == 4
    assert len(FeedPost.timeline(limit=4)) == 4


def test_a_page_may_be_shortened(posts):
    page = FeedPost.timeline().limit(2)
    assert contents(page) == "87"
    assert contents(FeedPost.timeline(after=page.next_cursor)) == "6543210"


@pytest.mark.parametrize("shape", ["dicts", "tuples", "namedtuples", "a projection", "a join"])
def test_a_page_knows_its_cursor_whatever_the_shape_of_its_rows(posts, shape):
    page = FeedPost.timeline(limit=4)
    shaped = {
        "dicts": lambda: page.dicts(),
        "tuples": lambda: page.tuples(),
        "namedtuples": lambda: page.namedtuples(),
        "a projection": lambda: page.select(FeedPost.content),
        "a join": lambda: page.select_extend(edb.User).join(edb.User),
    }[shape]()
    assert len(shaped) == 4
    assert shaped.next_cursor == page.next_cursor


def test_a_projection_has_only_the_columns_that_were_asked_for(posts):
    assert list(FeedPost.timeline(limit=1).select(FeedPost.content).dicts()) == [{"content": "8"}]
    assert list(FeedPost.timeline(limit=1).select(FeedPost.content).tuples()) == [("8",)]


def test_a_page_brings_related_rows_in_the_way_of_peewee(posts):
    page = FeedPost.timeline(limit=4).with_related(FeedPost.user)
    with count_queries() as counted:
        assert {post.user.first_name for post in page} == {"Ada"}
    assert counted.count == 2


def test_a_page_is_read_once(posts):
    page = FeedPost.timeline(limit=4)
    with count_queries() as counted:
        list(page), list(page), page.next_cursor, page.previous_cursor, len(page)
    assert counted.count == 1


def test_a_page_cannot_be_ordered_otherwise(posts):
    with pytest.raises(edb.Refused, match="newest first"):
        FeedPost.timeline().order_by(FeedPost.content)


def test_filters_narrow_the_timeline(database):
    ada, bob, cleo = make_user("ada"), make_user("bob"), make_user("cleo")
    a_post(ada, "A")
    a_post(ada, "a", visibility="connections")
    a_post(bob, "B")
    a_post(bob, "b", visibility="connections")
    everything = {"viewer": edb.EVERYTHING}
    assert contents(FeedPost.timeline(**everything)) == "bBaA"
    assert contents(FeedPost.timeline(visibility="public", **everything)) == "BA"
    assert contents(FeedPost.timeline(visibility=edb.Visibility.CONNECTIONS, **everything)) == "ba"
    assert contents(FeedPost.timeline(author=ada, **everything)) == "aA"
    assert contents(FeedPost.timeline(author=ada.id, visibility="public")) == "A"
    assert contents(FeedPost.timeline(viewer=ada)) == "BaA"
    assert contents(FeedPost.timeline(viewer=cleo)) == "BA"
    assert contents(FeedPost.timeline(viewer=cleo, connections=[bob])) == "bBA"
    assert contents(FeedPost.timeline(viewer=cleo, connections=[bob.id], visibility="connections")) == "b"
    assert all_pages(1, viewer=ada) == ["B", "a", "A"]


def test_a_page_with_everything_shows_what_surrounds_each_post(database):
    ada, bob, cleo = make_user("ada"), make_user("bob"), make_user("cleo")
    quiet, busy = a_post(bob, "quiet"), a_post(ada, "busy")
    for user, reaction_type in ((ada, "love"), (bob, "love"), (cleo, "insightful")):
        FeedReaction.react(busy, user, reaction_type)
    FeedComment.reply(busy, bob, "first")
    FeedComment.reply(busy, bob, "second").soft_delete(ada, "twice")
    FeedShare.share(busy, bob, "mail")
    FeedShare.share(busy, bob, "chat")

    first, second = FeedPost.timeline(viewer=cleo).entries()

    assert (first.post, first.author) == (busy, ada)
    assert first.reactions == Counter({ReactionType.LOVE: 2, ReactionType.INSIGHTFUL: 1})
    assert first.reactions[ReactionType.LIKE] == 0
    assert (first.comment_count, first.share_count) == (1, 2)
    assert first.own_reaction is ReactionType.INSIGHTFUL
    assert (second.post, second.author) == (quiet, bob)
    assert (second.reactions.total(), second.comment_count, second.share_count) == (0, 0, 0)
    assert second.own_reaction is None


def test_an_anonymous_viewer_has_no_own_reaction(database):
    ada = make_user()
    FeedReaction.react(a_post(ada), ada)
    assert [entry.own_reaction for entry in FeedPost.timeline().entries()] == [None]
    assert [entry.own_reaction for entry in FeedPost.timeline().entries(viewer=ada)] == [ReactionType.LIKE]


@pytest.mark.parametrize("limit", [1, 3, 9])
def test_a_page_with_everything_takes_three_queries_whatever_its_size(posts, limit):
    page = FeedPost.timeline(viewer=posts[0].user, limit=limit)
    with count_queries() as counted:
        entries = page.entries()
        assert {entry.post.user.first_name for entry in entries} == {"Ada"}
        assert page.next_cursor is None or limit < 9
    assert len(entries) == limit
    assert counted.count == 3


def test_times_that_others_spelled_otherwise_lose_and_repeat_no_row(server, database):
    ada = make_user()
    spellings = ["2024-01-01 00:00:00", "2024-01-01 00:00:00.000 +00:00", "2024-01-01 00:00:00.500 +00:00"]
    spellings += ["2024-01-01 00:00:00.500000", "2024-01-01 00:00:01"]
    if server.name != "sqlite":
        spellings = [spelling.removesuffix(" +00:00") for spelling in spellings]
    for number in range(15):
        post = a_post(ada, "abcdefghijklmno"[number])
        database.execute_sql(
            "UPDATE feed_posts SET {0} = {2} WHERE {1} = {2}".format(
                *(quoted(database, name) for name in ("createdAt", "id")), database.param
            ),
            (spellings[number % 5], post.id),
        )
    read = all_pages(2)
    assert Counter("".join(read)) == Counter("abcdefghijklmno")
    forwards = contents(FeedPost.timeline(limit=15))
    assert "".join(read) == forwards
    last = FeedPost.timeline(limit=1, after=FeedPost.timeline(limit=14).next_cursor)
    assert contents(FeedPost.timeline(limit=15, before=last.previous_cursor)) == forwards[:-1]


def quoted(database, name):
    return f"{database.quote[0]}{name}{database.quote[1]}"


def encoded(*content, checksum=None):
    """Return a cursor as this library would make it, for whatever content."""
    content = json.dumps(content, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode((checksum or cursors._checksum(content)) + content).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "not a cursor", "AAAA", "A" * 4000, "\x00", "é", 7, b"AAAA", "2024-01-01", "../../etc/passwd"],
    ids=repr,
)
def test_a_value_that_is_no_cursor_is_refused(posts, cursor):
    with pytest.raises(edb.RefusedValue, match="feed_posts.cursor: .* was not given by this library"):
        FeedPost.timeline(after=cursor)


def test_a_cursor_that_was_changed_on_its_way_is_refused(posts):
    cursor = FeedPost.timeline(limit=4).next_cursor
    for place in range(len(cursor)):
        changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(edb.RefusedValue, match="cursor"):
            FeedPost.timeline(after=changed)
    for changed in (cursor[:-1], cursor[1:], cursor + "A", cursor + "=", f" {cursor}", cursor + "\n"):
        with pytest.raises(edb.RefusedValue, match="cursor"):
            FeedPost.timeline(after=changed)


def test_the_cursor_of_another_query_is_refused(posts):
    FeedReaction.react(posts[0], posts[0].user, "like")
    FeedReaction.react(posts[0], posts[0].user, "love")
    cursor = FeedActivityLog.history(posts[0], limit=1).next_cursor
    with pytest.raises(edb.RefusedValue, match="belongs to the pages of history, not of timeline"):
        FeedPost.timeline(after=cursor)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ((2, "timeline", 0, 1), "is of version 2"),
        ((1, "timeline", None, 1), "another kind of server"),
        ((1, "timeline", 1.5, 1), "another kind of server"),
        ((1, "timeline", 0, "1"), "another kind of server"),
        ((1, "timeline", 0), "was not given"),
        (("DROP TABLE",), "was not given"),
    ],
    ids=repr,
)
def test_a_forged_cursor_is_refused(posts, content, reason):
    with pytest.raises(edb.RefusedValue, match=reason):
        FeedPost.timeline(after=encoded(*content))


def test_the_cursor_of_another_kind_of_server_is_refused(server, posts):
    foreign = 0 if server.name == "sqlite" else "2024-01-01 00:00:00.000 +00:00"
    with pytest.raises(edb.RefusedValue, match="another kind of server"):
        FeedPost.timeline(after=encoded(1, "timeline", foreign, 1))


def test_a_cursor_outside_of_all_times_and_ids_is_refused(server, posts):
    time = "2024" if server.name == "sqlite" else 0
    with pytest.raises(edb.RefusedValue, match="does not fit"):
        list(FeedPost.timeline(after=encoded(1, "timeline", time, 2**63)))
    if server.name != "sqlite":
        with pytest.raises(edb.RefusedValue, match="outside the years"):
            FeedPost.timeline(after=encoded(1, "timeline", 10**30, 1))


def test_a_page_is_after_one_cursor_or_before_one_not_both(posts):
    cursor = FeedPost.timeline(limit=4).next_cursor
    with pytest.raises(edb.RefusedValue, match="either"):
        FeedPost.timeline(after=cursor, before=cursor)


@pytest.mark.parametrize("limit", [0, -1, 201, 10**12, 1.5, "20", None, True], ids=repr)
def test_a_limit_out_of_bounds_is_refused(database, limit):
    for query in (FeedPost.timeline, lambda limit: FeedPost.timeline().limit(limit)):
        with pytest.raises(edb.RefusedValue, match="feed_posts.limit: .* from 1 to 200"):
            query(limit=limit)


@pytest.mark.parametrize(
    "filters",
    [{"visibility": "friends"}, {"author": "ada"}, {"viewer": 2**63}, {"viewer": 1, "connections": ["x"]}],
    ids=repr,
)
def test_a_filter_that_fits_no_row_at_all_is_refused(database, filters):
    with pytest.raises(edb.RefusedValue):
        list(FeedPost.timeline(**filters))


def test_pages_follow_each_other_where_the_index_has_another_name(url):
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        ada = make_user()
        for number in range(5):
            a_post(ada, str(number), created_at=MOMENT + timedelta(seconds=number))
        quoted = servers.of(database).quoted
        database.execute_sql(f"CREATE INDEX of_another_tool ON feed_posts ({quoted('userId')}, {quoted('createdAt')})")
        of_table = " ON feed_posts" if servers.of(database).has_inline_indexes else ""
        database.execute_sql(f"DROP INDEX feed_posts_user_id_created_at{of_table}")
        assert all_pages(2, author=ada) == ["43", "21", "0"]


def test_a_reaction_of_a_type_that_is_not_known_takes_no_page_down(server, url):
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        ada = make_user()
        FeedReaction.react(a_post(ada), ada, "love")
        statements = {
            "sqlite": ["PRAGMA ignore_check_constraints = ON"],
            "postgres": ["ALTER TYPE \"enum_feed_reactions_reactionType\" ADD VALUE 'cheer'"],
        }.get(server.name, ["ALTER TABLE feed_reactions MODIFY reactionType VARCHAR(20) NOT NULL"])
        column = quoted(database, "reactionType")
        for statement in [*statements, f"UPDATE feed_reactions SET {column} = 'cheer'"]:
            database.execute_sql(statement)
        (entry,) = FeedPost.timeline(viewer=ada).entries()
        assert (entry.reactions, entry.own_reaction) == (Counter(), None)
        change = FeedReaction.react(entry.post, ada, "like")
        assert (str(change.previous), change.current) == ("cheer", ReactionType.LIKE)
