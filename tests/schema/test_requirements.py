"""What the platform's database must offer: each lack is found before the first change, and named with its remedy."""

import contextlib
import re
import secrets

import pytest
from platform_database import execute, family
from start_states import LACKS

from engagement_db.errors import SchemaConflict
from engagement_db.orm.urls import open_database
from engagement_db.schema import runner, script_files
from engagement_db.schema.stub_tables import create_stub_tables


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


@pytest.mark.parametrize("state", LACKS, ids=lambda state: state.name)
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
