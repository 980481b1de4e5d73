"""Reactions of users to posts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import peewee

from engagement_db.errors import Contention
from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.posts import FeedPost, require_visible
from engagement_db.feed.repairs import log_repair
from engagement_db.feed.visibility import EVERYTHING, Connections, Sight, Viewer, sight_of
from engagement_db.feed.words import FeedAction, ReactionType
from engagement_db.orm.bound import now
from engagement_db.orm.columns import Column, Reference
from engagement_db.orm.fields import EnumField, KeyField, ReferenceField, UTCDateTimeField
from engagement_db.orm.models import BaseModel, assign, update_of
from engagement_db.orm.paging import PAGE_LIMIT
from engagement_db.orm.rows import id_of, ids_of, required, stored_value, write_with_parents
from engagement_db.orm.statements import Parameter, Statement, columns_of, parameters
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User
from engagement_db.repairs import Repair

_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class ReactionChange:
    """Result of ``react`` or ``toggle``: the types before and after, None for no reaction.

    ``reaction`` is the row, also one that was removed.
    """

    reaction: "FeedReaction"
    previous: ReactionType | None
    current: ReactionType | None

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return self.previous != self.current


class FeedReaction(BaseModel):
    """The reaction of a user to a post; at most one for each pair."""

    post_id: ClassVar[Column[int]]
    user_id: ClassVar[Column[int]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the reaction.")
    post: Reference[FeedPost] = ReferenceField(
        FeedPost,
        column_name="postId",
        object_id_name="post_id",
        backref="reactions",
        on_delete="CASCADE",
        help_text="The post; the reaction is deleted with it.",
    )
    user: Reference[User] = ReferenceField(
        User,
        column_name="userId",
        object_id_name="user_id",
        backref="feed_reactions",
        on_delete="CASCADE",
        help_text="Who reacts; the reaction is deleted with them.",
    )
    reaction_type: Column[ReactionType] = EnumField(
        ReactionType,
        column_name="reactionType",
        default=ReactionType.LIKE,
        help_text="The type of the reaction.",
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the user first reacted."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "feed_reactions"
        verb_columns = {"post": "", "user": ""}
        indexes = (
            (("post", "user"), True),
            (("user",), False),
            (("post", "reaction_type"), False),
        )

    @classmethod
    def react(
        cls,
        post: FeedPost | int,
        user: User | int,
        reaction_type: ReactionType | str = ReactionType.LIKE,
        *,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
    ) -> ReactionChange:
        """Set ``user``'s reaction to ``post``, replacing any previous one. Safe under concurrency.

        The same reaction again changes nothing and logs nothing. Uses ``feed_reactions_post_id_user_id``.
        Raises NotFound if the post or the user does not exist or ``viewer`` may not see the post (see
        ``FeedPost.visible_to``), Contention if other sessions kept adding and removing the reaction. Nothing is
        changed on error.
        """
        return cls._set(post, user, reaction_type, sight_of(FeedPost, viewer, connections), removes_same=False)

    @classmethod
    def toggle(
        cls,
        post: FeedPost | int,
        user: User | int,
        reaction_type: ReactionType | str = ReactionType.LIKE,
        *,
        viewer: Viewer = EVERYTHING,
        connections: Connections = (),
    ) -> ReactionChange:
        """Remove ``user``'s reaction to ``post`` if it is this one; otherwise set it. This is what a like button does.
        Otherwise as ``react``.
        """
        return cls._set(post, user, reaction_type, sight_of(FeedPost, viewer, connections), removes_same=True)

    @classmethod
    def _set(
        cls,
        post: FeedPost | int,
        user: User | int,
        reaction_type: ReactionType | str,
        sight: Sight,
        removes_same: bool,
    ) -> ReactionChange:
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)
        wanted = ReactionType(stored_value(cls.reaction_type, required(cls.reaction_type, reaction_type)))

        def work() -> ReactionChange:
            require_visible(post_id, sight)
            for _ in range(_ATTEMPTS):
                found = _FIND.first(post=post_id, user=user_id)
                if found is not None:
                    reaction: FeedReaction = found[0]
                    is_removed = removes_same and reaction.reaction_type == wanted
                    return reaction._remove() if is_removed else reaction._change_to(wanted)
                added = cls(post=post_id, user=user_id, reaction_type=wanted)
                if _INSERT.insert(added):
                    added._log(FeedAction.REACTION_ADDED, reactionType=wanted)
                    return ReactionChange(added, None, wanted)
            raise Contention(
                f"the reaction of user {user_id} to post {post_id} was repeatedly added and removed by other sessions. "
                "Nothing was changed; try again.",
                table=cls._meta.table_name,
            )

        return write_with_parents(work, (cls.post, post_id), (cls.user, user_id))

    def _change_to(self, wanted: ReactionType) -> ReactionChange:
        previous = self.reaction_type
        if previous != wanted:
            changes = {"reaction_type": wanted, "updated_at": now()}
            update_of(FeedReaction, tuple(changes)).execute(id=self.id, **changes)
            assign(self, changes)
            self._log(FeedAction.REACTION_CHANGED, reactionType=wanted, previousType=previous)
        return ReactionChange(self, previous, wanted)

    def _remove(self) -> ReactionChange:
        _DELETE.execute(id=self.id)
        self._log(FeedAction.REACTION_REMOVED, reactionType=self.reaction_type)
        return ReactionChange(self, self.reaction_type, None)

    def _log(self, action: FeedAction, **types: ReactionType) -> None:
        details = {name: str(value) for name, value in types.items()}
        FeedActivityLog.record(action, actor=self.user_id, post=self.post_id, metadata=details)

    def trace_repair(self, repair: Repair[Any]) -> Mapping[str, Any]:
        """Record the repair in the activity log; there is nothing else to write."""
        log_repair(repair, post=self.post_id)
        return {}

    @classmethod
    def unreact(cls, post: FeedPost | int, user: User | int) -> bool:
        """Remove ``user``'s reaction to ``post``, and log it. Return whether there was one.

        Uses ``feed_reactions_post_id_user_id``.
        """
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)

        def work() -> bool:
            found = _FIND.first(post=post_id, user=user_id)
            return found is not None and found[0]._remove().changed

        return transaction(work)

    @classmethod
    def summary(cls, posts: Iterable[FeedPost | int]) -> dict[int, Counter[ReactionType]]:
        """Return the number of reactions by type for each of up to 200 posts, by post id.

        One query, on ``feed_reactions_post_id_reaction_type`` alone. A post that has no reactions or does not
        exist has an empty counter; a missing type counts 0.
        """
        post_ids = ids_of(cls.post, posts, PAGE_LIMIT)
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


_FIND: Final = Statement(
    lambda: locked(
        FeedReaction.select().where(FeedReaction.post == Parameter("post"), FeedReaction.user == Parameter("user"))
    ),
    FeedReaction,
)
_INSERT: Final = Statement(
    lambda: FeedReaction.insert(parameters(*columns_of(FeedReaction)[1:])),
    unique=(FeedReaction.post, FeedReaction.user),
)
_DELETE: Final = Statement(lambda: peewee.ModelDelete(FeedReaction).where(FeedReaction.id == Parameter("id")))
