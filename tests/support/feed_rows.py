"""Rows that tests of the feed start from."""

import engagement_db as edb


def a_post(author: edb.User, content: str = "hello", **values: object) -> edb.FeedPost:
    return edb.FeedPost.create(user=author, content=content, **values)


def logged_actions() -> list[str]:
    """Return the actions in the activity log, oldest first."""
    return [entry.action for entry in edb.FeedActivityLog.select().order_by(edb.FeedActivityLog.id)]
