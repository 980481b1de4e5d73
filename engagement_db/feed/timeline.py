"""A page of posts with author, counts and the viewer's own reaction."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import peewee

from engagement_db.feed.words import ReactionType
from engagement_db.orm.paging import PAGE_LIMIT, Page
from engagement_db.orm.rows import id_of
from engagement_db.orm.statements import Parameter, Statement
from engagement_db.platform import User

if TYPE_CHECKING:
    from engagement_db.feed.posts import FeedPost


@dataclass(frozen=True)
class TimelineEntry:
    """A post with its author and counts. ``reactions`` counts by type; a missing type counts 0."""

    post: "FeedPost"
    author: User
    reactions: Counter[ReactionType]
    comment_count: int
    share_count: int
    own_reaction: ReactionType | None


class TimelinePage(Page["FeedPost"]):
    """A page of posts. ``entries`` adds authors and counts."""

    _viewer: int | None = None

    def entries(self, viewer: User | int | None = None) -> list[TimelineEntry]:
        """Return the page's posts with authors, counts and the viewer's own reaction.

        ``viewer`` defaults to that of the timeline. One query more than the page itself takes, whatever its size, on
        ``feed_reactions_post_id_reaction_type``, ``feed_comments_post_id_created_at`` (deleted comments do not
        count), ``feed_shares_post_id_created_at`` and ``feed_reactions_post_id_user_id``; another one, by primary
        key, for authors if the page was reshaped.
        """
        posts = list(self)
        if not posts:
            return []
        viewer_id = self._viewer if viewer is None else id_of(self.model.user, viewer)
        _load_authors(posts)
        post_ids = [post.id for post in posts]
        counted = {post_id: _PostCounts() for post_id in post_ids}
        for post_id, kind, number in _count_rows(self.model, post_ids, viewer_id):
            counted[post_id].add(kind, number)
        found = []
        for post in posts:
            # The author, and with them the post, may have been deleted since the page was read.
            if "user" in post.__rel__:
                around = counted[post.id]
                counts = (around.reactions, around.comments, around.shares)
                found.append(TimelineEntry(post, post.user, *counts, around.own_reaction))
        return found


def _load_authors(posts: "list[FeedPost]") -> None:
    missing = {post.user_id for post in posts if "user" not in post.__rel__}
    authors = {user.id: user for user in User.select().where(User.id.in_(missing))} if missing else {}
    for post in posts:
        if post.user_id in authors:
            post.__rel__["user"] = authors[post.user_id]


_REACTION_TYPES = tuple(ReactionType)
_COMMENTS, _SHARES, _OWN = (len(_REACTION_TYPES) + step for step in range(3))
_UNKNOWN: Final = -1
# A query is built once for each of these numbers of posts.
_SIZES: Final = (20, 50, 100, PAGE_LIMIT)


class _PostCounts:
    """Counts of one post, collected from the rows of ``_count_rows``."""

    def __init__(self) -> None:
        self.reactions: Counter[ReactionType] = Counter()
        self.comments = 0
        self.shares = 0
        self.own_reaction: ReactionType | None = None

    def add(self, kind: int, number: int) -> None:
        if kind == _UNKNOWN:
            # A type that another service added: this version cannot say which.
            return
        if kind == _COMMENTS:
            self.comments = number
        elif kind == _SHARES:
            self.shares = number
        elif kind >= _OWN:
            self.own_reaction = _REACTION_TYPES[kind - _OWN]
        else:
            self.reactions[_REACTION_TYPES[kind]] = number


def _count_rows(posts: "type[FeedPost]", post_ids: list[int], viewer_id: int | None) -> Any:
    """Return (post id, kind, number) rows; a kind is a number, since every server unites columns of numbers."""
    size = next(size for size in _SIZES if size >= len(post_ids))
    padded = [*post_ids, *[post_ids[-1]] * (size - len(post_ids))]
    values = {f"post{place}": key for place, key in enumerate(padded)}
    return _counts(posts, size, viewer_id is not None).execute(viewer=viewer_id, **values).fetchall()


@cache
def _counts(posts: "type[FeedPost]", size: int, has_viewer: bool) -> Statement:
    """Return the query of the counts of ``size`` posts, any of which may be given again."""
    model: Any = posts
    reaction, comment, share = (getattr(model, name).rel_model for name in ("reactions", "comments", "shares"))
    post_ids = [Parameter(f"post{place}") for place in range(size)]

    def numbered(model: Any, kind: Any) -> Any:
        return model.select(model.post, kind, peewee.fn.COUNT(peewee.SQL("*"))).where(model.post.in_(post_ids))

    def build() -> Any:
        reactions = numbered(reaction, _type_number(reaction.reaction_type, 0))
        comments = numbered(comment, peewee.SQL(str(_COMMENTS))).where(comment.deleted_at.is_null())
        shares = numbered(share, peewee.SQL(str(_SHARES))).group_by(share.post)
        rows = reactions.group_by(reaction.post, reaction.reaction_type)
        rows = rows.union_all(comments.group_by(comment.post)).union_all(shares)
        if has_viewer:
            own = reaction.select(reaction.post, _type_number(reaction.reaction_type, _OWN), peewee.SQL("1"))
            rows = rows.union_all(own.where(reaction.post.in_(post_ids), reaction.user == Parameter("viewer")))
        return rows

    return Statement(build)


def _type_number(column: Any, first: int) -> Any:
    numbers = [(member, peewee.SQL(str(first + place))) for place, member in enumerate(_REACTION_TYPES)]
    return peewee.Case(column, numbers, peewee.SQL(str(_UNKNOWN)))
