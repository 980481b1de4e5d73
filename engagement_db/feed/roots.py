"""A page of the comments on a post itself, with the number of replies to each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peewee

from engagement_db.feed.threads import hide_deleted
from engagement_db.orm.paging import Page
from engagement_db.platform import User

if TYPE_CHECKING:
    from engagement_db.feed.comments import FeedComment


@dataclass(frozen=True)
class RootEntry:
    """A comment on a post with its author and the number of live direct replies."""

    comment: "FeedComment"
    author: User
    reply_count: int

    @property
    def is_placeholder(self) -> bool:
        """Whether the comment is deleted and is listed, without its body, only as the parent of replies."""
        return self.comment.deleted_at is not None


class RootPage(Page["FeedComment"]):
    """A page of comments on a post. ``entries`` adds the numbers of replies."""

    def _execute(self, database: Any) -> Any:
        is_first = self._cursor_wrapper is None
        rows = super()._execute(database)
        if is_first and self._model_rows():
            hide_deleted(list(rows))
        return rows

    def entries(self) -> list[RootEntry]:
        """Return the page's comments with authors and numbers of replies.

        One query more than the page itself takes, whatever its size, on ``feed_comments_parent_id``.
        """
        comments: Any = self.model
        found = list(self)
        if not found:
            return []
        replies: Any = comments.select(comments.parent, peewee.fn.COUNT(comments.id))
        replies = replies.where(comments.parent.in_([row.id for row in found]), comments.deleted_at.is_null())
        counts = dict(replies.group_by(comments.parent).tuples())
        return [RootEntry(row, row.user, counts.get(row.id, 0)) for row in found]
