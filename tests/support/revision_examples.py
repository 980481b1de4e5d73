"""The revisions that docs/revisions.md shows, and rows for the tables that they change."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "revisions.md"

EXAMPLES = {
    re.search(r'Revision\(\s*"(\w+)"', script)[1]: script  # type: ignore[index]
    for script in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
}

OUR_ROWS = [
    "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    'INSERT INTO feed_reactions ("postId", "userId") VALUES (1, 2), (1, 3), (2, 3)',
    'INSERT INTO feed_comments ("postId", "userId", body) VALUES (1, 2, \'first\')',
    "INSERT INTO feed_shares (\"postId\", \"userId\", channel) VALUES (1, 1, 'mail'), (1, 1, 'web'), (1, 2, 'mail')",
    "INSERT INTO escrow_accounts (\"userId\", provider) VALUES (1, 'bank')",
    'INSERT INTO escrow_transactions ("accountId", reference, amount, "feeAmount", "initiatedById") '
    "VALUES (1, 'r-1', 12.5, 1, 1), (1, 'r-2', 20, 8, 1)",
]
