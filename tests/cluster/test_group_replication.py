"""MySQL Group Replication: three members, of which one takes writes; and what is refused where all of them do."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import pytest
from cluster_plays import (
    assert_a_change_that_outlives_its_deployer_meets_no_other,
    assert_accounts_are_one_each,
    assert_check_finds_nothing,
    assert_deployers_at_once_are_one,
    assert_migrated,
    assert_money_is_right,
    assert_nothing_is_missed,
    bound,
    make_people,
    make_platform,
    migrate,
    open_account,
    race,
    stopped_after,
    time_of,
)
from clusters import Cluster, at, brought_up, group_replication, haproxy
from escrow import account, payment
from feed_rows import a_post
from independent_catalog import definitions, history
from platform_database import query
from servers import Server
from waiting import wait_until

import engagement_db as edb
from engagement_db.testing import make_user

Property = Callable[[str, object], None]

OPERATIONS = 300


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with brought_up(group_replication(), "Group Replication") as nodes:
        yield nodes


def test_deployers_on_the_primary_at_once_are_one(cluster: Cluster, record_property: Property) -> None:
    seen = assert_deployers_at_once_are_one(lambda: cluster.create_database()[:1], 6)
    record_property("sample", f"Group Replication: {seen}")


@pytest.mark.parametrize("number", [0, 1])
def test_a_secondary_is_refused_by_name_and_has_what_its_primary_has(urls: list[str], number: int) -> None:
    for secondary in urls[1:]:
        ended = commands.run(migrate(secondary, number))
        assert ended.code in (1, 2)
        assert "this server is read-only (super_read_only); name the primary server" in ended.words
        assert "Traceback" not in ended.words
    assert history(urls[0]) == []
    assert commands.run(migrate(urls[0], number)).code == 0
    assert_migrated(urls)


@pytest.mark.parametrize("number", [0, 1])
def test_a_deployer_whose_primary_was_switched_changes_nothing_more(
    cluster: Cluster, urls: list[str], number: int
) -> None:
    with stopped_after("CREATE TABLE feed_shares", migrate(urls[0], number)) as stopped:
        make_primary(cluster.nodes[1])
        ended = commands.run(migrate(urls[1], 1 - number))
        assert ended.code == 0, ended.words
    ended = stopped.wait()
    assert ended.code in (1, 2), ended.words
    assert "read-only" in ended.words or "read_only" in ended.words
    assert "Traceback" not in ended.words
    make_primary(cluster.nodes[0])
    assert_migrated(urls)


def test_a_statement_that_outlives_its_deployer_disturbs_no_other_deployer(urls: list[str]) -> None:
    assert_a_change_that_outlives_its_deployer_meets_no_other(urls, urls[0])


def make_primary(member: Server) -> None:
    """Let this member take the writes from here on."""
    ((name,),) = member.ask("SELECT @@server_uuid")
    member.ask(f"SELECT group_replication_set_as_primary('{name}')")


def test_an_up_to_date_block_on_a_secondary_misses_nothing(migrated: list[str], record_property: Property) -> None:
    record_property("sample", f"Group Replication: {assert_nothing_is_missed(migrated[0], migrated[1])}")


def test_verbs_on_a_secondary_say_that_it_takes_no_writes(migrated: list[str]) -> None:
    with bound(migrated[0]):
        home = account()
    with bound(migrated[1]):
        wait_until(lambda: edb.EscrowAccount.get_or_none(edb.EscrowAccount.id == home.id), "the account is there")
        with pytest.raises(edb.NotWritable, match="Nothing was changed"):
            payment(home)
    with bound(migrated[0]):
        assert edb.EscrowTransaction.select().count() == 0


def test_a_group_in_multi_primary_mode_is_refused_by_name(cluster: Cluster, urls: list[str]) -> None:
    before = definitions(urls[0])
    with multi_primary(cluster):
        for number, url in enumerate(urls * 2):
            ended = commands.run(migrate(url, number))
            assert ended.code in (1, 2)
            assert "this server belongs to a group in multi-primary mode" in ended.words
            assert "group_replication_enforce_update_everywhere_checks is on" in ended.words
            assert "Traceback" not in ended.words
    assert [definitions(url) for url in urls] == [before] * len(urls)


def test_verbs_in_multi_primary_mode_say_that_the_server_takes_no_writes(cluster: Cluster, migrated: list[str]) -> None:
    with bound(migrated[0]):
        post = a_post(make_user())
        with multi_primary(cluster), pytest.raises(edb.NotWritable, match="Nothing was changed"):
            edb.FeedReaction.react(post, post.user_id)
        assert edb.FeedReaction.select().count() == 0


@contextlib.contextmanager
def multi_primary(cluster: Cluster) -> Iterator[None]:
    """Every member takes writes in the block, as far as the server lets it."""
    cluster.nodes[0].ask("SELECT group_replication_switch_to_multi_primary_mode()")
    try:
        yield
    finally:
        primary = cluster.nodes[0].ask("SELECT @@server_uuid")[0][0]
        cluster.nodes[0].ask(f"SELECT group_replication_switch_to_single_primary_mode('{primary}')")


@pytest.mark.parametrize("end", ["killed", "standing still"])
def test_nothing_is_lost_when_the_primary_is_gone_during_writes_and_comes_back(
    cluster: Cluster, migrated: list[str], end: str, tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 3)
    is_primary = (
        "SELECT 1 FROM performance_schema.replication_group_members "
        "WHERE member_id = @@server_uuid AND member_role = 'PRIMARY' AND @@super_read_only = 0"
    )
    primary = cluster.nodes[0]
    with (
        haproxy(cluster.nodes, "Group Replication") as front,
        race([at(migrated[0], front)] * 4, "ledger", tmp_path, users, OPERATIONS) as played,
    ):
        played.wait_for_share(0.3)
        if end == "killed":
            primary.kill()
        with primary.standing_still() if end == "standing still" else contextlib.nullcontext():
            seconds = time_of(lambda: wait_until(lambda: query(migrated[1], is_primary), "there is another primary"))
            played.wait_for_share(0.6)
        if end == "killed":
            primary.start()
        wait_until(lambda: cluster.nodes[1].ask(IS_WHOLE), "the first primary is back in its group")
        errors = played.finish()
        front, who = at(migrated[0], front), "SELECT @@server_uuid"
        wait_until(lambda: query(front, who) == query(migrated[1], who), "the proxy is at the primary")
    for url in migrated:
        wait_until(lambda url=url: query(url, COUNT) == query(migrated[1], COUNT), "each member has all moves")
        moves = assert_money_is_right(url, played.changes, errors["?"])
    assert_check_finds_nothing(migrated)
    make_primary(primary)
    record_property(
        "sample",
        f"Group Replication, primary {end}: {moves} moves, another after {seconds:.1f} s, errors {dict(errors)}",
    )


def test_a_write_without_the_majority_waits_for_it_or_is_of_unknown_outcome(
    cluster: Cluster, migrated: list[str]
) -> None:
    primary, *others = cluster.nodes
    unreachable = "SELECT 1 FROM performance_schema.replication_group_members WHERE member_state = 'UNREACHABLE'"
    waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'waiting for handler commit'"
    with bound(migrated[0]):
        user = make_user()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with others[0].standing_still(), others[1].standing_still():
            wait_until(lambda: len(primary.ask(unreachable)) == 2, "the primary is alone")
            opening = pool.submit(open_account, migrated[0], user.id, "stripe")
            wait_until(lambda: primary.ask(waits), "the commit waits")
        assert opening.result() == 1
    primary.ask("SET GLOBAL group_replication_unreachable_majority_timeout = 1")
    try:
        unknown = pytest.raises(edb.OutcomeUnknown, match="Whether this was committed is not known")
        with others[0].standing_still(), others[1].standing_still():
            with unknown:
                open_account(migrated[0], user.id, "paypal")
            refused = pytest.raises(edb.NotWritable, match="Nothing was changed")
            with refused:
                open_account(migrated[0], user.id, "wise")
    finally:
        primary.ask("SET GLOBAL group_replication_unreachable_majority_timeout = 0")
        wait_until(lambda: others[0].ask(ARE_TWO), "the others are a group without it")
        primary.ask("STOP GROUP_REPLICATION")
        primary.start()
        make_primary(primary)
    # It was committed, by the others.
    with bound(migrated[0]):
        assert {account.provider for account in edb.EscrowAccount.select()} == {"stripe", "paypal"}
    assert open_account(migrated[0], user.id, "paypal") == 2


IS_WHOLE = """
SELECT 1 FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE' HAVING COUNT(*) = 3
"""
ARE_TWO = IS_WHOLE.replace("3", "2")
COUNT = "SELECT SUM(JSON_LENGTH(auditTrail)) FROM escrow_transactions"


def test_members_that_all_take_writes_keep_the_books(tmp_path: Path, record_property: Property) -> None:
    """Tables that were made in single-primary mode, in a group that never had the checks."""
    with brought_up(group_replication(), "Group Replication") as cluster:
        urls = cluster.create_database()
        make_platform(urls)
        assert commands.run(migrate(urls[0])).code == 0
        assert_migrated(urls)
        users = make_people(urls[0], 20)
        allow_writes_on_all(cluster)
        with race(urls * 2, "accounts", tmp_path, users, OPERATIONS) as opened:
            errors = opened.finish()
        counts = {assert_accounts_are_one_each(url) for url in urls}
        with race(urls * 2, "ledger", tmp_path, users[:3], OPERATIONS) as played:
            errors += played.finish()
        for url in urls:
            wait_until(lambda url=url: query(url, COUNT) == query(urls[0], COUNT), "each member has all moves")
            moves = assert_money_is_right(url, played.changes, errors["?"])
    record_property("sample", f"multi-primary: {counts} accounts, {moves} moves, errors {dict(errors)}")


def allow_writes_on_all(cluster: Cluster) -> None:
    """Start the group again in multi-primary mode, without the checks that the switch would turn on."""
    for node in cluster.nodes:
        node.ask("STOP GROUP_REPLICATION")
    for number, node in enumerate(cluster.nodes):
        node.ask("SET GLOBAL group_replication_single_primary_mode = OFF")
        if number == 0:
            node.ask("SET GLOBAL group_replication_bootstrap_group = ON")
        node.ask("START GROUP_REPLICATION")
        if number == 0:
            node.ask("SET GLOBAL group_replication_bootstrap_group = OFF")
    cluster.start()
    for node in cluster.nodes:
        wait_until(lambda node=node: node.ask("SELECT 1 WHERE NOT @@super_read_only"), "the member takes writes")
