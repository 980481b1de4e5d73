"""The platform's own tables, as far as we read them. They may have any number of other columns."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import peewee

from engagement_db.orm.bound import now
from engagement_db.orm.fields import KeyField, ReferenceField, TextField, UTCDateTimeField, VarcharField
from engagement_db.orm.models import BaseModel
from engagement_db.orm.rows import id_of, ids_of, not_found, optional_id_of, written
from engagement_db.orm.transactions import locked

OWNERS_AT_ONCE: Final = 200


class User(BaseModel):
    """A person of the platform."""

    id = KeyField()
    first_name = VarcharField(max_length=255, column_name="firstName")
    last_name = VarcharField(max_length=255, column_name="lastName")
    email = VarcharField(max_length=255)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "users"


class Project(BaseModel):
    """A project of the platform; revision three gives it an owner."""

    id = KeyField()
    title = VarcharField(max_length=255)
    description = TextField(null=True)
    status = VarcharField(max_length=60, null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)
    owner = ReferenceField(
        User,
        column_name="ownerId",
        object_id_name="owner_id",
        backref="owned_projects",
        null=True,
        on_delete="SET NULL",
        on_update="CASCADE",
    )

    class Meta:
        table_name = "projects"
        index_names = {("owner",): "projects_owner_id_idx"}
        indexes = ((("owner",), False),)

    @classmethod
    def owned_by(cls, user: Any) -> Any:
        """Return a SELECT of the projects of this user, a row or an id, newest first.

        Uses ``projects_owner_id_idx``.
        """
        return cls.select().where(cls.owner == id_of(Project.owner, user)).order_by(cls.id.desc())

    @classmethod
    def counts_by_owner(cls, owners: Iterable[Any]) -> Counter[int]:
        """Return how many projects each of up to 200 users owns, by user id; absent means 0.

        Uses ``projects_owner_id_idx`` alone.
        """
        owner_ids = ids_of(cls.owner, owners, OWNERS_AT_ONCE)
        if not owner_ids:
            return Counter()
        query = cls.select(cls.owner, peewee.fn.COUNT(cls.id)).where(cls.owner.in_(owner_ids))
        rows: Any = query.group_by(cls.owner).tuples()
        return Counter(dict(rows))

    def assign_owner(self, user: Any) -> bool:
        """The project belongs to ``user``, a row or an id; with None to nobody. Returns whether that is new.

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

        is_new = written(work, (Project.owner, owner_id))
        self.owner = owner_id
        return is_new


def resolve_actor_id(by: Any) -> int | None:
    """Return the id of the user who acts, None for the system; raises NotFound. Uses the primary key."""
    if by is None:
        return None
    key: int = User.id.db_value(by)
    if not User.select(User.id).where(User.id == key).exists():
        raise not_found(User, key, "by")
    return key


class Gig(BaseModel):
    """A gig of the platform."""

    id = KeyField()
    title = VarcharField(max_length=255)
    description = TextField(null=True)
    created_at = UTCDateTimeField(column_name="createdAt", default=now)
    updated_at = UTCDateTimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "gigs"
