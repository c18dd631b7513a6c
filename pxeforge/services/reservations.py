"""Network settings of one host alone: its reserved address and what DHCP tells it otherwise than its subnet.

They are kept with the host under the setting `network`: address, router, dns, ntp, domain, search, mtu, lease_time_s.
The address stands in a column too: unique, and found by an index with every packet.
"""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.message import spelled
from pxeforge.protocol.dhcp.subnet import BadSubnet, HostNetwork
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.store.tables import Host

_OF: Final = """
    SELECT json_extract(h.settings, '$.network') FROM nics n JOIN hosts h ON h.id = n.host_id WHERE n.mac = :mac
"""
_KEPT: Final = """
    SELECT 1 FROM hosts h WHERE h.reserved_address = :address
        AND NOT EXISTS (SELECT 1 FROM nics n WHERE n.mac = :mac AND n.host_id = h.id)
"""
_BY_GUID: Final = """
    SELECT min(n.mac) FROM hosts h JOIN nics n ON n.host_id = h.id WHERE h.uuid = :uuid GROUP BY h.id LIMIT 2
"""


class StoredNetworks:
    """The HostNetworks of the DHCP server."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def of(self, mac: MacAddress, /) -> HostNetwork | None:
        for (network,) in self._ctx.database.look_up(_OF, mac=str(mac)):
            return parse(json.loads(network)) if network else None
        return None

    def is_kept_from(self, mac: MacAddress, address: IPv4Address, /) -> bool:
        return bool(self._ctx.database.look_up(_KEPT, mac=str(mac), address=spelled(address)))

    def mac_of(self, guid: bytes, /) -> MacAddress | None:
        """Boards that share one GUID are told from nobody: None."""
        rows = self._ctx.database.look_up(_BY_GUID, uuid=str(uuid.UUID(bytes=guid)))
        return MacAddress.parse(rows[0][0]) if len(rows) == 1 else None


def merged(old: Mapping[str, Any], new: object) -> dict[str, Any]:
    """The setting `network` after a change: what is None goes away, what is not named stays. Raises Problem."""
    if new is None:
        return {}
    if not isinstance(new, dict):
        raise Problem(f"host setting network must be an object with some of {', '.join(_READERS)}")
    return {key: value for key, value in {**old, **new}.items() if value is not None}


def parse(network: Mapping[str, Any]) -> HostNetwork:
    """Raises Problem."""
    unknown = set(network) - set(_READERS)
    if unknown:
        raise Problem(f"unknown network setting {min(unknown)!r}: known are {', '.join(_READERS)}")
    try:
        return HostNetwork(**{key: _read(key, value) for key, value in network.items()})
    except BadSubnet as problem:
        raise Problem(str(problem)) from None


def check(session: Session, ctx: Context, host: Host, network: Mapping[str, Any]) -> str | None:
    """The address to reserve, if any; raises Problem and Conflict."""
    own = parse(network)
    if own.address is None:
        return None
    subnets = ctx.subnets()
    subnet = next((subnet for subnet in subnets if own.address in subnet.network), None)
    if subnet is None:
        where = ", ".join(str(subnet.network) for subnet in subnets)
        raise Problem(
            f"{own.address} is in no subnet of this server: choose an address of {where}"
            if where else f"{own.address} cannot be reserved: addresses are lent in server mode only (--dhcp server)"
        )  # fmt: skip
    if not subnet.may_be_lent(own.address) or str(own.address) == ctx.addresses.boot_address:
        raise Problem(f"{own.address} is the network's, the router's or this server's own: choose another address")
    if own.router is not None and own.router not in subnet.network:
        raise Problem(f"the router {own.router} is not inside {subnet.network}: the host could not reach it")
    address = str(own.address)
    other = session.scalars(select(Host).where(Host.reserved_address == address, Host.id != host.id)).first()
    if other is not None:
        raise Conflict(f"{address} is reserved for host {other.name or other.id}: choose another address")
    return address


def _read(key: str, value: object) -> Any:
    kind, read = _READERS[key]
    try:
        return read(value)
    except (ValueError, TypeError):
        raise Problem(f"network setting {key}: {value!r} is not {kind}") from None


def _address(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise TypeError
    return ipaddress.IPv4Address(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


_ADDRESS: Final = "an IPv4 address like 10.0.0.5"
_ADDRESSES: Final = "a list of IPv4 addresses"
_READERS: Final[Mapping[str, tuple[str, Callable[[object], Any]]]] = {
    "address": (_ADDRESS, _address),
    "router": (_ADDRESS, _address),
    "dns": (_ADDRESSES, lambda value: tuple(map(_address, _list(value)))),
    "ntp": (_ADDRESSES, lambda value: tuple(map(_address, _list(value)))),
    "domain": ("a domain name", _text),
    "search": ("a list of domain names", lambda value: tuple(map(_text, _list(value)))),
    "mtu": ("a number of bytes", _number),
    "lease_time_s": ("a number of seconds", _number),
}
