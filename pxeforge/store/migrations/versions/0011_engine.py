"""Versions, losses and retries of runs; what was deployed where, what its checks said, what was fetched for it"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _of_host() -> sa.Column[str]:
    return sa.Column("host_id", sa.String(12), sa.ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)


def upgrade() -> None:
    op.add_column("runs", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("origin", sa.String(16), nullable=False, server_default="operator"))
    op.add_column("runs", sa.Column("losses", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("runs", sa.Column("going_since", sa.Float(), nullable=True))
    op.add_column("run_tasks", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("run_tasks", sa.Column("not_before", sa.Float(), nullable=True))
    op.add_column("run_tasks", sa.Column("said", sa.Text(), nullable=True))
    op.create_index("run_tasks_by_name", "run_tasks", ["role", "name", "finished_at"])
    op.create_table(
        "deployed_roles",
        _of_host(),
        sa.Column("role", sa.String(63), primary_key=True),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("run_id", sa.String(12), nullable=False),
    )
    op.create_table(
        "check_results",
        _of_host(),
        sa.Column("role", sa.String(63), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(12), nullable=False),
    )
    op.create_table(
        "role_prefetches",
        sa.Column("host_id", sa.String(12), primary_key=True),
        sa.Column("role", sa.String(63), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["host_id", "role"], ["assignments.host_id", "assignments.role"], ondelete="CASCADE"),
    )


def downgrade() -> None:
    for table in ("role_prefetches", "check_results", "deployed_roles"):
        op.drop_table(table)
    op.drop_index("run_tasks_by_name", "run_tasks")
    for column in ("said", "not_before", "tries"):
        op.drop_column("run_tasks", column)
    for column in ("going_since", "losses", "origin", "version"):
        op.drop_column("runs", column)
