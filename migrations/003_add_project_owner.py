"""Projects have an owner, so that a dashboard can show somebody's own."""

from engagement_db.schema.revision import Revision
from engagement_db.schema.steps import add_column, require_tables
from engagement_db.tables import references

revision = Revision(
    "003_add_project_owner",
    require_tables("users", "projects"),
    add_column(
        "projects",
        references("ownerId", "users", null=True, on_delete="SET NULL", on_update="CASCADE"),
        index="projects_owner_id_idx",
    ),
)
migrate = revision.migrate
rollback = revision.rollback
