"""Revision three, as `alembic revision --autogenerate` writes it, with the key named so that down can drop it."""

import sqlalchemy as sa
from alembic import op

revision = "003"
down_revision = None


def upgrade():
    op.add_column("projects", sa.Column("ownerId", sa.Integer(), nullable=True))
    op.create_index("projects_owner_id_idx", "projects", ["ownerId"], unique=False)
    op.create_foreign_key(
        "projects_owner_id_fkey", "projects", "users", ["ownerId"], ["id"], onupdate="CASCADE", ondelete="SET NULL"
    )


def downgrade():
    op.drop_constraint("projects_owner_id_fkey", "projects", type_="foreignkey")
    op.drop_index("projects_owner_id_idx", table_name="projects")
    op.drop_column("projects", "ownerId")
