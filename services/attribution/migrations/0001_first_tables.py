"""The first tables: runs, explained images, activations, jobs."""

import sqlalchemy as sa
from alembic import op

from services.runtime import job_table

CATEGORY = sa.String().with_variant(sa.String(collation="C"), "postgresql")

revision = "0001"
down_revision = None


def upgrade() -> None:
    job_table.create_table(op)
    op.create_table(
        "map_run",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("salt", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("model_hash", sa.String, nullable=False),
        sa.Column("xnn_set", sa.String, nullable=False),
        sa.Column("xnn_hash", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("dataset_hash", sa.String, nullable=False),
        sa.Column("attachment_layer", sa.String, nullable=False),
        sa.Column("map_layer", sa.String, nullable=False),
        sa.Column("map_height", sa.Integer, nullable=False),
        sa.Column("map_width", sa.Integer, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("significant_share", sa.Float, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("is_complete", sa.Boolean, nullable=False),
    )
    op.create_table(
        "explained_image",
        sa.Column("study_id", sa.String, sa.ForeignKey("map_run.study_id"), primary_key=True),
        sa.Column("category", CATEGORY, primary_key=True),
        sa.Column("image_id", sa.String, primary_key=True),
        sa.Column("dnn_score", sa.Float, nullable=False),
        sa.Column("xnn_score", sa.Float, nullable=False),
        sa.Column("predicted_class", sa.String, nullable=False),
        sa.Column("significant_count", sa.Integer, nullable=False),
    )
    op.create_table(
        "activation",
        sa.Column("study_id", sa.String, sa.ForeignKey("map_run.study_id"), primary_key=True),
        sa.Column("activation_id", sa.String, primary_key=True),
        sa.Column("category", CATEGORY, nullable=False),
        sa.Column("image_id", sa.String, nullable=False),
        sa.Column("x_feature", sa.Integer, nullable=False),
        sa.Column("x", sa.Float, nullable=False),
        sa.Column("contribution", sa.Float, nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("map_sum", sa.Float, nullable=False),
        sa.Column("map_scale", sa.Float, nullable=False),
        sa.Column("shard_key", sa.String, nullable=False),
        sa.Column("shard_index", sa.Integer, nullable=False),
        sa.Column("crc32", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("study_id", "category", "image_id", "x_feature"),
    )


def downgrade() -> None:
    for table in ("activation", "explained_image", "map_run", "job"):
        op.drop_table(table)
