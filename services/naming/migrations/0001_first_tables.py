"""The first tables: studies, annotators, and the log of acts with the state it folds into."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

OF_NAMING = ["naming.study_id", "naming.annotator_id", "naming.category"]
NAMING_KEY = ["study_id", "annotator_id", "category"]


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, index=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("part", sa.String, nullable=False),
        sa.Column("xnn_set", sa.String, nullable=False),
        sa.Column("categories", sa.JSON, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("create_time", sa.Float, nullable=False, index=True),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("request_hash", sa.String, nullable=False),
        sa.Column("activation_count", sa.Integer, nullable=False),
        sa.Column("activation_revision", sa.Integer, nullable=False),
    )
    op.create_table(
        "study_activation",
        sa.Column("study_id", sa.String, sa.ForeignKey("study.study_id"), primary_key=True),
        sa.Column("activation_id", sa.String, primary_key=True),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("image_id", sa.String, nullable=False),
    )
    op.create_index("study_activation_of_category", "study_activation", ["study_id", "category"])
    op.create_table(
        "annotator",
        sa.Column("study_id", sa.String, sa.ForeignKey("study.study_id"), primary_key=True),
        sa.Column("annotator_id", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("request_id", sa.String),
        sa.Column("token_hash", sa.String, unique=True),
        sa.Column("token_expiry", sa.Float, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.UniqueConstraint("study_id", "display_name"),
        sa.UniqueConstraint("study_id", "request_id"),
    )
    op.create_table(
        "naming",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("annotator_id", sa.String, primary_key=True),
        sa.Column("category", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("undo_count", sa.Integer, nullable=False),
        sa.Column("redo_count", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id", "annotator_id"], ["annotator.study_id", "annotator.annotator_id"]
        ),
    )
    op.create_table(
        "act",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("annotator_id", sa.String, primary_key=True),
        sa.Column("category", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("command", sa.LargeBinary, nullable=False),
        sa.Column("edits", sa.JSON, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(NAMING_KEY, OF_NAMING),
        sa.UniqueConstraint("study_id", "annotator_id", "request_id"),
    )
    op.create_index("act_of_depth", "act", [*NAMING_KEY, "depth", "revision"])
    op.create_table(
        "concept",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("concept_id", sa.String, primary_key=True),
        sa.Column("annotator_id", sa.String, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("standing", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(NAMING_KEY, OF_NAMING),
    )
    op.create_index("concept_of_naming", "concept", NAMING_KEY)
    op.create_table(
        "placement",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("annotator_id", sa.String, primary_key=True),
        sa.Column("activation_id", sa.String, primary_key=True),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("concept_id", sa.String),
        sa.Column("reason", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id", "activation_id"], ["study_activation.study_id", "study_activation.activation_id"]
        ),
        sa.ForeignKeyConstraint(["study_id", "concept_id"], ["concept.study_id", "concept.concept_id"]),
    )
    op.create_index("placement_of_naming", "placement", [*NAMING_KEY, "concept_id"])
    op.create_table(
        "naming_import",
        sa.Column("study_id", sa.String, sa.ForeignKey("study.study_id"), primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("request_hash", sa.String, nullable=False),
        sa.Column("annotator_count", sa.Integer, nullable=False),
        sa.Column("concept_count", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "naming_import",
        "placement",
        "concept",
        "act",
        "naming",
        "annotator",
        "study_activation",
        "study",
    ):
        op.drop_table(table)
