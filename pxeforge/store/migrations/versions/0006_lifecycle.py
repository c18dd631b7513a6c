"""What attempts are for, and the diagnoses of hosts"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("purpose", sa.String(16), nullable=False, server_default="install"))
    op.add_column("attempts", sa.Column("since_event", sa.Integer(), nullable=False, server_default="0"))
    _tell_purposes()
    op.create_table(
        "diagnoses",
        sa.Column("host_id", sa.String(12), sa.ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
    )
    op.create_index("ix_diagnoses_name", "diagnoses", ["name"])


def _tell_purposes() -> None:
    """Rescue systems and memory tests were told by the choices among the parameters only."""
    attempts = sa.table("attempts", sa.column("id"), sa.column("parameters", sa.JSON()), sa.column("purpose"))
    connection = op.get_bind()
    for attempt_id, parameters in connection.execute(sa.select(attempts.c.id, attempts.c.parameters)).all():
        choices = ((parameters or {}).get("boot") or {}).get("choices") or [{}]
        purpose = choices[0].get("purpose", "install")
        if purpose != "install":
            connection.execute(attempts.update().where(attempts.c.id == attempt_id).values(purpose=purpose))


def downgrade() -> None:
    op.drop_table("diagnoses")
    op.drop_column("attempts", "since_event")
    op.drop_column("attempts", "purpose")
    # States that the release before does not know.
    op.execute("UPDATE hosts SET state = 'known' WHERE state IN ('rescue', 'retired')")
    op.execute("UPDATE hosts SET state = 'failed' WHERE state IN ('installed', 'wiping')")
