"""Network settings of one host alone: addresses reserved for its NICs, what DHCP tells it otherwise than its subnet.

The addresses are kept with the NICs: unique, and found by an index with every packet. The rest is kept with the host
under the setting `network`: router, dns, ntp, domain, search, mtu, lease_time_s.
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

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.protocol.dhcp.message import spelled
from pxeforge.protocol.dhcp.subnet import BadSubnet, HostNetwork
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.store.tables import Host, Nic

_OF: Final = """
    SELECT h.settings -> 'network', n.reserved_address
    FROM nics n JOIN hosts h ON h.id = n.host_id WHERE n.mac = :mac
"""
_KEPT: Final = "SELECT 1 FROM nics n WHERE n.reserved_address = :address AND n.mac != :mac"
_BY_GUID: Final = """
    SELECT min(n.mac) FROM hosts h JOIN nics n ON n.host_id = h.id WHERE h.uuid = :uuid GROUP BY h.id LIMIT 2
"""


class StoredNetworks:
    """The HostNetworks of the DHCP server."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def of(self, mac: MacAddress, /) -> HostNetwork | None:
        for network, address in self._ctx.database.look_up(_OF, mac=str(mac)):
            return parse(json.loads(network or "{}"), address) if network or address else None
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


def parse(network: Mapping[str, Any], address: str | None = None) -> HostNetwork:
    """What a NIC gets by the setting `network` of its host and its reserved address. Raises Problem."""
    unknown = set(network) - set(_READERS)
    if unknown:
        raise Problem(f"unknown network setting {min(unknown)!r}: known are {', '.join(_READERS)}")
    try:
        return HostNetwork(
            address=IPv4Address(address) if address else None,
            **{key: _read(key, value) for key, value in network.items()},
        )
    except BadSubnet as problem:
        raise Problem(str(problem)) from None


def check(ctx: Context, network: Mapping[str, Any]) -> None:
    """Whether the setting `network` makes sense here; raises Problem."""
    own, subnets = parse(network), ctx.subnets()
    if own.router is not None and subnets and not any(own.router in subnet.network for subnet in subnets):
        where = ", ".join(str(subnet.network) for subnet in subnets)
        raise Problem(f"the router {own.router} is not inside {where}: the host could not reach it")


def reserved(host: Host) -> dict[str, str]:
    """The addresses reserved for the NICs of a host, by MAC."""
    return {nic.mac: nic.reserved_address for nic in host.nics if nic.reserved_address is not None}


def reserve(session: Session, ctx: Context, host: Host, wanted: Mapping[str, object]) -> None:
    """Reserves addresses for NICs of the host: address by MAC, None to give it back, others stay as they are.

    The empty MAC is the host's only NIC, with None each of them. Raises Problem and Conflict.
    """
    chosen = {nic: address for mac, address in wanted.items() for nic in _nics(host, mac, address)}
    changed = {nic: address for nic, address in chosen.items() if nic.reserved_address != address}
    for nic in changed:
        nic.reserved_address = None
    session.flush()  # two NICs may exchange their addresses
    for nic, address in changed.items():
        if address is not None:
            nic.reserved_address = _free_address(session, ctx, address)


def _nics(host: Host, text: str, address: object) -> list[Nic]:
    if not text and (address is None or len(host.nics) == 1):
        return list(host.nics)
    known = ", ".join(host.macs)
    if not text:
        raise Problem(f"the host has {len(host.nics)} NICs ({known}): say for which one, MAC=ADDRESS")
    try:
        mac = str(MacAddress.parse(text))
    except NotAMac as problem:
        raise Problem(str(problem)) from None
    found = [nic for nic in host.nics if nic.mac == mac]
    if not found:
        raise Problem(f"{mac} is no NIC of this host: it has {known}")
    return found


def _free_address(session: Session, ctx: Context, value: object) -> str:
    try:
        address, subnets = _address(value), ctx.subnets()
    except (ValueError, TypeError):
        raise Problem(f"reserved address: {value!r} is not {_ADDRESS}") from None
    subnet = next((subnet for subnet in subnets if address in subnet.network), None)
    if subnet is None:
        where = ", ".join(str(subnet.network) for subnet in subnets)
        raise Problem(
            f"{address} is in no subnet of this server: choose an address of {where}"
            if where else f"{address} cannot be reserved: addresses are lent in server mode only (--dhcp server)"
        )  # fmt: skip
    if not subnet.may_be_lent(address) or str(address) == ctx.addresses.boot_address:
        raise Problem(f"{address} is the network's, the router's or this server's own: choose another address")
    other = session.scalars(select(Nic).where(Nic.reserved_address == str(address))).first()
    if other is not None:
        raise Conflict(f"{address} is reserved for host {other.host.name or other.mac}: choose another address")
    return str(address)


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
    "router": (_ADDRESS, _address),
    "dns": (_ADDRESSES, lambda value: tuple(map(_address, _list(value)))),
    "ntp": (_ADDRESSES, lambda value: tuple(map(_address, _list(value)))),
    "domain": ("a domain name", _text),
    "search": ("a list of domain names", lambda value: tuple(map(_text, _list(value)))),
    "mtu": ("a number of bytes", _number),
    "lease_time_s": ("a number of seconds", _number),
}
