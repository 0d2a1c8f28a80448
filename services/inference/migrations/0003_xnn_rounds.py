"""Rounds of classes that are being trained."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "xnn_round",
        sa.Column("set_name", sa.String, sa.ForeignKey("xnn_set.name"), primary_key=True),
        sa.Column("class_name", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("settings_hash", sa.String, nullable=False),
        sa.Column("object_key", sa.String, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("xnn_round")
