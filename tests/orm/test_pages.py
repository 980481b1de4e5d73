"""A page is a peewee query: what peewee offers on a query keeps the page's meaning, or is refused."""

from datetime import timedelta

import peewee
import pytest
from feed_rows import a_post
from playhouse.shortcuts import model_to_dict

import engagement_db as edb
from engagement_db import FeedPost, FeedReaction, testing
from engagement_db.orm import keyset
from engagement_db.testing import make_user


@pytest.fixture
def posts(database):
    """Nine posts, the newest first, the first of them with a reaction."""
    author, start = make_user(), edb.now()
    posts = [a_post(author, str(number), created_at=start - timedelta(minutes=number)) for number in range(9)]
    FeedReaction.react(posts[0], author)
    return posts


def contents(page):
    return [post.content for post in page]


def pages_of(posts):
    """The middle page of three posts, reached from either side."""
    newest = FeedPost.timeline(limit=3)
    oldest = FeedPost.timeline(limit=3, after=FeedPost.timeline(limit=3, after=newest.next_cursor).next_cursor)
    return [
        lambda: FeedPost.timeline(limit=3, after=newest.next_cursor),
        lambda: FeedPost.timeline(limit=3, before=oldest.previous_cursor),
    ]


def test_first_is_the_newest_row_of_the_page_and_leaves_the_page_as_it_is(posts):
    for make in pages_of(posts):
        page = make()
        assert page.first().content == "3"
        assert contents(page.first(n=2)) == ["3", "4"]
        assert contents(page) == ["3", "4", "5"]
        assert page.next_cursor == make().next_cursor
        assert make().get().content == "3"
        assert make().peek().content == "3"


def test_first_of_an_empty_page_is_none(database):
    page = FeedPost.timeline()
    assert page.first() is None
    assert page.next_cursor is None
    with pytest.raises(FeedPost.DoesNotExist):
        page.get()


def test_page_is_counted_and_looked_at_without_being_read(posts):
    for make in pages_of(posts):
        assert make().count() == 3
        assert make().exists()
        assert make().select(FeedPost.content).scalar() == "3"


def test_selected_columns_keep_the_cursors(posts):
    for make in pages_of(posts):
        page = make().select(FeedPost.content, peewee.fn.LENGTH(FeedPost.content).coerce(False).alias("size"))
        assert [(post.content, post.size) for post in page] == [("3", 1), ("4", 1), ("5", 1)]
        assert page.next_cursor == make().next_cursor
        assert list(make().select(FeedPost.content).tuples()) == [("3",), ("4",), ("5",)]
        assert list(make().dicts().select(FeedPost.content)) == [{"content": "3"}, {"content": "4"}, {"content": "5"}]


def test_page_in_a_subquery_has_the_rows_of_the_page(posts):
    author = posts[0].user_id
    for post in posts[1:]:
        FeedReaction.react(post, author)
    for make in pages_of(posts):
        reactions = FeedReaction.select().where(FeedReaction.post.in_(make().select(FeedPost.id)))
        assert {reaction.post_id for reaction in reactions} == {post.id for post in posts[3:6]}


def test_a_whole_page_in_a_subquery_is_its_ids_as_of_any_query(posts):
    for make in pages_of(posts):
        for page in (make(), make().where(FeedPost.content != "4")):
            found = FeedPost.select(FeedPost.content).where(FeedPost.id.in_(page)).order_by(FeedPost.id).tuples()
            assert list(found) == [(post.content,) for post in sorted(page, key=lambda post: post.id)]


def test_a_page_is_iterated_as_often_as_it_is_asked(posts):
    for make in pages_of(posts):
        page = make()
        assert list(page.iterator()) == list(page) == list(page.iterator()) == list(make())
        assert page.next_cursor == make().next_cursor
        assert list(make().dicts().iterator()) == list(make().dicts())


def test_a_page_without_a_limit_is_refused(posts):
    with pytest.raises(
        edb.RefusedValue, match=r"feed_posts\.limit: None .*, take a query such as FeedPost\.select\(\)"
    ):
        FeedPost.timeline().limit(None)


def test_offset_is_refused(posts):
    for reshape in (lambda page: page.offset(1), lambda page: page.paginate(2, 3)):
        with pytest.raises(edb.Refused, match="cursor"):
            reshape(FeedPost.timeline(limit=3))


@pytest.mark.parametrize("odd", ["1700000000000", "'yesterday'", "''", "x'00ff'", "1e300", "'2026-01-02T03:04:05Z'"])
def test_row_with_a_time_that_nothing_can_read_takes_no_page_down(server, posts, database, odd):
    if server.name != "sqlite":
        pytest.skip("the other servers keep a time in a column for times")
    database.execute_sql(f'UPDATE feed_posts SET "createdAt" = {odd} WHERE id = {posts[4].id}')
    seen = []
    page = FeedPost.timeline(limit=2)
    for _ in range(2 * len(posts)):
        seen += contents(page)
        if page.next_cursor is None:
            break
        page = FeedPost.timeline(limit=2, after=page.next_cursor)
    assert sorted(seen) == [str(number) for number in range(9)]


def test_a_slow_page_is_logged_with_its_index(posts, monkeypatch, caplog):
    FeedPost.timeline().first()
    assert caplog.records == []
    monkeypatch.setattr(keyset, "SLOW_SECONDS", 0)
    FeedPost.timeline().first()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("engagement_db.orm.keyset", "WARNING")
    assert "feed_posts_created_at" in record.message


def test_prefetch_takes_a_page(posts):
    page = FeedPost.timeline(limit=2)
    found = peewee.prefetch(page, FeedReaction.select())
    assert [post.content for post in found] == [post.content for post in FeedPost.timeline(limit=2)]
    assert all(isinstance(post.reactions, list) for post in found)


@pytest.mark.parametrize(
    "make",
    [getattr(testing, name) for name in testing.__all__ if name.startswith("make_")],
    ids=lambda make: make.__name__,
)
def test_a_row_that_was_made_equals_the_row_read_back(database, make):
    row = make()
    read = type(row).get_by_id(row.id)
    assert read.__data__ == row.__data__
    assert model_to_dict(read, recurse=False) == model_to_dict(row, recurse=False)


def test_a_row_of_plain_peewee_equals_the_row_read_back(database):
    ada = testing.make_user()
    account = edb.EscrowAccount.create(user=ada, provider="stripe")
    rows = [
        account,
        FeedPost.create(user=ada, content="x"),
        edb.EscrowTransaction.create(account=account, reference="E-1", amount=5, initiated_by=ada),
    ]
    for row in rows:
        assert type(row).get_by_id(row.id).__data__ == row.__data__
