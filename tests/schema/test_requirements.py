"""What the platform's database must offer: each lack is found before the first change, and named with its remedy."""

import contextlib
import re
import secrets
from dataclasses import dataclass

import pytest
from platform_database import execute, family

from engagement_db.errors import SchemaConflict
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files
from engagement_db.schema.stub_tables import create_stub_tables

EVERYWHERE = ("sqlite", "postgres", "mariadb", "mysql")
MYSQL = ("mariadb", "mysql")
NO_GIGS = "DROP TABLE gigs"


@dataclass(frozen=True)
class State:
    """A state of the platform's database: the SQL that leads to it, and what a migration must say of it."""

    name: str
    said: tuple[str, ...]
    statements: tuple[str, ...]
    servers: tuple[str, ...] = EVERYWHERE


UNIQUE = ("gigs.id is not unique by itself", "make it the primary key")
STATES = (
    State("an id without a key", UNIQUE, (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL, title VARCHAR(9))")),
    State(
        "an id that is part of a key",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL, region INTEGER NOT NULL, PRIMARY KEY (id, region))"),
    ),
    State(
        "an id that is unique in some rows",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL)", "CREATE UNIQUE INDEX g ON gigs (id) WHERE id > 0"),
        ("sqlite", "postgres"),
    ),
    State(
        "an id that is unique at the end of a transaction",
        UNIQUE,
        (NO_GIGS, "CREATE TABLE gigs (id INTEGER NOT NULL UNIQUE DEFERRABLE)"),
        ("postgres",),
    ),
    State(
        "an unlogged table",
        ("gigs is unlogged", "SET LOGGED"),
        ("ALTER TABLE gigs SET UNLOGGED",),
        ("postgres",),
    ),
    State(
        "a table of another engine",
        ("gigs is stored by MyISAM", "ENGINE=InnoDB"),
        ("ALTER TABLE gigs ENGINE=MyISAM",),
        MYSQL,
    ),
    State(
        "a partitioned table",
        ("gigs is partitioned", "REMOVE PARTITIONING"),
        ("ALTER TABLE gigs PARTITION BY HASH (id) PARTITIONS 2",),
        MYSQL,
    ),
    State(
        "a partitioned table that is to get a column",
        ("projects is partitioned", "no index"),
        (
            "DROP TABLE projects",
            "CREATE TABLE projects (id INTEGER PRIMARY KEY, title TEXT) PARTITION BY RANGE (id)",
        ),
        ("postgres",),
    ),
    State(
        "a table with all the indexes that it can have",
        ("projects has 64 indexes", "drop one"),
        tuple(f"CREATE INDEX spare_{number} ON projects (id)" for number in range(63)),
        MYSQL,
    ),
    State(
        "a column whose name differs in case",
        ("projects has the column OWNERID", "the same name as ownerId", "rename it"),
        ("ALTER TABLE projects ADD COLUMN OWNERID INTEGER",),
        ("sqlite", *MYSQL),
    ),
    State(
        "an index whose name differs in case",
        ("projects has the index PROJECTS_OWNER_ID_IDX", "the same name as projects_owner_id_idx", "rename it"),
        ("CREATE INDEX PROJECTS_OWNER_ID_IDX ON projects (title)",),
        MYSQL,
    ),
    State(
        "an id of two bytes",
        ("gigs.id is smallint", "run ALTER TABLE"),
        (NO_GIGS, "CREATE TABLE gigs (id SMALLINT NOT NULL PRIMARY KEY)"),
        ("postgres", *MYSQL),
    ),
    State(
        "an id of three bytes without a sign",
        ("gigs.id is mediumint", "run ALTER TABLE"),
        (NO_GIGS, "CREATE TABLE gigs (id MEDIUMINT UNSIGNED PRIMARY KEY AUTO_INCREMENT COMMENT 'a smallint, once')"),
        MYSQL,
    ),
    State(
        "an id of a domain",
        ("gigs.id is gig_id", "run ALTER TABLE"),
        (NO_GIGS, "CREATE DOMAIN gig_id AS BIGINT", "CREATE TABLE gigs (id gig_id PRIMARY KEY)"),
        ("postgres",),
    ),
    State(
        "an id that is no number",
        ("gigs.id is ", "the library can refer to rows by integers only"),
        (NO_GIGS, "CREATE TABLE gigs (id CHAR(36) PRIMARY KEY)"),
    ),
    State(
        "a view",
        ("gigs is a view", "no foreign key can reference"),
        ("ALTER TABLE gigs RENAME TO all_gigs", "CREATE VIEW gigs AS SELECT * FROM all_gigs"),
    ),
    State(
        "a table whose name is in another case",
        ("the platform's table gigs has its name in another case", "rename it to gigs"),
        ("ALTER TABLE gigs RENAME TO all_gigs", "ALTER TABLE all_gigs RENAME TO Gigs"),
        ("sqlite",),
    ),
)


@pytest.fixture
def stubs(url):
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        yield database


def sentences(database):
    """What a migration says that it lacks."""
    with pytest.raises(SchemaConflict, match="nothing was changed") as refused:
        runner.migrate(database)
    assert "name that database" not in str(refused.value)
    assert not database.table_exists("feed_posts")
    return refused.value.differences


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_what_the_platform_lacks_is_named_before_anything_is_changed(stubs, url, state):
    if family(url) not in state.servers:
        pytest.skip("this server has no such state")
    execute(url, *state.statements)
    (sentence,) = sentences(stubs)
    assert all(words in sentence for words in state.said), sentence
    cure = re.search(r"run ((?:ALTER|GRANT).*)", sentence)
    if cure:
        stubs.execute_sql(cure[1])
        assert runner.migrate(stubs) == script_files.names()


@pytest.fixture
def role(stubs, url):
    """A role that may read the platform's tables and nothing else, and is run as."""
    if family(url) != "postgres":
        pytest.skip("only PostgreSQL lets a session be another role")
    name = f"engagement_db_reader_{secrets.token_hex(4)}"
    execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", f"CREATE ROLE {name}")
    execute(url, f"GRANT SELECT ON users, projects, gigs TO {name}")
    yield name
    execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_each_right_that_a_role_lacks_is_named_with_its_grant(role, url):
    with contextlib.closing(open_database(url, options=f"-c role={role}")) as database:
        (sentence,) = sentences(database)
        remedy = f'GRANT CREATE ON SCHEMA "public" TO "{role}"'
        assert sentence.endswith(remedy)
        execute(url, remedy)
        for table in ("users", "projects", "gigs"):
            remedy = f'GRANT REFERENCES ON "{table}" TO "{role}"'
            assert remedy in sentences(database)[0]
            execute(url, remedy)
        (sentence,) = sentences(database)
        assert sentence == f"{role} cannot alter projects, which belongs to postgres; migrate as postgres"
        execute(url, f"ALTER TABLE projects OWNER TO {role}")
        assert runner.migrate(database) == script_files.names()
        runner.rollback(database, to=script_files.BASE)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("default_transaction_read_only=on", "this session is read-only"),
        ("search_path=nowhere", "no schema of the search_path (nowhere) exists; create one"),
    ],
)
def test_a_session_without_the_right_to_create_is_refused_with_the_reason(stubs, url, setting, said):
    if family(url) != "postgres":
        pytest.skip("these are settings of PostgreSQL")
    with contextlib.closing(open_database(url, options=f"-c {setting}")) as database:
        (sentence,) = sentences(database)
    assert said in sentence
