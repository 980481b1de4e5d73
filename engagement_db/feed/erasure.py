"""Erasure of posts, and of all that a user did in the feed: bottom up, in batches.

No delete cascades into comments, because MySQL fails on long chains of replies or leaves comments behind. Each batch is
a transaction; erasing again finishes what was interrupted.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import peewee

from engagement_db import servers
from engagement_db.errors import Protected
from engagement_db.feed.words import FeedAction
from engagement_db.orm.bound import current
from engagement_db.orm.rows import id_of, not_found
from engagement_db.orm.transactions import transaction
from engagement_db.platform import User, resolve_actor_id

BATCH: Final = 1000


def erase_post(posts: Any, key: int, conclude: Callable[[], object]) -> bool:
    """Delete a post with its comments, reactions and shares; its log entries stay. Return False if there was no post.

    ``conclude`` runs in the last transaction, which locks the post, so that no reply is added to a post that is being
    deleted.
    """
    references = [getattr(posts, name).field for name in ("comments", "reactions", "shares", "activity")]
    for reference in references:
        while transaction(lambda reference=reference: _clear(reference, key)) == BATCH:  # type: ignore[misc]
            pass

    def work() -> bool:
        if not _lock(posts, key):
            return False
        for reference in references:
            while _clear(reference, key) == BATCH:
                pass
        peewee.ModelDelete(posts).where(posts.id == key).execute()
        conclude()
        return True

    return transaction(work)


def erase_feed(user: User | int, *, by: User | int | None = None) -> None:
    """Erase all that ``user`` did in the feed: posts with what others added to them, comments, reactions and shares.

    Replies of others to the user's comments stay, without a parent. The user stays, and so do the entries of the
    activity log, without their actor; one entry records the erasure. Works in batches of 1000 rows, each a
    transaction, unless it is called in one; called again it finishes what was interrupted. ``by`` is who asked for
    it, None for the system. Raises NotFound if either user does not exist.
    """
    key, actor = id_of(User.feed_posts.field, user), resolve_actor_id(by)
    if not User.select(User.id).where(User.id == key).exists():
        raise not_found(User, key)
    _erase_posts_of(key)
    for reference in _references():
        while transaction(lambda reference=reference: _clear(reference, key)) == BATCH:  # type: ignore[misc]
            pass
    log = User.feed_activity.rel_model
    transaction(
        lambda: log.record(FeedAction.FEED_ERASED, actor=None if actor == key else actor, metadata={"userId": key})
    )


def erase_user(user: User | int, *, by: User | int | None = None) -> None:
    """Erase what ``user`` did in the feed as ``erase_feed`` does, and delete the user.

    Raises Protected, before anything is deleted, if rows that are kept refer to the user, as escrow accounts do.
    """
    key = id_of(User.feed_posts.field, user)
    _require_unrestricted(key)
    erase_feed(key, by=by)

    def work() -> None:
        if not _lock(User, key):
            return
        _erase_posts_of(key)
        for reference in _references():
            while _clear(reference, key) == BATCH:
                pass
        users: Any = User
        users.delete().where(User.id == key).execute()

    transaction(work)


def _references() -> list[Any]:
    names = ("feed_comments", "feed_reactions", "feed_shares", "feed_activity")
    return [getattr(User, name).field for name in names]


def _erase_posts_of(user: int) -> None:
    posts = User.feed_posts.rel_model
    while (key := posts.select(posts.id).where(posts.user == user).limit(1).scalar()) is not None:
        erase_post(posts, key, lambda: None)


def _clear(reference: Any, key: int) -> int:
    """Delete at most a batch of the rows that refer to ``key``, or unlink those of the log; return how many."""
    model = reference.model
    query = model.select(model.id).where(reference == key).limit(BATCH)
    if model._meta.append_only:
        ids = [row_id for (row_id,) in query.tuples()]
        if ids:
            changes: Mapping[Any, Any] = {reference: None}
            peewee.ModelUpdate(model, changes).where(model.id.in_(ids)).execute()
        return len(ids)
    # The newest first: replies before the comments that they reply to.
    ids = [row_id for (row_id,) in query.order_by(model.created_at.desc(), model.id.desc()).tuples()]
    if ids:
        peewee.ModelDelete(model).where(model.id.in_(ids)).execute()
    return len(ids)


def _lock(model: Any, key: int) -> bool:
    """Lock the row against new rows that refer to it, and return whether it exists."""
    query = model.select(model.id).where(model.id == key)
    if servers.of(current()).supports_for_update:
        query = query.for_update()
    return query.first() is not None


def _require_unrestricted(user: int) -> None:
    backrefs: Any = User._meta.backrefs
    found = []
    for reference, model in backrefs.items():
        if reference.on_delete == "RESTRICT":
            number = model.select().where(reference == user).count()
            if number:
                found.append(f"{number} of {model._meta.table_name} by {reference.column_name}")
    if found:
        raise Protected(
            f"users {user} cannot be erased: rows that are kept refer to it ({', '.join(found)}). Nothing was changed. "
            "Call erase_feed to erase what the user did in the feed.",
            table=User._meta.table_name,
            id=user,
        )
