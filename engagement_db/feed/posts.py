"""Posts."""

import peewee

from engagement_db.feed.timeline import TimelinePage
from engagement_db.feed.visibility import ANONYMOUS, Connections, Sight, Viewer, sight_of
from engagement_db.feed.words import Visibility
from engagement_db.orm.bound import now
from engagement_db.orm.fields import EnumField, JsonField, KeyField, ReferenceField, TextField, UTCDateTimeField
from engagement_db.orm.keyset import Branch
from engagement_db.orm.models import BaseModel
from engagement_db.orm.rows import id_of, not_found, stored_value
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
    def visible_to(cls, viewer: Viewer, connections: Connections = ()) -> peewee.Node:
        """Return the predicate of the posts that ``viewer`` may see, for ``where``.

        A user sees public posts, their own, and those that ``connections`` (users or ids, at most 10,000) share
        with their connections; ANONYMOUS, or None, sees public posts; EVERYTHING sees all posts. Raises RefusedValue
        for a viewer or connections that are not users or ids, and for connections without a user.
        """
        return sight_of(cls, viewer, connections).predicate(cls)

    @classmethod
    def timeline(
        cls,
        *,
        viewer: Viewer = ANONYMOUS,
        connections: Connections = (),
        visibility: Visibility | str | None = None,
        author: User | int | None = None,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> TimelinePage:
        """Return a page of the posts that ``viewer`` may see, newest first.

        ``viewer`` and ``connections`` are those of ``visible_to``. ``visibility`` and ``author`` narrow the page to
        posts of that kind and by that user. ``limit`` is 1 to 200 posts; ``after`` takes a page's ``next_cursor``,
        ``before`` its ``previous_cursor``. ``entries()`` of the page adds authors, counts and reactions.

        Uses ``feed_posts_user_id_created_at`` with an author, ``feed_posts_created_at`` for EVERYTHING; otherwise
        ``feed_posts_visibility_created_at`` for public posts, and for those of ``viewer`` and ``connections``
        ``feed_posts_user_id_created_at``. Raises RefusedValue as ``visible_to`` does, for a limit out of bounds and
        for a cursor of another query.
        """
        sight = sight_of(cls, viewer, connections)
        wanted = None if visibility is None else Visibility(stored_value(cls.visibility, visibility))
        page = TimelinePage(cls, "timeline", "feed_posts_created_at", limit, after, before).with_parent(cls.user)
        page._viewer = sight.viewer
        if author is not None:
            page = page.among(sight.branch_of(cls, id_of(cls.user, author)))
            return page if wanted is None else page.where(cls.visibility == wanted)
        if sight.is_unlimited:
            labels = [Branch("feed_posts_visibility_created_at", cls.visibility, [wanted])]
            return page if wanted is None else page.among(*labels)
        branches = sight.branches(cls, wanted)
        return page.among(*branches) if branches else page.where(peewee.SQL("1 = 0"))


def if_visible(post: int, sight: Sight) -> peewee.Node:
    """Return the predicate that this post is in sight."""
    return peewee.fn.EXISTS(FeedPost.select(peewee.SQL("1")).where(FeedPost.id == post, sight.predicate(FeedPost)))


def is_in_sight(post: int, sight: Sight) -> bool:
    """Return whether the post is in sight; without asking if all are. Uses the primary key."""
    if sight.is_unlimited:
        return True
    return FeedPost.select(FeedPost.id).where(FeedPost.id == post, sight.predicate(FeedPost)).exists()


def require_visible(post: int, sight: Sight) -> None:
    """Raise NotFound unless the post is in sight: hidden or missing, it looks the same."""
    if not is_in_sight(post, sight):
        raise not_found(FeedPost, post)
