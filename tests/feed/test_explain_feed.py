"""With 100,000 rows in a table, each query of the feed uses the index that its docstring names.

The newest 40,000 posts are for connections only, so that a viewer who is not one of them may see none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import peewee
import pytest
import servers
from plans import SCALE, copy, label, plans_of, refresh_statistics

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment, FeedPost, FeedReaction, FeedShare, Project, User
from engagement_db.orm.models import verb_update

AUTHORS = 1_000
OPEN_AUTHORS = 600
READERS = 20_000
BUSY_COMMENTS = 20_000 * SCALE
POSTS_EACH = 100 * SCALE
FEW_ROWS = 5_000

START = edb.now().replace(microsecond=0) - timedelta(days=30)


@dataclass(frozen=True)
class Crowd:
    """Somewhere in the middle of the 100,000 rows."""

    database: peewee.Database
    post: int
    user: int

    def cursor(self, page: edb.Page) -> str:
        """Return the cursor of the last row of this page."""
        cursor = page.next_cursor
        assert cursor is not None
        return cursor


@pytest.fixture(scope="module")
def crowded_url(server: servers.Server) -> Iterator[str]:
    """The URL of a database in which every table of the feed, and projects, has 100,000 rows or more."""
    server.start()
    url = server.create_database()
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        with database.atomic():
            fill(database)
        refresh_statistics(server.name, database)
    yield url
    server.start()
    server.drop_database(url)


@pytest.fixture
def crowd(server: servers.Server, crowded_url: str) -> Iterator[Crowd]:
    server.start()
    database = edb.connect(crowded_url)
    with database.connection_context():
        yield crowd_in(database)


def crowd_in(database: peewee.Database) -> Crowd:
    first = FeedPost.select(peewee.fn.MIN(FeedPost.id)).scalar()
    post = FeedPost.select().where(FeedPost.id >= first + AUTHORS * POSTS_EACH // 2).order_by(FeedPost.id).get()
    return Crowd(database, post.id, post.user_id)


def fill(database: peewee.Database) -> None:
    User.insert_many(
        {
            "first_name": "A",
            "last_name": "B",
            "email": f"{number}@example.org",
            "created_at": START + timedelta(minutes=number),
        }
        for number in range(AUTHORS)
    ).execute()
    first_id = User.select(peewee.fn.MIN(User.id)).scalar()
    copy(
        User.select(User.first_name, User.last_name, User.email, User.created_at, User.updated_at)
        .join(User.alias("again"), peewee.JOIN.CROSS)
        .limit(READERS),
        User,
        "first_name last_name email created_at updated_at",
    )
    author, turn = User.alias("author"), User.alias("turn")
    is_hidden = (turn.id < first_id + POSTS_EACH // 10) | (author.id >= first_id + OPEN_AUTHORS)
    labels = label(FeedPost.visibility, "connections"), label(FeedPost.visibility, "public")
    visibility = peewee.Case(None, [(is_hidden, labels[0])], labels[1])
    copy(
        author.select(author.id, author.email, visibility, author.created_at, author.created_at)
        .join(turn, on=(turn.id < first_id + POSTS_EACH))
        .where(author.id < first_id + AUTHORS)
        .order_by(author.id, turn.id),
        FeedPost,
        "user content visibility created_at updated_at",
    )
    post, times = FeedPost, (FeedPost.created_at, FeedPost.updated_at)
    like = label(FeedReaction.reaction_type, "like")
    copy(
        post.select(post.id, post.user, like, *times),
        FeedReaction,
        "post user reaction_type created_at updated_at",
    )
    copy(
        post.select(post.id, post.user, post.content, *times),
        FeedComment,
        "post user body created_at updated_at",
    )
    comment = FeedComment
    copy(
        comment.select(
            comment.post, comment.user, comment.id, comment.body, comment.created_at, comment.updated_at
        ).where(comment.id.bin_and(3) == 0),
        FeedComment,
        "post user parent body created_at updated_at",
    )
    # One post has many comments, two of five of which are replies.
    busy = FeedPost.select(peewee.fn.MIN(FeedPost.id)).scalar()
    rows = comment.select(peewee.Value(busy), comment.user, comment.body, comment.created_at, comment.updated_at)
    copy(rows.limit(BUSY_COMMENTS * 3 // 5), FeedComment, "post user body created_at updated_at")
    rows = comment.select(
        comment.post, comment.user, comment.id, comment.body, comment.created_at, comment.updated_at
    ).where(comment.post == busy)
    copy(rows.limit(BUSY_COMMENTS * 2 // 5), FeedComment, "post user parent body created_at updated_at")
    in_eight = (FeedComment.id.bin_and(7) == 0) & (FeedComment.post == busy)
    verb_update(FeedComment, {"deleted_at": START}).where(in_eight).execute()
    channel = peewee.Case(None, [(post.user < first_id + 300, "mail"), (post.user < first_id + 600, "chat")], "print")
    copy(post.select(post.id, post.user, channel, *times), FeedShare, "post user channel created_at updated_at")
    action = peewee.Case(None, [(post.user < first_id + 100, "rare")], "common")
    copy(
        post.select(post.id, post.user, action, post.created_at),
        FeedActivityLog,
        "post actor action created_at",
    )
    copy(post.select(post.content, post.user, *times), Project, "title owner created_at updated_at")


def timeline_after_a_while(**filters: Any) -> str:
    """Return a cursor some 400 posts down the timeline."""
    second = FeedPost.timeline(limit=200, after=FeedPost.timeline(limit=200, **filters).next_cursor, **filters)
    assert second.next_cursor is not None
    return second.next_cursor


VIEWERS: dict[str, Callable[[Crowd], dict[str, Any]]] = {
    "without connections": lambda crowd: {"viewer": crowd.user},
    "with three connections": lambda crowd: {
        "viewer": crowd.user,
        "connections": range(crowd.user + 1, crowd.user + 4),
    },
    "with 200 connections": lambda crowd: {"viewer": crowd.user, "connections": range(crowd.user - 200, crowd.user)},
    "with connections who wrote last": lambda crowd: {
        "viewer": crowd.user,
        "connections": range(crowd.user + 460, crowd.user + 490),
    },
}


QUERIES: dict[str, tuple[Callable[[Crowd], object], set[str]]] = {
    "the timeline of everything": (
        lambda crowd: list(FeedPost.timeline(viewer=edb.EVERYTHING)),
        {"feed_posts_created_at"},
    ),
    "the timeline of everything after a cursor": (
        lambda crowd: list(FeedPost.timeline(viewer=edb.EVERYTHING, after=CURSORS["plain"])),
        {"feed_posts_created_at"},
    ),
    "the timeline of everything before a cursor": (
        lambda crowd: list(FeedPost.timeline(viewer=edb.EVERYTHING, before=CURSORS["plain"])),
        {"feed_posts_created_at"},
    ),
    "a timeline of one visibility": (
        lambda crowd: list(
            FeedPost.timeline(viewer=edb.EVERYTHING, visibility="connections", after=CURSORS["connections"])
        ),
        {"feed_posts_visibility_created_at"},
    ),
    "a timeline of one author": (
        lambda crowd: list(FeedPost.timeline(author=crowd.user)),
        {"feed_posts_user_id_created_at"},
    ),
    "a timeline of one author after a cursor": (
        lambda crowd: list(
            FeedPost.timeline(author=crowd.user, after=FeedPost.timeline(author=crowd.user).next_cursor)
        ),
        {"feed_posts_user_id_created_at"},
    ),
    "an anonymous timeline": (lambda crowd: list(FeedPost.timeline()), {"feed_posts_visibility_created_at"}),
    "an anonymous timeline after a cursor": (
        lambda crowd: list(FeedPost.timeline(after=CURSORS["plain"])),
        {"feed_posts_visibility_created_at"},
    ),
    "the reaction summary of 200 posts": (
        lambda crowd: FeedReaction.summary(range(crowd.post, crowd.post + 200)),
        {"feed_reactions_post_id_reaction_type"},
    ),
    "the comments of a post": (
        lambda crowd: list(FeedComment.of_post(crowd.post)),
        {"feed_comments_post_id_created_at"},
    ),
    "the roots of a post": (
        lambda crowd: list(FeedComment.roots(crowd.post)),
        {"feed_comments_post_id_created_at", "feed_comments_parent_id"},
    ),
    "the replies to 20 comments": (
        lambda crowd: FeedComment.roots(crowd.post).entries(),
        {"feed_comments_parent_id"},
    ),
    "a thread": (
        lambda crowd: FeedComment.thread(crowd.post),
        {"feed_comments_post_id_created_at"},
    ),
    "the shares of two channels": (
        lambda crowd: FeedShare.counts_by_channel(["mail", "chat"], START, START + timedelta(minutes=20)),
        {"feed_shares_channel_created_at"},
    ),
    "the history of a post": (
        lambda crowd: list(FeedActivityLog.history(crowd.post)),
        {"feed_activity_logs_post_id_created_at"},
    ),
    "what a user did": (
        lambda crowd: list(FeedActivityLog.by_actor(crowd.user)),
        {"feed_activity_logs_actor_id_created_at"},
    ),
    "one kind of entry": (
        lambda crowd: list(FeedActivityLog.by_action("common")),
        {"feed_activity_logs_action_created_at"},
    ),
    "a user's projects": (lambda crowd: list(Project.owned_by(crowd.user)), {"projects_owner_id_idx"}),
    "the projects of 20 users": (
        lambda crowd: Project.counts_by_owner(range(crowd.user, crowd.user + 20)),
        {"projects_owner_id_idx"},
    ),
}

CURSORS: dict[str, str] = {}


@pytest.fixture
def cursors(crowd: Crowd) -> None:
    find_cursors()


def find_cursors() -> None:
    CURSORS["plain"] = timeline_after_a_while(viewer=edb.EVERYTHING)
    CURSORS["connections"] = timeline_after_a_while(viewer=edb.EVERYTHING, visibility="connections")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_reads_a_little_of_its_index(server: servers.Server, crowd: Crowd, cursors: None, query: str) -> None:
    call, indexes = QUERIES[query]
    plan = plans_of(server.name, crowd.database, lambda: call(crowd))[-1]
    assert plan.indexes == indexes
    assert plan.scanned_tables == set()
    assert plan.rows_read <= FEW_ROWS
    assert plan.rows_sorted <= FEW_ROWS


@pytest.mark.parametrize("start", ["first page", "after a cursor"])
@pytest.mark.parametrize("viewer", VIEWERS)
def test_a_viewers_timeline_reads_no_post_that_it_may_not_show(
    server: servers.Server, crowd: Crowd, cursors: None, viewer: str, start: str
) -> None:
    after = None if start == "first page" else CURSORS["plain"]
    page = FeedPost.timeline(after=after, **VIEWERS[viewer](crowd))
    public, of_authors = plans_of(server.name, crowd.database, lambda: list(page))
    assert public.indexes == {"feed_posts_visibility_created_at"}
    assert public.scanned_tables | of_authors.scanned_tables == set()
    assert public.rows_read + of_authors.rows_read <= FEW_ROWS
    assert public.rows_sorted == 0
    # SQLite reports no number of rows: it sorts the posts of few authors, and reads those of many by time.
    assert of_authors.rows_sorted <= FEW_ROWS or server.name == "sqlite"


@pytest.mark.parametrize(
    "bounds",
    [{"limit": 50}, {"limit": 50, "depth": 1}, {"limit": 500}],
    ids=["50 comments", "50 roots", "500 comments"],
)
def test_a_thread_of_a_busy_post_reads_in_proportion_to_its_limit(
    server: servers.Server, crowd: Crowd, bounds: dict[str, int]
) -> None:
    busy = FeedPost.select(peewee.fn.MIN(FeedPost.id)).scalar()
    first = FeedComment.thread(busy, **bounds)
    # Deleted comments that have deleted replies only are read, and not shown.
    assert bounds["limit"] * 3 // 4 <= len(first.entries) <= bounds["limit"]
    for after in (None, first.next_cursor):
        call = partial(FeedComment.thread, busy, after=after, **bounds)
        plans = plans_of(server.name, crowd.database, call)
        assert all(plan.scanned_tables == set() for plan in plans)
        assert sum(plan.rows_read for plan in plans) <= FEW_ROWS
        assert sum(plan.rows_sorted for plan in plans) <= FEW_ROWS


def test_the_replies_to_a_comment_of_a_busy_post_are_read_alone(server: servers.Server, crowd: Crowd) -> None:
    busy = FeedPost.select(peewee.fn.MIN(FeedPost.id)).scalar()
    root = FeedComment.get(FeedComment.post == busy, FeedComment.parent.is_null())
    plans = plans_of(server.name, crowd.database, lambda: FeedComment.thread(under=root))
    assert all(plan.scanned_tables == set() for plan in plans)
    assert sum(plan.rows_read for plan in plans) <= 500


def test_a_page_with_everything_reads_in_proportion_to_the_page(server: servers.Server, crowd: Crowd) -> None:
    page = FeedPost.timeline(viewer=crowd.user, limit=50)
    plans = plans_of(server.name, crowd.database, page.entries)
    assert len(plans) == 3
    assert all(plan.scanned_tables == set() for plan in plans)
    assert sum(plan.rows_read for plan in plans) <= FEW_ROWS
    assert sum(plan.rows_sorted for plan in plans) <= FEW_ROWS
    assert plans[-1].indexes >= {
        "feed_reactions_post_id_reaction_type",
        "feed_comments_post_id_created_at",
        "feed_shares_post_id_created_at",
    }


def test_orphans_are_looked_for_in_the_order_of_posts(server: servers.Server, crowd: Crowd) -> None:
    """In any other order each post is read from the disk again, once the table is larger than the server's memory."""
    if server.name == "postgres":
        pytest.skip("it reads both tables once and compares them by a hash")
    orphans, *_ = plans_of(server.name, crowd.database, edb.find_feed_problems)
    assert orphans.indexes == {"feed_comments_post_id_created_at"}
    assert orphans.rows_sorted == 0


@pytest.mark.parametrize(
    "pages",
    [
        lambda **where: FeedPost.timeline(viewer=edb.EVERYTHING, **where),
        lambda **where: FeedPost.timeline(**where),
        lambda **where: FeedActivityLog.by_action("common", **where),
    ],
    ids=["timeline of everything", "anonymous timeline", "entries of one kind"],
)
def test_a_page_half_way_down_costs_no_more_than_the_first(
    server: servers.Server, crowd: Crowd, pages: Callable[..., edb.Page]
) -> None:
    half_way = START + timedelta(minutes=AUTHORS // 2)
    first = pages()
    cursor = first.where(first.model.created_at <= half_way).next_cursor
    (plan,) = plans_of(server.name, crowd.database, lambda: list(pages(after=cursor)))
    assert plan.scanned_tables == set()
    assert plan.rows_read <= 500
    assert plan.rows_sorted <= 500
