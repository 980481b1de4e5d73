"""Which verbs wait for each other, and in which order they lock."""

import threading
from decimal import Decimal
from urllib.parse import urlsplit

import escrow
import pytest
from waiting import TIMEOUT_SECONDS, wait_until_blocked

import engagement_db as edb
from engagement_db.orm.urls import open_database
from engagement_db.testing import make_user


@pytest.fixture
def rows(database, server):
    """The database, on servers that lock rows."""
    if server.name == "sqlite":
        pytest.skip("does not apply to SQLite: one writer at a time locks the whole file")
    return database


class Other:
    """Work in another session, which may have to wait for this one."""

    def __init__(self, database, work):
        self.outcome = None

        def run():
            try:
                with database.connection_context():
                    self.outcome = work()
            except Exception as error:
                self.outcome = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def is_waiting(self, url):
        wait_until_blocked(url)
        return self._thread.is_alive()

    def result(self):
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_reconcile_waits_for_a_transaction_before_it_locks_the_account(rows, url_of_tables):
    """In the other order each would wait for what the other one has locked."""
    payment = escrow.payment_in("funded")
    with rows.atomic():
        payment.hold()
        other = Other(rows, lambda: edb.reconcile(payment.account_id))
        assert other.is_waiting(url_of_tables)
        payment.release()
    assert other.result().adds_up


def test_transactions_of_one_account_are_held_side_by_side(rows, server):
    if server.name in ("mysql", "mariadb"):
        pytest.skip("InnoDB may lock more than the row; what counts is that no verb fails")
    home = escrow.account()
    first, second = escrow.payment_in("funded", home), escrow.payment_in("funded", home)
    with rows.atomic():
        first.hold()
        assert Other(rows, second.hold).result().changed


def test_two_payments_into_one_account_wait_for_each_other(rows, url_of_tables):
    home = escrow.account()
    first, second = escrow.payment(home, "1", "0"), escrow.payment(home, "2", "0")
    with rows.atomic():
        first.fund()
        other = Other(rows, second.fund)
        assert other.is_waiting(url_of_tables)
    assert other.result().changed
    assert escrow.books(home) == (3, 3)


def test_opening_an_account_blocks_no_post_of_the_user(rows):
    person = make_user()
    with rows.atomic():
        edb.EscrowAccount.open(person, "stripe")
        post = Other(rows, lambda: edb.FeedPost.create(user=person, content="Shipped!"))
        assert post.result().content == "Shipped!"


def test_the_same_account_opened_at_once_is_one_account(rows, url_of_tables):
    person = make_user()
    with rows.atomic():
        first = edb.EscrowAccount.open(person, "stripe")
        other = Other(rows, lambda: edb.EscrowAccount.open(person, "stripe"))
        assert other.is_waiting(url_of_tables)
    assert other.result() == first
    assert edb.EscrowAccount.select().count() == 1


@pytest.fixture
def without_index(rows):
    """The database as it was adopted: accounts have no unique index yet."""
    name = "escrow_accounts_user_id_provider_currency_code"
    # InnoDB needs an index for the foreign key.
    quote = rows.quote[0]
    user_id = f"{quote}userId{quote}"
    rows.execute_sql(f"CREATE INDEX test_user ON escrow_accounts ({user_id})")
    on_table = "" if rows.param == "%s" and quote == '"' else " ON escrow_accounts"
    rows.execute_sql(f"DROP INDEX {name}{on_table}")
    vars(rows).pop("_engagement_db_accounts_are_unique", None)
    yield rows
    vars(rows).pop("_engagement_db_accounts_are_unique", None)
    columns = ", ".join(f"{quote}{column}{quote}" for column in ("userId", "provider", "currencyCode"))
    rows.execute_sql(f"CREATE UNIQUE INDEX {name} ON escrow_accounts ({columns})")
    rows.execute_sql(f"DROP INDEX test_user{on_table}")


def test_an_account_is_opened_once_where_an_adopted_database_lacks_the_index(without_index, url_of_tables):
    person = make_user()
    with without_index.atomic():
        first = edb.EscrowAccount.open(person, "stripe")
        other = Other(without_index, lambda: edb.EscrowAccount.open(person, "stripe"))
        assert other.is_waiting(url_of_tables)
    assert other.result() == first
    assert edb.EscrowAccount.select().count() == 1
    assert edb.EscrowAccount.open(person, "stripe") == first


def test_a_transaction_and_its_account_are_locked_in_the_order_of_node(rows, url_of_tables):
    """Node locks the transaction, then the account: both wait at the transaction, and neither deadlocks."""
    payment = escrow.payment_in("in_escrow")
    home = payment.account_id
    with rows.atomic():
        transaction = edb.EscrowTransaction
        transaction.select().where(transaction.id == payment.id).for_update().get()
        other = Other(rows, lambda: edb.EscrowTransaction.get_by_id(payment.id).release())
        assert other.is_waiting(url_of_tables)
        edb.EscrowAccount.select().where(edb.EscrowAccount.id == home).for_update().get()
    assert other.result().changed
    assert escrow.books(payment.account) == (Decimal(0), Decimal(0))


@pytest.fixture
def limited(database, url_of_tables, server):
    """The database as a role that may only read the platform's tables."""
    if server.name != "postgres":
        pytest.skip("the right is the same everywhere; roles are made in other words on each server")
    database.execute_sql("CREATE ROLE clerk LOGIN")
    database.execute_sql("GRANT SELECT ON users, projects, gigs TO clerk")
    ours = "escrow_accounts, escrow_transactions, dispute_cases, dispute_events"
    database.execute_sql(f"GRANT SELECT, INSERT, UPDATE ON {ours} TO clerk")
    database.execute_sql("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clerk")
    parts = urlsplit(url_of_tables)
    address = parts.netloc.rpartition("@")[2]
    clerk = open_database(parts._replace(netloc=f"clerk@{address}").geturl())
    with clerk.connection_context(), edb.bind_ctx(clerk):
        yield clerk
    database.execute_sql("DROP OWNED BY clerk")
    database.execute_sql("DROP ROLE clerk")


def test_the_verbs_need_no_more_than_to_read_the_platforms_tables(database, limited):
    with edb.bind_ctx(database):
        person = make_user()
    home = edb.EscrowAccount.open(person, "stripe")
    payment = edb.EscrowTransaction.deposit(home, reference="R", amount=5, initiated_by=person)
    case = escrow.dispute(payment)
    case.assign(person, by=person)
    case.resolve("refund", "Yes.", by=person)
    home.close()
    with pytest.raises(edb.NotFound):
        edb.EscrowAccount.open(2_000_000_000, "stripe")
    assert edb.reconcile(home).adds_up
