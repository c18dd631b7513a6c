"""Roles of users, sessions, API tokens, and from where each change came"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Until now whoever could log in could do everything: nobody loses what they had.
    op.add_column("users", sa.Column("role", sa.String(16), nullable=False, server_default="admin"))
    with op.batch_alter_table("users") as users:
        users.alter_column("role", server_default=None)
        users.drop_column("session_epoch")
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("user_name", sa.String(63), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("address", sa.String(45), nullable=True),
        sa.Column("browser", sa.String(200), nullable=False),
    )
    op.create_index("ix_sessions_user_name", "sessions", ["user_name"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("user_name", sa.String(63), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
    )
    op.create_index("ix_api_tokens_user_name", "api_tokens", ["user_name"])
    op.add_column("events", sa.Column("via", sa.String(80), nullable=True))
    op.add_column("events", sa.Column("address", sa.String(45), nullable=True))
    by_somebody = sa.text("who IS NOT NULL")
    op.create_index(
        "events_by_who", "events", ["who", "id"], sqlite_where=by_somebody, postgresql_where=by_somebody
    )  # fmt: skip
    op.create_index("events_audited", "events", ["id"], sqlite_where=by_somebody, postgresql_where=by_somebody)


def downgrade() -> None:
    op.drop_index("events_audited", "events")
    op.drop_index("events_by_who", "events")
    op.drop_column("events", "address")
    op.drop_column("events", "via")
    op.drop_table("api_tokens")
    op.drop_table("sessions")
    op.add_column("users", sa.Column("session_epoch", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("users") as users:
        users.alter_column("session_epoch", server_default=None)
        users.drop_column("role")
