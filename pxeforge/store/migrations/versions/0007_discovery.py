"""Rules, racks and discovery"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rules",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False, unique=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("gives", sa.JSON(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("applied", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "rule_marks",
        sa.Column("host_id", sa.String(12), sa.ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "racks",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
    )
    op.create_table(
        "sightings",
        sa.Column("mac", sa.String(17), sa.ForeignKey("nics.mac", ondelete="CASCADE"), primary_key=True),
        sa.Column("interface", sa.String(32), nullable=False),
        sa.Column("relay", sa.String(45), nullable=True),
        sa.Column("circuit_id", sa.String(260), nullable=True),
        sa.Column("remote_id", sa.String(260), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "identity_notes",
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("host_id", sa.String(12), sa.ForeignKey("hosts.id", ondelete="CASCADE"), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("settled_by", sa.String(63), nullable=True),
    )
    op.create_index("ix_identity_notes_host_id", "identity_notes", ["host_id"])
    op.create_table(
        "discovery_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("host_id", sa.String(12), sa.ForeignKey("hosts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
    )
    op.create_index("ix_discovery_tokens_host_id", "discovery_tokens", ["host_id"])
    op.create_index("ix_hosts_serial", "hosts", ["serial"])


def downgrade() -> None:
    op.drop_index("ix_hosts_serial", "hosts")
    for table in ("discovery_tokens", "identity_notes", "sightings", "racks", "rule_marks", "rules"):
        op.drop_table(table)
