"""Each example of docs/revisions.md and each step: applied, applied again, rolled back and applied on a platform."""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import commands
import peewee
import pytest
import servers
from commands import FIRST_THREE, copy_scripts
from independent_catalog import Snapshot, everything, snapshot, unlike
from platform_database import build, execute, family, query, session
from revision_examples import EXAMPLES, OUR_ROWS

from engagement_db.errors import MigrationError, SchemaConflict, StepFailed
from engagement_db.orm.urls import open_database
from engagement_db.schema import history, runner
from engagement_db.schema.execute import Run
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_check, add_column, add_enum_label
from engagement_db.tables import NOW, CheckSpec, check, enum, integer, json, money, references, text, time, varchar

RELEASED = FIRST_THREE
pytestmark = pytest.mark.usefixtures("first_three")

# Statements that existing rows accept, and that they reject, once the example is applied.
ALLOWED = {
    "004_post_language": "UPDATE feed_posts SET language = 'pt-BR'",
    "005_post_answers": "UPDATE feed_posts SET answers = 'connections', reward = 1.5",
    "006_post_project": 'UPDATE feed_posts SET "projectId" = 7',
    "007_fee_limit": 'UPDATE escrow_transactions SET "feeAmount" = 6.25',
    "008_share_indexes": "UPDATE feed_shares SET channel = 'fax' WHERE id = 1",
    "009_curious_reaction": "UPDATE feed_reactions SET \"reactionType\" = 'curious'",
    "010_post_pins": "UPDATE feed_posts SET content = 'pinned' WHERE id = 1",
}
REFUSED = {
    "005_post_answers": "UPDATE feed_posts SET answers = 'nobody'",
    "006_post_project": 'UPDATE feed_posts SET "projectId" = 987654',
    "007_fee_limit": 'UPDATE escrow_transactions SET "feeAmount" = 6.26',
    "008_share_indexes": "UPDATE feed_shares SET channel = 'mail', \"userId\" = 1",
    "009_curious_reaction": "UPDATE feed_reactions SET \"reactionType\" = 'dull'",
    "010_post_pins": 'INSERT INTO feed_pins ("postId", "userId", "position") VALUES (1, 1, 0)',
}
# Examples that copy the table when applied and when rolled back, as docs/revisions.md says.
COPIES = {
    "004_post_language": {"mysql": (False, True)},
    "005_post_answers": {"mysql": (False, True)},
    "006_post_project": {"mysql": (False, True)},
    "007_fee_limit": {"mariadb": (True, False), "mysql": (True, False)},
    "009_curious_reaction": {"postgres": (False, True), "mariadb": (False, True), "mysql": (False, True)},
}

DEPENDENTS = {
    "sqlite": [
        "CREATE TRIGGER shouted AFTER UPDATE OF content ON feed_posts BEGIN "
        "UPDATE feed_posts SET metadata = '{}' WHERE id = NEW.id; END",
        "CREATE INDEX long_posts ON feed_posts (length(content)) WHERE visibility = 'public'",
    ],
    "postgres": [
        "CREATE FUNCTION shouted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER shouted BEFORE UPDATE ON feed_posts FOR EACH ROW EXECUTE FUNCTION shouted()",
        "CREATE INDEX long_posts ON feed_posts (length(content)) WHERE visibility = 'public'",
    ],
}
DEPENDENTS_ON_MYSQL = [
    "CREATE TRIGGER shouted BEFORE UPDATE ON feed_posts FOR EACH ROW SET NEW.content = NEW.content",
    "CREATE INDEX long_posts ON feed_posts (content(20))",
]


@dataclass
class Platform:
    """A platform with the released revisions and rows in their tables, kept until a test changes it."""

    server: servers.Server
    url: str = ""
    before: Snapshot = field(default_factory=dict)

    def have(self) -> None:
        if self.url:
            return
        self.url = self.server.create_database()
        build(self.url)
        with contextlib.closing(open_database(self.url)) as database:
            runner.migrate(database)
        execute(self.url, *OUR_ROWS, *DEPENDENTS.get(self.server.name, DEPENDENTS_ON_MYSQL))
        execute(self.url, "CREATE VIEW contents AS SELECT id, content FROM feed_posts")
        self.before = everything(self.url)

    def drop(self) -> None:
        if self.url:
            self.server.drop_database(self.url)
            self.url = ""


@pytest.fixture(scope="module")
def platform(server: servers.Server) -> Iterator[Platform]:
    platform = Platform(server)
    yield platform
    server.start()
    platform.drop()


@pytest.fixture
def platform_url(platform: Platform) -> Iterator[str]:
    """The URL of a platform with the released revisions; no test sees the changes of another."""
    platform.have()
    yield platform.url
    if unlike(platform.before, everything(platform.url)):
        platform.drop()


@pytest.fixture
def database(platform_url: str) -> Iterator[peewee.Database]:
    with contextlib.closing(open_database(platform_url)) as database:
        yield database


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A copy of the released scripts, to which a test adds its own."""
    return copy_scripts(tmp_path)


def put(scripts: Path, *names: str) -> None:
    for name in names:
        (scripts / f"{name}.py").write_text(EXAMPLES[name])


def script(scripts: Path, steps: str, name: str = "004_more") -> str:
    """Write a script of these steps, and return its name."""
    (scripts / f"{name}.py").write_text(
        "from engagement_db.schema.revision import Revision\n"
        "from engagement_db.schema.steps import *\nfrom engagement_db.tables import *\n"
        f"revision = Revision({name!r}, {steps})\nmigrate = revision.migrate\nrollback = revision.rollback\n"
    )
    return name


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_applied_again_rolled_back_and_applied(
    name: str, platform: Platform, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    put(scripts, name)
    table = re.findall(r'add_\w+\(\s*"(\w+)"', EXAMPLES[name] + 'add_column("feed_posts"')[0]
    kept = [storage(platform_url, table)]

    assert runner.migrate(database, directory=scripts) == (name,)
    kept.append(storage(platform_url, table))
    applied = snapshot(platform_url)
    assert unlike(definitions(platform.before), applied)
    refuses_and_allows(platform_url, name)

    history.remove(database, name)
    said: list[str] = []
    assert runner.migrate(database, directory=scripts, report=said.append) == (name,)
    assert said
    assert [line for line in said if not line.endswith("already applied")] == []

    assert runner.rollback(database, directory=scripts, discard_rows=True) == (name,)
    kept.append(storage(platform_url, table))
    assert unlike(platform.before, everything(platform_url)) == {}
    copied = (kept[0] != kept[1], kept[1] != kept[2])
    assert copied == COPIES.get(name, {}).get(family(platform_url), (False, False)), "docs/revisions.md says so"

    assert runner.migrate(database, directory=scripts) == (name,)
    assert unlike(applied, snapshot(platform_url)) == {}
    runner.rollback(database, directory=scripts, discard_rows=True)


def definitions(found: Snapshot) -> Snapshot:
    return {name: what for name, what in found.items() if not name.startswith("rows of ")}


def refuses_and_allows(url: str, name: str) -> None:
    """Rows accept what the example allows and reject what it forbids; all is rolled back."""
    with session(url) as connection:
        for statement in filter(None, [REFUSED.get(name)]):
            with pytest.raises(Exception, match=r"(?i)check|foreign|unique|duplicate|enum|truncated"):
                connection.ask(statement)
        connection.ask("BEGIN")
        connection.ask(ALLOWED[name])
        connection.ask("ROLLBACK")


def test_pw_migrate_applies_all_examples_with_the_same_result(
    platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    put(scripts, *EXAMPLES)
    before = everything(platform_url)
    database.close()
    options = ["--database", platform_url, "--directory", str(scripts)]

    for _ in "up", "again":
        ended = commands.run(["pw_migrate", "migrate", *options])
        assert ended.code == 0, ended.words
    by_pw_migrate = everything(platform_url)
    ended = commands.run(["pw_migrate", "rollback", *options, "--count", str(len(EXAMPLES))])
    assert ended.code == 0, ended.words
    assert unlike(before, everything(platform_url)) == {}

    with database.connection_context():
        assert runner.migrate(database, directory=scripts) == tuple(EXAMPLES)
        assert unlike(by_pw_migrate, everything(platform_url)) == {}
        runner.rollback(database, to=RELEASED[-1], directory=scripts, discard_rows=True)
    assert unlike(before, everything(platform_url)) == {}


def storage(url: str, table: str) -> Any:
    """Return what changes if the server copies the table."""
    name = url.rsplit("/", 1)[1].split("?")[0]
    statement = {
        "sqlite": f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'",
        "postgres": f"SELECT relfilenode FROM pg_class WHERE relname = '{table}'",
        "mariadb": f"SELECT TABLE_ID FROM information_schema.INNODB_SYS_TABLES WHERE NAME = '{name}/{table}'",
        "mysql": f"SELECT TABLE_ID FROM information_schema.INNODB_TABLES WHERE NAME = '{name}/{table}'",
    }[family(url)]
    ((found,),) = query(url, statement)
    return found


COLUMNS = [
    "varchar('a', 40, default=\"it's\")",
    "text('b', null=True)",
    "integer('c', default=-3)",
    "money('d', default=0), index='projects_d'",
    "money('e', null=True)",
    "enum('f', [\"it's\", 'so'], default=\"it's\")",
    "enum('g', ['a', 'b'], null=True)",
    "json('h', null=True)",
    "time('i', null=True)",
    "references('j', 'gigs', null=True, on_delete='CASCADE', on_update='CASCADE'), index='projects_j'",
]


def test_column_of_each_type_is_added_to_a_platform_table_and_dropped(
    platform: Platform, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    name = script(scripts, ", ".join(f"add_column('projects', {column})" for column in COLUMNS))
    runner.migrate(database, directory=scripts)
    columns = "SELECT DISTINCT a, b, c, d, e, f, g, h, i, j FROM projects"
    assert query(platform_url, columns) == [("it's", None, -3, 0, None, "it's", None, None, None, None)]
    history.remove(database, name)
    said: list[str] = []
    runner.migrate(database, directory=scripts, report=said.append)
    assert [line for line in said if not line.endswith("already applied")] == []
    runner.rollback(database, directory=scripts, discard_rows=True)
    assert unlike(platform.before, everything(platform_url)) == {}


OTHER_DEFINITIONS = [
    "ALTER TABLE feed_shares ADD COLUMN language INTEGER",
    "ALTER TABLE feed_shares ADD COLUMN place INTEGER",
    "ALTER TABLE feed_shares ADD COLUMN score VARCHAR(9) NULL",
    'CREATE INDEX feed_shares_message ON feed_shares ("postId", channel)',
]
CONFLICTING_STEPS = """
    add_column('feed_posts', integer('first', null=True)),
    add_column('feed_shares', varchar('language', 12, null=True)),
    add_column('feed_shares', varchar('place', 9, default='x')),
    add_column('feed_shares', varchar('score', 9, null=True, default='x')),
    add_index('feed_shares', unique('channel'), name='feed_shares_message'),
    add_index('feed_shares', unique('postId', 'userId')),
    add_enum_label('feed_shares', enum('channel', ['a', 'b']), 'c'),
    add_enum_label('feed_posts', enum('visibility', ['connections', 'public'], default='public'), 'nobody'),
    add_enum_label('feed_reactions', enum('reactionType',
        ['like', 'celebrate', 'support', 'love', 'insightful'], null=True), 'curious'),
    add_enum_label('feed_posts', enum('mood', ['a']), 'b'),
    add_check('escrow_accounts', check('currentBalance', '"currentBalance" >= 1')),
    add_check('escrow_transactions', check('feeLimit', '"feeAmount" * 3 <= "amount"')),
    add_check('feed_posts', check('visibility', '"userId" > 0')),
    add_check('nothing', check('x', '"x" > 1')),
    add_index('none', index('x')),
    add_column('nowhere', integer('x', null=True)),
"""
CONFLICTS = [
    "feed_shares.language: the type is integer, not varchar(12)",
    "feed_shares.place: the type is integer, not varchar(9)",
    "feed_shares.place: the column is nullable, expected NOT NULL, and 3 rows hold NULL",
    "feed_shares.place: the default is missing, not x",
    "feed_shares.score: the default is missing, not x",
    "feed_shares.feed_shares_message: it is an index over (postId, channel), not a unique index over (channel)",
    "feed_shares: rows have the same (postId, userId), among them those with id 1 and 2; "
    "the index feed_shares_post_id_user_id allows each only once",
    "feed_shares.channel: the type is varchar(60), not enum(a, b)",
    "feed_posts.visibility: the type is enum(public, connections), not enum(connections, public)",
    "feed_reactions.reactionType: the column is NOT NULL, expected nullable",
    "feed_posts.mood is missing",
    'escrow_accounts.escrow_accounts_current_balance_check: the check is "currentBalance" >= 0, '
    'not "currentBalance" >= 1',
    'escrow_transactions: existing rows violate "feeAmount" * 3 <= "amount" (first ids: 2); fix them',
    "feed_posts_visibility_check is the name of the check that SQLite has for the type of feed_posts.visibility; "
    "choose another name",
    "the table nothing is missing",
    "the table none is missing",
    "the table nowhere is missing",
]


def test_all_conflicts_are_reported_at_once_before_any_change(
    platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    execute(platform_url, *OTHER_DEFINITIONS)
    before = everything(platform_url)
    script(scripts, CONFLICTING_STEPS)
    with pytest.raises(SchemaConflict) as refusal:
        runner.migrate(database, directory=scripts)
    assert list(refusal.value.differences) == CONFLICTS
    assert "nothing was changed" in str(refusal.value)
    assert unlike(before, everything(platform_url)) == {}
    assert history.applied_names(database) == list(RELEASED)


CHECKS = [
    '"message" IS NOT NULL OR "channel" <> \'letter\' OR "postId" > 0',
    '("userId" > 0 AND "userId" < 1000000) OR "userId" IS NULL',
    '"createdAt" <= "updatedAt" OR "postId" >= -5',
    "\"channel\" LIKE '%' AND \"channel\" NOT IN ('100%', '\"')",
]


def test_check_is_recognized_when_it_is_applied_again(
    platform: Platform, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    name = script(
        scripts, ", ".join(f"add_check('feed_shares', check('rule{n}', {text!r}))" for n, text in enumerate(CHECKS))
    )
    runner.migrate(database, directory=scripts)
    history.remove(database, name)
    said: list[str] = []
    runner.migrate(database, directory=scripts, report=said.append)
    assert [line for line in said if not line.endswith("already applied")] == []
    runner.rollback(database, directory=scripts)
    assert unlike(platform.before, everything(platform_url)) == {}


def test_check_that_is_not_validated_is_validated_by_the_next_run(
    server: servers.Server, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    if server.name != "postgres":
        pytest.skip("only PostgreSQL adds a check in two statements")
    execute(
        platform_url,
        'ALTER TABLE feed_shares ADD CONSTRAINT feed_shares_rule_check CHECK ("postId" > 0) NOT VALID',
    )
    script(scripts, "add_check('feed_shares', check('rule', '\"postId\" > 0'))")
    runner.migrate(database, directory=scripts)
    validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'feed_shares_rule_check'"
    assert query(platform_url, validated) == [(True,)]
    runner.rollback(database, directory=scripts)


def test_column_with_a_check_and_an_index_is_one_revision(
    platform: Platform, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    script(
        scripts,
        "add_column('feed_posts', integer('score', default=1)), "
        "add_check('feed_posts', check('score', '\"score\" > 0')), "
        "add_index('feed_posts', index('score', 'createdAt'))",
    )
    runner.migrate(database, directory=scripts)
    with pytest.raises(Exception, match=r"(?i)check|constraint"):
        execute(platform_url, "UPDATE feed_posts SET score = 0")
    runner.rollback(database, directory=scripts, discard_rows=True)
    assert unlike(platform.before, everything(platform_url)) == {}


def test_rollback_is_refused_while_a_label_is_in_use(
    platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    put(scripts, "009_curious_reaction")
    runner.migrate(database, directory=scripts)
    execute(platform_url, 'UPDATE feed_reactions SET "reactionType" = \'curious\' WHERE "userId" = 3')
    used = everything(platform_url)
    with pytest.raises(SchemaConflict) as refusal:
        runner.rollback(database, directory=scripts)
    assert refusal.value.differences == ("2 rows of feed_reactions with reactionType = 'curious'; change them first",)
    assert unlike(used, everything(platform_url)) == {}

    execute(platform_url, "UPDATE feed_reactions SET \"reactionType\" = 'like'")
    runner.rollback(database, directory=scripts)
    with pytest.raises(Exception, match=r"(?i)check|enum|truncated"):
        execute(platform_url, "UPDATE feed_reactions SET \"reactionType\" = 'curious'")


def test_later_script_uses_the_new_label(
    platform: Platform, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    put(scripts, "009_curious_reaction")
    labels = "['like', 'celebrate', 'support', 'love', 'insightful', 'curious']"
    script(
        scripts,
        f"add_enum_label('feed_reactions', enum('reactionType', {labels}, default='like'), 'bored'), "
        "add_check('feed_reactions', check('curiosity', '\"reactionType\" <> \\'curious\\' OR \"userId\" > 0'))",
        "010_bored",
    )
    runner.migrate(database, directory=scripts)
    execute(platform_url, 'UPDATE feed_reactions SET "reactionType" = \'curious\' WHERE "userId" = 2')
    execute(platform_url, "UPDATE feed_reactions SET \"reactionType\" = 'like'")
    runner.rollback(database, to=RELEASED[-1], directory=scripts)
    assert unlike(platform.before, everything(platform_url)) == {}


def test_rollback_names_a_view_that_depends_on_the_column(
    server: servers.Server, platform_url: str, database: peewee.Database, scripts: Path
) -> None:
    put(scripts, "004_post_language")
    runner.migrate(database, directory=scripts)
    execute(platform_url, "CREATE VIEW languages AS SELECT id, language FROM feed_posts")
    with pytest.raises(SchemaConflict) as refusal:
        runner.rollback(database, directory=scripts, discard_rows=True)
    assert refusal.value.differences == ("the view languages depends on feed_posts.language",)
    execute(platform_url, "DROP VIEW languages")
    runner.rollback(database, directory=scripts, discard_rows=True)


def test_column_that_existing_rows_cannot_fill_is_refused_in_the_script() -> None:
    for part in (integer("n"), varchar("name", 9), time("at", default=NOW), json("data"), money("sum"), text("body")):
        with pytest.raises(ValueError, match="existing rows need NULL or a literal default"):
            add_column("feed_posts", part)
    with pytest.raises(ValueError, match="a foreign key needs an index"):
        add_column("feed_posts", references("projectId", "projects", null=True, on_delete="CASCADE"))
    with pytest.raises(ValueError, match=r"feed_shares\.channel is not an enum"):
        add_enum_label("feed_shares", varchar("channel", 60), "mail")


def test_check_that_servers_spell_beyond_recognition_is_refused_in_the_script() -> None:
    for expression in ('"a" IN (SELECT b FROM c)', '"a" & 1 = 0', '"a" = "b" IN (1, 2)', '"a" = "b" < "c"'):
        with pytest.raises(ValueError, match="cannot be recognized in the spellings of all servers"):
            check("rule", expression)


class TestDefinitionOnSqlite:
    """On SQLite a check is added by editing the definition, and nothing else changes."""

    RULE = Revision("004_rule", add_check("feed_shares", check("rule", "\"channel\" <> 'fax'")))
    LABEL = Revision(
        "004_label",
        add_enum_label("feed_posts", enum("visibility", ["public", "connections"], default="public"), "nobody"),
    )

    @pytest.fixture(autouse=True)
    def _only_sqlite(self, server: servers.Server) -> None:
        if server.name != "sqlite":
            pytest.skip("only SQLite stores definitions as text")

    @pytest.fixture
    def file(self, platform_url: str) -> str:
        return platform_url.removeprefix("sqlite:///")

    @staticmethod
    def up(database: peewee.Database, revision: Revision) -> None:
        with database.atomic():
            revision.up(Run(database))

    @staticmethod
    def down(database: peewee.Database, revision: Revision) -> None:
        with database.atomic():
            revision.down(Run(database))

    @staticmethod
    def definitions(file: str) -> dict[str, tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            found = connection.execute("SELECT type || ' ' || name, tbl_name, rootpage, sql FROM sqlite_master")
            return {name: tuple(rest) for name, *rest in found}

    @pytest.mark.parametrize(
        ("revision", "table"), [(RULE, "feed_shares"), (LABEL, "feed_posts")], ids=["rule", "label"]
    )
    def test_nothing_else_changes_and_rollback_restores_every_byte(
        self, revision: Revision, table: str, file: str, platform_url: str, database: peewee.Database
    ) -> None:
        before, rows = self.definitions(file), everything(platform_url)
        self.up(database, revision)
        after = self.definitions(file)
        assert [name for name in after if after[name] != before[name]] == [f"table {table}"]
        assert after.keys() == before.keys()
        # Same table, same page: its rows were not moved.
        assert after[f"table {table}"][:2] == before[f"table {table}"][:2]
        assert query(platform_url, "PRAGMA integrity_check") == [("ok",)]
        assert {name for name in unlike(rows, everything(platform_url)) if name.startswith("rows")} == set()
        self.down(database, revision)
        assert self.definitions(file) == before

    def test_open_connection_enforces_the_check_too(self, file: str, database: peewee.Database) -> None:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            set_channel = "UPDATE feed_shares SET channel = 'fax' WHERE id = 1"
            other.execute("BEGIN")
            other.execute(set_channel)
            other.execute("ROLLBACK")
            self.up(database, self.RULE)
            with pytest.raises(sqlite3.IntegrityError, match="feed_shares_rule_check"):
                other.execute(set_channel)
            with pytest.raises(peewee.IntegrityError, match="feed_shares_rule_check"):
                database.execute_sql(set_channel)
            self.down(database, self.RULE)
            other.execute("BEGIN")
            other.execute(set_channel)
            other.execute("ROLLBACK")

    def test_table_altered_by_sqlite_and_comments_are_kept(
        self, file: str, platform_url: str, database: peewee.Database
    ) -> None:
        execute(
            platform_url,
            "CREATE TABLE noted (id INTEGER PRIMARY KEY, n INTEGER, -- a number (or none)\n"
            "  m TEXT DEFAULT ')' -- the last :-)\n)",
            "ALTER TABLE noted ADD COLUMN later INTEGER NOT NULL DEFAULT 0 CHECK (later >= 0)",
            "INSERT INTO noted (n) VALUES (1)",
        )
        revision = Revision("004_noted", add_check("noted", check("n", '"n" > 0')))
        before = self.definitions(file)
        self.up(database, revision)
        execute(platform_url, "ALTER TABLE noted ADD COLUMN last TEXT")
        for statement in ("UPDATE noted SET n = 0", "UPDATE noted SET later = -1"):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
                execute(platform_url, statement)
        assert query(platform_url, "SELECT * FROM noted") == [(1, 1, ")", 0, None)]
        execute(platform_url, "ALTER TABLE noted DROP COLUMN last")
        self.down(database, revision)
        assert self.definitions(file) == before
        execute(platform_url, "UPDATE noted SET n = 0")

    @pytest.mark.parametrize("option", ["STRICT", "WITHOUT ROWID", "STRICT, WITHOUT ROWID -- (both)"])
    def test_table_with_options_is_refused(self, option: str, platform_url: str, database: peewee.Database) -> None:
        execute(platform_url, f"CREATE TABLE noted (id INTEGER PRIMARY KEY, n INTEGER) {option}")
        with pytest.raises(SchemaConflict, match="its definition ends in an option"):
            self.up(database, Revision("004_noted", add_check("noted", check("n", '"n" > 0'))))

    def test_definition_edited_by_hand_is_refused(self, platform_url: str, database: peewee.Database) -> None:
        execute(
            platform_url,
            "CREATE TABLE noted (id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (\"kind\" IN ('a','b')), "
            "CONSTRAINT noted_id_check CHECK ( id > 0 ))",
        )
        label = Revision("004_label", add_enum_label("noted", enum("kind", ["a", "b"]), "c"))
        with pytest.raises(SchemaConflict, match="Was it edited by hand"):
            self.up(database, label)
        rule = Revision("004_rule", add_check("noted", check("id", '"id" > 0')))
        self.up(database, rule)
        with pytest.raises(SchemaConflict, match="Was it edited by hand"):
            self.down(database, rule)

    def test_check_that_sqlite_rejects_leaves_the_file_unchanged(
        self, file: str, platform_url: str, database: peewee.Database
    ) -> None:
        before = self.definitions(file)
        rule = CheckSpec("rule", '"id" IN (SELECT "id" FROM users)')
        with pytest.raises((MigrationError, peewee.PeeweeException)):
            self.up(database, Revision("004_rule", add_check("feed_shares", rule)))
        assert self.definitions(file) == before
        assert query(platform_url, "PRAGMA integrity_check") == [("ok",)]
        assert database.execute_sql("SELECT COUNT(*) FROM feed_shares").fetchone() == (3,)

    def test_rows_written_after_the_precondition_are_found_by_the_step(
        self, file: str, platform_url: str, database: peewee.Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.definitions(file)
        revision = Revision("004_rule", add_check("feed_shares", check("rule", "\"channel\" <> 'web'")))
        monkeypatch.setattr("engagement_db.servers.catalog.Reader.violating_ids", lambda *_: ())
        with pytest.raises(StepFailed, match="first ids: 2"):
            self.up(database, revision)
        assert self.definitions(file) == before
        database.execute_sql("UPDATE feed_shares SET channel = 'web' WHERE id = 2")
