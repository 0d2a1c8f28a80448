"""Activations of the map layer, kept from a feature pass."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "kept_cells",
        sa.Column("seen_by", sa.String, primary_key=True),
        sa.Column("image_id", sa.String, primary_key=True),
        sa.Column("object_key", sa.String, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("kept_cells")
