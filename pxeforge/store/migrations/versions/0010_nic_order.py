"""The order of a host's NICs, which only SQLite kept by itself"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ARRIVAL = {"sqlite": "rowid", "postgresql": "mac"}


def upgrade() -> None:
    op.add_column("nics", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
    came = _ARRIVAL[op.get_bind().dialect.name]
    op.execute(
        "UPDATE nics SET position = (SELECT count(*) FROM nics other "  # noqa: S608 - our own constants
        f"WHERE other.host_id = nics.host_id AND other.{came} < nics.{came})"
    )


def downgrade() -> None:
    op.drop_column("nics", "position")
