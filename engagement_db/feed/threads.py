"""The tree of comments of a post, or below a comment."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import peewee

from engagement_db.orm.bound import current
from engagement_db.orm.cursors import Position, decode_cursor, encode_cursor, position_of, values_of
from engagement_db.orm.loading import loader
from engagement_db.platform import User

if TYPE_CHECKING:
    from engagement_db.feed.comments import FeedComment

THREAD_LIMIT: Final = 1000
THREAD_DEPTH: Final = 50
_QUERY_NAME: Final = "thread"


@dataclass(frozen=True)
class ThreadEntry:
    """A comment in its place in the tree; the first level has depth 1.

    ``has_more`` is True if it has replies that are not in the thread: ``FeedComment.thread(under=comment)`` has them.
    """

    comment: "FeedComment"
    depth: int
    has_more: bool = False

    @property
    def is_placeholder(self) -> bool:
        """Whether the comment is deleted and is listed, without its body, only as the parent of live replies."""
        return self.comment.deleted_at is not None


@dataclass(frozen=True)
class Thread:
    """Comments, each after its parent.

    ``complete`` is False if the limit or the depth cut some off. ``next_cursor`` is for those of the first level that
    follow; entries with ``has_more`` lead to the others.
    """

    entries: tuple[ThreadEntry, ...]
    complete: bool
    next_cursor: str | None = None


def with_authors(comments: "type[FeedComment]") -> Any:
    """Return a SELECT of comments and their authors, the oldest first, for ``load_comments``."""
    # An outer join, so that no server begins with the authors.
    query: Any = comments.select(comments, User).join(User, peewee.JOIN.LEFT_OUTER)
    return query.order_by(comments.created_at, comments.id)


def load_comments(comments: "type[FeedComment]", rows: Iterable[Sequence[Any]]) -> "list[FeedComment]":
    """Return comments with their authors from rows of ``with_authors``; deleted ones without body and metadata."""
    fields: Any = comments._meta.sorted_fields
    width, load = len(fields), loader(comments, fields)
    load_author = loader(User, User._meta.sorted_fields)
    authors: dict[int, User] = {}
    found = []
    for row in rows:
        comment = load(row[:width])
        author = comment.__data__["user"]
        if author not in authors:
            authors[author] = load_author(row[width:])
        comment.__rel__["user"] = authors[author]
        found.append(comment)
    hide_deleted(found)
    return found


def hide_deleted(rows: "Iterable[FeedComment]") -> None:
    """Remove body and metadata of the deleted ones."""
    for row in rows:
        if row.__data__["deleted_at"] is not None:
            row.__data__.update(body=None, metadata=None)


def is_visible(comments: "type[FeedComment]", comment: Any) -> Any:
    """Return the predicate of those that are live, or deleted and replied to; ``comment`` may be an alias."""
    answer: Any = comments.alias("answer")
    # Not EXISTS, for which PostgreSQL may read the replies to all comments of all posts.
    any_answer = answer.select(peewee.SQL("1")).where(answer.parent == comment.id).limit(1)
    return comment.deleted_at.is_null() | peewee.Expression(any_answer, peewee.OP.IS_NOT, None)


def whole_thread(rows: "Sequence[FeedComment]", depth: int) -> Thread:
    """Return the thread of all comments of a post, given the oldest first, down to ``depth``."""
    entries = _depth_first(rows, None, depth, frozenset())
    return Thread(entries, complete=not any(entry.has_more for entry in entries))


def thread_by_levels(
    comments: "type[FeedComment]", post: int, under: int | None, depth: int, limit: int, after: str | None
) -> Thread:
    """Return the first ``limit`` comments, level by level and the oldest of each level first.

    One query a level, until the limit or the depth is reached, and at most two for what was cut off.
    """
    time = comments.created_at
    on_post = with_authors(comments).where(comments.post == post, is_visible(comments, comments))
    query = on_post.where(comments.parent.is_null() if under is None else comments.parent == under)
    if after is not None:
        query = query.where(_is_later(comments, decode_cursor(time, _QUERY_NAME, after)))
    rows: list[FeedComment] = []
    level: list[FeedComment] = []
    level_above: list[FeedComment] = []
    cut: Position | None = None
    for _ in range(depth):
        found, cut = _read(comments, query, limit - len(rows))
        # In a cycle of parents a level leads back to an earlier one.
        seen = {under, *(row.id for row in rows)}
        level_above, level = level, [row for row in found if row.id not in seen]
        rows += level
        if cut is not None or not level or len(rows) == limit:
            break
        query = on_post.where(comments.parent.in_([row.id for row in level]))
    is_first = not level_above
    more = _with_replies(comments, level)
    if cut is not None and not is_first:
        more |= _with_replies(comments, level_above, cut)
    cursor = encode_cursor(_QUERY_NAME, cut) if cut is not None and is_first else None
    entries = _depth_first(rows, under, depth, more)
    return Thread(entries, complete=cursor is None and not more, next_cursor=cursor)


def _read(comments: "type[FeedComment]", query: Any, limit: int) -> "tuple[list[FeedComment], Position | None]":
    """Return at most ``limit`` comments, and the position of the last one if there are more."""
    rows = current().execute(query.limit(limit + 1)).fetchall()
    if len(rows) <= limit:
        return load_comments(comments, rows), None
    names = comments._meta.sorted_field_names
    last = rows[limit - 1]
    position = position_of(comments.created_at, last[names.index("created_at")], last[names.index("id")])
    return load_comments(comments, rows[:limit]), position


def _is_later(comment: Any, position: Position) -> Any:
    time, key = values_of(comment.created_at, position)
    return (comment.created_at >= time) & ((comment.created_at > time) | (comment.id > key))


def _with_replies(
    comments: "type[FeedComment]", parents: "Sequence[FeedComment]", after: Position | None = None
) -> set[int]:
    """Return the ids of those that have replies, or with ``after`` replies later than this position."""
    if not parents:
        return set()
    reply: Any = comments.alias("reply")
    found = reply.select(peewee.SQL("1")).where(reply.parent == comments.id, is_visible(comments, reply))
    if after is not None:
        found = found.where(_is_later(reply, after))
    query = comments.select(comments.id).where(comments.id.in_([row.id for row in parents]), peewee.fn.EXISTS(found))
    rows: Any = query.tuples()
    return {key for (key,) in rows}


def _depth_first(
    rows: "Sequence[FeedComment]", under: int | None, depth: int, more: Collection[int]
) -> tuple[ThreadEntry, ...]:
    """Return each row after its parent, without deleted ones that have no live reply below them.

    ``more`` are the ids of rows with replies that are not among the rows.
    """
    # Read from the rows' data, because attributes take peewee most of the time of a thread.
    parents = {row.__data__["id"]: row.__data__["parent"] for row in rows}
    kept = {row.__data__["id"] for row in rows if row.__data__["deleted_at"] is None or row.__data__["id"] in more}
    for key in tuple(kept):
        above = parents[key]
        while above in parents and above not in kept:
            kept.add(above)
            above = parents[above]
    children: dict[int | None, list[FeedComment]] = {}
    for row in reversed(rows):
        if row.__data__["id"] in kept:
            children.setdefault(row.__data__["parent"], []).append(row)
    entries = []
    waiting = [(row, 1) for row in children.get(under, [])]
    while waiting:
        row, level = waiting.pop()
        key = row.__data__["id"]
        replies = children.get(key, ())
        is_cut = level == depth and bool(replies)
        entries.append(ThreadEntry(row, level, is_cut or key in more))
        if replies and not is_cut:
            waiting += [(child, level + 1) for child in replies]
    return tuple(entries)
