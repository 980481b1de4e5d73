"""Enums of the feed."""

from enum import StrEnum


class Visibility(StrEnum):
    """Who may see a post."""

    PUBLIC = "public"
    CONNECTIONS = "connections"


class ReactionType(StrEnum):
    """The type of a reaction."""

    LIKE = "like"
    CELEBRATE = "celebrate"
    SUPPORT = "support"
    LOVE = "love"
    INSIGHTFUL = "insightful"


class FeedAction(StrEnum):
    """Actions that the verbs of the feed log; other services may log others."""

    REACTION_ADDED = "reaction_added"
    REACTION_CHANGED = "reaction_changed"
    REACTION_REMOVED = "reaction_removed"
    COMMENT_ADDED = "comment_added"
    COMMENT_DELETED = "comment_deleted"
    COMMENT_RESTORED = "comment_restored"
    COMMENT_EDITED = "comment_edited"
    POST_PUBLISHED = "post_published"
    POST_EDITED = "post_edited"
    POST_REMOVED = "post_removed"
    POST_SHARED = "post_shared"
    FEED_ERASED = "feed_erased"
    ROW_REPAIRED = "row_repaired"
