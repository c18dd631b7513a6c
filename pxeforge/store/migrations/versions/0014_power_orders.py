"""Power actions on many hosts"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "power_orders",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("soft", sa.Boolean(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("who", sa.String(63), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
    )
    op.create_index("ix_power_orders_created_at", "power_orders", ["created_at"])
    op.create_index("ix_power_orders_ended_at", "power_orders", ["ended_at"])
    op.create_table(
        "power_order_hosts",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("order_id", sa.String(12), sa.ForeignKey("power_orders.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.String(12), nullable=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("progress", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
    )
    op.create_index("ix_power_order_hosts_order_id", "power_order_hosts", ["order_id"])


def downgrade() -> None:
    op.drop_table("power_order_hosts")
    op.drop_table("power_orders")
