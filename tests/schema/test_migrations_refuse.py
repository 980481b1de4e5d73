"""Converge or refuse: existing objects with the right definition are used, all conflicts are reported at once.

Every refusal leaves definitions and rows exactly as they were.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest
from commands import FIRST_THREE, copy_scripts, pw_migrate, run
from independent_catalog import everything, history, unlike
from platform_database import build, execute, family, let_names_repeat

from engagement_db import servers
from engagement_db.errors import HistoryError, MigrationError, RowsAtStake, SchemaConflict
from engagement_db.orm.urls import open_database
from engagement_db.schema import check, runner, script_files
from engagement_db.schema.revision import declared
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.tables import foreign_key_name

REVISIONS = FIRST_THREE
pytestmark = pytest.mark.usefixtures("first_three")
FEED, TRUST, OWNER = REVISIONS

OWNER_KEY = foreign_key_name("projects", "ownerId")

IS_MYSQL = ("mariadb", "mysql")


@pytest.fixture
def stubs(url: str) -> Iterator[peewee.Database]:
    """A database of minimal stub tables for the platform's tables, with a few rows."""
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        execute(
            url,
            "INSERT INTO users (\"firstName\", \"lastName\", email) VALUES ('Ada', 'L', 'a@example.org')",
            "INSERT INTO projects (title) VALUES ('one'), ('two'), ('three')",
            "INSERT INTO gigs (title) VALUES ('one')",
        )
        yield database


@contextlib.contextmanager
def nothing_changes(url: str) -> Iterator[None]:
    before, history_before = everything(url), history(url)
    yield
    assert unlike(before, everything(url)) == {}
    assert history(url) == history_before


def refusal(database: peewee.Database, url: str) -> SchemaConflict:
    """The refusal that a migration meets."""
    with nothing_changes(url), pytest.raises(SchemaConflict, match="nothing was changed") as refused:
        runner.migrate(database)
    return refused.value


def refusal_down(database: peewee.Database, url: str) -> SchemaConflict:
    with nothing_changes(url), pytest.raises(SchemaConflict, match="nothing was changed") as refused:
        runner.rollback(database, discard_rows=True)
    return refused.value


# What the platform lacks.


def test_a_database_without_the_platform_is_refused(url: str) -> None:
    with contextlib.closing(open_database(url)) as database:
        expected = tuple(f"the platform's table {table} is missing" for table in ("users", "projects", "gigs"))
        assert refusal(database, url).differences == expected


@pytest.mark.parametrize("missing", [("projects",), ("gigs",), ("projects", "gigs")])
def test_missing_tables_are_named_all_at_once(stubs: peewee.Database, url: str, missing: tuple[str, ...]) -> None:
    runner.migrate(stubs, to=FEED)
    execute(url, *(f"DROP TABLE {table}" for table in missing))
    expected = tuple(f"the platform's table {table} is missing" for table in missing)
    assert refusal(stubs, url).differences == expected


def test_a_platform_key_of_another_type_is_refused(url: str) -> None:
    spellings = {
        "sqlite": ["TEXT"],
        "postgres": ["SMALLINT", "UUID"],
        "mariadb": ["SMALLINT UNSIGNED", "CHAR(36)"],
        "mysql": ["SMALLINT UNSIGNED", "CHAR(36)"],
    }
    for spelling in spellings[family(url)]:
        execute(url, f"CREATE TABLE users (id {spelling} NOT NULL PRIMARY KEY, email VARCHAR(255))")
        with contextlib.closing(open_database(url)) as database:
            difference = refusal(database, url).differences[0]
        assert difference.startswith("users.id is ")
        assert spelling.split()[-1].lower() in difference.lower()
        execute(url, "DROP TABLE users")


# An object exists with another definition.


def test_an_unrelated_table_of_the_same_name_is_refused(stubs: peewee.Database, url: str) -> None:
    execute(
        url,
        "CREATE TABLE feed_posts (id INTEGER PRIMARY KEY, author VARCHAR(40) NOT NULL, content VARCHAR(99))",
        "INSERT INTO feed_posts (id, author) VALUES (1, 'me')",
    )
    found = "\n".join(refusal(stubs, url).differences)
    if family(url) != "sqlite":
        # SQLite keeps any text in either.
        assert "feed_posts.content: the type is varchar(99), not text" in found
    assert "feed_posts.content: the column is nullable, expected NOT NULL, and 1 row holds NULL" in found
    for column in ("userId", "visibility", "metadata", "createdAt", "updatedAt"):
        assert f"feed_posts.{column}: the column is missing" in found
    assert "feed_posts.author: an unmanaged column is NOT NULL without a default, so inserts would fail" in found


def test_several_conflicting_tables_are_one_error(stubs: peewee.Database, url: str) -> None:
    for table in ("feed_shares", "feed_posts"):
        execute(url, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
    found = refusal(stubs, url).differences
    assert {difference.split(".")[0] for difference in found} >= {"feed_posts", "feed_shares"}


def test_a_conflict_of_the_last_table_stops_the_first(stubs: peewee.Database, url: str) -> None:
    execute(url, "CREATE TABLE feed_activity_logs (id INTEGER PRIMARY KEY)")
    found = refusal(stubs, url).differences
    assert {difference.split(".")[0] for difference in found} == {"feed_activity_logs"}


def test_a_view_that_has_the_name_of_a_table_is_refused(stubs: peewee.Database, url: str) -> None:
    execute(url, "CREATE VIEW feed_shares AS SELECT id FROM projects")
    assert "feed_shares" in "\n".join(refusal(stubs, url).differences)


def test_an_enum_of_other_labels_is_refused(stubs: peewee.Database, url: str) -> None:
    if family(url) == "postgres":
        execute(url, """CREATE TYPE "enum_feed_posts_visibility" AS ENUM ('public', 'secret')""")
        (difference,) = refusal(stubs, url).differences
        assert difference == (
            "the type enum_feed_posts_visibility has the labels public, secret, not public, connections"
        )
        return
    runner.migrate(stubs, to=FEED)
    forget(url, FEED)
    if family(url) == "sqlite":
        execute(
            url,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, '''connections''', '''secret''') WHERE name = 'feed_posts'",
            "PRAGMA writable_schema = RESET",
        )
        stubs.close()
    else:
        wanted = "ENUM('public', 'secret') NOT NULL DEFAULT 'public'"
        execute(url, f"ALTER TABLE feed_posts MODIFY visibility {wanted}")
    (difference,) = refusal(stubs, url).differences
    assert difference == ("feed_posts.visibility: the type is enum(public, secret), not enum(public, connections)")


def forget(url: str, *revisions: str) -> None:
    execute(url, *(f"DELETE FROM migratehistory WHERE name = '{revision}'" for revision in revisions))


def test_an_index_of_the_same_name_over_other_columns_is_refused(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    execute(url, "CREATE INDEX projects_owner_id_idx ON projects (title)")
    (difference,) = refusal(stubs, url).differences
    assert difference == ("projects.projects_owner_id_idx: it is an index over (title), not an index over (ownerId)")


def test_an_index_of_the_same_name_on_another_table_is_refused(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    execute(url, "CREATE INDEX projects_owner_id_idx ON gigs (title)")
    if family(url) in IS_MYSQL:
        # There the name of an index is its table's own.
        assert runner.migrate(stubs) == (OWNER,)
        return
    (difference,) = refusal(stubs, url).differences
    assert "projects_owner_id_idx" in difference
    assert "gigs" in difference


def test_a_column_of_the_same_name_with_another_definition_is_refused(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    execute(url, 'ALTER TABLE projects ADD COLUMN "ownerId" VARCHAR(36)')
    assert "projects.ownerId: the type is varchar(36), not integer" in refusal(stubs, url).differences


def test_a_key_on_the_same_column_with_other_actions_is_refused(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    if family(url) in IS_MYSQL:
        execute(
            url,
            'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER, '
            f'ADD CONSTRAINT {OWNER_KEY} FOREIGN KEY ("ownerId") REFERENCES users (id) ON DELETE CASCADE',
        )
    else:
        key = "REFERENCES users (id) ON DELETE CASCADE"
        execute(url, f'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER {key}')
    (difference,) = refusal(stubs, url).differences
    assert "ON DELETE CASCADE" in difference
    assert "not to users.id ON DELETE SET NULL ON UPDATE CASCADE" in difference


# An interrupted run, or a change by hand: what is missing is created.


@pytest.mark.parametrize("revision", [FEED, TRUST])
def test_a_lost_index_is_made_again(stubs: peewee.Database, url: str, revision: str) -> None:
    runner.migrate(stubs)
    expected = everything(url)
    table, index = {
        FEED: ("feed_posts", "feed_posts_created_at"),
        TRUST: ("dispute_cases", "dispute_cases_stage"),
    }[revision]
    execute(url, f"DROP INDEX {index}" + (f" ON {table}" if family(url) in IS_MYSQL else ""))
    assert unlike(expected, everything(url)) != {}
    forget(url, *REVISIONS[REVISIONS.index(revision) :])
    assert runner.migrate(stubs) == REVISIONS[REVISIONS.index(revision) :]
    assert unlike(in_any_order(expected), in_any_order(everything(url))) == {}


def in_any_order(found: dict) -> dict:
    """A definition as the set of its lines: MySQL lists an index where it was added."""
    return {
        name: sorted(line.rstrip(",") for line in what) if name.startswith("table ") and type(what) is list else what
        for name, what in found.items()
    }


def test_missing_tables_are_created_beside_existing_ones(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    expected = everything(url)
    execute(url, "DROP TABLE feed_activity_logs", "DROP TABLE feed_shares")
    forget(url, *REVISIONS)
    assert runner.migrate(stubs) == REVISIONS
    assert unlike(expected, everything(url)) == {}


def test_existing_enum_types_are_used(stubs: peewee.Database, url: str) -> None:
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL has enum types apart from tables")
    runner.migrate(stubs)
    expected = everything(url)
    runner.rollback(stubs, count=3)
    execute(url, """CREATE TYPE "enum_feed_posts_visibility" AS ENUM ('public', 'connections')""")
    runner.migrate(stubs)
    assert unlike(expected, everything(url)) == {}


def test_a_missing_index_and_key_are_added_to_an_existing_column(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    expected = everything(url)
    runner.rollback(stubs)
    execute(url, 'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER')
    if family(url) == "sqlite":
        # It takes a key only together with its column: no run of the library left this, and none can fix it.
        (difference,) = refusal(stubs, url).differences
        assert difference.startswith("projects.ownerId: the foreign key")
        return
    assert runner.migrate(stubs) == (OWNER,)
    assert unlike(expected, everything(url)) == {}


def test_a_missing_index_is_added_to_an_existing_column(stubs: peewee.Database, url: str) -> None:
    if family(url) in IS_MYSQL:
        pytest.skip("there the index comes before the key, which needs it")
    runner.migrate(stubs)
    expected = everything(url)
    execute(url, "DROP INDEX projects_owner_id_idx")
    forget(url, OWNER)
    assert runner.migrate(stubs) == (OWNER,)
    assert unlike(expected, everything(url)) == {}


def test_a_missing_key_is_added_to_an_existing_column(stubs: peewee.Database, url: str) -> None:
    if family(url) == "sqlite":
        pytest.skip("there the key comes with the column")
    runner.migrate(stubs)
    expected = everything(url)
    word = "FOREIGN KEY" if family(url) in IS_MYSQL else "CONSTRAINT"
    execute(url, f"ALTER TABLE projects DROP {word} {OWNER_KEY}")
    forget(url, OWNER)
    assert runner.migrate(stubs) == (OWNER,)
    assert unlike(expected, everything(url)) == {}


def test_rows_that_violate_the_key_are_named(stubs: peewee.Database, url: str) -> None:
    if family(url) == "sqlite":
        pytest.skip("there the key comes with the column")
    runner.migrate(stubs, to=TRUST)
    execute(
        url,
        'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER',
        'UPDATE projects SET "ownerId" = 77 WHERE id = 2',
    )
    with pytest.raises(MigrationError) as refused:
        runner.migrate(stubs)
    assert "77" in str(refused.value) or "first ids: 2" in str(refused.value)
    assert history(url) == [FEED, TRUST]
    execute(url, 'UPDATE projects SET "ownerId" = 1 WHERE id = 2')
    assert runner.migrate(stubs) == (OWNER,)


def test_an_invalid_index_of_the_revision_is_rebuilt(stubs: peewee.Database, url: str) -> None:
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL leaves INVALID indexes")
    runner.migrate(stubs)
    expected = everything(url)
    forget(url, OWNER)
    execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'projects_owner_id_idx'::regclass")
    assert unlike(expected, everything(url)) != {}
    assert runner.migrate(stubs) == (OWNER,)
    assert unlike(expected, everything(url)) == {}


def test_an_invalid_index_with_another_definition_is_refused(stubs: peewee.Database, url: str) -> None:
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL leaves INVALID indexes")
    runner.migrate(stubs, to=TRUST)
    execute(url, "UPDATE projects SET status = 'same'")
    with pytest.raises(Exception, match="could not create unique index"):
        execute(url, "CREATE UNIQUE INDEX CONCURRENTLY projects_owner_id_idx ON projects (status)")
    (difference,) = refusal(stubs, url).differences
    assert "a unique index over (status)" in difference


# Rolling back.


LATER_THINGS = {
    "view": ('CREATE VIEW owned_projects AS SELECT id, "ownerId" FROM projects', "the view owned_projects"),
    "composite index": (
        'CREATE INDEX projects_owner_title ON projects ("ownerId", title)',
        "the index projects_owner_title",
    ),
    "second index": (
        'CREATE INDEX projects_owner_again ON projects ("ownerId")',
        "the index projects_owner_again",
    ),
}


@pytest.mark.parametrize("what", LATER_THINGS)
def test_objects_that_depend_on_the_owner_are_named(stubs: peewee.Database, url: str, what: str) -> None:
    runner.migrate(stubs)
    statement, named = LATER_THINGS[what]
    execute(url, statement)
    (difference,) = refusal_down(stubs, url).differences
    assert named in difference
    assert difference.endswith("depends on projects.ownerId")


def test_a_later_foreign_key_to_the_owner_is_named(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    execute(
        url,
        'CREATE UNIQUE INDEX projects_one_each ON projects ("ownerId")',
        'CREATE TABLE dashboards (id INTEGER PRIMARY KEY, "ownerId" INTEGER, CONSTRAINT dashboards_owner '
        'FOREIGN KEY ("ownerId") REFERENCES projects ("ownerId"))',
    )
    found = "\n".join(refusal_down(stubs, url).differences)
    assert "the index projects_one_each" in found
    assert "the foreign key" in found
    assert "of dashboards" in found


def test_rollback_names_a_trigger_that_depends_on_the_column(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    execute(url, *triggers_over_owner(url))
    found = "\n".join(refusal_down(stubs, url).differences)
    assert "the trigger owner_changed" in found


def triggers_over_owner(url: str) -> list[str]:
    match family(url):
        case "sqlite":
            return [
                'CREATE TRIGGER owner_changed AFTER UPDATE OF "ownerId" ON projects '
                'BEGIN UPDATE gigs SET title = NEW."ownerId"; END'
            ]
        case "postgres":
            return [
                "CREATE FUNCTION owner_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
                'CREATE TRIGGER owner_changed AFTER UPDATE OF "ownerId" ON projects FOR EACH ROW '
                "EXECUTE FUNCTION owner_changed()",
            ]
        case _:
            return [
                "CREATE TRIGGER owner_changed BEFORE UPDATE ON projects FOR EACH ROW "
                "SET NEW.title = CONCAT(NEW.title, COALESCE(NEW.\"ownerId\", ''))"
            ]


def test_rollback_names_a_trigger_whose_function_reads_the_column(stubs: peewee.Database, url: str) -> None:
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL keeps the body of a trigger in a function")
    runner.migrate(stubs)
    execute(
        url,
        "CREATE FUNCTION owner_kept() RETURNS trigger LANGUAGE plpgsql AS "
        '$$ BEGIN NEW."ownerId" := OLD."ownerId"; RETURN NEW; END $$',
        "CREATE TRIGGER owner_kept BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION owner_kept()",
    )
    found = "\n".join(refusal_down(stubs, url).differences)
    assert "the trigger owner_kept" in found


def test_rollback_names_a_generated_column_that_depends_on_the_column(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    kept = "STORED" if family(url) == "postgres" else "VIRTUAL"
    execute(url, f'ALTER TABLE projects ADD COLUMN twice INTEGER GENERATED ALWAYS AS ("ownerId" * 2) {kept}')
    with nothing_changes(url), pytest.raises(MigrationError, match=r"twice|generated|ownerId"):
        runner.rollback(stubs)


def test_rollback_names_a_check_that_depends_on_the_column(stubs: peewee.Database, url: str) -> None:
    if family(url) != "postgres":
        pytest.skip("the others take no check over a column whose key has actions, or none after the fact")
    runner.migrate(stubs)
    execute(url, 'ALTER TABLE projects ADD CONSTRAINT owner_or_draft CHECK ("ownerId" > 0 OR status IS NULL)')
    (difference,) = refusal_down(stubs, url).differences
    assert "owner_or_draft" in difference


@pytest.mark.parametrize("kind", ["foreign key", "view"])
def test_objects_that_depend_on_the_tables_are_named(stubs: peewee.Database, url: str, kind: str) -> None:
    runner.migrate(stubs, to=FEED)
    statement = {
        "foreign key": 'CREATE TABLE post_flags (id INTEGER PRIMARY KEY, "postId" INTEGER NOT NULL, '
        'CONSTRAINT post_flags_post FOREIGN KEY ("postId") REFERENCES feed_posts (id))',
        "view": "CREATE VIEW public_posts AS SELECT id, content FROM feed_posts",
    }[kind]
    execute(url, statement)
    (difference,) = refusal_down(stubs, url).differences
    assert difference.startswith(f"the {kind} ")
    assert ("post_flags" if kind == "foreign key" else "public_posts") in difference
    assert difference.endswith("depends on feed_posts")


# Rows at stake.


def test_rows_are_counted_before_any_is_lost(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    execute(
        url,
        "INSERT INTO feed_posts (\"userId\", content) VALUES (1, 'one'), (1, 'two')",
        'INSERT INTO feed_comments ("postId", "userId", body) VALUES (1, 1, \'first\')',
        "INSERT INTO escrow_accounts (\"userId\", provider) VALUES (1, 'bank')",
        'UPDATE projects SET "ownerId" = 1 WHERE id <= 2',
    )
    with nothing_changes(url), pytest.raises(RowsAtStake) as refused:
        runner.rollback(stubs, count=3)
    for stake in (
        "2 rows of feed_posts",
        "1 row of feed_comments",
        "1 row of escrow_accounts",
        "2 values of projects.ownerId",
    ):
        assert stake in str(refused.value)
    with nothing_changes(url), pytest.raises(RowsAtStake, match=r"2 values of projects\.ownerId"):
        runner.rollback(stubs)
    with nothing_changes(url), pytest.raises(RowsAtStake, match="1 row of escrow_accounts"):
        runner.rollback(stubs, to=FEED)
    assert runner.rollback(stubs, to=FEED, discard_rows=True) == (OWNER, TRUST)
    with nothing_changes(url), pytest.raises(RowsAtStake, match="2 rows of feed_posts"):
        runner.rollback(stubs)
    assert runner.rollback(stubs, count=1, discard_rows=True) == (FEED,)
    assert history(url) == []


def test_rolling_back_more_revisions_than_are_applied_is_refused(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    with nothing_changes(url), pytest.raises(HistoryError, match="cannot roll back 3 revisions: only 2 are applied"):
        runner.rollback(stubs, count=3)
    with nothing_changes(url), pytest.raises(HistoryError, match='unknown revision "009_x"'):
        runner.rollback(stubs, to="009_x")
    with nothing_changes(url), pytest.raises(HistoryError, match='unknown revision "009_x"'):
        runner.migrate(stubs, to="009_x")


# Inconsistent histories.


HISTORIES = {
    "unknown": ("004_newer", "revision 004_newer is applied but not known to this version of the code"),
    "twice": (FEED, f"revision {FEED} is recorded more than once in migratehistory"),
}


@pytest.mark.parametrize("doubt", HISTORIES)
def test_an_inconsistent_history_is_refused(stubs: peewee.Database, url: str, tmp_path: Path, doubt: str) -> None:
    runner.migrate(stubs)
    added, words = HISTORIES[doubt]
    let_names_repeat(url)
    execute(url, f"INSERT INTO migratehistory (name, migrated_at) VALUES ('{added}', '2024-09-01')")
    for move in (runner.migrate, runner.rollback):
        with nothing_changes(url), pytest.raises(HistoryError, match=words):
            move(stubs)
    stubs.close()
    copy_scripts(tmp_path)
    with nothing_changes(url):
        for command, move in (("pw_migrate", "rollback"), ("engagement-db", "migrate")):
            result = run([command, move, "--database", url], folder=tmp_path)
            assert result.code != 0
            assert words in result.words
            assert "Nothing was changed" in result.words
            assert "Traceback" not in result.words


def test_a_gap_in_the_history_is_filled(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    expected = everything(url)
    forget(url, TRUST)
    assert runner.status(stubs).pending == (TRUST,)
    assert runner.migrate(stubs) == (TRUST,)
    assert sorted(history(url)) == list(REVISIONS)
    assert unlike(expected, everything(url)) == {}


def assert_pw_migrate_refuses(folder: Path, url: str, words: str) -> None:
    """It says so in these words, without a traceback, and changes nothing."""
    with nothing_changes(url):
        result = pw_migrate(folder, "migrate", "--database", url)
    assert result.code == 1
    assert words in result.words
    assert "Traceback" not in result.words


def test_a_history_without_its_script_is_refused(stubs: peewee.Database, url: str, tmp_path: Path) -> None:
    scripts = copy_scripts(tmp_path)
    runner.migrate(stubs)
    (scripts / f"{TRUST}.py").unlink()
    for move in (runner.migrate, runner.rollback):
        with nothing_changes(url), pytest.raises(HistoryError, match=f"{TRUST} is applied but not known"):
            move(stubs, directory=scripts)
    stubs.close()
    assert_pw_migrate_refuses(tmp_path, url, "not known to this version of the code")


@pytest.mark.parametrize(
    "names", [("1000_beyond.py",), ("04_short.py",), ("004_one.py", "004_two.py"), ("004-dashed.py",)]
)
def test_invalid_script_names_are_refused(stubs: peewee.Database, url: str, tmp_path: Path, names) -> None:
    scripts = copy_scripts(tmp_path)
    for name in names:
        (scripts / name).write_text(
            "from engagement_db.schema.revision import Revision\n"
            f"revision = Revision({name.removesuffix('.py')!r})\n"
            "migrate = revision.migrate\nrollback = revision.rollback\n"
        )
    with nothing_changes(url), pytest.raises(HistoryError, match=names[0]):
        runner.migrate(stubs, directory=scripts)
    stubs.close()
    assert_pw_migrate_refuses(tmp_path, url, names[0])


def test_a_script_whose_step_is_refused_is_named_without_a_traceback(stubs: peewee.Database, url: str, tmp_path: Path):
    (copy_scripts(tmp_path) / "004_rule.py").write_text(
        "from engagement_db.schema.revision import Revision\n"
        "from engagement_db.schema.steps import add_check\n"
        "from engagement_db.tables import check\n"
        "revision = Revision('004_rule', add_check('feed_posts', check('rule', '\"id\" & 1 = 0')))\n"
        "migrate = revision.migrate\nrollback = revision.rollback\n"
    )
    stubs.close()
    assert_pw_migrate_refuses(
        tmp_path, url, 'the script 004_rule.py cannot be loaded: the check "id" & 1 = 0 cannot be recognized'
    )


# The server cannot do it without keeping writers out.


def test_a_change_that_would_copy_the_table_is_refused(url: str) -> None:
    if family(url) not in IS_MYSQL:
        pytest.skip("only MySQL and MariaDB copy tables")
    build(url)
    execute(url, "CREATE FULLTEXT INDEX projects_words ON projects (title)")
    with contextlib.closing(open_database(url)) as database:
        runner.migrate(database, to=TRUST)
        with nothing_changes(url), pytest.raises(SchemaConflict, match=f"{OWNER} cannot be applied") as refused:
            runner.migrate(database)
        (difference,) = refused.value.differences
        assert "FULLTEXT" in difference
        database.execute_sql(difference.partition("in a maintenance window, run ")[2])
        assert runner.migrate(database) == (OWNER,)
        assert list(check.detect_drift(database, declared(runner.load()), [])) == []


# Tables that cannot get a column instantly, but while writes continue.


@pytest.mark.parametrize("table", ["compressed", "with its instant versions used up"])
def test_a_table_that_cannot_be_altered_at_once_is_altered_online(stubs: peewee.Database, url: str, table: str) -> None:
    if family(url) not in IS_MYSQL:
        pytest.skip("only MySQL and MariaDB are asked by name for an algorithm")
    runner.migrate(stubs, to=TRUST)
    if table == "compressed":
        stubs.execute_sql("ALTER TABLE projects ROW_FORMAT=COMPRESSED")
    else:
        use_up_instant_versions(stubs)
    lines: list[str] = []
    assert runner.migrate(stubs, report=lines.append) == (OWNER,)
    assert any("rebuilds the table while writes continue" in line for line in lines)
    assert list(check.detect_drift(stubs, declared(runner.load()), [])) == []
    runner.rollback(stubs)


def use_up_instant_versions(database: peewee.Database) -> None:
    if servers.of(database).name == "mariadb":
        pytest.skip("MariaDB counts no versions of a table")
    with pytest.raises(peewee.OperationalError, match="Maximum row versions"):
        for _ in range(1000):
            database.execute_sql("ALTER TABLE projects ADD COLUMN spare INTEGER, ALGORITHM=INSTANT")
            database.execute_sql("ALTER TABLE projects DROP COLUMN spare, ALGORITHM=INSTANT")


# All revisions are asked before the first of them changes anything.


def test_a_conflict_of_the_last_revision_stops_the_first(stubs: peewee.Database, url: str) -> None:
    execute(url, 'ALTER TABLE projects ADD COLUMN "ownerId" VARCHAR(36)')
    assert "projects.ownerId: the type is varchar(36), not integer" in refusal(stubs, url).differences


def test_a_conflict_of_the_first_revision_stops_the_rollback_of_the_last(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs)
    execute(url, "CREATE VIEW public_posts AS SELECT id, content FROM feed_posts")
    with nothing_changes(url), pytest.raises(SchemaConflict, match=f"{FEED} cannot be rolled back") as refused:
        runner.rollback(stubs, to=script_files.BASE, discard_rows=True)
    assert refused.value.differences == ("the view public_posts depends on feed_posts",)


def test_what_a_later_revision_built_on_an_earlier_one_is_no_conflict(
    stubs: peewee.Database, url: str, tmp_path: Path
) -> None:
    scripts = copy_scripts(tmp_path)
    for name, steps in LATER_REVISIONS.items():
        (scripts / f"{name}.py").write_text(LATER_SCRIPT.format(name=name, steps=steps))
    before = everything(url)
    names = runner.migrate(stubs, directory=scripts)
    assert names == (*REVISIONS, *LATER_REVISIONS)
    assert runner.rollback(stubs, to=script_files.BASE, directory=scripts) == names[::-1]
    assert unlike(before, everything(url)) == {}


LATER_REVISIONS = {
    "004_curious": "add_enum_label('feed_reactions', enum('reactionType', LABELS, default='like'), 'curious'),",
    "005_bored": (
        "add_enum_label('feed_reactions', enum('reactionType', [*LABELS, 'curious'], default='like'), 'bored'),"
    ),
    "006_pins": (
        "create_table(table('feed_pins', key(), references('postId', 'feed_posts', on_delete='CASCADE'), "
        "index('postId'))),"
    ),
    "007_pinned": (
        "add_column('projects', references('pinId', 'feed_pins', null=True, on_delete='SET NULL'), "
        "index='projects_pin_id'),"
    ),
    "008_rules": (
        "add_index('feed_pins', index('postId', 'id')), add_check('feed_pins', check('postId', '\"postId\" > 0')),"
    ),
}
LATER_SCRIPT = """
from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_check, add_column, add_enum_label, add_index, create_table
from engagement_db.tables import check, enum, index, key, references, table

LABELS = ["like", "celebrate", "support", "love", "insightful"]
revision = Revision("{name}", {steps})
migrate = revision.migrate
rollback = revision.rollback
"""


def test_what_an_interrupted_revision_left_is_rolled_back_or_named(stubs: peewee.Database, url: str) -> None:
    runner.migrate(stubs, to=TRUST)
    before = everything(url)
    key = f" CONSTRAINT {OWNER_KEY} REFERENCES users (id) ON DELETE SET NULL ON UPDATE CASCADE"
    execute(url, f'ALTER TABLE projects ADD COLUMN "ownerId" INTEGER{key if family(url) == "sqlite" else ""}')
    with nothing_changes(url), pytest.raises(HistoryError, match=f"{OWNER} is not applied.*--to {TRUST}"):
        runner.rollback(stubs)
    assert runner.rollback(stubs, to=TRUST) == (OWNER,)
    assert unlike(before, everything(url)) == {}
    assert history(url) == [FEED, TRUST]
