"""An async service on the same models: peewee's own asyncio bridge over aiosqlite and asyncpg."""

import asyncio
from urllib.parse import urlsplit

import pytest
from feed_rows import a_post
from playhouse.pwasyncio import AsyncPostgresqlDatabase, AsyncSqliteDatabase

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment, FeedPost, FeedReaction, servers
from engagement_db.orm import transactions
from engagement_db.testing import make_user

READERS = 8


@pytest.fixture
def async_database(server, url_of_tables, database):
    """A function that returns an async database, on the tables that ``database`` has emptied."""
    parts = urlsplit(url_of_tables)

    def connect():
        if server.name == "sqlite":
            return edb.bind(AsyncSqliteDatabase(parts.path.removeprefix("/")))
        return edb.bind(
            AsyncPostgresqlDatabase(
                parts.path.removeprefix("/"), host=parts.hostname, port=parts.port, user=parts.username
            )
        )

    if server.name not in ("sqlite", "postgres"):
        pytest.skip("peewee's bridge has no driver here that the tests install: aiomysql is not in the extra")
    yield connect
    edb.bind(database)


def run(connect, work):
    async def main():
        database = connect()
        try:
            return await work(database)
        finally:
            await database.close_pool()

    return asyncio.run(main())


def test_an_async_service_posts_reacts_and_reads_its_timeline(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            post = await database.run(a_post, ada, "Shipped!", metadata={"tags": ["news"]})
            change = await database.run(FeedReaction.react, post, ada, "celebrate")
            comment = await database.run(FeedComment.reply, post, ada, "Well done")
            await database.run(comment.soft_delete, ada, "modesty")
            page = FeedPost.timeline(viewer=ada, limit=1)
            (entry,) = await database.run(page.entries)
            return change, entry, page.next_cursor

    change, entry, next_cursor = run(async_database, work)
    assert change.previous is None
    assert entry.post.metadata == {"tags": ["news"]}
    assert entry.post.created_at.utcoffset().total_seconds() == 0
    assert (entry.author.first_name, entry.comment_count) == ("ada", 0)
    assert entry.own_reaction is edb.ReactionType.CELEBRATE
    assert next_cursor is None


def test_pages_and_cursors_are_the_same_in_an_async_service(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            for number in range(5):
                await database.run(a_post, ada, str(number))
            page = FeedPost.timeline(limit=2)
            read = await database.list(page)
            while page.next_cursor is not None:
                page = FeedPost.timeline(limit=2, after=page.next_cursor)
                read += await database.list(page)
            return [post.content for post in read]

    assert run(async_database, work) == ["4", "3", "2", "1", "0"]


def test_tasks_that_react_at_once_leave_one_row(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            post = await database.run(a_post, ada)

        async def react(number):
            async with database:
                return await database.run(FeedReaction.react, post, ada, list(edb.ReactionType)[number % 5])

        changes = await asyncio.gather(*map(react, range(READERS)))
        async with database:
            rows = await database.count(FeedReaction.select())
            logged = await database.count(FeedActivityLog.select())
        return changes, rows, logged

    changes, rows, logged = run(async_database, work)
    assert rows == 1
    assert [change.previous for change in changes].count(None) == 1
    assert logged == sum(change.changed for change in changes)


def test_a_verb_joins_the_transaction_of_an_async_service(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            post = await database.run(a_post, ada)
            with pytest.raises(ZeroDivisionError):
                async with database.atomic():
                    await database.run(FeedReaction.react, post, ada)
                    raise ZeroDivisionError
            return await database.count(FeedReaction.select())

    assert run(async_database, work) == 0


def test_an_async_service_meets_the_same_errors(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            post = await database.run(a_post, ada)
            with pytest.raises(edb.NotFound, match="users 1000000 does not exist"):
                await database.run(FeedReaction.react, post, 10**6)
            with pytest.raises(edb.NotFound, match="feed_posts 1000000 does not exist"):
                await database.run(FeedComment.reply, 10**6, ada, "hello")

    run(async_database, work)


def test_the_document_null_is_not_the_absence_of_one_in_an_async_service(async_database):
    async def work(database):
        async with database:
            ada = await database.run(make_user, "ada")
            await database.run(a_post, ada, "null", metadata=edb.JSON_NULL)
            await database.run(a_post, ada, "none", metadata=None)
            return {post.content: post.metadata for post in await database.list(FeedPost.timeline())}

    assert run(async_database, work) == {"null": edb.JSON_NULL, "none": None}


def test_foreign_keys_hold_in_each_session_of_an_async_service(async_database):
    async def work(database):
        async def orphan():
            async with database:
                with pytest.raises(edb.EngagementError):
                    await database.run(FeedComment.reply, 10**6, 10**6, "hello")
                return await database.count(FeedComment.select())

        return await asyncio.gather(*(orphan() for _ in range(READERS)))

    assert run(async_database, work) == [0] * READERS


def test_tasks_with_a_database_each_do_not_meet(tmp_path, async_database):
    async def work(database):
        tenant = edb.bind(AsyncSqliteDatabase(tmp_path / "tenant.db"))
        async with tenant:
            await tenant.run(tenant.create_tables, edb.MODELS)

        async def post_in(database):
            async with database:
                with edb.bind_ctx(database):
                    ada = await database.run(make_user)
                    post = await database.run(a_post, ada)
                    await asyncio.gather(*(react_in(database, post, ada) for _ in range(2)))

        async def react_in(database, post, user):
            async with database:
                await asyncio.sleep(0)
                await database.run(FeedReaction.react, post, user)

        async def counted_in(database):
            async with database:
                with edb.bind_ctx(database):
                    return [await database.count(model.select()) for model in (FeedPost, FeedReaction, FeedActivityLog)]

        try:
            await asyncio.gather(*(post_in(each) for each in (database, tenant) * 3))
            return await counted_in(database), await counted_in(tenant)
        finally:
            await tenant.close_pool()

    assert run(async_database, work) == ([3, 3, 3], [3, 3, 3])


def test_retries_do_not_stop_the_loop(server, async_database, url_of_tables, monkeypatch):
    holder = edb.open_database(url_of_tables)
    ticks, ticks_in_pauses = [], []
    pause = transactions._pause

    async def tick():
        while True:
            # Less than the shortest pause: however late the loop comes to it, this is due first.
            await asyncio.sleep(0.001)
            ticks.append(None)

    def noted_pause(*arguments):
        before = len(ticks)
        pause(*arguments)
        ticks_in_pauses.append(len(ticks) - before)

    monkeypatch.setattr(transactions, "_pause", noted_pause)

    async def work(database):
        async with database:
            ada = await database.run(make_user)

        async def rename():
            async with database:
                settings = {"sqlite": "PRAGMA busy_timeout = 0", "postgres": "SET lock_timeout = '5ms'"}
                await database.aexecute_sql(settings[server.name])
                change = edb.User.update(first_name="grace").where(edb.User.id == ada.id)
                await database.run(edb.transaction, change.execute)

        with holder.connection_context(), holder.atomic(*servers.of(holder).begin):
            holder.execute_sql(f"UPDATE users SET email = email WHERE id = {ada.id}")
            ticking = asyncio.create_task(tick())
            with pytest.raises(edb.Contention):
                await rename()
            ticking.cancel()
        assert len(ticks_in_pauses) == transactions.RETRIES
        assert all(ticks_in_pauses)

    run(async_database, work)


def test_waiting_for_a_lock_of_the_file_does_not_stop_the_loop(server, async_database, url_of_tables):
    if server.name != "sqlite":
        pytest.skip("only SQLite locks the whole file")
    holder = edb.open_database(url_of_tables)

    async def work(database):
        async with database:
            ada = await database.run(make_user)
            with holder.connection_context():
                block = holder.atomic("EXCLUSIVE")
                block.__enter__()
                waiting = asyncio.create_task(database.run(edb.EscrowAccount.open, ada, "stripe"))
                # A loop that stood still would come back when it is too late: the call has given up.
                for _ in range(50):
                    await asyncio.sleep(0.001)
                assert not waiting.done()
                block.__exit__(None, None, None)
                account = await waiting
            assert account.user_id == ada.id

    run(async_database, work)


def test_connection_lost_inside_a_transaction_of_an_async_service_leaves_nothing(server, async_database, url_of_tables):
    if server.name == "sqlite":
        pytest.skip("a file is not reached over a network")
    admin = edb.open_database(url_of_tables)

    async def work(database):
        async with database:
            ada = await database.run(make_user)

            def lose_connection():
                number = servers.of(database).session_id(database)
                with admin.connection_context():
                    admin.execute_sql(f"SELECT pg_terminate_backend({number})")

            def write():
                post = a_post(ada, "first")
                lose_connection()
                try:
                    FeedReaction.react(post, ada)
                except edb.ConnectionLost:
                    # Another connection would write this outside the transaction.
                    a_post(ada, "second")

            with pytest.raises(edb.ConnectionLost):
                await database.run(edb.transaction, write)
            assert await database.count(FeedPost.select()) == 0
            post = await database.run(a_post, ada)
            await database.run(lose_connection)
            assert (await database.run(FeedReaction.react, post, ada)).changed

    run(async_database, work)
