"""Three nodes of MariaDB Galera, of which each takes writes."""

import contextlib
import signal
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
    make_disputed,
    make_people,
    migrate,
    race,
    start_deployer,
    stopped_after,
    struck,
    time_of,
)
from clusters import Cluster, at, brought_up, cut_off, galera, haproxy
from commands import engagement_db_command
from independent_catalog import definitions, history
from platform_database import execute, query
from waiting import wait_until

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.schema import script_files
from engagement_db.testing import make_account, make_case

Property = Callable[[str, object], None]

OPERATIONS = 300
CLOSINGS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with brought_up(galera(), "Galera") as nodes:
        yield nodes


def test_deployers_on_all_nodes_at_once_are_one(cluster: Cluster, record_property: Property) -> None:
    record_property("sample", f"Galera: {assert_deployers_at_once_are_one(cluster.create_database, 6)}")


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE escrow_transactions", "ALTER TABLE projects", "INSERT INTO .*history"]
)
def test_a_deployer_that_is_killed_is_replaced_on_another_node(
    urls: list[str], statement: str, record_property: Property
) -> None:
    killed = start_deployer(migrate(urls[0]), struck(signal.SIGKILL, before=statement)).wait()
    assert killed.code == commands.KILLED
    ended: list[commands.Ended] = []
    seconds = time_of(lambda: ended.append(start_deployer(migrate(urls[1], 1)).wait()))
    assert ended[0].code == 0, ended[0].words
    assert_migrated(urls)
    record_property("sample", f"Galera: killed before {statement}, finished by another after {seconds:.1f} s")


@pytest.mark.parametrize("number", [0, 1])
def test_a_paused_holder_changes_nothing_after_its_lease_was_taken_over(urls: list[str], number: int) -> None:
    with stopped_after("CREATE TABLE escrow_accounts", migrate(urls[0], number)) as stopped:
        for command in (migrate(urls[1]), engagement_db_command("rollback", urls[1], "--to", script_files.BASE)):
            ended = start_deployer(command).wait()
            assert ended.code == 0, ended.words
        after = definitions(urls[1])
    ended = stopped.wait()
    assert ended.code in (1, 2), ended.words
    assert "another process took it over" in ended.words
    assert definitions(urls[1]) == after
    assert history(urls[1]) == []


def test_a_statement_that_outlives_its_deployer_disturbs_no_other_deployer(urls: list[str]) -> None:
    assert_a_change_that_outlives_its_deployer_meets_no_other(urls, urls[1])


SETTINGS = {
    "wsrep_OSU_method": ("RSU", "TOI", "wsrep_OSU_method is RSU: the tables would be changed on this node alone"),
    "wsrep_on": ("OFF", "ON", "wsrep_on is off in this session of a cluster's node"),
    "default_storage_engine": ("MyISAM", "InnoDB", "default_storage_engine is MyISAM"),
}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_with_which_nodes_would_differ_is_refused_by_name(urls: list[str], name: str, number: int) -> None:
    unfit, fit, sentence = SETTINGS[name]
    before = definitions(urls[0])
    execute(urls[0], f"SET GLOBAL {name} = {unfit}")
    try:
        ended = commands.run(migrate(urls[0], number))
    finally:
        execute(urls[0], f"SET GLOBAL {name} = {fit}")
    assert ended.code in (1, 2), ended.words
    assert sentence in ended.words
    assert [definitions(url) for url in urls] == [before] * len(urls)
    assert [history(url) for url in urls] == [[]] * len(urls)


def test_the_books_are_right_after_a_race_on_all_nodes_of_which_one_was_killed(
    cluster: Cluster, migrated: list[str], tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 3)
    with race(migrated * 2, "ledger", tmp_path, users, OPERATIONS) as played:
        played.wait_for_share(0.3)
        cluster.nodes[1].kill()
        played.wait_for_share(0.5)
        cluster.nodes[1].start()
        errors = played.finish()
    for url in migrated:
        moves = assert_money_is_right(url, played.changes, errors["?"])
    assert_check_finds_nothing(migrated)
    record_property("sample", f"Galera: {moves} moves, a node killed and rejoined, errors {dict(errors)}")


def test_the_books_are_right_after_a_race_in_which_a_node_was_cut_off(
    cluster: Cluster, migrated: list[str], tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 3)
    with race(migrated * 2, "ledger", tmp_path, users, OPERATIONS) as played:
        played.wait_for_share(0.3)
        with cut_off(cluster.nodes[2]):
            played.wait_for_share(0.5)
            with bound(migrated[2]), pytest.raises(edb.NotWritable, match="Nothing was changed"):
                edb.EscrowAccount.open(users[0], "stripe")
        errors = played.finish()
    assert errors["not_writable"]
    for url in migrated:
        moves = assert_money_is_right(url, played.changes, errors["?"])
    assert_check_finds_nothing(migrated)
    record_property("sample", f"Galera: {moves} moves, a node cut off for a while, errors {dict(errors)}")


@pytest.mark.parametrize("number", [0, 1])
def test_a_deployer_on_a_node_that_was_cut_off_changes_nothing_more(
    cluster: Cluster, urls: list[str], number: int
) -> None:
    with contextlib.ExitStack() as partition:
        with stopped_after("CREATE TABLE escrow_accounts", migrate(urls[2], number)) as stopped:
            partition.enter_context(cut_off(cluster.nodes[2]))
            ended = start_deployer(migrate(urls[0])).wait()
            assert ended.code == 0, ended.words
        first = stopped.wait()
        late = commands.run(migrate(urls[2], number))
    for ended in (first, late):
        assert ended.code in (1, 2), ended.words
        assert "Traceback" not in ended.words
    assert "name the primary, or a node that is in its cluster" in late.words
    assert_migrated(urls)


def test_a_user_has_one_account_of_a_kind_whichever_node_opens_it(
    migrated: list[str], tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 20)
    with race(migrated * 2, "accounts", tmp_path, users, OPERATIONS) as played:
        errors = played.finish()
    counts = [assert_accounts_are_one_each(url) for url in migrated]
    assert len(set(counts)) == 1
    record_property(
        "sample", f"Galera: {counts[0]} accounts opened by six processes, none twice, errors {dict(errors)}"
    )


@pytest.mark.parametrize("what", ["account", "case"])
def test_a_node_that_lags_behind_adds_nothing_to_what_was_closed(migrated: list[str], what: str) -> None:
    here, there = (open_database(url) for url in migrated[:2])
    # What a node applies after a change of all these rows it hears of late.
    execute(migrated[0], "CREATE TABLE busy (id SERIAL, n INTEGER NOT NULL)", "INSERT INTO busy (n) VALUES (0)")
    execute(migrated[0], *["INSERT INTO busy (n) SELECT n FROM busy"] * 15)
    added: list[object] = []
    with here.connection_context(), there.connection_context():
        for number in range(CLOSINGS):
            with edb.bind_ctx(here):
                account, case = make_account(), make_case()
            is_there = f"SELECT 1 FROM dispute_cases WHERE id = {case.id}"
            wait_until(lambda question=is_there: query(migrated[1], question), "the case is on the other node")
            execute(migrated[0], "UPDATE busy SET n = n + 1")
            with edb.bind_ctx(here):
                _ = account.close() if what == "account" else case.withdraw()
            with edb.bind_ctx(there), contextlib.suppress(edb.Refused, edb.InvalidTransition):
                if what == "case":
                    added.append(edb.DisputeCase.get_by_id(case.id).record(notes="Too late."))
                else:
                    reference, owner = f"late {number}", account.user_id
                    added.append(
                        edb.EscrowTransaction.initiate(account.id, reference=reference, amount=1, initiated_by=owner)
                    )
    assert added == []


def test_disputes_raced_on_all_nodes_are_settled_once(
    migrated: list[str], tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 3)
    changes = make_disputed(migrated[0], users)
    with race(migrated * 2, "disputes", tmp_path, users, OPERATIONS) as played:
        errors = played.finish()
    for url in migrated:
        moves = assert_money_is_right(url, [*changes, *played.changes], errors["?"])
    record_property("sample", f"Galera: {moves} moves of disputed payments, errors {dict(errors)}")


def test_an_up_to_date_block_on_another_node_misses_nothing(migrated: list[str], record_property: Property) -> None:
    record_property("sample", f"Galera: {assert_nothing_is_missed(migrated[0], migrated[1])}")


def test_a_service_behind_a_proxy_goes_on_when_its_node_is_killed(
    cluster: Cluster, migrated: list[str], tmp_path: Path, record_property: Property
) -> None:
    users = make_people(migrated[0], 3)
    with (
        haproxy(cluster.nodes, "Galera") as front,
        race([at(migrated[0], front)] * 4, "ledger", tmp_path, users, 150) as played,
    ):
        played.wait_for_share(0.3)
        cluster.nodes[0].kill()
        errors = played.finish()
    moves = assert_money_is_right(migrated[1], played.changes, errors["?"])
    record_property("sample", f"Galera behind HAProxy: {moves} moves, the writer killed, errors {dict(errors)}")
