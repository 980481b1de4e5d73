"""What the platform's database must offer: each lack is found before the first change, and named with its remedy."""

import contextlib
import re
import secrets
from urllib.parse import urlsplit

import pytest
from platform_database import execute, family, query
from start_states import LACKS, MYSQL, NO_GIGS

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
    cure = re.search(r"run ((?:ALTER|GRANT|CREATE) .*)", sentence)
    if cure:
        stubs.execute_sql(cure[1])
        assert runner.migrate(stubs) == script_files.names()


def test_a_session_that_would_store_the_history_without_transactions_is_refused(stubs, url):
    if family(url) not in ("mariadb", "mysql"):
        pytest.skip("this server has one engine")
    stubs.execute_sql("SET SESSION default_storage_engine = MyISAM")
    (sentence,) = sentences(stubs)
    assert sentence.startswith("default_storage_engine is MyISAM")
    stubs.execute_sql("SET SESSION default_storage_engine = InnoDB")
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
        ("default_transaction_read_only=on", "set default_transaction_read_only = off"),
        ("search_path=nowhere", "no schema of the search_path (nowhere) exists; create one"),
    ],
)
def test_a_session_that_can_create_nothing_says_why(stubs, url, setting, said):
    if family(url) != "postgres":
        pytest.skip("these are settings of PostgreSQL")
    with contextlib.closing(open_database(url, options=f"-c {setting}")) as database:
        (sentence,) = sentences(database)
    assert said in sentence


def test_a_session_of_mysql_that_is_read_only_says_so(stubs, url):
    if family(url) not in MYSQL:
        pytest.skip("this is a setting of MySQL and MariaDB")
    begin = "SET SESSION TRANSACTION READ ONLY"
    with contextlib.closing(open_database(url, init_command=begin)) as database:
        assert sentences(database) == ("this session is read-only; turn transaction_read_only off for it",)


def pattern(url):
    """The database as a grant names it, with its underscores escaped, which would stand for any character."""
    return "`" + urlsplit(url).path[1:].replace("_", "\\_") + "`"


@pytest.fixture
def account(stubs, url):
    """The URL of an account that may do nothing with the tables of the database, but sees that they are there."""
    if family(url) not in MYSQL:
        pytest.skip("accounts of MySQL and MariaDB")
    name = f"edb_{secrets.token_hex(4)}"
    parts = urlsplit(url)
    execute(url, f"CREATE USER '{name}'@'%' IDENTIFIED BY '{name}'")
    execute(url, f"GRANT TRIGGER ON {pattern(url)}.* TO '{name}'@'%'")
    yield parts._replace(netloc=f"{name}:{name}@{parts.hostname}:{parts.port}").geturl()
    execute(url, f"DROP USER '{name}'@'%'")


def granted(attempt, url, connected_url):
    """The rights that an account was told to be granted, one after another, until the attempt was not refused."""
    rights = []
    while refused := refusal(attempt, connected_url):
        assert "name that database" not in str(refused)
        statements = [found[1] for line in refused.differences if (found := re.search(r"run (GRANT.*)", line))]
        assert len(statements) == len(refused.differences), refused
        for statement in statements:
            execute(url, statement)
            rights.append(statement.split()[1])
    return rights


def refusal(attempt, url):
    with contextlib.closing(open_database(url)) as database:
        try:
            attempt(database)
        except SchemaConflict as refused:
            return refused


def test_each_right_that_an_account_lacks_is_named_with_its_grant(account, url):
    references = {"REFERENCES"} if family(url) == "mysql" else set()
    rights = granted(runner.migrate, url, account)
    assert set(rights) == {"SELECT", "INSERT", "CREATE", "ALTER"} | references
    assert rights.count("ALTER") == 1
    back = granted(lambda database: runner.rollback(database, to=script_files.BASE), url, account)
    assert set(back) == {"DELETE", "DROP"}
    assert query(url, "SELECT name FROM migratehistory") == []


def test_the_rights_of_a_role_count(account, url):
    name = urlsplit(account).username
    role = f"{name}_role"
    execute(url, f"CREATE ROLE {role}", f"GRANT ALL ON {pattern(url)}.* TO {role}", f"GRANT {role} TO '{name}'@'%'")
    with contextlib.closing(open_database(account, init_command=f"SET ROLE {role}")) as connected:
        assert runner.migrate(connected) == script_files.names()
    execute(url, f"DROP ROLE {role}")


def test_what_several_revisions_lack_is_one_error(stubs, url):
    execute(url, NO_GIGS, "DROP TABLE users", "CREATE TABLE users (id CHAR(36) PRIMARY KEY)")
    with pytest.raises(SchemaConflict) as refused:
        runner.migrate(stubs)
    assert [line.split(" ")[0] for line in refused.value.differences] == ["users.id", "the"]
    assert str(refused.value).startswith(f"{', '.join(script_files.names())} cannot be applied")
