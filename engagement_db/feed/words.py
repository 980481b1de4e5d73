"""The words of the feed: who sees a post, how people react, what the activity log records."""

from enum import StrEnum


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


class FeedAction(StrEnum):
    """What the verbs of the feed write into the activity log; other services may write other words."""

    REACTION_ADDED = "reaction_added"
    REACTION_CHANGED = "reaction_changed"
    REACTION_REMOVED = "reaction_removed"
    COMMENT_ADDED = "comment_added"
    COMMENT_DELETED = "comment_deleted"
    COMMENT_RESTORED = "comment_restored"
    POST_SHARED = "post_shared"
