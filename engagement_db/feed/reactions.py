"""Reactions of users to posts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import peewee

from engagement_db.errors import Contention
from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.posts import FeedPost, require_visible
from engagement_db.feed.visibility import EVERYTHING, Connections, Viewer, sight_of
from engagement_db.feed.words import FeedAction, ReactionType
from engagement_db.orm.bound import now, target
from engagement_db.orm.fields import EnumField, KeyField, ReferenceField, UTCDateTimeField
from engagement_db.orm.models import BaseModel
from engagement_db.orm.paging import PAGE_LIMIT
from engagement_db.orm.rows import id_of, ids_of, require_rows, required
from engagement_db.orm.transactions import locked, transaction
from engagement_db.platform import User

_REACTION_ATTEMPTS = 5


@dataclass(frozen=True)
class ReactionChange:
    """Result of ``react``. ``previous`` is the type before, None if there was no reaction."""

    reaction: "FeedReaction"
    previous: ReactionType | None

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.previous != self.reaction.reaction_type)


class FeedReaction(BaseModel):
    """The reaction of a user to a post; at most one row for the two."""

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
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

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
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)
        wanted = ReactionType(cls.reaction_type.db_value(required(cls.reaction_type, reaction_type)))
        sight = sight_of(FeedPost, viewer, connections)

        def work() -> ReactionChange:
            require_visible(post_id, sight)
            for _ in range(_REACTION_ATTEMPTS):
                reaction = cls._locked(post_id, user_id)
                if reaction is not None:
                    return reaction._change_to(wanted)
                reaction = cls._added(post_id, user_id, wanted)
                if reaction is not None:
                    return ReactionChange(reaction, None)
            raise Contention(
                f"the reaction of user {user_id} to post {post_id} was repeatedly added and removed by other sessions. "
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
        """Insert the row and return it; None if another session was first."""
        try:
            with target(cls._meta.database).atomic():
                reaction = cls.create(post=post_id, user=user_id, reaction_type=wanted)
        except peewee.IntegrityError:
            require_rows((cls.post, post_id), (cls.user, user_id))
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
    def unreact(cls, post: FeedPost | int, user: User | int) -> bool:
        """Remove ``user``'s reaction to ``post``, and log it. Return whether there was one.

        Uses ``feed_reactions_post_id_user_id``.
        """
        post_id, user_id = id_of(cls.post, post), id_of(cls.user, user)

        def work() -> bool:
            row = cls._locked(post_id, user_id)
            if row is None or not row.delete_instance():
                return False
            details = {"reactionType": row.reaction_type.value}
            FeedActivityLog.record(FeedAction.REACTION_REMOVED, actor=user_id, post=post_id, metadata=details)
            return True

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
