"""Indexes for what every packet asks: hosts by address, arming times"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_hosts_address", "hosts", ["address"])
    op.create_index("ix_hosts_armed_until", "hosts", ["armed_until"])


def downgrade() -> None:
    op.drop_index("ix_hosts_armed_until", "hosts")
    op.drop_index("ix_hosts_address", "hosts")
