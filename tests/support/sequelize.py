"""Databases as Sequelize's migrations leave them, from the statements that it sent.

`tests/support/sequelize_schema/` holds them word for word; `test_interop.py` compares them with what Sequelize
sends today.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from platform_database import execute, family

ALL = ("platform", "feed", "trust", "owner")
NAMES = {
    "feed": "20240801090000-feed-engagement.cjs",
    "trust": "20240801090000-trust-payments.cjs",
    "owner": "20240901120000-add-project-owner.cjs",
}
FILES = Path(__file__).parent / "sequelize_schema"

_TIMES = "'2024-08-01 09:00:00', '2024-08-01 09:00:00'"


def statements(server: str, part: str) -> list[str]:
    """What Sequelize sent for one part, identifiers in double quotes."""
    (lines,) = re.findall(rf"^-- {part}\n((?:(?!-- ).*\n)*)", (FILES / f"{server}.sql").read_text(), re.MULTILINE)
    return lines.replace("`", '"').splitlines()


def build(url: str, *parts: str, changed: Sequence[tuple[str, str]] = (), without: str | None = None) -> None:
    """Make these parts in an empty database, and note them in SequelizeMeta.

    ``changed`` are regular expressions and what comes in their place, in every statement; a statement in which
    ``without``, an expression too, is found is left out. All of them have to be found.
    """
    sent = [statement for part in parts for statement in statements(family(url), part)]
    for pattern, other in changed:
        assert any(re.search(pattern, statement) for statement in sent), f"nothing to change: {pattern}"
        sent = [re.sub(pattern, other, statement) for statement in sent]
    if without is not None:
        assert any(re.search(without, statement) for statement in sent), f"nothing to leave out: {without}"
        sent = [statement for statement in sent if not re.search(without, statement)]
    names = [NAMES[part] for part in parts if part in NAMES]
    if names and "feed" not in parts:
        sent.append('CREATE TABLE "SequelizeMeta" ("name" VARCHAR(255) NOT NULL PRIMARY KEY)')
    sent += [f'INSERT INTO "SequelizeMeta" ("name") VALUES (\'{name}\')' for name in names]
    execute(url, *sent)


def fill(url: str, *parts: str) -> None:
    """Write a row or two into each table, as a Node service does that leaves to the database what it can."""
    rows = {
        "platform": [
            'INSERT INTO "users" ("firstName", "lastName", "email", "createdAt", "updatedAt") '
            f"VALUES ('Grace', 'Hopper', 'grace@example.org', {_TIMES}), "
            f"('Zoë', 'Ångström', 'zoe@example.org', {_TIMES})",
            'INSERT INTO "projects" ("title", "description", "createdAt", "updatedAt") '
            f"VALUES ('Compiler', 'For everyone', {_TIMES}), ('Archive', 'Old tapes', {_TIMES})",
            'INSERT INTO "gigs" ("title", "description", "createdAt", "updatedAt") '
            f"VALUES ('Logo', 'Draw a logo', {_TIMES})",
        ],
        "feed": [
            'INSERT INTO "feed_posts" ("userId", "content", "metadata") '
            "VALUES (1, 'Shipped! 🚀', '[1, [true, null]]'), (2, 'Hello', NULL)",
            'INSERT INTO "feed_reactions" ("postId", "userId", "reactionType") VALUES (1, 2, \'celebrate\')',
            'INSERT INTO "feed_comments" ("postId", "userId", "body") VALUES (1, 2, \'Très bien\')',
            'INSERT INTO "feed_shares" ("postId", "userId", "channel") VALUES (1, 2, \'email\')',
            'INSERT INTO "feed_activity_logs" ("postId", "commentId", "actorId", "action") '
            "VALUES (1, 1, 2, 'comment.created')",
        ],
        "trust": [
            'INSERT INTO "escrow_accounts" ("userId", "provider", "currentBalance") VALUES (1, \'stripe\', 1500.10)',
            'INSERT INTO "escrow_transactions" ("accountId", "reference", "amount", "initiatedById") '
            "VALUES (1, 'E-104', 1500.10, 1), (1, 'E-105', 0.0001, 1)",
            'INSERT INTO "dispute_cases" ("escrowTransactionId", "openedById", "reasonCode", "summary") '
            "VALUES (1, 1, 'late', 'Two weeks late')",
            'INSERT INTO "dispute_events" ("disputeCaseId", "actorId") VALUES (1, 1)',
        ],
        "owner": ['UPDATE "projects" SET "ownerId" = 1 WHERE "id" = 1'],
    }
    session = ["SET time_zone = '+00:00'"] if family(url) in ("mariadb", "mysql") else []
    execute(url, *session, *(statement for part in parts for statement in rows[part]))
