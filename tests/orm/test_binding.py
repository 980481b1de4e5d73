"""Several databases in one process: each statement goes to the database to which the models are bound there."""

import contextlib
import threading

import peewee
import pytest
from escrow import account, books, payment, payment_in
from feed_rows import a_post

import engagement_db as edb
from engagement_db.orm.fields import VarcharField
from engagement_db.orm.models import BaseModel
from engagement_db.testing import make_user

THREADS = 4
POSTS_EACH = 5


@pytest.fixture
def other(tmp_path, database):
    """A second database, with empty tables. The models are bound to ``database``."""
    other = edb.open_database(f"sqlite:///{tmp_path}/other.db")
    with other.connection_context(), edb.bind_ctx(other):
        other.create_tables(edb.MODELS)
    with other.connection_context():
        yield other


def rows_in(database, model):
    with edb.bind_ctx(database):
        return model.select().count()


def in_threads(*works):
    """Run each function in a thread of its own; raise the first error."""
    errors = []

    def attempt(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=attempt, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def bound_by_bind_ctx(other):
    return edb.bind_ctx(other)


def bound_by_peewee(other):
    return other.bind_ctx(edb.MODELS)


@contextlib.contextmanager
def bound_for_good(other):
    before = [model._meta.database for model in edb.MODELS]
    other.bind(edb.MODELS)
    yield
    for model, database in zip(edb.MODELS, before, strict=True):
        model.bind(database, bind_refs=False, bind_backrefs=False)


ways_to_bind = pytest.mark.parametrize("bound_to", [bound_by_bind_ctx, bound_by_peewee, bound_for_good])


@ways_to_bind
def test_verb_that_fails_leaves_nothing_in_the_other_database(database, other, bound_to):
    with bound_to(other):
        row = payment_in("in_escrow")
        with pytest.raises((edb.EngagementError, peewee.IntegrityError)):
            edb.DisputeCase.open(row, 10**6, "late", "Nothing came.")
        assert edb.EscrowTransaction.get_by_id(row.id).status == "in_escrow"
    assert rows_in(database, edb.EscrowTransaction) == 0


@ways_to_bind
def test_verb_joins_the_transaction_of_the_other_database(database, other, bound_to):
    with bound_to(other):
        row = payment(account())
        with pytest.raises(ZeroDivisionError), other.atomic():
            row.fund()
            raise ZeroDivisionError
        assert books(row.account) == (0, 0)
        assert edb.EscrowTransaction.get_by_id(row.id).status == "initiated"


@ways_to_bind
def test_every_kind_of_column_is_stored_and_read_in_the_other_database(database, other, bound_to):
    with bound_to(other):
        row = payment(account(), amount="12.3400", metadata={"a": [1, None]}, scheduled_release_at=edb.now())
        stored = edb.EscrowTransaction.get(edb.EscrowTransaction.metadata == {"a": [1, None]})
        assert (stored.amount, stored.type, stored.created_at) == (row.amount, row.type, row.created_at)
        assert stored.scheduled_release_at == row.scheduled_release_at


def test_bind_ctx_nests_and_ends_after_an_error(database, other):
    with edb.bind_ctx(other):
        make_user("other")
        with pytest.raises(ZeroDivisionError), edb.bind_ctx(database):
            make_user("first")
            with edb.bind_ctx(other):
                make_user("other")
            raise ZeroDivisionError
        make_user("other")
    assert [user.first_name for user in edb.User.select()] == ["first"]
    assert rows_in(other, edb.User) == 3


def test_query_made_in_a_block_reads_its_database_after_the_block(database, other):
    with edb.bind_ctx(other):
        make_user("other")
        query = edb.User.select()
    assert [user.first_name for user in query] == ["other"]


def test_query_made_before_a_block_reads_the_database_of_the_block(database, other):
    query = edb.User.select()
    with edb.bind_ctx(other):
        make_user("other")
        assert [user.first_name for user in query] == ["other"]


def test_threads_with_a_database_each_do_not_meet(server, database, other):
    start = threading.Barrier(2 * THREADS)

    def post_in(tenant):
        def work():
            with tenant.connection_context(), edb.bind_ctx(tenant):
                author = make_user()
                start.wait(60)
                for _ in range(POSTS_EACH):
                    a_post(author)

        return work

    in_threads(*[post_in(tenant) for tenant in (database, other) * THREADS])
    assert rows_in(database, edb.FeedPost) == rows_in(other, edb.FeedPost) == THREADS * POSTS_EACH


def test_transaction_stays_in_its_database_while_another_thread_binds(database, other):
    """peewee's own bind_ctx binds for the whole process."""
    is_inside, is_bound, is_over = threading.Event(), threading.Event(), threading.Event()

    def elsewhere():
        assert is_inside.wait(60)
        with other.bind_ctx(edb.MODELS):
            is_bound.set()
            assert is_over.wait(60)

    def here():
        def work():
            row = payment(account())
            is_inside.set()
            assert is_bound.wait(60)
            row.fund()
            is_over.set()
            raise ZeroDivisionError

        with database.connection_context(), pytest.raises(ZeroDivisionError):
            edb.transaction(work)

    in_threads(elsewhere, here)
    assert rows_in(database, edb.EscrowTransaction) == rows_in(other, edb.EscrowTransaction) == 0


def test_transaction_takes_a_database(database, other):
    assert edb.transaction(lambda: make_user("other").first_name, database=other) == "other"
    with pytest.raises(ZeroDivisionError):
        edb.transaction(lambda: make_user() and 1 / 0, database=other)
    assert (rows_in(database, edb.User), rows_in(other, edb.User)) == (0, 1)


def test_models_bound_to_two_databases_are_refused_before_any_statement(database, other):
    author = make_user()
    post = a_post(author)
    sent = []
    database.query_hooks.append(sent.append)
    with (
        other.bind_ctx([edb.FeedActivityLog], bind_refs=False, bind_backrefs=False),
        pytest.raises(edb.ConfigurationError, match="feed_activity_logs to another; bind all"),
    ):
        edb.FeedReaction.react(post, author)
    assert sent == []


@pytest.mark.parametrize("bound_to", [bound_by_peewee, bound_for_good])
def test_binding_elsewhere_inside_a_transaction_is_refused(database, other, bound_to):
    def work():
        with pytest.raises(edb.ConfigurationError, match=r"inside transaction\(\) or bind_ctx\(\)"), bound_to(other):
            pass

    edb.transaction(work)
    with pytest.raises(edb.ConfigurationError, match=r"inside transaction\(\) or bind_ctx\(\)"), edb.bind_ctx(database):
        edb.bind(other)


def test_peewee_binding_sets_up_sessions(tmp_path, database):
    own = peewee.SqliteDatabase(tmp_path / "own.db")
    with own.bind_ctx(edb.MODELS), own.connection_context():
        assert own.foreign_keys == 1
        own.create_tables(edb.MODELS)
        with pytest.raises(edb.NotFound):
            edb.FeedReaction.react(1, 1)


def test_bind_ctx_sets_up_sessions_and_takes_only_what_is_supported(tmp_path, database):
    own = peewee.SqliteDatabase(tmp_path / "own.db")
    with edb.bind_ctx(own) as bound, own.connection_context():
        assert bound is own
        assert own.foreign_keys == 1
    with pytest.raises(edb.ConfigurationError, match="Database is not supported"), edb.bind_ctx(peewee.Database("x")):
        pass


def test_model_declared_with_a_database_of_its_own_keeps_it(database, other):
    class Person(BaseModel):
        first_name = VarcharField(max_length=255, column_name="firstName")

        class Meta:
            database = other
            table_name = "users"

    with edb.bind_ctx(other):
        make_user("other")
    with edb.bind_ctx(database):
        assert [person.first_name for person in Person.select()] == ["other"]
    assert edb.transaction(lambda: Person.select().count()) == 1
