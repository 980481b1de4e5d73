"""Copy the project and add a revision four, as a contributor would: `python tests/revision_four.py FOLDER`.

The revision has a column, an index, an enum label and a table, and the models have the fields that go with them. The
environment `revision-four` then runs the suite in the copy, without the tests that have `contract` in their name, and
without races and random walks, to which revisions make no difference; `revision-four-whole` runs these too.
"""

import re
import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent

SCRIPT = '''"""Shares belong to a campaign, escrow pays for bounties, and posts can be bookmarked."""

from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_column, add_enum_label, create_table, require_tables
from engagement_db.tables import NOW, enum, index, key, references, table, time, unique, varchar

bookmarks = table(
    "feed_bookmarks",
    key(),
    references("postId", "feed_posts", on_delete="CASCADE"),
    references("userId", "users", on_delete="CASCADE"),
    time("createdAt", default=NOW),
    unique("postId", "userId"),
    index("userId"),
)
types = enum("type", ["project", "gig", "milestone", "retainer"], default="project")

revision = Revision(
    "004_campaigns",
    require_tables("users"),
    add_column("feed_shares", varchar("campaign", 40, null=True), index="feed_shares_campaign"),
    add_enum_label("escrow_transactions", types, "bounty"),
    create_table(bookmarks),
)
migrate = revision.migrate
rollback = revision.rollback
'''

MODEL = '''"""Posts that somebody wants to find again."""

from datetime import datetime
from typing import ClassVar

from engagement_db.feed.posts import FeedPost
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import KeyField, ReferenceField, UTCDateTimeField
from engagement_db.orm.models import BaseModel
from engagement_db.platform import User


class FeedBookmark(BaseModel):
    """A post that a user keeps."""

    post_id: ClassVar[Column[int]]
    user_id: ClassVar[Column[int]]
    id: Column[int] = KeyField(default=None)
    post: Reference[FeedPost] = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="bookmarks", on_delete="CASCADE"
    )
    user: Reference[User] = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_bookmarks", on_delete="CASCADE"
    )
    created_at: Column[datetime] = UTCDateTimeField(column_name="createdAt", default=now)

    class Meta:
        table_name = "feed_bookmarks"
        indexes = (
            (("post", "user"), True),
            (("user",), False),
        )
'''

MAKER = '''

def make_bookmark(post: FeedPost | int | None = None, user: User | int | None = None) -> FeedBookmark:
    """Keep a post."""
    target, reader = make_post() if post is None else post, make_user() if user is None else user
    return FeedBookmark.create(post=target, user=reader)
'''

SHARES, WORDS, PUBLIC = "engagement_db/feed/shares.py", "engagement_db/trust/words.py", "engagement_db/public.py"
MAKERS, TESTING = "engagement_db/testing/rows.py", "engagement_db/testing/__init__.py"
PLATFORM, POSTS = "engagement_db/platform.py", "engagement_db/feed/posts.py"
# (file, what is there, what comes in its place)
EDITS = [
    (
        SHARES,
        r"(\n    class Meta:\n)",
        r"    campaign: Column[str | None] = VarcharField(max_length=40, null=True, default=None)\n\1",
    ),
    (SHARES, r'( +)(\(\("user",\), False\),\n)', r'\1\2\1(("campaign",), False),\n'),
    (WORDS, r'(    RETAINER = "retainer"\n)', r'\1    BOUNTY = "bounty"\n'),
    (PUBLIC, r"(from engagement_db.feed.comments )", r"from engagement_db.feed.bookmarks import FeedBookmark\n\1"),
    (PUBLIC, r"(MODELS = \((?:.*\n)*?)(    EscrowAccount,\n)", r"\1    FeedBookmark,\n\2"),
    (PUBLIC, r'(    "FeedComment",\n)', r'    "FeedBookmark",\n\1'),
    (PLATFORM, r"(    feed_shares: .*\n)", r'\1    feed_bookmarks: ClassVar[Backref["FeedBookmark"]]\n'),
    (POSTS, r"(    shares: .*\n)", r'\1    bookmarks: ClassVar[Backref["FeedBookmark"]]\n'),
    (MAKERS, r"(from engagement_db.feed.comments )", r"from engagement_db.feed.bookmarks import FeedBookmark\n\1"),
    (MAKERS, r"\Z", MAKER),
    (TESTING, r"(    make_case,\n)", r"    make_bookmark,\n\1"),
    (TESTING, r'(    "make_case",\n)', r'    "make_bookmark",\n\1'),
    ("docs/testing.md", "`make_share`", "`make_share`, `make_bookmark`"),
    ("tests/test_imports.py", '"feed.shares"', '"feed.bookmarks", "feed.shares"'),
]
LEFT_OUT = (".git", ".tox", ".venv", ".*_cache", "build", "*.egg-info", "__pycache__", "node_modules")


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns(
        ".git", ".tox", ".venv", ".*_cache", "build", "*.egg-info", "__pycache__", "node_modules", folder.name
    )
    shutil.copytree(PROJECT, folder, ignore=ignored)
    (folder / "migrations" / "004_campaigns.py").write_text(SCRIPT)
    (folder / "engagement_db" / "feed" / "bookmarks.py").write_text(MODEL)
    for name, found, replaced in EDITS:
        path = folder / name
        text, count = re.subn(found, replaced, path.read_text())
        assert count, f"{name} has nothing like {found}"
        path.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
