"""An address is reserved for a NIC, not for a host"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Until now the host's NIC that asked first had it: that one, else the first of them, keeps it. PostgreSQL does not keep
# in which order rows came.
_TO_NICS = """
    UPDATE nics SET reserved_address = h.reserved_address FROM hosts h
    WHERE h.id = nics.host_id AND h.reserved_address IS NOT NULL AND nics.{first} = coalesce(
        (SELECT min(n.{first}) FROM nics n WHERE n.host_id = h.id AND n.address = h.reserved_address),
        (SELECT min(n.{first}) FROM nics n WHERE n.host_id = h.id)
    )
"""
_TO_HOSTS = """
    UPDATE hosts SET reserved_address = (SELECT min(n.reserved_address) FROM nics n WHERE n.host_id = hosts.id)
"""
_FIRST = {"sqlite": "rowid", "postgresql": "mac"}
_OUT_OF_SETTINGS = {
    "sqlite": (
        "UPDATE hosts SET settings = json_remove(settings, '$.network.address') "
        "WHERE json_extract(settings, '$.network.address') IS NOT NULL",
        "UPDATE hosts SET settings = json_remove(settings, '$.network') "
        "WHERE json_extract(settings, '$.network') = '{}'",
    ),
    "postgresql": (
        "UPDATE hosts SET settings = CAST(CAST(settings AS jsonb) #- '{network,address}' AS json) "
        "WHERE settings -> 'network' ->> 'address' IS NOT NULL",
        "UPDATE hosts SET settings = CAST(CAST(settings AS jsonb) - 'network' AS json) "
        "WHERE settings ->> 'network' = '{}'",
    ),
}
_INTO_SETTINGS = {
    "sqlite": """
        UPDATE hosts SET settings = json_set(
            settings, '$.network', json_set(coalesce(json_extract(settings, '$.network'), '{}'), '$.address',
                                            reserved_address)
        ) WHERE reserved_address IS NOT NULL
    """,
    "postgresql": """
        UPDATE hosts SET settings = CAST(jsonb_set(
            CAST(settings AS jsonb), '{network}',
            coalesce(CAST(settings AS jsonb) -> 'network', '{}') || jsonb_build_object('address', reserved_address)
        ) AS json) WHERE reserved_address IS NOT NULL
    """,
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.add_column("nics", sa.Column("reserved_address", sa.String(15), nullable=True))
    op.execute(_TO_NICS.format(first=_FIRST[dialect]))
    for statement in _OUT_OF_SETTINGS[dialect]:
        op.execute(statement)
    op.create_index("ix_nics_reserved_address", "nics", ["reserved_address"], unique=True)
    op.drop_index("ix_hosts_reserved_address", "hosts")
    op.drop_column("hosts", "reserved_address")


def downgrade() -> None:
    op.add_column("hosts", sa.Column("reserved_address", sa.String(15), nullable=True))
    op.execute(_TO_HOSTS)
    op.execute(_INTO_SETTINGS[op.get_bind().dialect.name])
    op.create_index("ix_hosts_reserved_address", "hosts", ["reserved_address"], unique=True)
    op.drop_index("ix_nics_reserved_address", "nics")
    op.drop_column("nics", "reserved_address")
