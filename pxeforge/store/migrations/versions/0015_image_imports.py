"""Imports of images that somebody asked the server for"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_imports",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("mirror", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("asked_by", sa.String(63), nullable=False),
        sa.Column("asked_via", sa.String(80), nullable=False),
        sa.Column("asked_from", sa.String(45), nullable=True),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("step", sa.String(16), nullable=True),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=True),
        sa.Column("version", sa.String(128), nullable=True),
        sa.Column("fresh", sa.Boolean(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("image_imports")
