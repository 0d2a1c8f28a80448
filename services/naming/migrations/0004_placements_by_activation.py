"""Placements are found by their activation, as the deletion of a study asks for each."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("placement_of_activation", "placement", ["study_id", "activation_id"])


def downgrade() -> None:
    op.drop_index("placement_of_activation", "placement")
