"""The first tables: pictures, data sets, models, xNNs, jobs."""

import sqlalchemy as sa
from alembic import op

from services.runtime import job_table

PATH = sa.String().with_variant(sa.String(collation="C"), "postgresql")

revision = "0001"
down_revision = None


def upgrade() -> None:
    job_table.create_table(op)
    op.create_table(
        "image",
        sa.Column("image_id", sa.String, primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
    )
    op.create_table(
        "dataset",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("import_id", sa.String, nullable=False, unique=True),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("train_counts", sa.JSON, nullable=False),
        sa.Column("test_counts", sa.JSON, nullable=False),
        sa.Column("skipped_count", sa.Integer, nullable=False),
        sa.Column("converted_count", sa.Integer, nullable=False),
        sa.Column("content_hash", sa.String, nullable=False),
    )
    op.create_table(
        "dataset_image",
        sa.Column("import_id", sa.String, primary_key=True),
        sa.Column("path", PATH, primary_key=True),
        sa.Column("dataset", sa.String, nullable=False, index=True),
        sa.Column("part", sa.String, nullable=False),
        sa.Column("class_index", sa.Integer, nullable=False),
        sa.Column("image_id", sa.String, sa.ForeignKey("image.image_id"), nullable=False),
        sa.Column("bounding_box", sa.JSON),
        sa.Column("part_points", sa.JSON),
    )
    op.create_index("dataset_image_order", "dataset_image", ["import_id", "part", "class_index", "path"])
    op.create_table(
        "import_issue",
        sa.Column("import_id", sa.String, primary_key=True),
        sa.Column("path", PATH, primary_key=True),
        sa.Column("dataset", sa.String, nullable=False, index=True),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "model",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("model_hash", sa.String, nullable=False),
        sa.Column("onnx_key", sa.String, nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("preprocessing", sa.JSON, nullable=False),
        sa.Column("attachment_layer", sa.String, nullable=False),
        sa.Column("feature_count", sa.Integer, nullable=False),
        sa.Column("map_layer", sa.String, nullable=False),
        sa.Column("map_height", sa.Integer, nullable=False),
        sa.Column("map_width", sa.Integer, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("strict_leak", sa.Float, nullable=False),
        sa.Column("onnx_error", sa.Float, nullable=False),
    )
    op.create_table(
        "xnn_set",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("model", sa.String, sa.ForeignKey("model.name"), nullable=False, index=True),
        sa.Column("dataset", sa.String, sa.ForeignKey("dataset.name"), nullable=False, index=True),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
    )
    op.create_table(
        "xnn",
        sa.Column("set_name", sa.String, sa.ForeignKey("xnn_set.name"), primary_key=True),
        sa.Column("class_name", sa.String, primary_key=True),
        sa.Column("weights_key", sa.String, nullable=False),
        sa.Column("settings_hash", sa.String, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
    )
    op.create_table(
        "feature_shard",
        sa.Column("cache_key", sa.String, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True),
        sa.Column("object_key", sa.String, nullable=False),
    )


def downgrade() -> None:
    tables = (
        "feature_shard",
        "xnn",
        "xnn_set",
        "model",
        "import_issue",
        "dataset_image",
        "dataset",
        "image",
        "job",
    )
    for table in tables:
        op.drop_table(table)
