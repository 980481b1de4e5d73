"""The social feed: posts, reactions, comments, shares and the activity log, and what can be done with them.

A verb does its work in one transaction, together with its entry in the activity log; inside a caller's
transaction it joins that. Wherever a verb or a query asks for a row, the row or its id will do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar

import peewee

from engagement_db.errors import Contention, NotFound, Refused
from engagement_db.orm.bound import now, target
from engagement_db.orm.fields import (
    EnumField,
    JsonField,
    KeyField,
    ReferenceField,
    TextField,
    TimeField,
    VarcharField,
    refuse,
)
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import PAGE_LIMIT, Page, checked_limit, instant_bound
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User

Result = TypeVar("Result")

THREAD_LIMIT: Final = 1000
THREAD_DEPTH: Final = 50
REASON_CHARACTERS: Final = 1000
_REACTION_ATTEMPTS = 5


class Visibility(StrEnum):
    """Who sees a post."""

    PUBLIC = "public"
    CONNECTIONS = "connections"


class ReactionType(StrEnum):
    """How somebody reacts to a post."""

    LIKE = "like"
    CELEBRATE = "celebrate"
    SUPPORT = "support"
    LOVE = "love"
    INSIGHTFUL = "insightful"


class FeedAction(StrEnum):
    """What the verbs of this module write into the activity log; other services may write other words."""

    REACTION_ADDED = "reaction_added"
    REACTION_CHANGED = "reaction_changed"
    REACTION_REMOVED = "reaction_removed"
    COMMENT_ADDED = "comment_added"
    COMMENT_DELETED = "comment_deleted"
    COMMENT_RESTORED = "comment_restored"
    POST_SHARED = "post_shared"


@dataclass(frozen=True)
class TimelineEntry:
    """A post with what a reader sees around it. ``reactions`` counts by type; a type that is absent is 0."""

    post: "FeedPost"
    author: User
    reactions: Counter[ReactionType]
    comment_count: int
    share_count: int
    own_reaction: ReactionType | None


@dataclass(frozen=True)
class ReactionChange:
    """What ``react`` did: ``previous`` is the type before, None when there was no reaction."""

    reaction: "FeedReaction"
    previous: ReactionType | None

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.previous != self.reaction.reaction_type)


@dataclass(frozen=True)
class ThreadEntry:
    """A comment at its place in the tree; comments on the post itself have depth 1."""

    comment: "FeedComment"
    depth: int

    @property
    def is_placeholder(self) -> bool:
        """Whether the comment is deleted and stands here for its live replies only, without its body."""
        return self.comment.deleted_at is not None


@dataclass(frozen=True)
class Thread:
    """The comments of a post, each after its parent; ``complete`` is False when the limit cut some off."""

    entries: tuple[ThreadEntry, ...]
    complete: bool


class TimelinePage(Page):
    """A page of posts. ``entries`` adds what surrounds them."""

    _viewer: int | None = None

    def entries(self, viewer: Any = None) -> list[TimelineEntry]:
        """Return the page's posts with authors, counts and the viewer's own reaction.

        ``viewer`` defaults to that of the timeline. Three queries, whatever the size of the page; the
        second walks the primary key of users, the third ``feed_reactions_post_id_reaction_type``,
        ``feed_comments_post_id_created_at`` (deleted comments do not count),
        ``feed_shares_post_id_created_at`` and ``feed_reactions_post_id_user_id``.
        """
        posts = list(self)
        if not posts:
            return []
        viewer_id = self._viewer if viewer is None else _key(FeedReaction.user, viewer)
        post_ids = [post.id for post in posts]
        author_ids = {post.user_id for post in posts}
        authors = {user.id: user for user in User.select().where(User.id.in_(author_ids))}
        surroundings = {post_id: _Surroundings() for post_id in post_ids}
        for post_id, kind, number in _surrounding_rows(post_ids, viewer_id):
            surroundings[post_id].add(kind, number)
        found = []
        for post in posts:
            # An author who was removed a moment ago took the post along.
            if post.user_id not in authors:
                continue
            around = surroundings[post.id]
            post.user = authors[post.user_id]
            counts = (around.reactions, around.comments, around.shares)
            found.append(TimelineEntry(post, post.user, *counts, around.own_reaction))
        return found


class FeedPost(BaseModel):
    """A post."""

    user_id: int
    id = KeyField()
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_posts", on_delete="CASCADE"
    )
    content = TextField()
    visibility = EnumField(Visibility, default=Visibility.PUBLIC)
    metadata = JsonField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_posts"
        indexes = (
            (("created_at",), False),
            (("visibility", "created_at"), False),
            (("user", "created_at"), False),
        )

    @classmethod
    def timeline(
        cls,
        *,
        viewer: Any = None,
        connections: Iterable[Any] = (),
        visibility: Visibility | str | None = None,
        author: Any = None,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> TimelinePage:
        """Return a page of posts, newest first; ``entries()`` of it adds authors, counts and reactions.

        A filter that is not given hides nothing. ``viewer`` sees public posts, their own, and all those
        of ``connections``, users or ids; for somebody who is not signed in pass ``visibility="public"``.
        ``visibility`` and ``author`` narrow the page to posts of that kind and by that user.
        ``limit`` is 1 to 200 posts; ``after`` takes a page's ``next_cursor``, ``before`` its
        ``previous_cursor``.

        Walks ``feed_posts_user_id_created_at`` with an author, else ``feed_posts_visibility_created_at`` with
        a visibility, else ``feed_posts_created_at``, passing over what the viewer does not see.
        Raises RefusedValue for a limit out of bounds and for a cursor that is not one of a timeline.
        """
        index = "feed_posts_created_at"
        if visibility is not None:
            index = "feed_posts_visibility_created_at"
        if author is not None:
            index = "feed_posts_user_id_created_at"
        page = TimelinePage(cls, "timeline", index, limit, after, before)
        if viewer is not None:
            page._viewer = _key(cls.user, viewer)
            seen = {page._viewer, *(_key(cls.user, user) for user in connections)}
            # CASE, because a plain OR invites two other indexes and a sort of everything that they find.
            yes, no = peewee.SQL("1"), peewee.SQL("0")
            public = cls.visibility == Visibility.PUBLIC
            is_seen = peewee.Case(None, [(public, yes), (cls.user.in_(seen), yes)], no)
            page = page.where(is_seen == yes)
        if visibility is not None:
            page = page.where(cls.visibility == visibility)
        if author is not None:
            page = page.where(cls.user == _key(cls.user, author))
        return page


class FeedReaction(BaseModel):
    """One person's reaction to one post; at most one row for the two."""

    post_id: int
    user_id: int
    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="reactions", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_reactions", on_delete="CASCADE"
    )
    reaction_type = EnumField(ReactionType, column_name="reactionType", default=ReactionType.LIKE)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_reactions"
        indexes = (
            (("post", "user"), True),
            (("user",), False),
            (("post", "reaction_type"), False),
        )

    @classmethod
    def react(cls, post: Any, user: Any, reaction_type: ReactionType | str = ReactionType.LIKE) -> ReactionChange:
        """``user`` has exactly this reaction to ``post``, whoever else reacts at the same moment.

        Returns what changed; the same reaction again changes nothing and logs nothing. Finds the row by
        ``feed_reactions_post_id_user_id``. Raises NotFound when the post or the user does not exist, and
        Contention when the reaction kept being added and removed under it; nothing is changed then.
        """
        post_id, user_id = _key(cls.post, post), _key(cls.user, user)
        wanted = ReactionType(cls.reaction_type.db_value(_given(cls.reaction_type, reaction_type)))

        def work() -> ReactionChange:
            for _ in range(_REACTION_ATTEMPTS):
                reaction = cls._locked(post_id, user_id)
                if reaction is not None:
                    return reaction._change_to(wanted)
                reaction = cls._added(post_id, user_id, wanted)
                if reaction is not None:
                    return ReactionChange(reaction, None)
            raise Contention(
                f"the reaction of user {user_id} to post {post_id} kept being added and removed elsewhere. "
                "Nothing was changed; try again."
            )

        return transaction(work)

    @classmethod
    def _locked(cls, post_id: int, user_id: int) -> "FeedReaction | None":
        query = cls.select().where(cls.post == post_id, cls.user == user_id)
        row: FeedReaction | None = locked(query).first()
        return row

    @classmethod
    def _added(cls, post_id: int, user_id: int, wanted: ReactionType) -> "FeedReaction | None":
        """Insert the row and return it; None when somebody else was first."""
        try:
            with target(cls._meta.database).atomic():
                reaction = cls.create(post=post_id, user=user_id, reaction_type=wanted)
        except peewee.IntegrityError:
            _refuse_missing((cls.post, post_id), (cls.user, user_id))
            return None
        details = {"reactionType": wanted.value}
        FeedActivityLog.record(FeedAction.REACTION_ADDED, actor=user_id, post=post_id, metadata=details)
        return reaction

    def _change_to(self, wanted: ReactionType) -> ReactionChange:
        previous = self.reaction_type
        if previous != wanted:
            self.reaction_type = wanted
            self.save(only=[FeedReaction.reaction_type])
            details = {"reactionType": wanted.value, "previousType": previous.value}
            FeedActivityLog.record(FeedAction.REACTION_CHANGED, actor=self.user_id, post=self.post_id, metadata=details)
        return ReactionChange(self, previous)

    @classmethod
    def unreact(cls, post: Any, user: Any) -> bool:
        """``user`` has no reaction to ``post``. Returns whether there was one; only then something is logged.

        Finds the row by ``feed_reactions_post_id_user_id``.
        """
        post_id, user_id = _key(cls.post, post), _key(cls.user, user)

        def work() -> bool:
            row = cls._locked(post_id, user_id)
            if row is None or not row.delete_instance():
                return False
            details = {"reactionType": row.reaction_type.value}
            FeedActivityLog.record(FeedAction.REACTION_REMOVED, actor=user_id, post=post_id, metadata=details)
            return True

        return transaction(work)

    @classmethod
    def summary(cls, posts: Iterable[Any]) -> dict[int, Counter[ReactionType]]:
        """Return the number of reactions by type for each of up to 200 posts, by post id.

        Walks ``feed_reactions_post_id_reaction_type`` alone, in one query. A post without reactions, or
        unknown, has an empty counter; a type that is absent counts 0.
        """
        post_ids = _keys(cls.post, posts)
        counts: dict[int, Counter[ReactionType]] = {post_id: Counter() for post_id in post_ids}
        if post_ids:
            query = (
                cls.select(cls.post, cls.reaction_type, peewee.fn.COUNT(cls.id))
                .where(cls.post.in_(post_ids))
                .group_by(cls.post, cls.reaction_type)
            )
            rows: Any = query.tuples()
            for post_id, reaction_type, number in rows:
                counts[post_id][reaction_type] = number
        return counts


class FeedComment(BaseModel):
    """A comment on a post, or a reply to another comment."""

    post_id: int
    user_id: int
    parent_id: int | None
    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="comments", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_comments", on_delete="CASCADE"
    )
    parent = ReferenceField(
        "self",
        column_name="parentId",
        object_id_name="parent_id",
        backref="replies",
        null=True,
        on_delete="SET NULL",
    )
    body = TextField()
    metadata = JsonField(null=True)
    deleted_at = TimeField(column_name="deletedAt", null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_comments"
        indexes = (
            (("post", "created_at"), False),
            (("parent",), False),
            (("user",), False),
        )

    @classmethod
    def live(cls, *fields: Any) -> Any:
        """Return a SELECT of the comments that are not deleted. (``select`` has the deleted ones too.)"""
        return cls.select(*fields).where(cls.deleted_at.is_null())

    @classmethod
    def of_post(
        cls,
        post: Any,
        *,
        with_deleted: bool = False,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> Page:
        """Return a page of a post's comments, newest first, whatever they reply to.

        Deleted comments are left out unless ``with_deleted``. Walks ``feed_comments_post_id_created_at``.
        Raises RefusedValue for a limit outside 1 to 200 and for a cursor of another query.
        """
        page = Page(cls, "comments", "feed_comments_post_id_created_at", limit, after, before)
        page = page.where(cls.post == _key(cls.post, post))
        return page if with_deleted else page.where(cls.deleted_at.is_null())

    @classmethod
    def reply(cls, post: Any, user: Any, body: str, *, parent: Any = None, metadata: Any = None) -> "FeedComment":
        """``user`` has commented on ``post``, or replied to its comment ``parent``. Returns the comment.

        Raises NotFound when post, user or parent does not exist, Refused when the parent stands on another
        post or is deleted. The parent's row is locked, so it cannot be deleted meanwhile.
        """
        post_id, user_id = _key(cls.post, post), _key(cls.user, user)
        parent_id = None if parent is None else _key(cls.parent, parent)

        def work() -> FeedComment:
            if parent_id is not None:
                cls._refuse_parent(parent_id, post_id)
            text = _given(cls.body, body)
            comment = cls.create(post=post_id, user=user_id, parent=parent_id, body=text, metadata=metadata)
            FeedActivityLog.record(
                FeedAction.COMMENT_ADDED,
                actor=user_id,
                post=post_id,
                comment=comment.id,
                metadata=None if parent_id is None else {"parentId": parent_id},
            )
            return comment

        return _written(work, (cls.post, post_id), (cls.user, user_id))

    @classmethod
    def _refuse_parent(cls, parent_id: int, post_id: int) -> None:
        parent = locked(cls.select().where(cls.id == parent_id)).first()
        if parent is None:
            raise NotFound(f"{cls._meta.table_name} {parent_id} does not exist, so nobody can reply to it.")
        if parent.post_id != post_id:
            raise Refused(
                f"comment {parent_id} is on post {parent.post_id}; a reply on post {post_id} cannot hang "
                f"on it. Reply on post {parent.post_id}."
            )
        if parent.deleted_at is not None:
            raise Refused(f"comment {parent_id} is deleted; restore it before somebody replies to it.")

    def save(self, force_insert: bool = False, only: Any = None) -> Any:
        """Insert or update the row. Raises Refused when the comment would reply to itself."""
        if self.id is not None and self.parent_id == self.id:
            raise Refused(f"comment {self.id} cannot be a reply to itself; give it another parent, or none.")
        return super().save(force_insert=force_insert, only=only)

    def soft_delete(self, by: Any, reason: str) -> bool:
        """The comment is deleted, its row and its replies stay. Returns False when it was deleted already.

        ``by`` is the moderator or author, None for the system; ``reason``, up to 1000 characters, goes into
        the log. Raises NotFound when the comment or the user does not exist.
        """
        moment = now()
        done = self._moderated(FeedAction.COMMENT_DELETED, moment, by, _checked_reason(reason))
        if done:
            self.deleted_at = moment
        return done

    def restore(self, by: Any, reason: str | None = None) -> bool:
        """The comment is live again. Returns False when it was not deleted. Otherwise as ``soft_delete``."""
        done = self._moderated(
            FeedAction.COMMENT_RESTORED, None, by, None if reason is None else _checked_reason(reason)
        )
        if done:
            self.deleted_at = None
        return done

    def _moderated(self, action: FeedAction, deleted_at: datetime | None, by: Any, reason: str | None) -> bool:
        comment = _key(FeedActivityLog.comment, self)
        actor = None if by is None else _key(FeedActivityLog.actor, by)
        not_yet = FeedComment.deleted_at.is_null(deleted_at is not None)

        def work() -> bool:
            moved = FeedComment.update(deleted_at=deleted_at).where(FeedComment.id == comment, not_yet).execute()
            row = FeedComment.select(FeedComment.post).where(FeedComment.id == comment).first()
            if row is None:
                raise NotFound(f"feed_comments {comment} does not exist; nothing was changed.")
            if moved:
                details = None if reason is None else {"reason": reason}
                FeedActivityLog.record(action, actor=actor, post=row.post_id, comment=comment, metadata=details)
            return bool(moved)

        return _written(work, (FeedActivityLog.actor, actor))

    @classmethod
    def thread(cls, post: Any, *, depth: int = 10, limit: int = 500) -> Thread:
        """Return the tree of a post's comments: each after its parent, siblings by age. One query.

        A deleted comment is kept as a placeholder, without its body, while a live reply hangs below it.
        ``depth`` is 1 to 50 levels; what is deeper is left out. ``limit`` is 1 to 1000 rows: of more, the
        lowest levels and on each the oldest are kept, so that every comment has its parent.

        Walks ``feed_comments_post_id_created_at`` for the first level, ``feed_comments_parent_id`` for the
        others.
        """
        table = cls._meta.table_name
        checked_limit(table, depth, THREAD_DEPTH, "depth")
        checked_limit(table, limit, THREAD_LIMIT)
        rows = list(_thread_query(_key(cls.post, post), depth, limit + 1))
        return Thread(_depth_first(rows[:limit]), complete=len(rows) <= limit)


class FeedShare(BaseModel):
    """A post that somebody passed on over a channel."""

    post_id: int
    user_id: int
    id = KeyField()
    post = ReferenceField(
        FeedPost, column_name="postId", object_id_name="post_id", backref="shares", on_delete="CASCADE"
    )
    user = ReferenceField(
        User, column_name="userId", object_id_name="user_id", backref="feed_shares", on_delete="CASCADE"
    )
    channel = VarcharField(max_length=60)
    message = TextField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "feed_shares"
        indexes = (
            (("post", "created_at"), False),
            (("user",), False),
            (("channel", "created_at"), False),
        )

    @classmethod
    def share(cls, post: Any, user: Any, channel: str, message: str | None = None) -> "FeedShare":
        """``user`` has shared ``post`` over ``channel``, once more if it was before. Returns the share.

        Raises NotFound when the post or the user does not exist.
        """
        post_id, user_id = _key(cls.post, post), _key(cls.user, user)

        def work() -> FeedShare:
            name = _given(cls.channel, channel)
            share = cls.create(post=post_id, user=user_id, channel=name, message=message)
            details = {"channel": channel, "shareId": share.id}
            FeedActivityLog.record(FeedAction.POST_SHARED, actor=user_id, post=post_id, metadata=details)
            return share

        return _written(work, (cls.post, post_id), (cls.user, user_id))

    @classmethod
    def counts_by_channel(cls, channels: Sequence[str], since: datetime, until: datetime) -> Counter[str]:
        """Return how often each of up to 200 channels was used from ``since`` on and before ``until``.

        Walks one range of ``feed_shares_channel_created_at`` for each channel, and nothing else.
        Raises RefusedValue when a time is naive or the range ends before it starts.
        """
        table = cls._meta.table_name
        checked_limit(table, len(channels), name="channels")
        start = instant_bound(cls.created_at, _given(cls.created_at, since))
        end = instant_bound(cls.created_at, _given(cls.created_at, until))
        if until < since:
            refuse(cls.created_at, f"the range from {since} to {until} ends before it starts; swap the two")
        query = (
            cls.select(cls.channel, peewee.fn.COUNT(cls.id))
            .where(cls.channel.in_(list(channels)), cls.created_at >= start, cls.created_at < end)
            .group_by(cls.channel)
        )
        rows: Any = query.tuples()
        return Counter(dict(rows))


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
    """What was done in the feed, by whom, when. Append-only: an entry is never changed or removed.

    When a post, a comment or a user is removed the server itself unlinks the entry, which stays.
    """

    id = KeyField()
    post = ReferenceField(
        FeedPost,
        column_name="postId",
        object_id_name="post_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
    )
    comment = ReferenceField(
        FeedComment,
        column_name="commentId",
        object_id_name="comment_id",
        backref="activity",
        null=True,
        on_delete="SET NULL",
    )
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
    created_at = TimeField(column_name="createdAt", default=now)

    class Meta:
        table_name = "feed_activity_logs"
        indexes = (
            (("post", "created_at"), False),
            (("comment",), False),
            (("actor", "created_at"), False),
            (("action", "created_at"), False),
        )

    @classmethod
    def record(
        cls, action: str, *, actor: Any = None, post: Any = None, comment: Any = None, metadata: Any = None
    ) -> "FeedActivityLog":
        """Add an entry in the transaction that is open, if any, and return it. The verbs call this."""
        return cls.create(action=str(action), actor=actor, post=post, comment=comment, metadata=metadata)

    @classmethod
    def history(cls, post: Any, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of what happened to a post, newest first.

        Walks ``feed_activity_logs_post_id_created_at``.
        """
        page = Page(cls, "history", "feed_activity_logs_post_id_created_at", limit, after, before)
        return page.where(cls.post == _key(cls.post, post))

    @classmethod
    def by_actor(cls, actor: Any, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of what a user did, newest first.

        Walks ``feed_activity_logs_actor_id_created_at``.
        """
        page = Page(cls, "actor", "feed_activity_logs_actor_id_created_at", limit, after, before)
        return page.where(cls.actor == _key(cls.actor, actor))

    @classmethod
    def by_action(cls, action: str, *, limit: int = 20, after: str | None = None, before: str | None = None) -> Page:
        """Return a page of one kind of entry, newest first.

        Walks ``feed_activity_logs_action_created_at``.
        """
        page = Page(cls, "action", "feed_activity_logs_action_created_at", limit, after, before)
        return page.where(cls.action == str(_given(cls.action, action)))

    def save(self, force_insert: bool = False, only: Any = None) -> Any:
        """Insert the entry. Raises Refused for one that is stored already."""
        if self.id is not None and not force_insert:
            _refuse_rewrite(self.id)
        return super().save(force_insert=force_insert, only=only)

    def delete_instance(self, recursive: bool = False, delete_nullable: bool = False) -> Any:
        """Refuse: entries stay."""
        _refuse_rewrite(self.id)

    @classmethod
    def update(cls, *args: Any, **values: Any) -> Any:
        """Refuse: entries stay as they were written."""
        _refuse_rewrite()

    @classmethod
    def delete(cls) -> Any:
        """Refuse: entries stay."""
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
        "(A post or comment is deleted without recursive=True: the server itself unlinks its entries.)"
    )


def _key(field: ReferenceField, value: Any) -> int:
    """Return the id that stands for ``value`` in this column; raises RefusedValue for a row that has none."""
    return field.db_value(_given(field, field.db_value(value)))  # type: ignore[no-any-return]


def _keys(field: ReferenceField, values: Iterable[Any]) -> list[int]:
    keys = list({_key(field, value): None for value in values})
    if len(keys) > PAGE_LIMIT:
        refuse(field, f"{len(keys)} rows are too many at once; ask for at most {PAGE_LIMIT}")
    return keys


def _given(field: peewee.Field, value: Result | None) -> Result:
    if value is None:
        refuse(field, "a value is required; a row has to be saved before it can be used here")
    return value


def _checked_reason(reason: str) -> str:
    if not isinstance(reason, str) or not 1 <= len(reason) <= REASON_CHARACTERS:
        refuse(FeedActivityLog.metadata, f"a reason is a text of 1 to {REASON_CHARACTERS} characters")
    return reason


def _written(work: Callable[[], Result], *parents: tuple[ReferenceField, int | None]) -> Result:
    """Run ``work`` in a transaction; a parent row that turns out not to exist raises NotFound."""
    try:
        return transaction(work)
    except peewee.IntegrityError:
        _refuse_missing(*parents)
        raise


def _refuse_missing(*parents: tuple[ReferenceField, int | None]) -> None:
    for field, key in parents:
        model = field.rel_model
        if key is not None and not model.select(model.id).where(model.id == key).exists():
            raise NotFound(f"{model._meta.table_name} {key} does not exist; nothing was changed.")


_REACTION_TYPES = tuple(ReactionType)
_COMMENTS, _SHARES, _OWN = (len(_REACTION_TYPES) + step for step in range(3))


class _Surroundings:
    """Collects the rows of ``_surrounding_rows`` for one post."""

    def __init__(self) -> None:
        self.reactions: Counter[ReactionType] = Counter()
        self.comments = 0
        self.shares = 0
        self.own_reaction: ReactionType | None = None

    def add(self, kind: int, number: int) -> None:
        if kind == _COMMENTS:
            self.comments = number
        elif kind == _SHARES:
            self.shares = number
        elif kind >= _OWN:
            self.own_reaction = _REACTION_TYPES[kind - _OWN]
        else:
            self.reactions[_REACTION_TYPES[kind]] = number


def _surrounding_rows(post_ids: list[int], viewer_id: int | None) -> Any:
    """Return (post id, kind, number) rows; a kind is a number, which all parts and servers agree on."""
    reactions = _numbered(FeedReaction, post_ids, _type_number(0)).group_by(
        FeedReaction.post, FeedReaction.reaction_type
    )
    comments = _numbered(FeedComment, post_ids, peewee.SQL(str(_COMMENTS))).group_by(FeedComment.post)
    shares = _numbered(FeedShare, post_ids, peewee.SQL(str(_SHARES))).group_by(FeedShare.post)
    rows = reactions.union_all(comments.where(FeedComment.deleted_at.is_null())).union_all(shares)
    if viewer_id is not None:
        own = FeedReaction.select(FeedReaction.post, _type_number(_OWN), peewee.SQL("1"))
        rows = rows.union_all(own.where(FeedReaction.post.in_(post_ids), FeedReaction.user == viewer_id))
    return rows.tuples()


def _numbered(model: Any, post_ids: list[int], kind: Any) -> Any:
    return model.select(model.post, kind, peewee.fn.COUNT(peewee.SQL("*"))).where(model.post.in_(post_ids))


def _type_number(first: int) -> Any:
    numbers = [(member, peewee.SQL(str(first + place))) for place, member in enumerate(_REACTION_TYPES)]
    return peewee.Case(FeedReaction.reaction_type, numbers)


def _thread_query(post_id: int, depth: int, limit: int) -> Any:
    """Return the tree's rows, level by level and by age within, each with its ``depth``."""
    first = FeedComment.select(FeedComment.id, peewee.SQL("1").alias("depth")).where(
        FeedComment.post == post_id, FeedComment.parent.is_null(), _is_worth_showing(FeedComment)
    )
    level = first.cte("level", recursive=True, columns=("id", "depth"))
    reply = FeedComment.alias("reply")
    deeper = (
        reply.select(reply.id, level.c.depth + 1)
        .join(level, on=(reply.parent == level.c.id))
        .where(level.c.depth < depth, _is_worth_showing(reply))
    )
    tree = level.union_all(deeper)
    is_live = FeedComment.deleted_at.is_null()
    hidden = {
        field.name: peewee.Case(None, [(is_live, field)]).alias(field.name)
        for field in (FeedComment.body, FeedComment.metadata)
    }
    columns = [hidden.get(field.name, field) for field in FeedComment._meta.sorted_fields]
    return (
        FeedComment.select(*columns, tree.c.depth)
        .join(tree, on=(FeedComment.id == tree.c.id))
        .order_by(tree.c.depth, FeedComment.created_at, FeedComment.id)
        .limit(limit)
        .with_cte(tree)
        .objects()
    )


def _is_worth_showing(comment: Any) -> Any:
    answer = FeedComment.alias("answer")
    has_answers = peewee.fn.EXISTS(answer.select(peewee.SQL("1")).where(answer.parent == comment.id))
    return comment.deleted_at.is_null() | has_answers


def _depth_first(rows: list[Any]) -> tuple[ThreadEntry, ...]:
    """Put each row after its parent; drop the deleted ones on which nothing live hangs."""
    children: dict[int | None, list[Any]] = {}
    for row in reversed(rows):
        if row.deleted_at is None or row.id in children:
            children.setdefault(row.parent_id, []).append(row)
    entries = []
    waiting = children.get(None, [])
    while waiting:
        row = waiting.pop()
        entries.append(ThreadEntry(row, row.depth))
        waiting.extend(children.get(row.id, []))
    return tuple(entries)
