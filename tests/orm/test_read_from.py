"""Reads of a block go to another server, and writes in it are refused."""

import threading

import peewee
import pytest
import servers
from escrow import account, payment, payment_in
from feed_rows import a_post

import engagement_db as edb
from engagement_db.testing import make_user


@pytest.fixture
def standby(server: servers.Server, database: peewee.Database):
    """Another database of the same server, whose tables are empty: what is read in it was not read elsewhere."""
    url = server.create_database()
    standby = edb.open_database(url)
    with standby.connection_context(), edb.bind_ctx(standby):
        standby.create_tables(edb.MODELS)
    with standby.connection_context():
        yield standby
    standby.close()
    server.drop_database(url)


@pytest.fixture
def twin(database):
    """The same database once more: a standby that has always caught up."""
    twin = type(database)(database.database, **database.connect_params)
    with twin.connection_context():
        yield twin
    twin.close()


def test_reads_go_to_the_other_server_and_back(database, standby):
    post = a_post(make_user())
    with edb.read_from(standby) as reader:
        assert reader is standby
        assert edb.FeedPost.select().count() == 0
        assert list(edb.FeedPost.timeline(viewer=edb.EVERYTHING)) == []
        assert edb.find_problems() == []
        with pytest.raises(edb.NotFound):
            edb.FeedPost.get_by_id(post.id)
    assert edb.FeedPost.get_by_id(post.id) == post


WRITES = {
    "a verb on a row": lambda row, post: row.fund(),
    "a verb of a class": lambda row, post: edb.FeedReaction.react(post, post.user_id),
    "an account": lambda row, post: edb.EscrowAccount.open(post.user_id, "stripe", "EUR"),
    "reconcile": lambda row, post: edb.reconcile(row.account_id),
    "repair": lambda row, post: edb.repair(row, by=None, reason="no", amount=1),
    "transaction": lambda row, post: edb.transaction(lambda: None),
    "create": lambda row, post: make_user("eve"),
    "save": lambda row, post: post.save(),
    "update": lambda row, post: edb.FeedPost.update(content="x").execute(),
    "delete": lambda row, post: edb.FeedReaction.delete().execute(),
    "SQL": lambda row, post: edb.FeedPost._meta.database.execute_sql("DELETE FROM feed_posts"),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_refused_in_one_sentence_before_anything_is_sent(database, standby, write):
    row, post = payment(account()), a_post(make_user())
    post.content = "edited"
    with edb.read_from(standby), pytest.raises(edb.NotWritable, match=r"a write inside read_from\(\) is refused"):
        WRITES[write](row, post)
    assert edb.EscrowTransaction.get_by_id(row.id).status == "initiated"
    assert edb.FeedReaction.select().count() == 0


def test_rows_that_were_read_are_given_to_verbs_after_the_block(database, twin):
    row = payment_in("in_escrow")
    with edb.read_from(twin):
        read = edb.EscrowTransaction.get_by_id(row.id)
    assert read.release().changed


def test_a_block_of_another_database_inside_may_write_there(database, standby):
    with edb.read_from(standby):
        with edb.bind_ctx(database):
            make_user()
        with pytest.raises(edb.NotWritable):
            make_user()
    assert edb.User.select().count() == 1


def test_the_block_counts_for_its_thread_alone(database, standby):
    written = []

    def write() -> None:
        with database.connection_context():
            written.append(make_user())

    with edb.read_from(standby):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(30)
    assert edb.User.select().count() == len(written) == 1


def test_an_up_to_date_block_sees_what_was_committed_or_says_why_it_cannot(server, database, twin):
    user = make_user()
    numbers = {"mysql": "@@GLOBAL.gtid_executed", "mariadb": "@@GLOBAL.gtid_binlog_pos"}.get(server.name)
    if numbers is None or database.execute_sql(f"SELECT {numbers}").fetchone()[0]:
        with edb.read_from(twin, up_to_date=True):
            assert edb.User.get_by_id(user.id) == user
    else:
        refused = pytest.raises(edb.ConfigurationError, match="numbers no transactions")
        with refused, edb.read_from(twin, up_to_date=True):
            pass
    assert edb.User.get_by_id(user.id) == user
