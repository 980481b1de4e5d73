"""The social feed: posts, reactions, comments, shares and the activity log."""

from enum import StrEnum

from engagement_db.database import BaseModel, now
from engagement_db.fields import (
    EnumField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    TimeField,
    VarcharField,
)
from engagement_db.host import User


class Visibility(StrEnum):
    """Who sees a post."""

    PUBLIC = "public"
    CONNECTIONS = "connections"


class ReactionType(StrEnum):
    """How somebody reacts to a post."""

    LIKE = "like"
    CELEBRATE = "celebrate"
    SUPPORT = "support"
    LOVE = "love"
    INSIGHTFUL = "insightful"


class FeedPost(BaseModel):
    """A post."""

    id = KeyField()
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_posts", on_delete="CASCADE"
    )
    content = TextField()
    visibility = EnumField(Visibility, default=Visibility.PUBLIC)
    metadata = JsonField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_posts"
        indexes = (
            (("created_at",), False),
            (("visibility", "created_at"), False),
            (("user", "created_at"), False),
        )


class FeedReaction(BaseModel):
    """One person's reaction to one post; at most one row for the two."""

    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="reactions", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_reactions", on_delete="CASCADE"
    )
    reaction_type = EnumField(ReactionType, column_name="reactionType", default=ReactionType.LIKE)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_reactions"
        indexes = (
            (("post", "user"), True),
            (("user",), False),
            (("post", "reaction_type"), False),
        )


class FeedComment(BaseModel):
    """A comment on a post, or a reply to another comment."""

    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="comments", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_comments", on_delete="CASCADE"
    )
    parent = ReferenceField(
        "self",
        column_name="parentId",
        object_id_name="parent_id",
        backref="replies",
        null=True,
        on_delete="SET NULL",
    )
    body = TextField()
    metadata = JsonField(null=True)
    deleted_at = TimeField(column_name="deletedAt", null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_comments"
        indexes = (
            (("post", "created_at"), False),
            (("parent",), False),
            (("user",), False),
        )


class FeedShare(BaseModel):
    """A post that somebody passed on over a channel."""

    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="shares", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_shares", on_delete="CASCADE"
    )
    channel = VarcharField(max_length=60)
    message = TextField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_shares"
        indexes = (
            (("post", "created_at"), False),
            (("user",), False),
            (("channel", "created_at"), False),
        )


class FeedActivityLog(BaseModel):
    """What was done in the feed, by whom, when. Append-only."""

    id = KeyField()
    post = ReferenceField(
        FeedPost,
        column_name="postId",
        object_id_name="post_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
    )
    comment = ReferenceField(
        FeedComment,
        column_name="commentId",
        object_id_name="comment_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
    )
    actor = ReferenceField(
        User,
        column_name="actorId",
        object_id_name="actor_id",
        backref="feed_activity",
        null=True,
        on_delete="SET NULL",
    )
    action = VarcharField(max_length=80)
    metadata = JsonField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)

    class Meta:
        table_name = "feed_activity_logs"
        indexes = (
            (("post", "created_at"), False),
            (("comment",), False),
            (("actor", "created_at"), False),
            (("action", "created_at"), False),
        )
