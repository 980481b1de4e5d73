"""What a transaction retries, what it reports, and what it leaves."""

import asyncio
import contextlib
import threading
import time
from urllib.parse import urlsplit

import peewee
import pytest
from cut_proxy import CutProxy
from escrow import account, payment, payment_in
from feed_rows import a_post
from waiting import wait_until_blocked

import engagement_db as edb
from engagement_db import servers
from engagement_db.orm.urls import open_database
from engagement_db.testing import make_user


@pytest.fixture
def other(url_of_tables):
    """Another session on the same tables."""
    other = open_database(url_of_tables)
    with other.connection_context():
        yield other


@pytest.fixture
def impatient(server, database):
    """The database; its statements wait for a lock for a moment only."""
    settings = {"sqlite": "PRAGMA busy_timeout = 20", "postgres": "SET lock_timeout = '20ms'"}
    database.execute_sql(settings.get(server.name, "SET SESSION innodb_lock_wait_timeout = 1"))
    return database


@contextlib.contextmanager
def holding(other, user):
    """Another session has written to the user's row, and does not end its transaction."""
    with other.atomic(*servers.of(other).begin):
        other.execute_sql(f"UPDATE users SET email = email WHERE id = {user.id}")
        yield


def renamed(user, name):
    return edb.User.update(first_name=name).where(edb.User.id == user.id).execute()


def counted(work):
    """The function, and a list with an entry for each call."""
    calls = []

    def counting():
        calls.append(len(calls))
        return work()

    return counting, calls


def test_lock_that_is_not_granted_in_time_is_contention(impatient, other):
    user = make_user()
    work, calls = counted(lambda: renamed(user, "grace"))
    with holding(other, user), pytest.raises(edb.Contention, match="gave up after 3 attempts") as lost:
        edb.transaction(work, retries=2)
    assert lost.value.retryable
    assert len(calls) <= 3  # SQLite refuses the transaction before it begins.
    assert edb.transaction(work) == 1


def test_retries_are_logged(impatient, other, caplog):
    user = make_user()
    with caplog.at_level("INFO", "engagement_db"), holding(other, user), pytest.raises(edb.Contention):
        edb.transaction(lambda: renamed(user, "grace"), retries=2)
    logged = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert logged == [
        ("INFO", "retrying a transaction, 1 of 2"),
        ("INFO", "retrying a transaction, 2 of 2"),
        ("WARNING", "gave up a transaction after 3 attempts"),
    ]


def test_transaction_of_the_caller_that_lost_is_contention_and_not_retried(server, impatient, other):
    user = make_user()
    work, calls = counted(lambda: renamed(user, "grace"))
    with (
        holding(other, user),
        pytest.raises(edb.Contention, match="has to be run again as a whole"),
        impatient.atomic(),
    ):
        edb.transaction(work)
    assert len(calls) == 1


def test_outermost_transaction_is_run_again_when_a_nested_one_lost(server, impatient, other):
    user = make_user()
    held = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(holding(other, user))

        def work():
            if held.is_set():
                stack.close()
            held.set()
            return edb.transaction(lambda: renamed(user, "grace"))

        if server.name == "sqlite":
            # There the write lock comes first, with the transaction.
            stack.close()
        assert edb.transaction(work) == 1
    assert edb.User.get_by_id(user.id).first_name == "grace"


def test_error_that_the_caller_handles_is_not_one_of_the_attempt(impatient, other):
    user = make_user()
    work, calls = counted(lambda: edb.FeedPost.create(user=10**6, content="nobody's"))
    try:
        with holding(other, user):
            renamed(user, "grace")
    except peewee.OperationalError:
        with pytest.raises(peewee.IntegrityError):
            edb.transaction(work)
    assert len(calls) == 1


def test_what_fails_after_the_commit_is_not_run_again(database):
    def refused():
        raise edb.Contention("told of the commit")

    def work():
        database.after_commit(refused)
        return make_user()

    # On SQLite peewee's attempt to roll back fails as well, and covers the first error.
    with pytest.raises((edb.Contention, peewee.OperationalError)):
        edb.transaction(work)
    assert edb.User.select().count() == 1


def test_nothing_sleeps_in_the_thread_of_a_running_loop(impatient, other, monkeypatch):
    user = make_user()
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)

    async def service():
        edb.transaction(lambda: renamed(user, "grace"), retries=1)

    with holding(other, user):
        with pytest.raises(edb.Contention):
            asyncio.run(service())
        assert slept == []
        with pytest.raises(edb.Contention):
            edb.transaction(lambda: renamed(user, "grace"), retries=1)
        assert len(slept) == 1


def test_statement_over_its_time_limit_is_contention_at_once(server, database):
    limits = {
        "postgres": ("SET statement_timeout = '500ms'", "SELECT pg_sleep(60)"),
        "mariadb": ("SET SESSION max_statement_time = 0.5", "SELECT SLEEP(60)"),
        "mysql": (
            "SET SESSION max_execution_time = 500",
            "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, users WHERE SLEEP(60)",
        ),
    }
    if server.name not in limits:
        pytest.skip("SQLite has no time limit for a statement")
    limit, statement = limits[server.name]
    make_user()
    database.execute_sql(limit)
    work, calls = counted(lambda: database.execute_sql(statement).fetchall())
    with pytest.raises(edb.Contention, match="canceled a statement"):
        edb.transaction(work)
    assert len(calls) == 1


def test_block_that_continues_after_a_deadlock_is_atomic(server, database, other, url_of_tables):
    """MySQL and MariaDB roll back the whole transaction, so that what follows would be committed by itself."""
    if server.name == "sqlite":
        pytest.skip("SQLite has one writer at a time, and no deadlock between rows")
    first, second = make_user("first"), make_user("second")
    both_hold = threading.Barrier(2)
    ended = []

    def rival():
        with other.connection_context(), other.atomic():
            if server.name == "postgres":
                # There the victim is who looks for a deadlock first.
                other.execute_sql("SET deadlock_timeout = '10min'")
            # The heavier transaction survives.
            for number in range(20):
                other.execute_sql(f"UPDATE users SET email = 'rival {number}' WHERE id = {second.id}")
                other.execute_sql(
                    "INSERT INTO feed_shares (" + quoted(server, "postId", "userId", "channel") + ")"
                    f" SELECT id, {second.id}, 'email' FROM feed_posts"
                )
            both_hold.wait(60)
            other.execute_sql(f"UPDATE users SET email = 'rival' WHERE id = {first.id}")
            ended.append(True)

    a_post(second)
    thread = threading.Thread(target=rival)
    if server.name == "postgres":
        database.execute_sql("SET deadlock_timeout = '50ms'")
    thread.start()
    try:
        with database.atomic():
            make_user("written before")
            renamed(first, "mine")
            both_hold.wait(60)
            # Who looks too early finds none, and never looks again.
            wait_until_blocked(url_of_tables)
            with contextlib.suppress(peewee.OperationalError, edb.Contention), database.atomic():
                renamed(second, "mine")
                raise AssertionError("this session was not the victim")
            make_user("written after")
        expected = ["mine", "second", "written after", "written before"]
    except edb.Contention:
        expected = ["first", "second"]
    thread.join(60)
    assert ended
    assert sorted(user.first_name for user in edb.User.select()) == expected
    make_user("the next transaction is a new one")


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda new: edb.FeedReaction.react(new["post"], new["user"]), id="react"),
        pytest.param(lambda new: edb.FeedComment.reply(new["post"], new["user"], "hello"), id="comment"),
        pytest.param(
            lambda new: edb.FeedComment.reply(new["post"], new["user"], "a", parent=new["comment"]), id="reply"
        ),
        pytest.param(lambda new: new["comment"].soft_delete(by=new["user"], reason="spam"), id="soft_delete"),
        pytest.param(lambda new: edb.EscrowAccount.open(new["user"], "stripe"), id="open"),
        pytest.param(lambda new: new["payment"].fund(), id="fund"),
        pytest.param(lambda new: new["account"].suspend(), id="suspend"),
        pytest.param(lambda new: edb.DisputeCase.open(new["held"], new["user"], "late", "Nothing came."), id="dispute"),
    ],
)
def test_row_that_a_snapshot_hides_is_not_reported_as_missing(server, database, other, verb):
    make_user()
    isolation = () if server.name == "sqlite" else ("REPEATABLE READ",)
    with contextlib.suppress(edb.Contention), database.atomic(*isolation):
        assert edb.User.select().count() == 1
        with edb.bind_ctx(other):
            user = make_user()
            post = a_post(user)
            new = {"user": user, "post": post, "comment": edb.FeedComment.reply(post, user, "first")}
            new["payment"], new["held"] = payment(account()), payment_in("in_escrow")
            new["account"] = new["payment"].account
        verb(new)


def test_row_that_does_not_exist_is_missing_in_a_transaction_of_the_caller_too(database):
    author = make_user()
    with pytest.raises(edb.NotFound), database.atomic():
        edb.FeedReaction.react(10**6, author)


def quoted(server, *names):
    quote = "`" if server.name in ("mariadb", "mysql") else '"'
    return ", ".join(f"{quote}{name}{quote}" for name in names)


# What a node says to a transaction that lost its certification, and what sounds like it.
LOST = [
    (1030, "Got error 149 'Lock deadlock; Retry transaction' from storage engine InnoDB", True),
    (1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT", True),
    (3101, "Plugin instructed the server to rollback the current transaction.", True),
    (1030, "Got error 28 'No space left on device' from storage engine InnoDB", False),
]


@pytest.mark.parametrize(("number", "message", "is_lost"), LOST)
def test_a_lost_certification_is_run_again(server, database, number, message, is_lost):
    if server.name not in ("mysql", "mariadb") or (number, server.name) == (3101, "mariadb"):
        pytest.skip("no cluster of this server says so")
    text = message.replace("'", "''")

    def lose_once():
        if len(calls) == 1:
            database.execute_sql(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{text}'")
        return make_user()

    work, calls = counted(lose_once)
    with contextlib.nullcontext() if is_lost else pytest.raises(peewee.PeeweeException, match="error 28"):
        edb.transaction(work)
    assert len(calls) == (2 if is_lost else 1)
    assert edb.User.select().count() == int(is_lost)


def make_read_only(server, database):
    """The session takes no writes, as that of a standby or of a read-only server."""
    settings = {"sqlite": "PRAGMA query_only = ON", "postgres": "SET default_transaction_read_only = on"}
    database.execute_sql(settings.get(server.name, "SET SESSION TRANSACTION READ ONLY"))


def test_server_that_takes_no_writes_is_one_error(server, database):
    author = make_user()
    post = a_post(author)
    make_read_only(server, database)
    for write in (lambda: edb.FeedReaction.react(post, author), lambda: edb.EscrowAccount.open(author, "stripe")):
        with pytest.raises(edb.NotWritable, match="Nothing was changed. Connect to the primary") as refused:
            write()
        assert isinstance(refused.value, peewee.OperationalError)
        with pytest.raises(edb.NotWritable), database.atomic():
            write()
    with pytest.raises(edb.NotWritable):
        make_user()
    assert [entry.content for entry in edb.FeedPost.timeline()] == ["hello"]


def statements_of(verb, database, url):
    """The statements that the verb sends over a connection of its own, begin and commit included."""
    with CutProxy(url) as proxy, proxy.watching():
        counted = database(proxy.own_url)
        with edb.bind_ctx(counted), counted.connection_context():
            before = len(proxy.statements)
            verb()
            sent = proxy.statements[before:]
    return sent


def database_of_a_service(url):
    parts = urlsplit(url)
    return peewee.MySQLDatabase(
        parts.path.removeprefix("/"), host=parts.hostname, port=parts.port, user=parts.username, ssl_disabled=True
    )


def test_isolation_costs_a_round_trip_only_where_the_session_is_not_the_library_s(server, database, url_of_tables):
    if server.name not in ("mariadb", "mysql"):
        pytest.skip("the other servers take the isolation with BEGIN")
    row = payment(account())
    own = statements_of(row.fund, edb.open_database, url_of_tables)
    assert (own[0], own[-1]) == ("BEGIN", "COMMIT")
    foreign = statements_of(row.hold, database_of_a_service, url_of_tables)
    assert foreign[:2] == ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "BEGIN"]


def test_transaction_sees_what_others_commit(server, database, other, url_of_tables):
    if server.name == "sqlite":
        pytest.skip("nobody else writes during a transaction that will write")
    sessions = [database]
    if server.name in ("mariadb", "mysql"):
        sessions.append(database_of_a_service(url_of_tables))

    def work():
        before = edb.User.select().count()
        with edb.bind_ctx(other):
            make_user()
        return edb.User.select().count() - before

    for session in sessions:
        with session.connection_context():
            assert edb.transaction(work, database=session) == 1
