"""Databases that an operator may start from: each with its name, the SQL that makes it, and what must be said of it.

`test_requirements.py` migrates those of the platform, `test_start_states.py` does in each what the commands say.
"""

import re
from dataclasses import dataclass

import sequelize
from platform_database import execute, family

from engagement_db.orm.urls import open_database
from engagement_db.schema import runner
from engagement_db.schema.stub_tables import create_stub_tables

EVERYWHERE = ("sqlite", "postgres", "mariadb", "mysql")
MYSQL = ("mariadb", "mysql")
STUBS = ("stubs",)
OURS = ("ours",)

Statements = tuple[str, ...] | dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class StartState:
    """A state of a database: the SQL that leads to it, and what must be said of it first.

    ``parts`` are those of Sequelize, with rows in them, or STUBS or OURS; ``changed`` and ``without`` alter their
    statements, and ``statements`` follow, those for MySQL on MariaDB too. ``cure`` is what a person runs on reading a
    remedy in words; ``values`` are those chosen for the question marks of printed statements, by column. ``loses``
    names the tables whose rows the printed statements delete. With ``empty`` only the platform has rows.
    """

    name: str
    said: tuple[str, ...]
    statements: Statements = ()
    servers: tuple[str, ...] = EVERYWHERE
    parts: tuple[str, ...] = sequelize.ALL
    changed: tuple[tuple[str, str], ...] = ()
    without: str | None = None
    cure: Statements = ()
    values: tuple[tuple[str, str], ...] = ()
    empty: bool = False
    loses: tuple[str, ...] = ()
    blocks_migrate: bool = False

    def make(self, url: str) -> None:
        """Make the state in an empty database."""
        if self.parts == STUBS:
            database = open_database(url)
            with database.connection_context():
                create_stub_tables(database)
        elif self.parts == OURS:
            sequelize.build(url, "platform")
            sequelize.fill(url, "platform")
            database = open_database(url)
            with database.connection_context():
                runner.migrate(database)
            sequelize.fill(url, "feed", "trust", "owner")
        elif self.parts:
            sequelize.build(url, *self.parts, changed=self.changed, without=self.without)
            sequelize.fill(url, *(self.parts if not self.empty else ["platform"]))
        execute(url, *of_server(self.statements, url))

    def cured(self, url: str) -> None:
        """Do what a remedy in words asks for: in an empty database, run the platform's own migrations."""
        if not self.parts:
            sequelize.build(url, "platform")
            sequelize.fill(url, "platform")
        execute(url, *of_server(self.cure, url))


def of_server(statements: Statements, url: str) -> tuple[str, ...]:
    if not isinstance(statements, dict):
        return statements
    return statements.get(family(url), statements.get("mysql", ()) if family(url) == "mariadb" else ())


# What the platform's tables lack

NO_GIGS = "DROP TABLE gigs"
ANOTHER_GIGS = "CREATE TABLE gigs (id INTEGER PRIMARY KEY, title VARCHAR(9))"
UNIQUE = ("gigs.id is not unique by itself", "make it the primary key")
LACKS = (
    StartState(
        "an id without a key",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL, title VARCHAR(9))"),
        parts=STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "an id that is part of a key",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL, region INTEGER NOT NULL, PRIMARY KEY (id, region))"),
        parts=STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "an id that is unique in some rows",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL)", "CREATE UNIQUE INDEX g ON gigs (id) WHERE id > 0"),
        ("sqlite", "postgres"),
        STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "an id that is unique at the end of a transaction",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL UNIQUE DEFERRABLE)"),
        ("postgres",),
        STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "an unlogged table",
        ("gigs is unlogged", "SET LOGGED"),
        ("ALTER TABLE gigs SET UNLOGGED",),
        ("postgres",),
        STUBS,
    ),
    StartState(
        "a table of another engine",
        ("gigs is stored by MyISAM", "ENGINE=InnoDB"),
        ("ALTER TABLE gigs ENGINE=MyISAM",),
        MYSQL,
        STUBS,
    ),
    StartState(
        "a partitioned table",
        ("gigs is partitioned", "REMOVE PARTITIONING"),
        ("ALTER TABLE gigs PARTITION BY HASH (id) PARTITIONS 2",),
        MYSQL,
        STUBS,
    ),
    StartState(
        "a partitioned table that is to get a column",
        ("projects is partitioned", "in a maintenance window, run ALTER TABLE"),
        (
            "DROP TABLE projects",
            "CREATE TABLE projects (id INTEGER PRIMARY KEY, title TEXT) PARTITION BY RANGE (id)",
        ),
        ("postgres",),
        STUBS,
    ),
    StartState(
        "a partitioned table of which a part was added",
        ("projects is partitioned", "in a maintenance window, run CREATE INDEX"),
        (
            "DROP TABLE projects",
            "CREATE TABLE projects (id INTEGER PRIMARY KEY, title TEXT) PARTITION BY RANGE (id)",
            'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER, ADD CONSTRAINT projects_owner_id_fkey '
            'FOREIGN KEY ("ownerId") REFERENCES users (id) ON DELETE SET NULL ON UPDATE CASCADE',
        ),
        ("postgres",),
        STUBS,
    ),
    StartState(
        "a table that is partitioned by another column",
        ("gigs is partitioned by other columns than id", "make it a plain table"),
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"),
        ("postgres",),
        STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "a table with a FULLTEXT index",
        ("projects has a FULLTEXT index", "in a maintenance window, run ALTER TABLE"),
        ("CREATE FULLTEXT INDEX words ON projects (description)",),
        MYSQL,
        STUBS,
    ),
    StartState(
        "a table whose rows are as wide as they can be",
        ("projects can take no other column", "Row size too large"),
        (
            "DROP TABLE projects",
            "CREATE TABLE projects (id INTEGER AUTO_INCREMENT PRIMARY KEY, wide VARCHAR(65526) CHARACTER SET latin1)",
        ),
        MYSQL,
        STUBS,
        cure=("ALTER TABLE projects MODIFY COLUMN wide MEDIUMTEXT",),
    ),
    StartState(
        "a table with all the columns that it can have",
        ("projects has 1600 columns", "copy it"),
        (f"ALTER TABLE projects {', '.join(f'ADD COLUMN c{n} BOOLEAN' for n in range(1594))}",),
        ("postgres",),
        STUBS,
        cure=("DROP TABLE projects", "CREATE TABLE projects (id INTEGER PRIMARY KEY, title TEXT)"),
    ),
    StartState(
        "a table with all the indexes that it can have",
        ("projects has 64 indexes", "drop one"),
        tuple(f"CREATE INDEX spare_{number} ON projects (id)" for number in range(63)),
        MYSQL,
        STUBS,
        cure=("DROP INDEX spare_0 ON projects",),
    ),
    StartState(
        "a column whose name differs in case",
        ("projects has the column OWNERID", "the same name as ownerId", "rename it"),
        ("ALTER TABLE projects ADD COLUMN OWNERID INTEGER",),
        ("sqlite", *MYSQL),
        STUBS,
        cure=("ALTER TABLE projects RENAME COLUMN OWNERID TO owner_before",),
    ),
    StartState(
        "an index whose name differs in case",
        ("projects has the index PROJECTS_OWNER_ID_IDX", "the same name as projects_owner_id_idx", "rename it"),
        ("CREATE INDEX PROJECTS_OWNER_ID_IDX ON projects (title)",),
        MYSQL,
        STUBS,
        cure=("ALTER TABLE projects RENAME INDEX PROJECTS_OWNER_ID_IDX TO projects_title",),
    ),
    StartState(
        "an id of two bytes",
        ("gigs.id is smallint", "run ALTER TABLE"),
        (NO_GIGS, "CREATE TABLE gigs (id SMALLINT NOT NULL PRIMARY KEY)"),
        ("postgres", *MYSQL),
        STUBS,
    ),
    StartState(
        "an id of three bytes without a sign",
        ("gigs.id is mediumint", "run ALTER TABLE"),
        (NO_GIGS, "CREATE TABLE gigs (id MEDIUMINT UNSIGNED PRIMARY KEY AUTO_INCREMENT COMMENT 'a smallint, once')"),
        MYSQL,
        STUBS,
    ),
    StartState(
        "an id of a domain",
        ("gigs.id is gig_id", "run ALTER TABLE"),
        (NO_GIGS, "CREATE DOMAIN gig_id AS BIGINT", "CREATE TABLE gigs (id gig_id PRIMARY KEY)"),
        ("postgres",),
        STUBS,
    ),
    StartState(
        "an id that is no number",
        ("gigs.id is ", "the library can refer to rows by integers only"),
        (NO_GIGS, "CREATE TABLE gigs (id CHAR(36) PRIMARY KEY)"),
        parts=STUBS,
        cure=(NO_GIGS, ANOTHER_GIGS),
    ),
    StartState(
        "a materialized view",
        ("gigs is a materialized view", "make it a table"),
        ("ALTER TABLE gigs RENAME TO all_gigs", "CREATE MATERIALIZED VIEW gigs AS SELECT * FROM all_gigs"),
        ("postgres",),
        STUBS,
        cure=("DROP MATERIALIZED VIEW gigs", "ALTER TABLE all_gigs RENAME TO gigs"),
    ),
    StartState(
        "a foreign table",
        ("gigs is a foreign table", "make it a table"),
        (
            NO_GIGS,
            "CREATE FOREIGN DATA WRAPPER elsewhere",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere",
            "CREATE FOREIGN TABLE gigs (id INTEGER NOT NULL) SERVER elsewhere",
        ),
        ("postgres",),
        STUBS,
        cure=("DROP FOREIGN TABLE gigs", ANOTHER_GIGS),
    ),
    StartState(
        "a view",
        ("gigs is a view", "no foreign key can reference"),
        ("ALTER TABLE gigs RENAME TO all_gigs", "CREATE VIEW gigs AS SELECT * FROM all_gigs"),
        parts=STUBS,
        cure=("DROP VIEW gigs", "ALTER TABLE all_gigs RENAME TO gigs"),
    ),
    StartState(
        "a table whose name is in another case",
        ("the platform's table gigs has its name in another case", "rename it to gigs"),
        ("ALTER TABLE gigs RENAME TO all_gigs", "ALTER TABLE all_gigs RENAME TO Gigs"),
        ("sqlite",),
        STUBS,
        cure=("ALTER TABLE Gigs RENAME TO all_gigs", "ALTER TABLE all_gigs RENAME TO gigs"),
    ),
)

# What Sequelize made, whole, in part or otherwise

# The marketplace migration made posts alone, long ago: nullable columns, no metadata and no index.
OTHER_FEED_TABLES = r'feed_(reactions|comments|shares|activity_logs)|INDEX "feed_posts'
MARKETPLACE = (
    (r'(CREATE TABLE[^(]*"feed_posts" .*?"userId" INTEGER) NOT NULL', r"\1"),
    (r'(CREATE TABLE[^(]*"feed_posts" .*?"content" TEXT) NOT NULL', r"\1"),
    (r'(CREATE TABLE[^(]*"feed_posts" .*?"visibility" \S+(?: ?\(?\'[^)]*\))?) NOT NULL', r"\1"),
    (r'(CREATE TABLE[^(]*"feed_posts" .*?) "metadata" JSONB?,', r"\1"),
)
OBSTACLES = (
    (r'"content" TEXT NOT NULL', '"content" TEXT, "team" INTEGER NOT NULL'),
    (r"(\"visibility\".*?) DEFAULT 'public'", r"\1"),
    (r'(feed_reactions.*REFERENCES "users" \("id"\)) ON DELETE CASCADE', r"\1 ON DELETE RESTRICT"),
    ("DEFAULT 'like'", "DEFAULT 'love'"),
    (r'(feed_comments.*?)(, FOREIGN KEY \("postId"\))? REFERENCES "feed_posts"', r'\1\2 REFERENCES "projects"'),
    (r'("deletedAt" [A-Z ]+)', r"\1 NOT NULL"),
    (r'(feed_shares.*?)(, FOREIGN KEY \("postId"\))? REFERENCES "feed_posts" \("id"\)[A-Z ]+', r"\1"),
    (r'"channel" VARCHAR\(60\)', '"channel" INTEGER'),
    ('"message" TEXT, ', ""),
)
ONE_POST = 'INSERT INTO "feed_posts" ("userId", "content") VALUES (1, \'one\'), (2, \'two\')'
POST_OF_NOBODY = 'INSERT INTO "feed_posts" ("content", "visibility") VALUES (\'three\', NULL)'
FEED_REACTIONS_TWICE = (
    'INSERT INTO feed_reactions ("postId", "userId", "createdAt", "updatedAt") '
    'SELECT "postId", "userId", "createdAt", "updatedAt" FROM feed_reactions'
)
COMMENTS_OF_NO_POST = (
    'INSERT INTO feed_comments ("postId", "userId", body, "createdAt", "updatedAt") '
    'SELECT 77, "userId", body, "createdAt", "updatedAt" FROM feed_comments'
)
TRUST_TABLES = ("dispute_events", "dispute_cases", "escrow_transactions", "escrow_accounts")
PRESENT = "001_feed_engagement: matches with harmless differences"
PARTIAL = "001_feed_engagement: partially present"
INCOMPATIBLE = "001_feed_engagement: incompatible"

MADE_BY_SEQUELIZE = (
    StartState("an empty database", ("Run the platform's own migrations first",), parts=(), blocks_migrate=True),
    StartState("the platform alone", ("Run `engagement-db migrate`",), parts=("platform",)),
    *(
        StartState(f"Sequelize's {' and '.join(parts)}", ("Recorded as applied",), parts=("platform", *parts))
        for parts in (("feed",), ("trust",), ("trust", "owner"), ("feed", "trust", "owner"))
    ),
    StartState(
        "posts of the marketplace, empty",
        ("feed_posts.userId: the column is nullable, expected NOT NULL (fixable)",),
        parts=("platform", "feed"),
        changed=MARKETPLACE,
        without=OTHER_FEED_TABLES,
        empty=True,
    ),
    StartState(
        "posts of the marketplace beside trust and owners",
        (
            "Recorded as applied: 002_trust_payments, 003_add_project_owner",
            "feed_posts.metadata: the column is missing",
        ),
        (ONE_POST,),
        changed=MARKETPLACE,
        without=OTHER_FEED_TABLES,
        empty=True,
        blocks_migrate=True,
    ),
    StartState(
        "posts of the marketplace that nobody wrote",
        ("feed_posts.userId: the column is nullable, expected NOT NULL, and 1 row holds NULL",),
        (ONE_POST, POST_OF_NOBODY),
        parts=("platform", "feed"),
        changed=MARKETPLACE,
        without=OTHER_FEED_TABLES,
        values=(("userId", "1"), ("visibility", "'public'")),
        empty=True,
        blocks_migrate=True,
    ),
    StartState(
        "posts of the marketplace with a short text and no time of change",
        (INCOMPATIBLE,),
        ('INSERT INTO "feed_posts" ("id", "userId", "content") VALUES (7, 1, \'one\'), (8, 2, \'two\')',),
        parts=("platform", "feed"),
        changed=(
            *MARKETPLACE,
            (r'("feed_posts" .*?"content") TEXT', r"\1 VARCHAR(500)"),
            (r'("feed_posts" .*), "updatedAt" [^,]*', r"\1"),
        ),
        without=OTHER_FEED_TABLES,
        servers=("postgres", *MYSQL),
        values=(("updatedAt", "CURRENT_TIMESTAMP"),),
        empty=True,
    ),
    StartState("a feed that stopped half way", (PARTIAL,), ("DROP TABLE feed_activity_logs", "DROP TABLE feed_shares")),
    StartState(
        "a feed with everything in the way",
        (INCOMPATIBLE, "feed_shares.message: the column is missing"),
        ('INSERT INTO "feed_posts" ("userId", "visibility", "team") VALUES (1, \'public\', 1)',),
        changed=OBSTACLES,
        values=(("content", "'?'"), ("visibility", "'public'")),
        empty=True,
        blocks_migrate=True,
    ),
    StartState(
        "two reactions of one user",
        ("a unique index over (postId, userId) is missing, and rows hold equal values: those with id 1 and 2",),
        (FEED_REACTIONS_TWICE,),
        without="feed_reactions_post_user_unique",
        loses=("feed_reactions",),
    ),
    StartState(
        "comments whose post is gone",
        ("feed_comments.postId: the foreign key to feed_posts.id ON DELETE CASCADE ON UPDATE NO ACTION is missing",),
        {
            "sqlite": ("PRAGMA foreign_keys = OFF", COMMENTS_OF_NO_POST),
            "postgres": (COMMENTS_OF_NO_POST,),
            "mysql": (COMMENTS_OF_NO_POST,),
        },
        changed=((r'(feed_comments.*?)(, FOREIGN KEY \("postId"\))? REFERENCES "feed_posts" \("id"\)[A-Z ]+', r"\1"),),
        loses=("feed_comments",),
    ),
    StartState(
        "a unique index of somebody else's",
        ("feed_shares.one_share_each: an unmanaged index: a unique index over (userId)",),
        ('CREATE UNIQUE INDEX "one_share_each" ON "feed_shares" ("userId")',),
    ),
    StartState(
        "two accounts of one user, provider and currency",
        ("rows hold equal values: those with id 1 and 2",),
        ("INSERT INTO escrow_accounts (\"userId\", provider) VALUES (1, 'stripe')",),
        values=(("provider", "'stripe, older'"), ("currencyCode", "'EUR'")),
    ),
    StartState(
        "labels that are not ours",
        ("feed_reactions.reactionType: the type is",),
        {
            "sqlite": ('UPDATE "feed_reactions" SET "reactionType" = \'applaud\'',),
            "postgres": ("ALTER TYPE \"enum_feed_reactions_reactionType\" RENAME VALUE 'celebrate' TO 'applaud'",),
            "mysql": (
                'ALTER TABLE "feed_reactions" MODIFY "reactionType" VARCHAR(20) NOT NULL DEFAULT \'like\'',
                'UPDATE "feed_reactions" SET "reactionType" = \'applaud\'',
                'ALTER TABLE "feed_reactions" MODIFY "reactionType" '
                "ENUM('like', 'applaud', 'support', 'love', 'insightful') NOT NULL DEFAULT 'like'",
            ),
        },
        values=(("reactionType", "'like'"),),
    ),
    StartState(
        "more labels than ours",
        ("Recorded as applied",),
        {
            "postgres": ("ALTER TYPE enum_escrow_transactions_status ADD VALUE 'held'",),
            "mysql": (
                "ALTER TABLE escrow_transactions MODIFY status ENUM('initiated', 'funded', 'in_escrow', 'released', "
                "'refunded', 'cancelled', 'disputed', 'held') NOT NULL DEFAULT 'initiated'",
            ),
        },
        servers=("postgres", *MYSQL),
    ),
    StartState(
        "ids that no longer count up",
        ("feed_posts.id: the id is not auto-incremented",),
        {
            "postgres": ('ALTER TABLE "feed_posts" ALTER COLUMN "id" DROP DEFAULT',),
            "mysql": ("SET FOREIGN_KEY_CHECKS = 0", 'ALTER TABLE "feed_posts" MODIFY COLUMN "id" INTEGER NOT NULL'),
        },
        servers=("postgres", *MYSQL),
    ),
    StartState(
        "ids that no longer count up, after a rebuild",
        ("feed_posts.id: the id is not auto-incremented",),
        servers=("sqlite",),
        changed=(("(posts.*)PRIMARY KEY AUTOINCREMENT", r"\1PRIMARY KEY"),),
    ),
    StartState(
        "text in latin1",
        ("text is stored as latin1",),
        ("DELETE FROM feed_posts", "ALTER TABLE feed_posts CONVERT TO CHARACTER SET latin1"),
        MYSQL,
    ),
    StartState(
        "an amount that a check would refuse",
        ("escrow_transactions_amount_check", "1 row violates it"),
        ('UPDATE "escrow_transactions" SET "amount" = -5 WHERE "reference" = \'E-105\'',),
        values=(("amount", "5"), ("feeAmount", "0")),
    ),
    StartState(
        "an owner without a key",
        ("the foreign key to users.id ON DELETE SET NULL ON UPDATE CASCADE is missing",),
        ('ALTER TABLE "projects" ADD COLUMN "ownerId" INTEGER', 'UPDATE "projects" SET "ownerId" = 1'),
        parts=("platform",),
        cure={"sqlite": ('ALTER TABLE "projects" RENAME COLUMN "ownerId" TO "owner"',)},
        blocks_migrate=True,
    ),
    StartState(
        "a view that has the name of a table",
        ("feed_shares",),
        ("CREATE VIEW feed_shares AS SELECT id FROM projects",),
        parts=("platform",),
        cure=("DROP VIEW feed_shares",),
        loses=("feed_shares",),
    ),
    StartState(
        "a type of another form",
        ("the type enum_feed_posts_visibility has the labels public, secret, not public, connections",),
        ("CREATE TYPE \"enum_feed_posts_visibility\" AS ENUM ('public', 'secret')",),
        ("postgres",),
        ("platform",),
        cure=('ALTER TYPE "enum_feed_posts_visibility" RENAME TO "another_type"',),
        blocks_migrate=True,
    ),
    StartState(
        "an index of our name over another column",
        ("projects_owner_id_idx",),
        ("CREATE INDEX projects_owner_id_idx ON projects (title)",),
        parts=("platform",),
        cure={
            "sqlite": ("DROP INDEX projects_owner_id_idx",),
            "postgres": ("ALTER INDEX projects_owner_id_idx RENAME TO projects_title_idx",),
            "mysql": ("ALTER TABLE projects RENAME INDEX projects_owner_id_idx TO projects_title_idx",),
        },
    ),
)

MADE_BY_US = (
    StartState("our own tables", ("Nothing to record.",), parts=OURS),
    StartState(
        "our own tables without a history", ("Recorded as applied",), ("DROP TABLE migratehistory",), parts=OURS
    ),
    StartState(
        "a migration that died",
        (PARTIAL,),
        ("DROP TABLE migratehistory", "DROP TABLE feed_activity_logs", "DROP TABLE feed_shares"),
        parts=OURS,
    ),
    StartState(
        "a recorded revision whose tables are gone",
        ("Recorded but not present: 002_trust_payments",),
        tuple(f"DROP TABLE {table}" for table in TRUST_TABLES),
        parts=OURS,
    ),
    StartState(
        "a recorded table without a column",
        ("dispute_cases.resolutionNotes: the column is missing",),
        ('ALTER TABLE dispute_cases DROP COLUMN "resolutionNotes"',),
        parts=OURS,
    ),
    StartState(
        "a recorded column that may be null",
        ("feed_shares.channel: the column is nullable",),
        {
            "postgres": ("ALTER TABLE feed_shares ALTER COLUMN channel DROP NOT NULL",),
            "mysql": ("ALTER TABLE feed_shares MODIFY channel VARCHAR(60)",),
        },
        ("postgres", *MYSQL),
        OURS,
    ),
    StartState(
        "a concurrent index that did not finish",
        ("it is INVALID",),
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'feed_posts_created_at'::regclass",),
        ("postgres",),
        OURS,
    ),
)

ALL = (*LACKS, *MADE_BY_SEQUELIZE, *MADE_BY_US)


def with_values(statement: str, values: tuple[tuple[str, str], ...]) -> str:
    """A printed statement with the chosen value in place of its question mark."""
    for column, value in values:
        statement = re.sub(rf'(["`]{column}["`] = )\?', lambda found, value=value: found[1] + value, statement)
    assert "?" not in re.sub(r"'[^']*'", "", statement), f"no value was chosen: {statement}"
    return statement
