"""What the processes in the race tests of the feed do: a module that a spawned process can import."""

import random

import engagement_db as edb
from engagement_db import FeedComment, FeedReaction, ReactionType

OPERATIONS = 40
TYPES = list(ReactionType)


def at_once(worker, url, seed, start, answer, arguments):
    database = edb.connect(url)
    with database.connection_context():
        start.wait(60)
        answer.send(worker(random.Random(seed), *arguments))


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
