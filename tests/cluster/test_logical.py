"""A logical subscriber of PostgreSQL, which gets rows, and neither tables nor sequences."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import commands
import escrow
import pytest
from cluster_plays import assert_check_finds_nothing, bound, make_people, make_platform, migrate
from clusters import PAGE, Cluster, at, brought_up, logical
from commands import engagement_db_command
from independent_catalog import history
from platform_database import execute, query
from waiting import wait_until

import engagement_db as edb
from engagement_db.schema import script_files
from engagement_db.testing import make_user

PROJECTS = "SELECT title FROM projects"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with brought_up(logical(), "PostgreSQL with a logical subscriber") as nodes:
        yield nodes


@pytest.fixture
def urls(cluster: Cluster) -> Iterator[list[str]]:
    """A publisher with the revisions up to 002, and the URL of an empty database of its subscriber."""
    publisher = cluster.nodes[0].create_database()
    subscriber = at(publisher, cluster.nodes[1])
    cluster.nodes[1].ask(f'CREATE DATABASE "{urlsplit(subscriber).path[1:]}"')
    make_platform([publisher])
    assert commands.run(engagement_db_command("migrate", publisher, "--to", "2")).code == 0
    yield [publisher, subscriber]
    with contextlib.suppress(AssertionError):
        unsubscribe(subscriber)


def subscribe(urls: list[str], publication: str) -> None:
    execute(urls[1], f"CREATE SUBSCRIPTION {name(urls[1])} CONNECTION '{urls[0]}' PUBLICATION {publication}")
    pending = "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'"
    wait_until(lambda: not query(urls[1], pending), "each table was copied")


def unsubscribe(url: str) -> None:
    execute(url, f"DROP SUBSCRIPTION IF EXISTS {name(url)}")


def name(url: str) -> str:
    return "from_" + urlsplit(url).path[1:]


def test_a_subscriber_that_was_migrated_first_takes_over_when_its_sequences_are_set(urls: list[str]) -> None:
    publisher, subscriber = urls
    make_platform([subscriber])
    assert commands.run(engagement_db_command("migrate", subscriber, "--to", "2")).code == 0
    (publication,) = re.findall(r"```sql\n(CREATE PUBLICATION .*?);\n```", PAGE.read_text("utf-8"), re.DOTALL)
    execute(publisher, publication)
    subscribe(urls, "platform")
    users = make_people(publisher, 3)
    for number, url in enumerate([subscriber, publisher]):
        ended = commands.run(migrate(url, number))
        assert ended.code == 0, ended.words
    with bound(publisher):
        edb.Project.create(title="Last", owner=users[0])
        escrow.payment(edb.EscrowAccount.get()).fund()
    wait_until(lambda: query(subscriber, "SELECT 1 FROM escrow_transactions WHERE status = 'funded'"), "all is there")
    assert query(subscriber, PROJECTS) == [("Last",)]
    unsubscribe(subscriber)

    with bound(subscriber), pytest.raises(edb.Refused, match="an id that another row has") as refused:
        escrow.payment(edb.EscrowAccount.get())
    assert not isinstance(refused.value, edb.ReferenceConflict)
    ended = commands.run(["engagement-db", "check", "--each", *urls])
    assert ended.code == 1
    cures = re.findall(r"^- .* run (SELECT setval.*)$", ended.words, re.MULTILINE)
    assert cures
    execute(subscriber, *cures)
    assert_check_finds_nothing(urls)
    with bound(subscriber):
        make_user()
        escrow.payment(edb.EscrowAccount.get())


@pytest.mark.parametrize("number", [0, 1])
def test_a_history_that_was_replicated_without_its_changes_is_found_out(urls: list[str], number: int) -> None:
    publisher, subscriber = urls
    dumped = subprocess.run(["pg_dump", "--schema-only", publisher], check=True, capture_output=True)
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", subscriber], input=dumped.stdout, check=True)
    execute(publisher, "CREATE PUBLICATION everything FOR ALL TABLES")
    subscribe(urls, "everything")
    assert commands.run(migrate(publisher)).code == 0
    (user,) = make_people(publisher, 1)
    wait_until(lambda: len(history(subscriber)) == len(script_files.names()), "the history is there")
    with bound(publisher):
        edb.Project.create(title="Stuck", owner=user)

    ended = commands.run(migrate(subscriber, number))
    assert ended.code == 1
    assert "projects.ownerId: the column is missing" in ended.words
    assert query(subscriber, PROJECTS) == []
    execute(subscriber, f"DELETE FROM migratehistory WHERE name = '{script_files.names()[-1]}'")
    ended = commands.run(migrate(subscriber, number))
    assert ended.code == 0, ended.words
    wait_until(lambda: query(subscriber, PROJECTS), "replication goes on")
    assert history(subscriber) == history(publisher)
