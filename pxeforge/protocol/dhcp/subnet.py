"""A network in which addresses are lent, what one host's network settings differ in, and both as DHCP options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Protocol

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.message import Option

MAX_ROUTES_BYTES: Final = 200  # every client takes 548 bytes, and 240 are fixed fields
LEAST_LEASE_TIME_S: Final = 60
_EVERYWHERE: Final = IPv4Network("0.0.0.0/0")
# What the server says by itself: an extra option of that number would contradict it.
OWN_OPTIONS: Final = frozenset(
    {0, 255, Option.SUBNET_MASK, Option.ROUTER, Option.DNS, Option.DOMAIN, Option.MTU, Option.BROADCAST, Option.NTP}
    | set(range(Option.REQUESTED_ADDRESS, Option.REBINDING_TIME + 1))
    | {Option.CLIENT_ID, Option.BOOT_FILE, Option.RELAY_AGENT, Option.ARCHITECTURE, Option.CLIENT_UUID}
    | {Option.SUBNET_SELECTION, Option.SEARCH, Option.ROUTES}
)


class BadSubnet(ValueError):
    """The range does not make sense; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A network in which we lend addresses, and what its hosts are told. Raises BadSubnet."""

    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    we_stand_in: bool = False  # our own address on that network is told where router or dns is missing
    ntp: tuple[IPv4Address, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()  # domains to look names up in
    lease_time_s: int = 3600
    mtu: int | None = None  # bytes of an IP packet
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()  # (destination, router)
    options: tuple[tuple[int, bytes], ...] = ()  # further options: (code, value)

    def __post_init__(self) -> None:
        if self.first not in self.network or self.last not in self.network:
            raise BadSubnet(f"the range {self.first}-{self.last} is not inside {self.network}: choose addresses of it")
        if self.first > self.last:
            raise BadSubnet(f"the range {self.first}-{self.last} is upside down: give the lower address first")
        if self.router is not None and self.router not in self.network:
            raise BadSubnet(f"the router {self.router} is not inside {self.network}: hosts could not reach it")
        check_names(self.domain, self.search)
        if self.lease_time_s < LEAST_LEASE_TIME_S:
            raise BadSubnet(f"a lease time of {self.lease_time_s} s is too short: give at least {LEAST_LEASE_TIME_S}")
        check_mtu(self.mtu)
        self._check_routes()
        for code, value in self.options:
            if code in OWN_OPTIONS or not 0 < code < 255:
                raise BadSubnet(f"option {code} cannot be set freely: the server fills it from its own settings")
            if len(value) > 255:
                raise BadSubnet(f"option {code} has {len(value)} bytes: a DHCP message has room for 255")

    def _check_routes(self) -> None:
        for destination, router in self.routes:
            if router not in self.network:
                raise BadSubnet(f"the router {router} of the route to {destination} is not inside {self.network}")
        destinations = [destination for destination, _ in self.routes]
        if len(set(destinations)) != len(destinations):
            raise BadSubnet("a destination has two routes: name each one once")
        if len(routes_bytes(self.routes, self.router)) > MAX_ROUTES_BYTES:
            raise BadSubnet(f"{len(self.routes)} routes are too many for a DHCP message: join destinations")

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def may_be_lent(self, address: IPv4Address) -> bool:
        """Inside the network and neither its name, its broadcast address nor the router."""
        taken = (self.network.network_address, self.network.broadcast_address, self.router)
        return address in self.network and address not in taken


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetwork:
    """What one NIC of a host gets instead of what its subnet says; None: as the subnet says. Raises BadSubnet."""

    address: IPv4Address | None = None  # reserved for this NIC; may lie outside the range
    router: IPv4Address | None = None  # counts in its own subnet only
    dns: tuple[IPv4Address, ...] | None = None
    ntp: tuple[IPv4Address, ...] | None = None
    domain: str | None = None
    search: tuple[str, ...] | None = None
    mtu: int | None = None
    lease_time_s: int | None = None

    def __post_init__(self) -> None:
        check_names(self.domain or "", self.search or ())
        check_mtu(self.mtu)
        if self.lease_time_s is not None and self.lease_time_s < LEAST_LEASE_TIME_S:
            raise BadSubnet(f"a lease time of {self.lease_time_s} s is too short: give at least {LEAST_LEASE_TIME_S}")


class HostNetworks(Protocol):
    """Who has settings of their own; asked with every message, so that a change counts at once."""

    def of(self, mac: MacAddress, /) -> HostNetwork | None: ...

    def is_kept_from(self, mac: MacAddress, address: IPv4Address, /) -> bool:
        """Whether the address is reserved for another NIC than the one with this MAC."""

    def mac_of(self, guid: bytes, /) -> MacAddress | None:
        """A MAC address of the host with this GUID (16 bytes as on the wire)."""


class NoHostNetworks:
    """HostNetworks of a server that knows of no host."""

    def of(self, _mac: MacAddress, /) -> HostNetwork | None:
        return None

    def is_kept_from(self, _mac: MacAddress, _address: IPv4Address, /) -> bool:
        return False

    def mac_of(self, _guid: bytes, /) -> MacAddress | None:
        return None


def told(subnet: Subnet, host: HostNetwork | None, ours: IPv4Address) -> dict[int, bytes]:
    """The network settings of a host as options; `ours` is our address on the wire the host was heard on.

    All are sent whether asked for or not: installers stop and ask a person where router or DNS is missing.
    """
    host = host or HostNetwork()
    us = ours if subnet.we_stand_in and ours in subnet.network else None
    own_router = host.router if host.router is not None and host.router in subnet.network else None
    router = own_router or subnet.router or us
    dns = (subnet.dns or ((us,) if us else ())) if host.dns is None else host.dns
    mtu = host.mtu or subnet.mtu
    options: dict[int, bytes] = {
        **dict(subnet.options),
        Option.SUBNET_MASK: subnet.network.netmask.packed,
        Option.ROUTER: router.packed if router else b"",
        Option.DNS: _packed(dns),
        Option.DOMAIN: (subnet.domain if host.domain is None else host.domain).encode("idna"),
        Option.BROADCAST: subnet.network.broadcast_address.packed,
        Option.NTP: _packed(subnet.ntp if host.ntp is None else host.ntp),
        Option.MTU: mtu.to_bytes(2, "big") if mtu else b"",
        Option.ROUTES: routes_bytes(subnet.routes, router),
        Option.SEARCH: search_bytes(subnet.search if host.search is None else host.search),
    }
    return {code: value for code, value in options.items() if value}


def _packed(addresses: Iterable[IPv4Address]) -> bytes:
    return b"".join(address.packed for address in addresses)


def check_names(domain: str, search: tuple[str, ...]) -> None:
    """Raises BadSubnet."""
    for name in (domain, *search):
        try:
            if len(name.encode("idna")) > 253 or name.startswith(".") or any(char.isspace() for char in name):
                raise UnicodeError
        except UnicodeError:
            raise BadSubnet(f"{name!r} is not a domain name: write it like lab.example") from None
    if len(search_bytes(search)) > 255:
        raise BadSubnet(f"{len(search)} search domains are too many for a DHCP message: leave some out")


def check_mtu(mtu: int | None) -> None:
    """Raises BadSubnet."""
    if mtu is not None and not 576 <= mtu <= 65535:
        raise BadSubnet(f"an MTU of {mtu} bytes is none: give 576 to 65535")


def search_bytes(domains: Iterable[str]) -> bytes:
    """Option 119 (RFC 3397): names as in DNS messages (RFC 1035 section 3.1), here without compression."""
    found = bytearray()
    for domain in domains:
        for label in domain.encode("idna").rstrip(b".").split(b"."):
            found += bytes((len(label),)) + label
        found.append(0)
    return bytes(found)


def routes_bytes(routes: tuple[tuple[IPv4Network, IPv4Address], ...], router: IPv4Address | None) -> bytes:
    """Option 121 (RFC 3442). A client that reads it ignores option 3, so the default route goes in as well."""
    if routes and router is not None and _EVERYWHERE not in {to for to, _ in routes}:
        routes = (*routes, (_EVERYWHERE, router))
    return b"".join(_descriptor(to) + by.packed for to, by in routes)


def _descriptor(destination: IPv4Network) -> bytes:
    """A destination as RFC 3442 writes it: the prefix length and the octets it covers."""
    significant = (destination.prefixlen + 7) // 8
    return bytes((destination.prefixlen,)) + destination.network_address.packed[:significant]
