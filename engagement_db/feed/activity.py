"""The activity log: append-only, written by every verb of the feed in its own transaction."""

from typing import Any, NoReturn

import peewee

from engagement_db.errors import Refused
from engagement_db.orm.bound import now
from engagement_db.orm.fields import (
    IntegerField,
    JsonField,
    KeyField,
    LateReferenceField,
    ReferenceField,
    UTCDateTimeField,
    VarcharField,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import Page
from engagement_db.orm.rows import id_of, required
from engagement_db.platform import User


class _AppendOnlyInsert(peewee.ModelInsert):
    """An INSERT that adds rows and touches none."""

    def on_conflict(self, *args: Any, **options: Any) -> Any:
        if (args or options) and args[:1] != ("IGNORE",):
            _refuse_rewrite()
        return super().on_conflict(*args, **options)

    def on_conflict_replace(self, replace: bool = True) -> Any:
        if replace:
            _refuse_rewrite()
        return super().on_conflict_replace(replace)


class FeedActivityLog(BaseModel):
    """An entry of the activity log: an action, its actor and its post. Entries are append-only.

    Deleting a post or a user sets the reference in its entries to NULL and keeps them. ``comment_id`` has no foreign
    key, so an entry keeps the id of a deleted comment.
    """

    id = KeyField()
    post = LateReferenceField(
        "FeedPost",
        column_name="postId",
        object_id_name="post_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
    )
    comment_id = IntegerField(column_name="commentId", null=True)
    actor = ReferenceField(
        User,
        column_name="actorId",
        object_id_name="actor_id",
        backref="feed_activity",
        null=True,
        on_delete="SET NULL",
    )
    action = VarcharField(max_length=80)
    metadata = JsonField(null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)

    class Meta:
        table_name = "feed_activity_logs"
        indexes = (
            (("post", "created_at"), False),
            (("comment_id",), False),
            (("actor", "created_at"), False),
            (("action", "created_at"), False),
        )

    @classmethod
    def record(
        cls, action: str, *, actor: Any = None, post: Any = None, comment_id: int | None = None, metadata: Any = None
    ) -> "FeedActivityLog":
        """Add an entry within the current transaction, if any, and return it. The verbs of the feed call this."""
        return cls.create(action=str(action), actor=actor, post=post, comment_id=comment_id, metadata=metadata)

    @classmethod
    def history(cls, post: Any, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of the entries of a post, newest first.

        Uses ``feed_activity_logs_post_id_created_at``.
        """
        page = Page(cls, "history", "feed_activity_logs_post_id_created_at", limit, after, before)
        return page.where(cls.post == id_of(cls.post, post))

    @classmethod
    def by_actor(cls, actor: Any, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of the entries of an actor, newest first.

        Uses ``feed_activity_logs_actor_id_created_at``.
        """
        page = Page(cls, "actor", "feed_activity_logs_actor_id_created_at", limit, after, before)
        return page.where(cls.actor == id_of(cls.actor, actor))

    @classmethod
    def by_action(cls, action: str, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of the entries of one action, newest first.

        Uses ``feed_activity_logs_action_created_at``.
        """
        page = Page(cls, "action", "feed_activity_logs_action_created_at", limit, after, before)
        return page.where(cls.action == str(required(cls.action, action)))

    def save(self, force_insert: bool = False, only: Any = None) -> Any:
        """Insert the entry. Raises Refused if it is stored already."""
        if self.id is not None and not force_insert:
            _refuse_rewrite(self.id)
        return super().save(force_insert=force_insert, only=only)

    def delete_instance(self, recursive: bool = False, delete_nullable: bool = False) -> Any:
        """Raise Refused: entries are append-only."""
        _refuse_rewrite(self.id)

    @classmethod
    def update(cls, *args: Any, **values: Any) -> Any:
        """Raise Refused: entries are append-only."""
        _refuse_rewrite()

    @classmethod
    def delete(cls) -> Any:
        """Raise Refused: entries are append-only."""
        _refuse_rewrite()

    @classmethod
    def insert(cls, data: Any = None, **values: Any) -> Any:
        """Return an INSERT that refuses to update or replace rows on a conflict."""
        return _AppendOnlyInsert(cls, cls._normalize_data(data, values))  # type: ignore[attr-defined]

    @classmethod
    def insert_many(cls, rows: Any, fields: Any = None) -> Any:
        """Return an INSERT of many rows that refuses to update or replace rows on a conflict."""
        return _AppendOnlyInsert(cls, insert=rows, columns=fields)

    @classmethod
    def insert_from(cls, query: Any, fields: Any) -> Any:
        """Return an INSERT of a query's rows that refuses to update or replace rows on a conflict."""
        columns = [cls._meta.fields[field] if isinstance(field, str) else field for field in fields]
        return _AppendOnlyInsert(cls, insert=query, columns=columns)


def _refuse_rewrite(entry_id: int | None = None) -> NoReturn:
    which = "entries" if entry_id is None else f"entry {entry_id}"
    raise Refused(
        f"feed_activity_logs is append-only: {which} cannot be changed or removed; add another entry. "
        "(A post is deleted without recursive=True: the server itself unlinks its entries.)"
    )
