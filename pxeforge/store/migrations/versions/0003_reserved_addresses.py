"""The address that DHCP keeps for a host"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hosts", sa.Column("reserved_address", sa.String(15), nullable=True))
    op.create_index("ix_hosts_reserved_address", "hosts", ["reserved_address"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_hosts_reserved_address", "hosts")
    op.drop_column("hosts", "reserved_address")
