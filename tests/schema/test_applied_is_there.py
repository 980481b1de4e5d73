"""What the history records as applied exists on every node, or the command exits with 1 and says what is missing."""

import contextlib
import json
from collections.abc import Callable, Iterator

import commands
import escrow
import peewee
import pytest
import servers
from platform_database import execute

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.schema import history, runner, script_files
from engagement_db.schema.stub_tables import create_stub_tables
from engagement_db.servers import of as server_of
from engagement_db.testing import make_user

Command = Callable[[str, str], list[str]]


@pytest.fixture
def database(url: str) -> Iterator[peewee.Database]:
    with contextlib.closing(open_database(url)) as database:
        create_stub_tables(database)
        runner.migrate(database)
        yield database


@pytest.fixture
def other(server: servers.Server, url: str) -> Iterator[str]:
    """The URL of another node: a database of its own on the same server, without the library's tables."""
    other = server.create_database()
    with contextlib.closing(open_database(other)) as database:
        create_stub_tables(database)
    yield other
    server.drop_database(other)


def run(*words: str) -> commands.Ended:
    return commands.run(list(words))


@pytest.mark.parametrize("command", [commands.engagement_db_command, commands.pw_migrate_command])
def test_a_table_or_column_that_the_history_claims_is_missed(
    url: str, database: peewee.Database, command: Command
) -> None:
    migrate = command("migrate", url)
    assert run(*migrate).code == 0
    execute(url, "DROP TABLE feed_shares", "ALTER TABLE feed_activity_logs DROP COLUMN metadata")
    ended = run(*migrate)
    assert ended.code == 1
    for part in ("feed_shares: the table is missing", "feed_activity_logs.metadata: the column is missing"):
        assert part in ended.words
    assert "Traceback" not in ended.words


@pytest.mark.parametrize("command", [commands.engagement_db_command, commands.pw_migrate_command])
def test_it_is_missed_before_a_pending_revision_is_applied(
    url: str, database: peewee.Database, command: Command
) -> None:
    runner.rollback(database)
    execute(url, "DROP TABLE feed_shares")
    before = history.applied_names(database)
    ended = run(*command("migrate", url))
    assert ended.code == 1
    assert "feed_shares: the table is missing" in ended.words
    assert history.applied_names(database) == before


def test_it_is_made_again_as_the_message_says(url: str, database: peewee.Database) -> None:
    execute(url, "DROP TABLE feed_shares")
    with pytest.raises(edb.SchemaMissing, match="feed_shares: the table is missing"):
        runner.migrate(database)
    execute(url, "DELETE FROM migratehistory")
    assert runner.migrate(database) == script_files.names()
    assert runner.migrate(database) == ()


def test_a_difference_with_which_everything_works_stops_no_deployment(url: str, database: peewee.Database) -> None:
    execute(url, "ALTER TABLE feed_shares ADD COLUMN theirs VARCHAR(20)")
    database.execute_sql(next(iter(drop_index(database, "feed_shares", "feed_shares_channel_created_at"))))
    assert run("engagement-db", "migrate", "--database", url).code == 0


def drop_index(database: peewee.Database, table: str, name: str) -> list[str]:
    return [change.statement for change in server_of(database).drop_index(table, name)]


def test_each_node_is_checked(url: str, other: str, database: peewee.Database) -> None:
    unreachable = "postgresql://app:s3cret@127.0.0.1:1/platform"
    assert run("engagement-db", "check", "--each", url, url).code == 0
    ended = run("engagement-db", "check", "--each", url, other)
    assert ended.code == 1
    assert "Schema matches the revisions and the models." in ended.words
    assert f"Pending: {', '.join(script_files.names())}" in ended.words
    ended = run("engagement-db", "check", "--json", "--each", unreachable, url)
    assert ended.code == 2
    assert "s3cret" not in ended.words
    first, second = json.loads(ended.stdout)
    assert "error" in first
    assert (second["actionable"], second["pending"]) == (0, [])


@pytest.mark.parametrize("words", [["--each"], ["sqlite:///x.db"], ["--database", "sqlite:///x.db", "--each", "y"]])
def test_each_takes_urls_and_urls_need_it(words: list[str]) -> None:
    ended = run("engagement-db", "check", *words)
    assert ended.code == 2
    assert "--each takes the URLs" in ended.words


def test_a_sequence_below_the_highest_id_is_named_with_the_statement(
    server: servers.Server, url: str, database: peewee.Database
) -> None:
    with edb.bind_ctx(database):
        payments = [escrow.payment(escrow.account()) for _ in range(3)]
    assert run("engagement-db", "check", "--database", url).code == 0
    if server.name != "postgres":
        pytest.skip("on this server ids do not come from a sequence of their own")
    # As a subscriber of logical replication has it.
    execute(url, "ALTER SEQUENCE escrow_transactions_id_seq RESTART")
    ended = run("engagement-db", "check", "--database", url)
    assert ended.code == 1
    assert "- escrow_transactions.id: its sequence gives 1 next, and rows have ids up to 3" in ended.words
    cure = ended.words.partition("; run ")[2].splitlines()[0]
    execute(url, cure)
    assert run("engagement-db", "check", "--database", url).code == 0
    with edb.bind_ctx(database):
        assert escrow.payment(payments[0].account).id == 4


@pytest.mark.parametrize("command", [commands.engagement_db_command, commands.pw_migrate_command])
def test_a_history_that_was_replicated_without_its_sequence_takes_the_next_revision(
    server: servers.Server, url: str, database: peewee.Database, command: Command
) -> None:
    if server.name != "postgres":
        pytest.skip("on this server ids do not come from a sequence of their own")
    runner.rollback(database)
    execute(url, "ALTER SEQUENCE migratehistory_id_seq RESTART")
    assert run(*command("migrate", url)).code == 0
    assert history.applied_names(database) == list(script_files.names())


def test_the_sequences_of_the_platform_are_looked_at_too(
    server: servers.Server, url: str, database: peewee.Database
) -> None:
    if server.name != "postgres":
        pytest.skip("on this server ids do not come from a sequence of their own")
    with edb.bind_ctx(database):
        make_user()
    execute(url, "ALTER SEQUENCE users_id_seq RESTART")
    ended = run("engagement-db", "check", "--database", url)
    assert ended.code == 1
    assert "- users.id: its sequence gives 1 next, and rows have ids up to 1" in ended.words
