"""Posts."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import peewee

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.erasure import erase_post
from engagement_db.feed.repairs import log_repair
from engagement_db.feed.timeline import TimelinePage
from engagement_db.feed.visibility import ANONYMOUS, Connections, Sight, Viewer, sight_of
from engagement_db.feed.words import FeedAction, Visibility
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Backref, Column, Reference
from engagement_db.orm.fields import EnumField, JsonField, KeyField, ReferenceField, TextField, UTCDateTimeField
from engagement_db.orm.keyset import Branch
from engagement_db.orm.models import BaseModel, assign, update_of
from engagement_db.orm.rows import (
    UNCHANGED,
    Unchanged,
    copy_state,
    differences,
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
from engagement_db.orm.transactions import locked
from engagement_db.platform import User, resolve_actor_id
from engagement_db.repairs import Repair

if TYPE_CHECKING:
    from engagement_db.feed.comments import FeedComment
    from engagement_db.feed.reactions import FeedReaction
    from engagement_db.feed.shares import FeedShare


class FeedPost(BaseModel):
    """A post."""

    reactions: ClassVar[Backref["FeedReaction"]]
    comments: ClassVar[Backref["FeedComment"]]
    shares: ClassVar[Backref["FeedShare"]]
    activity: ClassVar[Backref["FeedActivityLog"]]
    user_id: ClassVar[Column[int]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the post.")
    user: Reference[User] = ReferenceField(
        User,
        column_name="userId",
        object_id_name="user_id",
        backref="feed_posts",
        on_delete="CASCADE",
        help_text="The author; the post is deleted with them.",
    )
    content: Column[str] = TextField(help_text="The text of the post.")
    visibility: Column[Visibility] = EnumField(
        Visibility,
        default=Visibility.PUBLIC,
        help_text="Who sees the post besides its author: everybody, or the author's connections.",
    )
    metadata: Column[Any] = JsonField(
        null=True, default=None, help_text="Whatever else the service keeps about the post."
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the post was published."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "feed_posts"
        verb_columns = {"user": ""}
        indexes = (
            (("created_at",), False),
            (("visibility", "created_at"), False),
            (("user", "created_at"), False),
        )

    @classmethod
    def publish(
        cls,
        user: User | int,
        content: str,
        *,
        visibility: Visibility | str = Visibility.PUBLIC,
        metadata: object = None,
    ) -> "FeedPost":
        """Add a post of ``user``, log it and return it.

        Raises NotFound if the user does not exist, RefusedValue for blank content. Nothing is changed on error.
        """
        user_id = id_of(cls.user, user)
        text = required_text(cls.content, required(cls.content, content))
        label = Visibility(stored_value(cls.visibility, required(cls.visibility, visibility)))
        document = stored_value(cls.metadata, metadata)

        def work() -> FeedPost:
            post = cls(user=user_id, content=text, visibility=label, metadata=document)
            _INSERT.insert(post)
            FeedActivityLog.record(
                FeedAction.POST_PUBLISHED, actor=user_id, post=post.id, metadata={"visibility": label.value}
            )
            return post

        return write_with_parents(work, (cls.user, user_id))

    def edit(
        self,
        *,
        by: User | int | None,
        content: str | Unchanged = UNCHANGED,
        visibility: Visibility | str | Unchanged = UNCHANGED,
        metadata: object = UNCHANGED,
    ) -> bool:
        """Change the post; what is not given stays as it is. Return whether anything changed; a change is logged.

        The log has the names of what changed and the visibility before and after, no text. ``by`` is the author or
        moderator, None for the system. Raises NotFound if the post or the user does not exist, RefusedValue for
        blank content. Nothing is changed on error. Uses primary keys.
        """
        key = required(FeedPost.id, self.id)
        actor = optional_id_of(FeedActivityLog.actor, by)
        wanted = given_values(FeedPost, content=content, visibility=visibility, metadata=metadata)
        if "content" in wanted:
            wanted["content"] = required_text(FeedPost.content, required(FeedPost.content, wanted["content"]))
        if "visibility" in wanted:
            required(FeedPost.visibility, wanted["visibility"])

        def work() -> tuple[FeedPost, bool]:
            found = _LOCK.first(id=key)
            if found is None:
                raise not_found(FeedPost, key)
            post: FeedPost = found[0]
            changes = differences(post, wanted)
            if changes:
                details: dict[str, object] = {"changed": sorted(changes)}
                if "visibility" in changes:
                    details["visibility"] = [str(post.visibility), str(changes["visibility"])]
                changes["updated_at"] = now()
                update_of(FeedPost, tuple(changes)).execute(id=key, **changes)
                assign(post, changes)
                FeedActivityLog.record(FeedAction.POST_EDITED, actor=actor, post=key, metadata=details)
            return post, bool(changes)

        post, is_changed = write_with_parents(work, (FeedActivityLog.actor, actor))
        copy_state(self, post)
        return is_changed

    def remove(self, *, by: User | int | None) -> bool:
        """Delete the post with its comments, reactions and shares, and log it. Return False if it is gone already.

        Its entries in the activity log stay, without the post. Works in batches of 1000 rows, each a transaction,
        unless it is called in one: interrupted, the post has lost some of its comments, and removing it again
        finishes the work. ``by`` is the author or moderator, None for the system. Raises NotFound if that user does
        not exist; nothing is changed then.
        """
        key, actor = required(FeedPost.id, self.id), resolve_actor_id(by)
        details = {"postId": key}
        return erase_post(
            FeedPost, key, lambda: FeedActivityLog.record(FeedAction.POST_REMOVED, actor=actor, metadata=details)
        )

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Record the repair in the activity log; there is nothing else to write."""
        log_repair(repair, post=self.id)
        return {}

    @classmethod
    def visible_to(cls, viewer: Viewer, connections: Connections = ()) -> peewee.Node:
        """Return the predicate of the posts that ``viewer`` may see, for ``where``.

        A user sees public posts, their own, and those that ``connections`` (users or ids, at most 10,000) share
        with their connections; ANONYMOUS, or None, sees public posts; EVERYTHING sees all posts. Raises RefusedValue
        for a viewer or connections that are not users or ids, and for connections without a user.
        """
        return sight_of(cls, viewer, connections).predicate(cls)

    @classmethod
    def timeline(
        cls,
        *,
        viewer: Viewer = ANONYMOUS,
        connections: Connections = (),
        visibility: Visibility | str | None = None,
        author: User | int | None = None,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> TimelinePage:
        """Return a page of the posts that ``viewer`` may see, newest first.

        ``viewer`` and ``connections`` are those of ``visible_to``. ``visibility`` and ``author`` narrow the page to
        posts of that kind and by that user. ``limit`` is 1 to 200 posts; ``after`` takes a page's ``next_cursor``,
        ``before`` its ``previous_cursor``. ``entries()`` of the page adds authors, counts and reactions.

        Uses ``feed_posts_user_id_created_at`` with an author, ``feed_posts_created_at`` for EVERYTHING; otherwise
        ``feed_posts_visibility_created_at`` for public posts, and for those of ``viewer`` and ``connections``
        ``feed_posts_user_id_created_at``. Raises RefusedValue as ``visible_to`` does, for a limit out of bounds and
        for a cursor of another query.
        """
        sight = sight_of(cls, viewer, connections)
        wanted = None if visibility is None else Visibility(stored_value(cls.visibility, visibility))
        page = TimelinePage(cls, "timeline", "feed_posts_created_at", limit, after, before).with_parent(cls.user)
        page._viewer = sight.viewer
        if author is not None:
            page = page.among(sight.branch_of(cls, id_of(cls.user, author)))
            return page if wanted is None else page.where(cls.visibility == wanted)
        if sight.is_unlimited:
            labels = [Branch("feed_posts_visibility_created_at", cls.visibility, [wanted])]
            return page if wanted is None else page.among(*labels)
        branches = sight.branches(cls, wanted)
        return page.among(*branches) if branches else page.where(peewee.SQL("1 = 0"))


def if_visible(post: int, sight: Sight) -> peewee.Node:
    """Return the condition that this post is visible."""
    return peewee.fn.EXISTS(FeedPost.select(peewee.SQL("1")).where(FeedPost.id == post, sight.predicate(FeedPost)))


def is_in_sight(post: int, sight: Sight) -> bool:
    """Return whether the post is visible; sends no query if all posts are. Uses the primary key."""
    if sight.is_unlimited:
        return True
    return FeedPost.select(FeedPost.id).where(FeedPost.id == post, sight.predicate(FeedPost)).exists()


def require_visible(post: int, sight: Sight) -> None:
    """Raise NotFound unless the post is visible: a hidden post looks like a missing one."""
    if not is_in_sight(post, sight):
        raise not_found(FeedPost, post)


_INSERT: Final = Statement(lambda: FeedPost.insert(parameters(*columns_of(FeedPost)[1:])))
_LOCK: Final = Statement(lambda: locked(FeedPost.select().where(FeedPost.id == Parameter("id"))), FeedPost)
