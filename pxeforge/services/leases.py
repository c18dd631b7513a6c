"""DHCP leases in the database: loaded at the start, stored before an ACK leaves."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from sqlalchemy import select

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.protocol.dhcp.message import spelled
from pxeforge.services.context import Context
from pxeforge.services.events import insert
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import DhcpLease

_UPSERT: Final = (
    "INSERT INTO leases (address, mac, client_id, expires_at, state) "
    "VALUES (:address, :mac, :client_id, :expires_at, :state) "
    "ON CONFLICT (address) DO UPDATE SET mac = excluded.mac, client_id = excluded.client_id, "
    "expires_at = excluded.expires_at, state = excluded.state"
)
# The host may have reported another address meanwhile: then the lease is told again.
_TAKE_ADDRESS: Final = """
    UPDATE nics SET address = :address WHERE mac = :mac AND (address IS DISTINCT FROM :address
        OR (SELECT h.address FROM hosts h WHERE h.id = nics.host_id) IS DISTINCT FROM :address)
"""


class StoredLeases:
    """The LeaseStore of the DHCP server."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def load(self) -> list[Lease]:
        with self._ctx.database.read() as session:
            return [
                Lease(
                    mac=MacAddress.parse(row.mac), client_id=bytes.fromhex(row.client_id or ""),
                    address=IPv4Address(row.address), expires_at=row.expires_at, state=LeaseState(row.state),
                )
                for row in session.scalars(select(DhcpLease))
            ]  # fmt: skip

    def save(self, leases: Sequence[Lease]) -> None:
        """All of them in one transaction, on disk when it returns; with it each host's address is known."""
        at = self._ctx.clock()
        self._ctx.database.change(lambda statements: _put(statements, leases, at))


def _put(statements: Statements, leases: Sequence[Lease], at: float) -> None:
    rows = [
        {
            "address": spelled(lease.address), "mac": str(lease.mac), "client_id": lease.client_id.hex() or None,
            "expires_at": lease.expires_at, "state": lease.state.value,
        }
        for lease in leases
    ]  # fmt: skip
    statements.run_many(_UPSERT, rows)
    for row in rows:
        if row["state"] == LeaseState.BOUND.value:
            _note_address(statements, str(row["mac"]), str(row["address"]), at)


def _note_address(statements: Statements, mac: str, address: str, at: float) -> None:
    """From now on this address is this host: its file transfers and log lines find their timeline.

    A plain DHCP client that never netbooted is no host of ours.
    """
    if not statements.run(_TAKE_ADDRESS, mac=mac, address=address):
        return
    statements.run("UPDATE nics SET address = NULL WHERE address = :address AND mac <> :mac", address=address, mac=mac)
    [(host_id,)] = statements.rows("SELECT host_id FROM nics WHERE mac = :mac", mac=mac)
    statements.run("UPDATE hosts SET address = :address WHERE id = :id", address=address, id=host_id)
    insert(statements, at=at, host_id=host_id, source="dhcp", kind="leased", message=f"{mac} leased {address}")
