"""The social feed: posts, reactions, comments, shares and the activity log.

Each verb and its entry in the activity log are one transaction; inside a caller's transaction the verb joins that.
Wherever a verb or a query takes a row, it also takes the row's id.
"""

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.comments import FeedComment
from engagement_db.feed.erasure import erase_feed, erase_user
from engagement_db.feed.posts import FeedPost
from engagement_db.feed.problems import find_feed_problems
from engagement_db.feed.reactions import FeedReaction, ReactionChange
from engagement_db.feed.roots import RootEntry, RootPage
from engagement_db.feed.shares import FeedShare
from engagement_db.feed.threads import Thread, ThreadEntry
from engagement_db.feed.timeline import TimelineEntry, TimelinePage
from engagement_db.feed.visibility import ANONYMOUS, EVERYTHING
from engagement_db.feed.words import FeedAction, ReactionType, Visibility

__all__ = [
    "ANONYMOUS",
    "EVERYTHING",
    "FeedAction",
    "FeedActivityLog",
    "FeedComment",
    "FeedPost",
    "FeedReaction",
    "FeedShare",
    "ReactionChange",
    "ReactionType",
    "RootEntry",
    "RootPage",
    "Thread",
    "ThreadEntry",
    "TimelineEntry",
    "TimelinePage",
    "Visibility",
    "erase_feed",
    "erase_user",
    "find_feed_problems",
]
