"""Files of data sets are found by their picture, as deletions ask for each."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("ix_dataset_image_image_id", "dataset_image", ["image_id"])


def downgrade() -> None:
    op.drop_index("ix_dataset_image_image_id", "dataset_image")
