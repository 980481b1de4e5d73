"""The social feed: posts, reactions, comments, shares and the activity log.

A verb does its work in one transaction, together with its entry in the activity log; inside a caller's
transaction it joins that. Wherever a verb or a query asks for a row, the row or its id will do.
"""

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.comments import FeedComment, Thread, ThreadEntry
from engagement_db.feed.posts import FeedPost
from engagement_db.feed.reactions import FeedReaction, ReactionChange
from engagement_db.feed.shares import FeedShare
from engagement_db.feed.timeline import TimelineEntry, TimelinePage
from engagement_db.feed.words import FeedAction, ReactionType, Visibility

__all__ = [
    "FeedAction",
    "FeedActivityLog",
    "FeedComment",
    "FeedPost",
    "FeedReaction",
    "FeedShare",
    "ReactionChange",
    "ReactionType",
    "Thread",
    "ThreadEntry",
    "TimelineEntry",
    "TimelinePage",
    "Visibility",
]
