"""What the processes in the race tests of the feed do: a module that a spawned process can import."""

import random

import engagement_db as edb
from engagement_db import FeedComment, FeedPost, FeedReaction, ReactionType

OPERATIONS = 40
TYPES = list(ReactionType)


def at_once(worker, url, seed, start, answer, arguments):
    database = edb.connect(url)
    with database.connection_context():
        start.wait(60)
        answer.send(worker(random.Random(seed), *arguments))


def again_and_again(worker, url, seed, start, answer, arguments):
    """Work until somebody kills this process."""
    database = edb.connect(url)
    dice = random.Random(seed)
    with database.connection_context():
        start.wait(60)
        while True:
            worker(dice, *arguments)


def react_and_unreact(dice, post_ids, user_ids):
    for _ in range(OPERATIONS):
        post, user = dice.choice(post_ids), dice.choice(user_ids)
        if dice.random() < 0.3:
            FeedReaction.unreact(post, user)
        else:
            FeedReaction.react(post, user, dice.choice(TYPES))


def react_once(dice, post_id, user_id):
    return FeedReaction.react(post_id, user_id, ReactionType.LOVE).previous


def moderate_and_reply(dice, comment_id, user_id):
    comment = FeedComment.get_by_id(comment_id)
    replies = 0
    for _ in range(OPERATIONS // 3):
        if dice.random() < 0.5:
            comment.soft_delete(user_id, "spam")
            comment.restore(user_id)
        else:
            try:
                FeedComment.reply(comment.post_id, user_id, "reply", parent=comment_id)
                replies += 1
            except edb.Refused:
                pass
    return replies


def reply_or_remove(dice, post_id, user_id, root_ids):
    """Reply until the post is gone; somebody removes it. Return whether this one did, and its number of replies."""
    replies = 0
    last = None
    for turn in range(10_000):
        if turn == OPERATIONS and FeedPost(id=post_id).remove(by=user_id):
            return True, replies
        try:
            parent = dice.choice([None, last, *root_ids])
            last = FeedComment.reply(post_id, user_id, "reply", parent=parent).id
            replies += 1
            FeedReaction.toggle(post_id, user_id)
        except edb.NotFound:
            if FeedPost.get_or_none(FeedPost.id == post_id) is None:
                return False, replies
            last = None
    raise AssertionError("the post is never gone")


def write_or_erase(dice, post_id, user_id, other_id):
    """Write in the name of the user until they are gone; somebody erases them. Return how often that worked."""
    written = 0
    for turn in range(10_000):
        try:
            if turn == OPERATIONS:
                edb.erase_user(user_id)
            own = FeedPost.publish(user_id, "mine")
            comment = FeedComment.reply(own, other_id, "theirs")
            FeedComment.reply(post_id, user_id, "mine")
            FeedComment.reply(own, user_id, "mine", parent=comment)
            written += 1
        except edb.NotFound:
            if edb.User.get_or_none(edb.User.id == user_id) is None:
                return written
    raise AssertionError("the user is never gone")
