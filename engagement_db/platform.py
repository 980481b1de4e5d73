"""The platform's own tables, as far as the library reads them. They may have any number of other columns."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import peewee

from engagement_db.orm.bound import now
from engagement_db.orm.columns import Backref, Column, Reference, Select
from engagement_db.orm.fields import KeyField, ReferenceField, TextField, UTCDateTimeField, VarcharField
from engagement_db.orm.models import BaseModel
from engagement_db.orm.rows import id_of, ids_of, not_found, optional_id_of, write_with_parents
from engagement_db.orm.transactions import locked

if TYPE_CHECKING:
    from engagement_db.feed.activity import FeedActivityLog
    from engagement_db.feed.comments import FeedComment
    from engagement_db.feed.posts import FeedPost
    from engagement_db.feed.reactions import FeedReaction
    from engagement_db.feed.shares import FeedShare
    from engagement_db.trust.accounts import EscrowAccount
    from engagement_db.trust.disputes import DisputeCase
    from engagement_db.trust.events import DisputeEvent
    from engagement_db.trust.transactions import EscrowTransaction

OWNERS_AT_ONCE: Final = 200


class User(BaseModel):
    """A user of the platform."""

    owned_projects: ClassVar[Backref["Project"]]
    feed_posts: ClassVar[Backref["FeedPost"]]
    feed_reactions: ClassVar[Backref["FeedReaction"]]
    feed_comments: ClassVar[Backref["FeedComment"]]
    feed_shares: ClassVar[Backref["FeedShare"]]
    feed_activity: ClassVar[Backref["FeedActivityLog"]]
    escrow_accounts: ClassVar[Backref["EscrowAccount"]]
    initiated_transactions: ClassVar[Backref["EscrowTransaction"]]
    counterparty_transactions: ClassVar[Backref["EscrowTransaction"]]
    opened_disputes: ClassVar[Backref["DisputeCase"]]
    assigned_disputes: ClassVar[Backref["DisputeCase"]]
    dispute_events: ClassVar[Backref["DisputeEvent"]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the user.")
    first_name: Column[str] = VarcharField(max_length=255, column_name="firstName", help_text="The given name.")
    last_name: Column[str] = VarcharField(max_length=255, column_name="lastName", help_text="The family name.")
    email: Column[str] = VarcharField(max_length=255, help_text="Where the user gets mail.")
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the user joined."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "users"


class Project(BaseModel):
    """A project of the platform; revision 003 gives it an owner."""

    escrow_transactions: ClassVar[Backref["EscrowTransaction"]]
    owner_id: ClassVar[Column[int | None]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the project.")
    title: Column[str] = VarcharField(max_length=255, help_text="What the project is called.")
    description: Column[str | None] = TextField(null=True, default=None, help_text="What the project is about.")
    status: Column[str | None] = VarcharField(
        max_length=60, null=True, default=None, help_text="The status of the project, in the platform's own words."
    )
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the project was made."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )
    owner: Reference[User | None] = ReferenceField(
        User,
        column_name="ownerId",
        object_id_name="owner_id",
        backref="owned_projects",
        null=True,
        on_delete="SET NULL",
        on_update="CASCADE",
        default=None,
        help_text="The owner, or NULL for none; assign_owner changes it.",
    )

    class Meta:
        table_name = "projects"
        index_names = {("owner",): "projects_owner_id_idx"}
        indexes = ((("owner",), False),)

    @classmethod
    def owned_by(cls, user: User | int) -> Select[Self]:
        """Return a SELECT of the projects of this user, a row or an id, newest first.

        Uses ``projects_owner_id_idx``.
        """
        return cls.select().where(cls.owner == id_of(Project.owner, user)).order_by(cls.id.desc())

    @classmethod
    def counts_by_owner(cls, owners: Iterable[User | int]) -> Counter[int]:
        """Return how many projects each of up to 200 users owns, by user id; absent means 0.

        Uses ``projects_owner_id_idx`` alone.
        """
        owner_ids = ids_of(cls.owner, owners, OWNERS_AT_ONCE)
        if not owner_ids:
            return Counter()
        query = cls.select(cls.owner, peewee.fn.COUNT(cls.id)).where(cls.owner.in_(owner_ids))
        rows: Any = query.group_by(cls.owner).tuples()
        return Counter(dict(rows))

    def assign_owner(self, user: User | int | None) -> bool:
        """Make ``user``, a row or an id, the owner, or with None remove the owner. Return whether it changed.

        Raises NotFound when the project or the user does not exist; nothing is changed then.
        """
        owner_id = optional_id_of(Project.owner, user)

        def work() -> bool:
            row = locked(Project.select(Project.id, Project.owner).where(Project.id == self.id)).first()
            if row is None:
                raise not_found(Project, self.id)
            if row.owner_id == owner_id:
                return False
            Project.update(owner=owner_id).where(Project.id == self.id).execute()
            return True

        is_new = write_with_parents(work, (Project.owner, owner_id))
        self.owner = owner_id
        return is_new


@dataclass(frozen=True)
class Actor:
    """The user who acts, or with id None the system itself, and whether that user exists."""

    id: int | None
    exists: bool = True

    def required_id(self) -> int | None:
        """Return the id; raises NotFound if no such user exists."""
        if not self.exists:
            raise not_found(User, self.id, "by")
        return self.id


def actor_id_of(by: User | int | None) -> int | None:
    """Return the id of the user who acts, a row or an id, or None for the system; sends no query.

    Raises RefusedValue for a row that is not stored.
    """
    field: Any = User.id
    return optional_id_of(field, by)


def resolve_actor_id(by: User | int | None) -> int | None:
    """Return the id of the user who acts, None for the system; raises NotFound. Uses the primary key."""
    key = actor_id_of(by)
    return Actor(key, exists=key is None or User.select(User.id).where(User.id == key).exists()).required_id()


def known_user(parameter: peewee.Node) -> Any:
    """Return a scalar subquery of the user with this id: NULL if none exists. Uses the primary key."""
    return User.select(User.id).where(User.id == parameter)


class Gig(BaseModel):
    """A gig of the platform."""

    escrow_transactions: ClassVar[Backref["EscrowTransaction"]]
    id: Column[int] = KeyField(default=None, help_text="Identifies the gig.")
    title: Column[str] = VarcharField(max_length=255, help_text="What the gig is called.")
    description: Column[str | None] = TextField(null=True, default=None, help_text="What the gig offers.")
    created_at: Column[datetime] = UTCDateTimeField(
        column_name="createdAt", default=now, help_text="When the gig was made."
    )
    updated_at: Column[datetime] = UTCDateTimeField(
        column_name="updatedAt", default=now, help_text="When the row was last written."
    )

    class Meta:
        table_name = "gigs"
