"""The rack of a host as a column, and an index of serial numbers as they are compared: lists read them of all hosts"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hosts", sa.Column("rack", sa.String(63), nullable=True))
    _tell_racks()
    op.create_index("ix_hosts_rack", "hosts", ["rack"])
    op.create_index("hosts_by_serial", "hosts", [sa.text("lower(serial)")])


def _tell_racks() -> None:
    hosts = sa.table("hosts", sa.column("id"), sa.column("settings", sa.JSON()), sa.column("rack"))
    connection = op.get_bind()
    for host_id, settings in connection.execute(sa.select(hosts.c.id, hosts.c.settings)).all():
        place = (settings or {}).get("rack")
        if isinstance(place, dict) and place.get("name"):
            connection.execute(hosts.update().where(hosts.c.id == host_id).values(rack=place["name"]))


def downgrade() -> None:
    op.drop_index("hosts_by_serial", "hosts")
    op.drop_index("ix_hosts_rack", "hosts")
    op.drop_column("hosts", "rack")
