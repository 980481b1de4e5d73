"""The activity log: append-only, written by every verb of the feed in its own transaction."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from engagement_db.orm.bound import now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import (
    IntegerField,
    JsonField,
    KeyField,
    LateReferenceField,
    ReferenceField,
    UTCDateTimeField,
    VarcharField,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import Page
from engagement_db.orm.rows import id_of, stored_value
from engagement_db.orm.statements import Statement, columns_of, parameters
from engagement_db.platform import User

if TYPE_CHECKING:
    from engagement_db.feed.posts import FeedPost


class FeedActivityLog(BaseModel):
    """An entry of the activity log: an action, its actor and its post. Entries are append-only.

    Deleting a post or a user sets the reference in its entries to NULL and keeps them. ``comment_id`` has no foreign
    key, so an entry keeps the id of a deleted comment.
    """

    post_id: ClassVar[Column[int | None]]
    actor_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the entry.")
    post: Reference["FeedPost | None"] = LateReferenceField(
        "FeedPost",
        column_name="postId",
        object_id_name="post_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The post that was acted on, or NULL once it is deleted.",
    )
    comment_id: Column[int | None] = IntegerField(
        "feed_comments",
        column_name="commentId",
        null=True,
        default=None,
        help_text="The comment that was acted on; the id stays when the comment is deleted.",
    )
    actor: Reference[User | None] = ReferenceField(
        User,
        column_name="actorId",
        object_id_name="actor_id",
        backref="feed_activity",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The user who acted, or NULL for the system or once the user is deleted.",
    )
    action: Column[str] = VarcharField(max_length=80, help_text="What was done, a FeedAction or a word of the service.")
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Details of the action, such as the names of what was edited."
    )
    created_at: Column[datetime] = UTCDateTimeField(column_name="createdAt", default=now, help_text="When it was done.")

    class Meta:
        table_name = "feed_activity_logs"
        append_only = True
        indexes = (
            (("post", "created_at"), False),
            (("comment_id",), False),
            (("actor", "created_at"), False),
            (("action", "created_at"), False),
        )

    @classmethod
    def record(
        cls,
        action: str,
        *,
        actor: User | int | None = None,
        post: "FeedPost | int | None" = None,
        comment_id: int | None = None,
        metadata: object = None,
    ) -> "FeedActivityLog":
        """Add an entry within the current transaction, if any, and return it. The verbs of the feed call this."""
        entry = cls(action=str(action), actor=actor, post=post, comment_id=comment_id, metadata=metadata)
        _INSERT.insert(entry)
        return entry

    @classmethod
    def history(
        cls, post: "FeedPost | int", *, limit: int = 20, after: str | None = None, before: str | None = None
    ) -> Page[Self]:
        """Return a page of the entries of a post, newest first.

        Uses ``feed_activity_logs_post_id_created_at``.
        """
        page = Page(cls, "history", "feed_activity_logs_post_id_created_at", limit, after, before)
        return page.where(cls.post == id_of(cls.post, post))

    @classmethod
    def by_actor(
        cls, actor: User | int, *, limit: int = 20, after: str | None = None, before: str | None = None
    ) -> Page[Self]:
        """Return a page of the entries of an actor, newest first.

        Uses ``feed_activity_logs_actor_id_created_at``.
        """
        page = Page(cls, "actor", "feed_activity_logs_actor_id_created_at", limit, after, before)
        return page.where(cls.actor == id_of(cls.actor, actor))

    @classmethod
    def by_action(
        cls, action: str, *, limit: int = 20, after: str | None = None, before: str | None = None
    ) -> Page[Self]:
        """Return a page of the entries of one action, newest first.

        Uses ``feed_activity_logs_action_created_at``.
        """
        page = Page(cls, "action", "feed_activity_logs_action_created_at", limit, after, before)
        return page.where(cls.action == stored_value(cls.action, action))


_INSERT: Final = Statement(lambda: FeedActivityLog.insert(parameters(*columns_of(FeedActivityLog)[1:])))
