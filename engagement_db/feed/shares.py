"""Shares of posts through channels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import peewee

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.posts import FeedPost, require_visible
from engagement_db.feed.repairs import log_repair
from engagement_db.feed.visibility import EVERYTHING, Connections, Viewer, sight_of
from engagement_db.feed.words import FeedAction
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import KeyField, ReferenceField, TextField, UTCDateTimeField, VarcharField, reject
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import instant_bound, validate_limit
from engagement_db.orm.rows import id_of, required, stored_value, write_with_parents
from engagement_db.orm.statements import Statement, columns_of, parameters
from engagement_db.platform import User
from engagement_db.repairs import Repair


class FeedShare(BaseModel):
    """One sharing of a post through a channel."""

    post_id: ClassVar[Column[int]]
    user_id: ClassVar[Column[int]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the share.")
    post: Reference[FeedPost] = ReferenceField(
        FeedPost,
        column_name="postId",
        object_id_name="post_id",
        backref="shares",
        on_delete="CASCADE",
        help_text="The post; the share is deleted with it.",
    )
    user: Reference[User] = ReferenceField(
        User,
        column_name="userId",
        object_id_name="user_id",
        backref="feed_shares",
        on_delete="CASCADE",
        help_text="Who shares it; the share is deleted with them.",
    )
    channel: Column[str] = VarcharField(
        max_length=60, help_text="Where the post was shared, in the service's own words."
    )
    message: Column[str | None] = TextField(null=True, default=None, help_text="What the user wrote with it.")
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the post was shared."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "feed_shares"
        verb_columns = {"post": "", "user": ""}
        indexes = (
            (("post", "created_at"), False),
            (("user",), False),
            (("channel", "created_at"), False),
        )

    @classmethod
    def share(
        cls,
        post: FeedPost | int,
        user: User | int,
        channel: str,
        message: str | None = None,
        *,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
    ) -> "FeedShare":
        """Add a share of ``post`` by ``user`` through ``channel`` and return it; sharing again adds another.

        Raises NotFound if the post or the user does not exist or ``viewer`` may not see the post (see
        ``FeedPost.visible_to``).
        """
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)
        name = required(cls.channel, channel)
        sight = sight_of(FeedPost, viewer, connections)
        name = stored_value(cls.channel, required(cls.channel, channel))
        text = stored_value(cls.message, message)

        def work() -> FeedShare:
            require_visible(post_id, sight)
            share = cls(post=post_id, user=user_id, channel=name, message=text)
            _INSERT.insert(share)
            details = {"channel": name, "shareId": share.id}
            FeedActivityLog.record(FeedAction.POST_SHARED, actor=user_id, post=post_id, metadata=details)
            return share

        return write_with_parents(work, (cls.post, post_id), (cls.user, user_id))

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Record the repair in the activity log; there is nothing else to write."""
        log_repair(repair, post=self.post_id)
        return {}

    @classmethod
    def counts_by_channel(cls, channels: Sequence[str], since: datetime, until: datetime) -> Counter[str]:
        """Return the number of shares through each of up to 200 channels, from ``since`` until before ``until``.

        Reads one range of ``feed_shares_channel_created_at`` for each channel, and nothing else.
        Raises RefusedValue if a timestamp is naive or the range ends before it starts.
        """
        table = cls._meta.table_name
        validate_limit(table, len(channels), name="channels")
        names = [stored_value(cls.channel, required(cls.channel, channel)) for channel in channels]
        since = stored_value(cls.created_at, required(cls.created_at, since))
        until = stored_value(cls.created_at, required(cls.created_at, until))
        start, end = instant_bound(cls.created_at, since), instant_bound(cls.created_at, until)
        if until < since:
            reject(cls.created_at, f"the range from {since} to {until} ends before it starts; swap the two")
        query = (
            cls.select(cls.channel, peewee.fn.COUNT(cls.id))
            .where(cls.channel.in_(names), cls.created_at >= start, cls.created_at < end)
            .group_by(cls.channel)
        )
        rows: Any = query.tuples()
        return Counter(dict(rows))


_INSERT: Final = Statement(lambda: FeedShare.insert(parameters(*columns_of(FeedShare)[1:])))
