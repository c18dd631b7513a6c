"""DHCP leases in the database: loaded at the start, stored before an ACK leaves."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from sqlalchemy import select

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.services.context import Context
from pxeforge.store.tables import DhcpLease


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
        with self._ctx.database.write() as session:
            for lease in leases:
                session.merge(
                    DhcpLease(
                        address=str(lease.address), mac=str(lease.mac), client_id=lease.client_id.hex() or None,
                        expires_at=lease.expires_at, state=lease.state.value,
                    )
                )  # fmt: skip
