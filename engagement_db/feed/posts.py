"""Posts."""

from collections.abc import Iterable
from typing import Any

import peewee

from engagement_db.feed.timeline import TimelinePage
from engagement_db.feed.words import Visibility
from engagement_db.orm.bound import now
from engagement_db.orm.fields import EnumField, JsonField, KeyField, ReferenceField, TextField, UTCDateTimeField
from engagement_db.orm.models import BaseModel
from engagement_db.orm.rows import id_of
from engagement_db.platform import User


class FeedPost(BaseModel):
    """A post."""

    user_id: int
    id = KeyField()
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_posts", on_delete="CASCADE"
    )
    content = TextField()
    visibility = EnumField(Visibility, default=Visibility.PUBLIC)
    metadata = JsonField(null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_posts"
        verb_columns = {"user": ""}
        indexes = (
            (("created_at",), False),
            (("visibility", "created_at"), False),
            (("user", "created_at"), False),
        )

    @classmethod
    def timeline(
        cls,
        *,
        viewer: Any = None,
        connections: Iterable[Any] = (),
        visibility: Visibility | str | None = None,
        author: Any = None,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> TimelinePage:
        """Return a page of posts, newest first; ``entries()`` of it adds authors, counts and reactions.

        A filter that is not given hides nothing. ``viewer`` sees public posts, their own, and all posts of
        ``connections``, users or ids; for an anonymous viewer pass ``visibility="public"``.
        ``visibility`` and ``author`` narrow the page to posts of that kind and by that user.
        ``limit`` is 1 to 200 posts; ``after`` takes a page's ``next_cursor``, ``before`` its
        ``previous_cursor``.

        Uses ``feed_posts_user_id_created_at`` with an author, else ``feed_posts_visibility_created_at`` with
        a visibility, else ``feed_posts_created_at``, skipping posts that the viewer may not see.
        Raises RefusedValue for a limit out of bounds or a cursor of another query.
        """
        index = "feed_posts_created_at"
        if visibility is not None:
            index = "feed_posts_visibility_created_at"
        if author is not None:
            index = "feed_posts_user_id_created_at"
        page = TimelinePage(cls, "timeline", index, limit, after, before)
        if viewer is not None:
            page._viewer = id_of(cls.user, viewer)
            seen = {page._viewer, *(id_of(cls.user, user) for user in connections)}
            # CASE, because a plain OR makes servers merge two other indexes and sort all rows found.
            yes, no = peewee.SQL("1"), peewee.SQL("0")
            public = cls.visibility == Visibility.PUBLIC
            is_seen = peewee.Case(None, [(public, yes), (cls.user.in_(seen), yes)], no)
            page = page.where(is_seen == yes)
        if visibility is not None:
            page = page.where(cls.visibility == visibility)
        if author is not None:
            page = page.where(cls.user == id_of(cls.user, author))
        return page
