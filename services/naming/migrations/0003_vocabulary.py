"""How labels of a study are read and compared, every version of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "vocabulary_change",
        sa.Column("study_id", sa.String, sa.ForeignKey("study.study_id"), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("vocabulary", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("vocabulary_change")
