"""Maps made elsewhere: what made them, and numbers that their archives need not say; shards with a header."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_OPTIONAL = {"explained_image": ("dnn_score", "xnn_score"), "activation": ("x",)}
_ADDED = {
    "method": (sa.String, "Excitation Backprop"),
    "archive_hash": (sa.String, ""),
    "parameters": (sa.String, '{"precision": "float32"}'),
    "already_significant": (sa.Boolean, sa.false()),
}


def upgrade() -> None:
    for name, (kind, default) in _ADDED.items():
        op.add_column("map_run", sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column(
        "activation", sa.Column("shard_start", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    _set_nullable(True)


def downgrade() -> None:
    """Imported studies go, and so do those whose shards have a header, which the version before cannot read."""
    gone = (
        "SELECT study_id FROM map_run WHERE archive_hash != ''"
        " UNION SELECT study_id FROM activation WHERE shard_start > 0"
    )
    op.execute(f"CREATE TEMPORARY TABLE gone AS {gone}")
    for table in ("activation", "explained_image", "map_run"):
        op.execute(f"DELETE FROM {table} WHERE study_id IN (SELECT study_id FROM gone)")  # noqa: S608
    op.execute("DROP TABLE gone")
    _set_nullable(False)
    op.drop_column("activation", "shard_start")
    for name in _ADDED:
        op.drop_column("map_run", name)


def _set_nullable(nullable: bool) -> None:
    for table, columns in _OPTIONAL.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.alter_column(column, existing_type=sa.Float, nullable=nullable)
