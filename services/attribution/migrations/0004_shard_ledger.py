"""The ledger of shards; maps that were half drawn without it are drawn anew."""

import sqlalchemy as sa
from alembic import op

from services.runtime import shard_ledger

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    shard_ledger.create_table(op)
    half_drawn = "SELECT study_id FROM map_run WHERE archive_hash = '' AND NOT is_complete"
    for table in ("activation", "explained_image", "map_run"):
        op.execute(sa.text(f"DELETE FROM {table} WHERE study_id IN ({half_drawn})"))  # noqa: S608


def downgrade() -> None:
    op.drop_table("work_shard")
