"""Lost connections, unknown outcomes and servers that take no writes: what a service gets to see, and what is left."""

import contextlib
import re

import peewee
import pytest
from cut_proxy import CutProxy, Point
from escrow import account, books, payment, payment_in

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.testing import make_user


@pytest.fixture
def network(server):
    if server.name == "sqlite":
        pytest.skip("a file is not reached over a network")


@pytest.fixture
def admin(url_of_tables):
    """A session of its own that ends others."""
    admin = open_database(url_of_tables)
    with admin.connection_context():
        yield admin


def end_session(admin, database):
    number = servers.of(database).session_id(database)
    end_session_number(admin, number)


def end_session_number(admin, number):
    is_postgres = isinstance(admin, peewee.PostgresqlDatabase)
    admin.execute_sql(f"SELECT pg_terminate_backend({number})" if is_postgres else f"KILL {number}")


@contextlib.contextmanager
def session_ended_before(admin, database, statement):
    """The server ends the session before the first statement that matches."""
    number = servers.of(database).session_id(database)
    plain = database.execute_sql
    ended = []

    def execute_sql(sql, params=None):
        if not ended and re.match(statement, re.sub('["`]', "", sql)):
            ended.append(sql)
            end_session_number(admin, number)
        return plain(sql, params)

    database.execute_sql = execute_sql
    try:
        yield
    finally:
        database.execute_sql = plain
    assert ended, f"no statement was like {statement}"


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_does_not_answer_is_a_lost_connection(scheme):
    database = open_database(f"{scheme}://app:s3cret@127.0.0.1:1/platform")
    with edb.bind_ctx(database):
        for call in (database.connect, edb.User.select().first, lambda: edb.transaction(lambda: None)):
            with pytest.raises(edb.ConnectionLost, match="no connection to the database") as lost:
                call()
            assert lost.value.retryable
            assert "s3cret" not in str(lost.value)


def test_a_standby_that_does_not_answer_is_a_lost_connection_before_any_model_is_bound_to_it():
    standby = edb.open_database("postgresql://app@127.0.0.1:1/platform")
    with pytest.raises(edb.ConnectionLost, match="no connection to the database"), standby.connection_context():
        pass


def test_verb_on_a_connection_that_was_lost_before_it_succeeds(network, admin, database):
    row = payment(account())
    for verb in ("fund", "hold", "release"):
        end_session(admin, database)
        assert getattr(row, verb)().changed


def test_connection_lost_inside_a_verb_changes_nothing_and_the_next_call_works(network, admin, database):
    row = payment_in("funded")
    with (
        session_ended_before(admin, database, "UPDATE escrow_transactions"),
        pytest.raises(edb.ConnectionLost, match="Nothing was committed. Call again") as lost,
    ):
        row.refund()
    assert lost.value.outcome_known
    assert lost.value.retryable
    assert isinstance(lost.value, peewee.OperationalError)
    assert edb.EscrowTransaction.get_by_id(row.id).status == "funded"
    assert row.refund().changed
    assert edb.find_problems() == []


def test_connection_lost_inside_a_transaction_of_the_caller_is_one_error(network, admin, database):
    row = payment(account())
    with pytest.raises(edb.ConnectionLost), database.atomic():
        row.fund()
        with session_ended_before(admin, database, "UPDATE escrow_transactions"):
            row.hold()
    assert edb.EscrowTransaction.get_by_id(row.id).status == "initiated"
    assert books(row.account) == (0, 0)


def test_statement_after_a_loss_inside_a_transaction_never_runs_outside_it(network, admin, database):
    author = make_user()
    with pytest.raises(edb.ConnectionLost), database.atomic():
        end_session(admin, database)
        for _ in range(2):
            with contextlib.suppress(edb.ConnectionLost):
                edb.FeedPost.create(user=author, content="outside")
    assert edb.FeedPost.select().count() == 0


def test_blocks_that_were_open_end_in_good_order(network, admin, database, url_of_tables):
    for suffix in ("", "+pool"):
        own = open_database(re.sub(r"(^\w+)", rf"\1{suffix}", url_of_tables, count=1))
        with edb.bind_ctx(own), own.connection_context():
            with own.connection_context():
                end_session(admin, own)
                with pytest.raises(edb.ConnectionLost):
                    edb.User.select().count()
                assert edb.User.select().count() == 0
            assert not own.is_closed()
            with pytest.raises(edb.ConnectionLost), own:
                end_session(admin, own)
                edb.User.select().count()
            make_user()
            peewee.ModelDelete(edb.User).execute()
        assert own.is_closed()


def test_lost_connection_is_not_given_back_to_the_pool(network, admin, database, url_of_tables):
    own = open_database(re.sub(r"(^\w+)", r"\1+pool", url_of_tables, count=1), max_connections=1)
    with edb.bind_ctx(own):
        for _ in range(3):
            with own.connection_context():
                end_session(admin, own)
                with pytest.raises(edb.ConnectionLost):
                    edb.User.select().count()
            with own.connection_context():
                assert edb.User.select().count() == 0
        own.close_all()


def test_connection_lost_outside_a_transaction_reports_that_nothing_was_committed(network, admin, database):
    make_user()
    end_session(admin, database)
    with pytest.raises(edb.ConnectionLost) as lost:
        list(edb.FeedPost.timeline())
    assert lost.value.outcome_known
    assert edb.User.select().count() == 1


def test_write_outside_a_transaction_does_not_know(network, admin, database):
    end_session(admin, database)
    with pytest.raises(edb.OutcomeUnknown) as lost:
        make_user()
    assert not lost.value.outcome_known
    assert not lost.value.retryable
    assert edb.User.select().count() == 0


@contextlib.contextmanager
def through_proxy(url, point):
    """The models are bound to the database through a proxy that cuts the first connection at this point."""
    with CutProxy(url) as proxy, proxy.watching(point):
        cut = open_database(proxy.own_url)
        with edb.bind_ctx(cut):
            yield cut
        cut.close()
    assert proxy.was_struck


@pytest.mark.parametrize("side", ["before", "after"])
def test_commit_without_an_answer_is_an_unknown_outcome_and_the_verb_can_be_repeated(
    network, database, url_of_tables, side
):
    row = payment(account())
    with through_proxy(url_of_tables, Point("COMMIT", side)):
        with pytest.raises(edb.OutcomeUnknown, match="Whether this was committed is not known"):
            row.fund()
        is_committed = side == "after"
        assert (edb.EscrowTransaction.get_by_id(row.id).status == "funded") is is_committed
        assert row.fund().changed is not is_committed
    assert books(row.account) == (100, 90)


@pytest.mark.parametrize("side", ["before", "after"])
def test_commit_of_the_caller_without_an_answer_is_an_unknown_outcome(network, database, url_of_tables, side):
    row = payment(account())
    with through_proxy(url_of_tables, Point("COMMIT", side)) as cut:
        with pytest.raises(edb.OutcomeUnknown), cut.atomic():
            row.fund()
        assert cut.is_closed()
        assert (edb.EscrowTransaction.get_by_id(row.id).status == "funded") is (side == "after")


def test_server_that_cannot_be_reached_is_a_lost_connection(network, database, url_of_tables):
    row = payment(account())
    with CutProxy(url_of_tables) as proxy, proxy.watching():
        gone = open_database(proxy.own_url)
        gone.connect()
    with edb.bind_ctx(gone):
        for _ in range(2):
            with pytest.raises(edb.ConnectionLost, match="Nothing was committed"):
                row.fund()
            with pytest.raises(edb.ConnectionLost), gone.atomic():
                pass
    assert row.fund().changed
