"""The social feed: posts, reactions, nested comments, shares and the activity log."""

from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import create_table, require_tables
from engagement_db.tables import NOW, enum, index, integer, json, key, references, table, text, time, unique, varchar

posts = table(
    "feed_posts",
    key(),
    references("userId", "users", on_delete="CASCADE"),
    text("content"),
    enum("visibility", ["public", "connections"], default="public"),
    json("metadata", null=True),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
    index("createdAt"),
    index("visibility", "createdAt"),
    index("userId", "createdAt"),
)

reactions = table(
    "feed_reactions",
    key(),
    references("postId", "feed_posts", on_delete="CASCADE"),
    references("userId", "users", on_delete="CASCADE"),
    enum("reactionType", ["like", "celebrate", "support", "love", "insightful"], default="like"),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
    unique("postId", "userId"),
    index("userId"),
    index("postId", "reactionType"),
)

comments = table(
    "feed_comments",
    key(),
    references("postId", "feed_posts", on_delete="CASCADE"),
    references("userId", "users", on_delete="CASCADE"),
    references("parentId", "feed_comments", on_delete="SET NULL", null=True),
    text("body"),
    json("metadata", null=True),
    time("deletedAt", null=True),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
    index("postId", "createdAt"),
    index("parentId"),
    index("userId"),
)

shares = table(
    "feed_shares",
    key(),
    references("postId", "feed_posts", on_delete="CASCADE"),
    references("userId", "users", on_delete="CASCADE"),
    varchar("channel", 60),
    text("message", null=True),
    time("createdAt", default=NOW),
    time("updatedAt", default=NOW),
    index("postId", "createdAt"),
    index("userId"),
    index("channel", "createdAt"),
)

activity_logs = table(
    "feed_activity_logs",
    key(),
    references("postId", "feed_posts", on_delete="SET NULL", null=True),
    integer("commentId", null=True, ids_of="feed_comments"),
    references("actorId", "users", on_delete="SET NULL", null=True),
    varchar("action", 80),
    json("metadata", null=True),
    time("createdAt", default=NOW),
    index("postId", "createdAt"),
    index("commentId"),
    index("actorId", "createdAt"),
    index("action", "createdAt"),
)

revision = Revision(
    "001_feed_engagement",
    require_tables("users"),
    create_table(posts),
    create_table(reactions),
    create_table(comments),
    create_table(shares),
    create_table(activity_logs),
)
migrate = revision.migrate
rollback = revision.rollback
