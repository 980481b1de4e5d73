"""Processes that react, reply and moderate at once, some of them killed: nothing doubles, nothing dangles."""

import random
import signal
import threading
import time
from collections import Counter
from itertools import pairwise

import feed_workers
import pytest
from feed_rows import a_post
from processes import CONTEXT
from waiting import wait_until_blocked

import engagement_db as edb
from engagement_db import FeedActivityLog, FeedComment, FeedReaction, ReactionType
from engagement_db.orm.urls import open_database
from engagement_db.testing import make_user

WORKERS = 8
KILLED_WORKERS = 3
PATIENCE_SECONDS = 60


@pytest.fixture
def crew(url_of_tables, database):
    """A function that runs eight workers at once, kills some that never end, and returns what the others said."""
    processes = []

    def run(worker, *arguments, kill=0):
        start = CONTEXT.Barrier(WORKERS + 1)
        answers = []
        for seed in range(WORKERS):
            receiver, sender = CONTEXT.Pipe(duplex=False)
            work = feed_workers.at_once if seed >= kill else feed_workers.again_and_again
            process = CONTEXT.Process(target=work, args=(worker, url_of_tables, seed, start, sender, arguments))
            process.start()
            sender.close()
            processes.append(process)
            answers.append(receiver)
        start.wait(PATIENCE_SECONDS)
        for process in processes[:kill]:
            # At any moment of what it does.
            time.sleep(random.uniform(0.02, 0.1))
            process.kill()
        told = [receiver.recv() for receiver in answers[kill:] if receiver.poll(PATIENCE_SECONDS)]
        for process in processes:
            process.join(PATIENCE_SECONDS)
        codes = [process.exitcode for process in processes]
        assert codes == [-signal.SIGKILL] * kill + [0] * (WORKERS - kill)
        assert len(told) == WORKERS - kill
        return told

    yield run
    for process in processes:
        process.kill()
        process.join()


def replay(entries):
    """Return what the log says is there now, by post and user; refuses a story that cannot be."""
    standing = {}
    for entry in entries:
        key = (entry.post_id, entry.actor_id)
        wanted = entry.metadata.get("reactionType")
        if entry.action == "reaction_added":
            assert key not in standing
            standing[key] = wanted
        elif entry.action == "reaction_changed":
            assert standing[key] == entry.metadata["previousType"]
            standing[key] = wanted
        else:
            assert standing.pop(key) == wanted
    return standing


def test_eight_first_reactions_at_once_leave_one_row(crew, database):
    ada = make_user()
    post = a_post(ada)
    told = crew(feed_workers.react_once, post.id, ada.id)
    assert Counter(told) == Counter({ReactionType.LOVE: WORKERS - 1, None: 1})
    assert FeedReaction.select().count() == 1
    assert FeedActivityLog.select().count() == 1


def test_reactions_and_their_log_agree_after_processes_were_killed(crew, database):
    users = [make_user(name) for name in ("ada", "bob")]
    posts = [a_post(users[0]) for _ in range(2)]
    crew(
        feed_workers.react_and_unreact,
        [post.id for post in posts],
        [user.id for user in users],
        kill=KILLED_WORKERS,
    )
    rows = [(row.post_id, row.user_id, row.reaction_type.value) for row in FeedReaction.select()]
    assert len({row[:2] for row in rows}) == len(rows)
    log = FeedActivityLog.select().order_by(FeedActivityLog.id)
    for key, entries in by_key(log).items():
        assert replay(entries) == {row[:2]: row[2] for row in rows if row[:2] == key}


def by_key(log):
    found = {}
    for entry in log:
        found.setdefault((entry.post_id, entry.actor_id), []).append(entry)
    return found


def test_no_reply_slips_under_a_comment_that_is_being_deleted(crew, database):
    ada = make_user()
    comment = FeedComment.reply(a_post(ada), ada, "root")
    told = crew(feed_workers.moderate_and_reply, comment.id, ada.id, kill=KILLED_WORKERS)
    actions = [entry.action for entry in FeedActivityLog.select().order_by(FeedActivityLog.id)]
    for earlier, later in pairwise(actions):
        assert (earlier == "comment_deleted") == (later == "comment_restored")
    counts = Counter(actions)
    replies = FeedComment.select().where(FeedComment.parent == comment).count()
    assert replies >= sum(told)
    assert counts["comment_added"] == 1 + replies
    is_deleted = FeedComment.get_by_id(comment.id).deleted_at is not None
    assert counts["comment_deleted"] - counts["comment_restored"] == is_deleted


@pytest.fixture
def beside(url_of_tables):
    """A function that runs a call in a second session while the first is in its transaction; it returns a thread."""
    threads = []

    def run(call):
        def work():
            other = open_database(url_of_tables)
            with edb.bind_ctx(other), other.connection_context():
                call()

        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)
        return thread

    yield run
    for thread in threads:
        thread.join(PATIENCE_SECONDS)


def test_two_replies_to_one_comment_do_not_wait_for_each_other(server, database, beside):
    if server.name == "sqlite":
        pytest.skip("one writer at a time: there every write waits for every other")
    ada = make_user()
    comment = FeedComment.reply(a_post(ada), ada, "root")
    with database.atomic():
        FeedComment.reply(comment.post_id, ada, "first", parent=comment)
        other = beside(lambda: FeedComment.reply(comment.post_id, ada, "second", parent=comment))
        other.join(PATIENCE_SECONDS)
        assert not other.is_alive()
    assert FeedComment.select().count() == 3


def test_a_deletion_waits_for_a_reply_to_the_comment(server, database, url_of_tables, beside):
    if server.name == "sqlite":
        pytest.skip("one writer at a time: there every write waits for every other")
    ada = make_user()
    comment = FeedComment.reply(a_post(ada), ada, "root")
    with database.atomic():
        FeedComment.reply(comment.post_id, ada, "first", parent=comment)
        deletion = beside(lambda: comment.soft_delete(ada, "spam"))
        wait_until_blocked(url_of_tables)
        assert deletion.is_alive()
    deletion.join(PATIENCE_SECONDS)
    assert FeedComment.get_by_id(comment.id).deleted_at is not None


def test_a_post_that_is_removed_leaves_no_reply_behind(crew, database):
    ada = make_user()
    post = a_post(ada)
    roots = [FeedComment.reply(post, ada, "root").id for _ in range(3)]
    told = crew(feed_workers.reply_or_remove, post.id, ada.id, roots)
    assert sum(removed for removed, _ in told) == 1
    assert sum(replies for _, replies in told) > 0
    assert FeedComment.select().count() == FeedReaction.select().count() == 0
    assert edb.FeedPost.select().count() == 0
    assert edb.find_feed_problems() == []
    actions = Counter(entry.action for entry in FeedActivityLog.select())
    assert actions["comment_added"] == 3 + sum(replies for _, replies in told)
    assert actions["post_removed"] == 1


def test_a_user_who_is_erased_while_they_write_leaves_nothing_behind(crew, database):
    ada, bob = make_user("ada"), make_user("bob")
    post = a_post(bob)
    told = crew(feed_workers.write_or_erase, post.id, ada.id, bob.id)
    assert sum(told) > 0
    assert edb.User.select().where(edb.User.id == ada.id).count() == 0
    assert {row.id for row in edb.FeedPost.select()} == {post.id}
    assert FeedComment.select().where(FeedComment.user != bob).count() == 0
    assert edb.find_feed_problems() == []
