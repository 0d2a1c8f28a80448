"""Whether a run's maps are contrastive; those made before are not."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("map_run", sa.Column("contrastive", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("map_run", "contrastive")
