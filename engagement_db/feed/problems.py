"""Comments that cannot be right: their post is gone, or their parents form a cycle or belong to another post."""

from dataclasses import dataclass
from typing import Any, Final

import peewee

from engagement_db.feed.comments import FeedComment
from engagement_db.feed.posts import FeedPost
from engagement_db.orm.paging import validate_limit

PROBLEMS_LIMIT: Final = 1000


@dataclass(frozen=True)
class FeedProblem:
    """A comment that the feed cannot show as it is stored. ``kind`` is orphan, cycle or foreign parent."""

    table: str
    id: int
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.message}"


def find_feed_problems(limit: int = PROBLEMS_LIMIT) -> list[FeedProblem]:
    """Return comments without a post, cycles of replies, and replies to comments on other posts.

    At most ``limit`` (1 to 1000) of each, by id. Changes and locks nothing. Reads each comment twice, and looks up its
    post and its parent by primary key.
    """
    most = validate_limit(FeedComment._meta.table_name, limit, PROBLEMS_LIMIT)
    return [*_orphans(most), *_foreign_parents(most), *_cycles(most)]


def _problem(key: int, kind: str, message: str) -> FeedProblem:
    return FeedProblem(FeedComment._meta.table_name, key, kind, message)


def _orphans(most: int) -> list[FeedProblem]:
    query: Any = FeedComment.select(FeedComment.id, FeedComment.post)
    query = query.join(FeedPost, peewee.JOIN.LEFT_OUTER).where(FeedPost.id.is_null()).order_by(FeedComment.id)
    return [
        _problem(key, "orphan", f"post {post} does not exist; delete the comment, newest replies first")
        for key, post in query.limit(most).tuples()
    ]


def _foreign_parents(most: int) -> list[FeedProblem]:
    parent: Any = FeedComment.alias("parent")
    query: Any = FeedComment.select(FeedComment.id, FeedComment.post, parent.id, parent.post)
    query = query.join(parent, on=(FeedComment.parent == parent.id)).where(FeedComment.post != parent.post)
    return [
        _problem(
            key,
            "foreign parent",
            f"is on post {post}, and replies to comment {above} on post {other}; call engagement_db.repair with "
            "parent=None",
        )
        for key, post, above, other in query.order_by(FeedComment.id).limit(most).tuples()
    ]


def _cycles(most: int) -> list[FeedProblem]:
    # Along a cycle ids cannot decrease all the way, so that each has a comment with an older id than its parent.
    rows: Any = FeedComment.select(FeedComment.id).where(FeedComment.parent >= FeedComment.id).order_by(FeedComment.id)
    found: dict[int, FeedProblem] = {}
    for (key,) in rows.tuples().iterator():
        members = _cycle_of(key)
        if members and members.isdisjoint(found):
            path = ", ".join(map(str, sorted(members)))
            first = min(members)
            found[first] = _problem(
                first, "cycle", f"replies to itself by way of {path}; call engagement_db.repair with parent=None"
            )
        if len(found) == most:
            break
    return list(found.values())


def _cycle_of(key: int) -> set[int]:
    """Return the comments of the cycle that this one is in, or none. One query for each comment above it."""
    members: set[int] = set()
    above: int | None = key
    while above is not None and above not in members:
        members.add(above)
        above = FeedComment.select(FeedComment.parent).where(FeedComment.id == above).tuples().scalar()
    return members if above == key else set()
