"""Addresses lent to hosts: the pure book of leases of one subnet. It is told the time and stores nothing itself."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from pxeforge.domain.mac import MacAddress

OFFER_HELD_S: Final = 120.0
QUARANTINE_S: Final = 3600.0


MAX_ROUTES_BYTES: Final = 200  # every client takes 548 bytes, and 240 are fixed fields


class BadSubnet(ValueError):
    """The range does not make sense; the message says what to change."""


class LeaseState(enum.Enum):
    """What an address is doing."""

    OFFERED = "offered"  # held for a short time, not stored
    BOUND = "bound"
    RELEASED = "released"  # free, but its last holder gets it again if it can
    DECLINED = "declined"  # a client found it in use: nobody gets it for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One address and its holder. The address is the key: storing a lease replaces the one with its address."""

    mac: MacAddress
    client_id: bytes  # option 61, empty where the client sent none
    address: IPv4Address
    expires_at: float  # unix seconds
    state: LeaseState

    def is_live(self, now: float) -> bool:
        return self.state is not LeaseState.RELEASED and self.expires_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A network in which we lend addresses, and what its hosts are told. Raises BadSubnet."""

    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    router: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[IPv4Address, ...] = ()
    domain: str = ""
    lease_time_s: int = 3600
    mtu: int | None = None  # bytes of an IP packet
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()  # (destination, router)

    def __post_init__(self) -> None:
        if self.first not in self.network or self.last not in self.network:
            raise BadSubnet(f"the range {self.first}-{self.last} is not inside {self.network}: choose addresses of it")
        if self.first > self.last:
            raise BadSubnet(f"the range {self.first}-{self.last} is upside down: give the lower address first")
        if self.router is not None and self.router not in self.network:
            raise BadSubnet(f"the router {self.router} is not inside {self.network}: hosts could not reach it")
        try:
            self.domain_bytes()
        except UnicodeError:
            raise BadSubnet(f"{self.domain!r} is not a domain name: write it like lab.example") from None
        if self.lease_time_s < 60:
            raise BadSubnet(f"a lease time of {self.lease_time_s} s is too short: give at least 60")
        if self.mtu is not None and not 576 <= self.mtu <= 65535:
            raise BadSubnet(f"an MTU of {self.mtu} bytes is none: give 576 to 65535")
        self._check_routes()

    def _check_routes(self) -> None:
        for destination, router in self.routes:
            if router not in self.network:
                raise BadSubnet(f"the router {router} of the route to {destination} is not inside {self.network}")
        destinations = [destination for destination, _ in self.routes]
        if len(set(destinations)) != len(destinations):
            raise BadSubnet("a destination has two routes: name each one once")
        if len(self.routes_bytes()) > MAX_ROUTES_BYTES:
            raise BadSubnet(f"{len(self.routes)} routes are too many for a DHCP message: join destinations")

    def routes_bytes(self) -> bytes:
        """Option 121 (RFC 3442). A client that reads it ignores option 3, so the default route goes in as well."""
        routes = self.routes
        if routes and self.router is not None and IPv4Network("0.0.0.0/0") not in {to for to, _ in routes}:
            routes = (*routes, (IPv4Network("0.0.0.0/0"), self.router))
        return b"".join(_descriptor(to) + router.packed for to, router in routes)

    def domain_bytes(self) -> bytes:
        """The domain as DHCP carries it; raises UnicodeError."""
        return self.domain.encode("idna") if self.domain else b""

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def may_be_lent(self, address: IPv4Address) -> bool:
        """Inside the network and neither its name, its broadcast address nor the router."""
        taken = (self.network.network_address, self.network.broadcast_address, self.router)
        return address in self.network and address not in taken


def _descriptor(destination: IPv4Network) -> bytes:
    """A destination as RFC 3442 writes it: the prefix length and the octets it covers."""
    significant = (destination.prefixlen + 7) // 8
    return bytes((destination.prefixlen,)) + destination.network_address.packed[:significant]


class LeaseBook:
    """The leases of one subnet. A host is known by its MAC: firmware, loader and installer of one host send different
    client ids and are to keep one address. Methods that change something return the changed leases.
    """

    def __init__(
        self,
        subnet: Subnet,
        leases: Iterable[Lease] = (),
        reservations: Mapping[MacAddress, IPv4Address] | None = None,
    ) -> None:
        self.subnet = subnet
        self._reservations = reservations if reservations is not None else {}
        self._by_address: dict[IPv4Address, Lease] = {}
        self._last_of: dict[MacAddress, IPv4Address] = {}  # the address a host had last
        for lease in sorted(leases, key=lambda lease: lease.expires_at):
            if lease.address in subnet.network:
                self._note(lease)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_address.values())

    def offer(
        self, mac: MacAddress, client_id: bytes, wanted: IPv4Address | None, ours: IPv4Address, now: float
    ) -> Lease | None:
        """Holds an address for a host: its reserved one, its last one, the one it wants, a fresh one, the stalest one.

        None where every address is taken. `ours` is never lent.
        """
        for address in self._candidates(mac, wanted):
            if self.is_free_for(mac, address, ours, now):
                held = self._by_address.get(address)
                if held is not None and held.mac == mac and held.state is LeaseState.BOUND and held.is_live(now):
                    return held  # a bound host that starts over keeps its lease while it asks
                lease = Lease(
                    mac=mac,
                    client_id=client_id,
                    address=address,
                    expires_at=now + OFFER_HELD_S,
                    state=LeaseState.OFFERED,
                )
                self._note(lease)
                return lease
        return None

    def bind(
        self, mac: MacAddress, client_id: bytes, address: IPv4Address, ours: IPv4Address, now: float
    ) -> tuple[Lease, ...]:
        """Lends the address for the lease time; empty where the host may not have it."""
        if not self.is_free_for(mac, address, ours, now):
            return ()
        changed: list[Lease] = []
        former = self._by_address.get(self._last_of.get(mac, address))
        if former is not None and former.address != address and former.mac == mac and former.state is LeaseState.BOUND:
            changed.append(replace(former, state=LeaseState.RELEASED, expires_at=now))
        changed.append(
            Lease(
                mac=mac,
                client_id=client_id,
                address=address,
                expires_at=now + self.subnet.lease_time_s,
                state=LeaseState.BOUND,
            )
        )
        for lease in changed:
            self._note(lease)
        return tuple(changed)

    def release(self, mac: MacAddress, address: IPv4Address, now: float) -> tuple[Lease, ...]:
        """The holder gives the address back; empty where it is not the holder."""
        lease = self._by_address.get(address)
        if lease is None or lease.mac != mac or lease.state is not LeaseState.BOUND:
            return ()
        return (self._note(replace(lease, state=LeaseState.RELEASED, expires_at=now)),)

    def decline(self, mac: MacAddress, address: IPv4Address, now: float) -> tuple[Lease, ...]:
        """The holder found somebody else on the address: quarantine. Empty where it is not the holder."""
        lease = self._by_address.get(address)
        if lease is None or lease.mac != mac or not lease.is_live(now):
            return ()
        return (self._note(replace(lease, state=LeaseState.DECLINED, expires_at=now + QUARANTINE_S)),)

    def withdraw_offer(self, mac: MacAddress) -> None:
        """The host took another server's offer."""
        address = self._last_of.get(mac)
        lease = self._by_address.get(address) if address is not None else None
        if lease is not None and lease.mac == mac and lease.state is LeaseState.OFFERED:
            del self._by_address[lease.address]

    def is_free_for(self, mac: MacAddress, address: IPv4Address, ours: IPv4Address, now: float) -> bool:
        """Whether the host may have this address now."""
        if not self.subnet.may_be_lent(address) or address == ours:
            return False
        reserved = self._reservations.get(mac)
        if reserved is not None:
            if address != reserved:
                return False
        elif not self.subnet.first <= address <= self.subnet.last or address in self._reservations.values():
            return False
        lease = self._by_address.get(address)
        if lease is None or not lease.is_live(now):
            return True
        return lease.mac == mac and lease.state is not LeaseState.DECLINED

    def _candidates(self, mac: MacAddress, wanted: IPv4Address | None) -> Iterator[IPv4Address]:
        reserved = self._reservations.get(mac)
        if reserved is not None:
            yield reserved
            return
        if mac in self._last_of:
            yield self._last_of[mac]
        if wanted is not None:
            yield wanted
        # A start that depends on the MAC gives a host its old address even after the book was lost.
        start = zlib.crc32(mac.octets)
        for step in range(self.subnet.size):
            address = self.subnet.first + (start + step) % self.subnet.size
            if address not in self._by_address:
                yield address
        yield from sorted(self._by_address, key=lambda address: self._by_address[address].expires_at)

    def _note(self, lease: Lease) -> Lease:
        self._by_address[lease.address] = lease
        if lease.state is not LeaseState.DECLINED:
            self._last_of[lease.mac] = lease.address
        elif self._last_of.get(lease.mac) == lease.address:
            del self._last_of[lease.mac]
        return lease
