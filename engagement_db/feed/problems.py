"""Comments that cannot be right: their post is gone, or their parents form a cycle or belong to another post."""

from collections.abc import Iterator
from typing import Any

import peewee

from engagement_db.feed.comments import FeedComment
from engagement_db.feed.posts import FeedPost
from engagement_db.orm.paging import validate_limit
from engagement_db.problems import PROBLEMS_LIMIT, Problem, ProblemKind


def find_feed_problems(limit: int = PROBLEMS_LIMIT) -> list[Problem]:
    """Return comments without a post, replies to comments on other posts, and cycles of replies.

    A part of ``find_problems``. At most ``limit`` (1 to 1000) of each, by id. Changes and locks nothing. Reads each
    comment twice, and looks up its post and its parent by primary key; posts in their order, along
    feed_comments_post_id_created_at.
    """
    most = validate_limit(FeedComment._meta.table_name, limit, PROBLEMS_LIMIT)
    return [*_orphans(most), *_foreign_parents(most), *_cycles(most)]


def _problem(kind: ProblemKind, key: int, column: str, expected: str, found: str) -> Problem:
    return Problem(kind, FeedComment._meta.table_name, key, column, expected, found)


def _orphans(most: int) -> Iterator[Problem]:
    query: Any = FeedComment.select(FeedComment.id, FeedComment.post)
    query = query.join(FeedPost, peewee.JOIN.LEFT_OUTER).where(FeedPost.id.is_null())
    # In this order posts are looked up one after the other, not each from another page of a table that may be large.
    for key, post in sorted(query.order_by(FeedComment.post, FeedComment.created_at).limit(most).tuples()):
        yield _problem(ProblemKind.ORPHAN, key, "postId", "a row of feed_posts", str(post))


def _foreign_parents(most: int) -> Iterator[Problem]:
    parent: Any = FeedComment.alias("parent")
    query: Any = FeedComment.select(FeedComment.id, FeedComment.post, parent.id, parent.post)
    query = query.join(parent, on=(FeedComment.parent == parent.id)).where(FeedComment.post != parent.post)
    for key, post, above, other in query.order_by(FeedComment.id).limit(most).tuples():
        expected = f"a comment on post {post}"
        yield _problem(ProblemKind.FOREIGN_PARENT, key, "parentId", expected, f"comment {above} on post {other}")


def _cycles(most: int) -> Iterator[Problem]:
    # Along a cycle ids cannot decrease all the way, so that each has a comment with an older id than its parent.
    rows: Any = FeedComment.select(FeedComment.id).where(FeedComment.parent >= FeedComment.id).order_by(FeedComment.id)
    found: set[int] = set()
    for (key,) in rows.tuples().iterator():
        members = _cycle_of(key)
        if members and members.isdisjoint(found):
            found.add(min(members))
            path = ", ".join(map(str, sorted(members)))
            yield _problem(ProblemKind.CYCLE, min(members), "parentId", "no cycle of replies", f"one of {path}")
        if len(found) == most:
            break


def _cycle_of(key: int) -> set[int]:
    """Return the comments of the cycle that this one is in, or none. One query for each comment above it."""
    members: set[int] = set()
    above: int | None = key
    while above is not None and above not in members:
        members.add(above)
        above = FeedComment.select(FeedComment.parent).where(FeedComment.id == above).tuples().scalar()
    return members if above == key else set()
