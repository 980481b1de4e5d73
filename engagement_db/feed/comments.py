"""Comments, their moderation and threads."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Self

from engagement_db.errors import Refused
from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.posts import FeedPost, if_visible, is_in_sight, require_visible
from engagement_db.feed.repairs import log_repair
from engagement_db.feed.roots import RootPage
from engagement_db.feed.threads import (
    THREAD_DEPTH,
    THREAD_LIMIT,
    Thread,
    is_visible,
    load_comments,
    thread_by_levels,
    whole_thread,
    with_authors,
)
from engagement_db.feed.visibility import EVERYTHING, Connections, Viewer, sight_of
from engagement_db.feed.words import FeedAction
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Backref, Column, Reference, Select
from engagement_db.orm.fields import JsonField, KeyField, ReferenceField, TextField, UTCDateTimeField, reject
from engagement_db.orm.models import BaseModel, assign, update_of, verb_update
from engagement_db.orm.paging import Page, validate_limit
from engagement_db.orm.rows import (
    UNCHANGED,
    Unchanged,
    copy_state,
    differences,
    error_data,
    given_values,
    id_of,
    not_found,
    optional_id_of,
    required,
    required_text,
    stored_value,
    write_with_parents,
)
from engagement_db.orm.statements import Parameter, Statement, columns_of, parameters
from engagement_db.orm.transactions import locked, share_locked
from engagement_db.platform import User
from engagement_db.repairs import Repair

REASON_CHARACTERS: Final = 1000


class FeedComment(BaseModel):
    """A comment on a post, or a reply to another comment."""

    replies: ClassVar[Backref["FeedComment"]]
    post_id: ClassVar[Column[int]]
    user_id: ClassVar[Column[int]]
    parent_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the comment.")
    post: Reference[FeedPost] = ReferenceField(
        FeedPost,
        column_name="postId",
        object_id_name="post_id",
        backref="comments",
        on_delete="CASCADE",
        help_text="The post; the comment is deleted with it.",
    )
    user: Reference[User] = ReferenceField(
        User,
        column_name="userId",
        object_id_name="user_id",
        backref="feed_comments",
        on_delete="CASCADE",
        help_text="The author; the comment is deleted with them.",
    )
    parent: Reference["FeedComment | None"] = ReferenceField(
        "self",
        column_name="parentId",
        object_id_name="parent_id",
        backref="replies",
        null=True,
        on_delete="SET NULL",
        default=None,
        help_text="The comment that this one replies to, or NULL for one on the post itself.",
    )
    body: Column[str] = TextField(help_text="The text of the comment.")
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Whatever else the service keeps about the comment."
    )
    deleted_at: Column[datetime | None] = UTCDateTimeField(
        column_name="deletedAt",
        null=True,
        default=None,
        help_text="When the comment was hidden, or NULL while it is shown.",
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the comment was written."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "feed_comments"
        verb_columns = {"post": "", "user": "", "parent": "", "deleted_at": "soft_delete or restore"}
        indexes = (
            (("post", "created_at"), False),
            (("parent",), False),
            (("user",), False),
        )

    @classmethod
    def live(cls, *fields: object) -> Select[Self]:
        """Return a SELECT of the comments that are not deleted. (``select`` has the deleted ones too.)"""
        return cls.select(*fields).where(cls.deleted_at.is_null())

    @classmethod
    def of_post(
        cls,
        post: FeedPost | int,
        *,
        with_deleted: bool = False,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[Self]:
        """Return a page of a post's comments, newest first, whatever they reply to.

        Comments bring their authors. Deleted ones are left out unless ``with_deleted``; all are if ``viewer`` may
        not see the post (see ``FeedPost.visible_to``). Uses ``feed_comments_post_id_created_at``. Raises
        RefusedValue for a limit outside 1 to 200 or a cursor of another query.
        """
        page = Page(cls, "comments", "feed_comments_post_id_created_at", limit, after, before).with_parent(cls.user)
        post_id, sight = id_of(cls.post, post), sight_of(FeedPost, viewer, connections)
        page = page.where(cls.post == post_id)
        if not sight.is_unlimited:
            page = page.where(if_visible(post_id, sight))
        return page if with_deleted else page.where(cls.deleted_at.is_null())

    @classmethod
    def roots(
        cls,
        post: FeedPost | int,
        *,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> RootPage:
        """Return a page of the comments on a post itself, newest first; its ``entries()`` have numbers of replies.

        Comments bring their authors. A deleted comment that has replies is listed without its body and metadata, as
        long as the page is not reshaped (``dicts``, ``tuples``). ``thread(under=comment)`` has the replies. There are
        none if ``viewer`` may not see the post (see ``FeedPost.visible_to``).

        Uses ``feed_comments_post_id_created_at``. Raises RefusedValue for a limit outside 1 to 200 or a cursor of
        another query.
        """
        page = RootPage(cls, "roots", "feed_comments_post_id_created_at", limit, after, before).with_parent(cls.user)
        post_id, sight = id_of(cls.post, post), sight_of(FeedPost, viewer, connections)
        page = page.where(cls.post == post_id, cls.parent.is_null(), is_visible(cls, cls))
        return page if sight.is_unlimited else page.where(if_visible(post_id, sight))

    @classmethod
    def reply(
        cls,
        post: FeedPost | int,
        user: User | int,
        body: str,
        *,
        parent: "FeedComment | int | None" = None,
        metadata: object = None,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
    ) -> "FeedComment":
        """Add a comment of ``user`` on ``post``, or a reply to its comment ``parent``, and return it.

        The parent is locked, so it cannot be deleted concurrently. Raises NotFound if the post, the user or the
        parent does not exist or ``viewer`` may not see the post (see ``FeedPost.visible_to``), Refused if the parent
        belongs to another post or is deleted, RefusedValue for a blank body.
        """
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)
        parent_id = optional_id_of(cls.parent, parent)
        sight = sight_of(FeedPost, viewer, connections)
        text = required_text(cls.body, required(cls.body, body))
        document = stored_value(cls.metadata, metadata)

        def work() -> FeedComment:
            require_visible(post_id, sight)
            comment = cls(post=post_id, user=user_id, parent=parent_id, body=text, metadata=document)
            if parent_id is None:
                _INSERT.insert(comment)
            elif not _INSERT_REPLY.insert(comment):
                cls._require_parent(parent_id, post_id)
                _INSERT_REPLY.insert(comment)
            details = None if parent_id is None else {"parentId": parent_id}
            comment._log(FeedAction.COMMENT_ADDED, user_id, details)
            return comment

        return write_with_parents(work, (cls.post, post_id), (cls.user, user_id))

    @classmethod
    def _require_parent(cls, parent_id: int, post_id: int) -> None:
        """Raise the error that says why this is no parent of a reply; lock the parent if it is one by now."""
        parent = share_locked(cls.select().where(cls.id == parent_id)).first()
        if parent is None:
            raise not_found(cls, parent_id, "parent")
        if parent.post_id != post_id:
            raise Refused(
                f"comment {parent_id} belongs to post {parent.post_id}, so it cannot be the parent of a reply on post "
                f"{post_id}. Reply on post {parent.post_id}.",
                **error_data(parent),
            )
        if parent.deleted_at is not None:
            raise Refused(f"comment {parent_id} is deleted; restore it before replying to it.", **error_data(parent))

    def _log(self, action: FeedAction, actor: int | None, details: object = None) -> None:
        FeedActivityLog.record(action, actor=actor, post=self.post_id, comment_id=self.id, metadata=details)

    def edit(self, *, by: User | int | None, body: str | Unchanged = UNCHANGED, metadata: object = UNCHANGED) -> bool:
        """Change the comment; what is not given stays as it is. Return whether anything changed; a change is logged.

        The log has the names of what changed, no text. ``by`` is the author or moderator, None for the system. Raises
        NotFound if the comment or the user does not exist, Refused if the comment is deleted, RefusedValue for a
        blank body. Nothing is changed on error. Uses primary keys.
        """
        key = required(FeedComment.id, self.id)
        actor = optional_id_of(FeedActivityLog.actor, by)
        wanted = given_values(FeedComment, body=body, metadata=metadata)
        if "body" in wanted:
            wanted["body"] = required_text(FeedComment.body, required(FeedComment.body, wanted["body"]))

        def work() -> tuple[FeedComment, bool]:
            found = _LOCK.first(id=key)
            if found is None:
                raise not_found(FeedComment, key)
            comment: FeedComment = found[0]
            if comment.deleted_at is not None:
                raise Refused(f"comment {key} is deleted; restore it before editing it.", **error_data(comment))
            changes = differences(comment, wanted)
            if changes:
                details = {"changed": sorted(changes)}
                changes["updated_at"] = now()
                update_of(FeedComment, tuple(changes)).execute(id=key, **changes)
                assign(comment, changes)
                comment._log(FeedAction.COMMENT_EDITED, actor, details)
            return comment, bool(changes)

        comment, is_changed = write_with_parents(work, (FeedActivityLog.actor, actor))
        copy_state(self, comment)
        return is_changed

    def soft_delete(self, by: User | int | None, reason: str) -> bool:
        """Mark the comment as deleted, keeping its row and its replies. Return False if it already was.

        ``by`` is the moderator or author, None for the system; ``reason``, up to 1000 characters, is logged.
        Raises NotFound if the comment or the user does not exist.
        """
        moment = now()
        done = self._moderated(FeedAction.COMMENT_DELETED, moment, by, _checked_reason(reason))
        if done:
            self.deleted_at = moment
        return done

    def restore(self, by: User | int | None, reason: str | None = None) -> bool:
        """Make a deleted comment live again. Return False if it was not deleted. Raises as ``soft_delete`` does."""
        done = self._moderated(
            FeedAction.COMMENT_RESTORED, None, by, None if reason is None else _checked_reason(reason)
        )
        if done:
            self.deleted_at = None
        return done

    def _moderated(
        self, action: FeedAction, deleted_at: datetime | None, by: User | int | None, reason: str | None
    ) -> bool:
        comment_id = required(FeedComment.id, self.id)
        actor = optional_id_of(FeedActivityLog.actor, by)
        move = _RESTORE if deleted_at is None else _SOFT_DELETE

        def work() -> bool:
            moved = move.count(id=comment_id, deleted_at=deleted_at, updated_at=now())
            row = _FIND.first(id=comment_id)
            if row is None:
                raise not_found(FeedComment, comment_id)
            if moved:
                row[0]._log(action, actor, None if reason is None else {"reason": reason})
            return bool(moved)

        return write_with_parents(work, (FeedActivityLog.actor, actor))

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Record the repair in the activity log. Raises Refused for a parent that is the comment or below it."""
        above: int | None = repair.after.get("parent")
        passed: set[int | None] = set()
        while above is not None and above not in passed:
            if above == self.id:
                raise Refused(
                    f"comment {self.id} cannot be a reply to itself, nor to a reply below it; give it another parent, "
                    "or None. Nothing was changed.",
                    table=self._meta.table_name,
                    column="parentId",
                    id=self.id,
                )
            passed.add(above)
            above = FeedComment.select(FeedComment.parent).where(FeedComment.id == above).tuples().scalar()
        log_repair(repair, post=self.post_id, comment_id=self.id)
        return {}

    @classmethod
    def thread(
        cls,
        post: FeedPost | int | None = None,
        *,
        under: "FeedComment | int | None" = None,
        depth: int = 10,
        limit: int = 500,
        after: str | None = None,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
    ) -> Thread:
        """Return the tree of a post's comments, or of those below ``under``: each after its parent, siblings by age.

        A deleted comment is kept as a placeholder, without its body, while it has a live reply below it. Comments
        bring their authors. The thread is empty if ``viewer`` may not see the post (see ``FeedPost.visible_to``).

        ``depth`` is 1 to 50 levels, ``limit`` 1 to 1000 comments. Of more, the top levels are kept, and the oldest of
        each level, so that every comment has its parent; ``complete`` is False then. The rest follows with ``after``,
        which takes ``next_cursor``, and with ``under`` for each entry that ``has_more``.

        One query of at most ``limit`` comments, on ``feed_comments_post_id_created_at``, if the post has no more;
        otherwise one a level until the limit is reached, on that index and ``feed_comments_parent_id``. Raises
        NotFound if ``under`` does not exist, RefusedValue without post and ``under``, for a depth or limit out of
        bounds and for a cursor of another query.
        """
        table = cls._meta.table_name
        validate_limit(table, depth, THREAD_DEPTH, "depth")
        validate_limit(table, limit, THREAD_LIMIT)
        sight = sight_of(FeedPost, viewer, connections)
        under_id = optional_id_of(cls.parent, under)
        post_id = optional_id_of(cls.post, post)
        if under_id is not None:
            found = _FIND.first(id=under_id)
            if found is None:
                raise not_found(cls, under_id, "under")
            if post_id is not None and post_id != found[0].post_id:
                reject(cls.parent, f"comment {under_id} belongs to post {found[0].post_id}, not to post {post_id}")
            post_id = found[0].post_id
        post_id = required(cls.post, post_id)
        if not is_in_sight(post_id, sight):
            return Thread((), complete=True)
        if under_id is None and after is None:
            rows = _FIRST.execute(post=post_id, limit=limit + 1).fetchall()
            if len(rows) <= limit:
                return whole_thread(load_comments(cls, rows), depth)
        return thread_by_levels(cls, post_id, under_id, depth, limit, after)


def _checked_reason(reason: str) -> str:
    if not isinstance(reason, str) or not 1 <= len(reason) <= REASON_CHARACTERS:
        reject(FeedActivityLog.metadata, f"a reason is a text of 1 to {REASON_CHARACTERS} characters")
    return reason


def _moderate(is_live: bool) -> Any:
    changes = parameters(FeedComment.deleted_at, FeedComment.updated_at)
    row = (FeedComment.id == Parameter("id")) & FeedComment.deleted_at.is_null(is_live)
    return verb_update(FeedComment, changes).where(row)


_SOFT_DELETE: Final = Statement(lambda: _moderate(True))
_RESTORE: Final = Statement(lambda: _moderate(False))
_FIND: Final = Statement(lambda: FeedComment.select().where(FeedComment.id == Parameter("id")), FeedComment)
_LOCK: Final = Statement(lambda: locked(FeedComment.select().where(FeedComment.id == Parameter("id"))), FeedComment)
_INSERT: Final = Statement(lambda: FeedComment.insert(parameters(*columns_of(FeedComment)[1:])))


def _insert_reply() -> Any:
    parent: Any = FeedComment.alias("parent")
    columns = columns_of(FeedComment)[1:]
    values = {**parameters(*columns), FeedComment.parent: parent.id}
    is_open = (parent.id == Parameter("parent")) & (parent.post == Parameter("post")) & parent.deleted_at.is_null()
    return FeedComment.insert_from(share_locked(parent.select(*values.values()).where(is_open)), columns)


_INSERT_REPLY: Final = Statement(_insert_reply)
_FIRST: Final = Statement(
    lambda: with_authors(FeedComment).where(FeedComment.post == Parameter("post")).limit(Parameter("limit"))
)
