"""The platform's own tables, as far as we read them. They may have any number of other columns."""

from engagement_db.database import BaseModel, now
from engagement_db.fields import KeyField, ReferenceField, TextField, TimeField, VarcharField


class User(BaseModel):
    """A person of the platform."""

    id = KeyField()
    first_name = VarcharField(max_length=255, column_name="firstName")
    last_name = VarcharField(max_length=255, column_name="lastName")
    email = VarcharField(max_length=255)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "users"


class Project(BaseModel):
    """A project of the platform; revision three gives it an owner."""

    id = KeyField()
    title = VarcharField(max_length=255)
    description = TextField(null=True)
    status = VarcharField(max_length=60, null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)
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


class Gig(BaseModel):
    """A gig of the platform."""

    id = KeyField()
    title = VarcharField(max_length=255)
    description = TextField(null=True)
    created_at = TimeField(column_name="createdAt", default=now)
    updated_at = TimeField(column_name="updatedAt", default=now)

    class Meta:
        table_name = "gigs"
