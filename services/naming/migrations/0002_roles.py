"""Annotators and viewers; concept ids are each annotator's own, so that nobody meets another's."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OF_NAMING = ["naming.study_id", "naming.annotator_id", "naming.category"]
NAMING_KEY = ["study_id", "annotator_id", "category"]


def upgrade() -> None:
    op.add_column("annotator", sa.Column("role", sa.String, nullable=False, server_default="annotator"))
    _keyed_by("annotator_id", "concept_id")


def downgrade() -> None:
    """Fails where two annotators of a study have concepts of the same id."""
    _keyed_by("concept_id")
    op.drop_column("annotator", "role")


def _keyed_by(*columns: str) -> None:
    """Copies concepts and placements into tables whose concepts have the key (study_id, *columns)."""
    key = ["study_id", *columns]
    op.rename_table("concept", "old_concept")
    op.rename_table("placement", "old_placement")
    for index, table in (("concept_of_naming", "old_concept"), ("placement_of_naming", "old_placement")):
        op.drop_index(index, table)
    op.create_table(
        "concept",
        *(
            sa.Column(name, sa.String, primary_key=name in key, nullable=False)
            for name in ("study_id", "annotator_id", "concept_id", "category")
        ),
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
        sa.ForeignKeyConstraint(key, [f"concept.{name}" for name in key], name="placement_in_concept"),
    )
    op.create_index("placement_of_naming", "placement", [*NAMING_KEY, "concept_id"])
    for table, columns_of in (
        ("concept", "study_id, annotator_id, concept_id, category, name, place, standing"),
        ("placement", "study_id, annotator_id, activation_id, category, concept_id, reason, position"),
    ):
        op.execute(f"INSERT INTO {table} ({columns_of}) SELECT {columns_of} FROM old_{table}")  # noqa: S608  names from above
    op.drop_table("old_placement")
    op.drop_table("old_concept")
