"""PostgreSQL with a synchronous and an asynchronous standby, behind PgBouncer and behind HAProxy."""

import concurrent.futures
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import commands
import psycopg2
import pytest
from cluster_plays import (
    assert_deployers_at_once_are_one,
    assert_migrated,
    assert_money_is_right,
    assert_nothing_is_missed,
    make_people,
    make_platform,
    migrate,
    open_account,
    race,
    start_deployer,
    stopped_after,
    struck,
    time_of,
)
from clusters import (
    ASYNCHRONOUS,
    POOL_SIZE,
    PRIMARY,
    SYNCHRONOUS,
    Cluster,
    at,
    brought_up,
    haproxy,
    pgbouncer,
    promote,
    streaming,
)
from commands import engagement_db_command
from independent_catalog import definitions, history
from platform_database import query
from waiting import wait_until

from engagement_db.schema import script_files

Property = Callable[[str, object], None]

OPERATIONS = 300


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with brought_up(streaming(), "PostgreSQL with standbys") as nodes:
        yield nodes


@pytest.fixture(params=["session", "transaction"])
def pooler(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """User, host and port of a PgBouncer."""
    with pgbouncer(cluster.nodes[PRIMARY], request.param) as front:
        yield front


def test_deployers_through_a_pooler_at_once_are_one(cluster: Cluster, pooler: str, record_property: Property) -> None:
    seen = assert_deployers_at_once_are_one(lambda: [at(cluster.create_database()[PRIMARY], pooler)], 6)
    record_property("sample", f"PgBouncer: {seen}")


def test_deployers_through_a_pooler_and_past_it_are_one(
    cluster: Cluster, pooler: str, record_property: Property
) -> None:
    def make_database() -> list[str]:
        direct = cluster.create_database()[PRIMARY]
        return [at(direct, pooler), direct]

    record_property("sample", f"PgBouncer and direct: {assert_deployers_at_once_are_one(make_database, 6)}")


def test_migrations_leave_nothing_in_the_sessions_of_a_pooler(urls: list[str], pooler: str) -> None:
    front = at(urls[PRIMARY], pooler)
    settings = "SELECT pg_backend_pid(), current_setting('lock_timeout'), current_setting('search_path')"
    for _ in range(3):
        deployers = [commands.start(migrate(front, number)) for number in range(3)]
        assert [deployer.wait().code for deployer in deployers] == [0] * 3
        assert commands.run(engagement_db_command("rollback", front, "--to", script_files.BASE)).code == 0
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(POOL_SIZE):
            connection = stack.enter_context(contextlib.closing(psycopg2.connect(front)))
            cursor = connection.cursor()
            cursor.execute(settings)
            found.append(cursor.fetchone())
    assert len({process for process, *_ in found}) == POOL_SIZE
    assert {tuple(values) for _, *values in found} == {("0", '"$user", public')}


@pytest.mark.parametrize("statement", ["CREATE TABLE escrow_transactions", "CREATE INDEX CONCURRENTLY"])
def test_a_deployer_that_is_killed_behind_a_pooler_is_replaced(
    urls: list[str], pooler: str, statement: str, record_property: Property
) -> None:
    front = at(urls[PRIMARY], pooler)
    killed = start_deployer(migrate(front), struck(signal.SIGKILL, before=statement)).wait()
    assert killed.code == commands.KILLED
    ended: list[commands.Ended] = []
    seconds = time_of(lambda: ended.append(start_deployer(migrate(front, 1)).wait()))
    assert ended[0].code == 0, ended[0].words
    assert_migrated(urls)
    record_property("sample", f"PgBouncer: killed before {statement}, finished by another after {seconds:.1f} s")


@pytest.mark.parametrize("number", [0, 1])
def test_a_paused_holder_changes_nothing_after_its_lease_was_taken_over(
    urls: list[str], pooler: str, number: int
) -> None:
    front = at(urls[PRIMARY], pooler)
    assert commands.run(engagement_db_command("migrate", front, "--to", "2")).code == 0
    with stopped_after("CREATE INDEX CONCURRENTLY", migrate(front, number)) as stopped:
        for command in (migrate(front), engagement_db_command("rollback", front)):
            ended = start_deployer(command).wait()
            assert ended.code == 0, ended.words
        after = definitions(urls[PRIMARY])
    ended = stopped.wait()
    assert ended.code in (1, 2), ended.words
    assert "another process took it over" in ended.words
    assert definitions(urls[PRIMARY]) == after


def test_an_index_build_that_outlives_its_deployer_disturbs_no_other_deployer(urls: list[str], pooler: str) -> None:
    front = at(urls[PRIMARY], pooler)
    builds = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active'"
    with contextlib.closing(psycopg2.connect(urls[PRIMARY])) as old:
        # The build waits for the end of every transaction that is older than it.
        old.set_session(isolation_level="REPEATABLE READ")
        old.cursor().execute("SELECT 1")
        deployer = start_deployer(migrate(front))
        wait_until(lambda: query(urls[PRIMARY], builds), "the index is being built")
        deployer.kill()
        assert deployer.wait().code == commands.KILLED
        other = start_deployer(migrate(front, 1))
        has_taken_over = f"SELECT 1 FROM migratelease WHERE holder LIKE 'process {other.process} %'"
        wait_until(lambda: query(urls[PRIMARY], has_taken_over), "the other deployer has the lease")
        assert query(urls[PRIMARY], builds)
        old.rollback()
    ended = other.wait()
    assert ended.code == 0, ended.words
    assert_migrated(urls)


@pytest.mark.parametrize("number", [0, 1])
def test_a_standby_is_refused_by_name_and_has_what_its_primary_has(urls: list[str], number: int) -> None:
    for standby in (SYNCHRONOUS, ASYNCHRONOUS):
        ended = commands.run(migrate(urls[standby], number))
        assert ended.code in (1, 2)
        assert "standby" in ended.words
        assert "Traceback" not in ended.words
    assert history(urls[PRIMARY]) == []
    assert commands.run(migrate(urls[PRIMARY], number)).code == 0
    assert_migrated(urls)


@pytest.mark.parametrize("standby", [SYNCHRONOUS, ASYNCHRONOUS])
def test_an_up_to_date_block_on_a_standby_misses_nothing(
    urls: list[str], standby: int, record_property: Property
) -> None:
    assert commands.run(migrate(urls[PRIMARY])).code == 0
    kind = "asynchronous" if standby == ASYNCHRONOUS else "synchronous"
    record_property("sample", f"{kind} standby: {assert_nothing_is_missed(urls[PRIMARY], urls[standby])}")


def test_a_commit_without_the_synchronous_standby_waits_and_is_there_when_it_is_cancelled(
    cluster: Cluster, migrated: list[str]
) -> None:
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    (user,) = make_people(migrated[PRIMARY], 1)
    cluster.nodes[SYNCHRONOUS].kill()
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            opening = pool.submit(open_account, migrated[PRIMARY], user, "paypal")
            wait_until(lambda: query(migrated[PRIMARY], f"SELECT 1 {waiting}"), "the commit waits")
            query(migrated[PRIMARY], f"SELECT pg_cancel_backend(pid) {waiting}")
            assert opening.result() == 2
    finally:
        cluster.start()
    theirs = "SELECT 1 FROM escrow_accounts WHERE provider = 'paypal'"
    wait_until(lambda: query(migrated[SYNCHRONOUS], theirs), "the standby has caught up")


@pytest.mark.parametrize("way", ["a list of servers in the URL", "HAProxy"])
def test_nothing_is_lost_when_a_synchronous_standby_is_promoted_during_writes(
    way: str, tmp_path: Path, record_property: Property
) -> None:
    with brought_up(streaming(), "PostgreSQL with standbys") as cluster, contextlib.ExitStack() as stack:
        urls = cluster.create_database()
        make_platform(urls)
        assert commands.run(migrate(urls[PRIMARY])).code == 0
        users = make_people(urls[PRIMARY], 3)
        pair = cluster.nodes[:ASYNCHRONOUS]
        if way == "HAProxy":
            # Which of them is the primary, it has to ask.
            front = haproxy([cluster.nodes[ASYNCHRONOUS], *pair], "PostgreSQL")
            service = at(urls[PRIMARY], stack.enter_context(front))
        else:
            ports = ",".join(str(urlsplit(node.url).port) for node in pair)
            options = f"host=127.0.0.1,127.0.0.1&port={ports}&target_session_attrs=read-write"
            service = f"{at(urls[PRIMARY], 'postgres@')}?{options}"
        with race([service] * 4, "ledger", tmp_path, users, OPERATIONS) as played:
            played.wait_for_share(0.3)
            cluster.nodes[PRIMARY].kill()
            seconds = time_of(lambda: promote(cluster.nodes[SYNCHRONOUS]))
            errors = played.finish()
        moves = assert_money_is_right(urls[SYNCHRONOUS], played.changes, errors["?"])
        ended = commands.run(["engagement-db", "check", "--rows", "--database", urls[SYNCHRONOUS]])
        assert ended.code == 0, ended.words
    record_property(
        "sample", f"promotion in {seconds:.1f} s, by {way}: {moves} moves, none lost, errors {dict(errors)}"
    )
