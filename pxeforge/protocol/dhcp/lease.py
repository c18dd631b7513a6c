"""Addresses lent to hosts: the pure book of leases of one subnet. It is told the time and stores nothing itself."""

from __future__ import annotations

import enum
import heapq
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.subnet import HostNetworks, NoHostNetworks, Subnet

OFFER_HELD_S: Final = 120.0
QUARANTINE_S: Final = 3600.0
_LOOK_AGAIN_S: Final = 60.0  # an address that is kept for somebody else is passed over for this long
_MOST_TRIED: Final = 64  # addresses looked at for one offer


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


class LeaseBook:
    """The leases of one subnet. A host is known by its MAC: firmware, loader and installer of one host send different
    client ids and are to keep one address. Methods that change something return the changed leases.

    No method takes longer for a larger range or a fuller book: what is free is found by a cursor that passes each
    address once, and after that by a heap ordered by the time at which an address becomes free.
    """

    def __init__(self, subnet: Subnet, leases: Iterable[Lease] = (), networks: HostNetworks | None = None) -> None:
        self.subnet = subnet
        self._networks = networks or NoHostNetworks()
        self._first, self._last = int(subnet.first), int(subnet.last)
        self._lowest, self._highest = int(subnet.network.network_address), int(subnet.network.broadcast_address)
        self._router = int(subnet.router) if subnet.router is not None else -1
        self._cursor = self._first  # from here on no address was ever looked at
        self._by_address: dict[int, Lease] = {}
        self._last_of: dict[MacAddress, int] = {}  # the address a host had last; one entry per address at most
        self._free_from: list[tuple[float, int]] = []  # heap; an entry counts only if _free_at says the same
        self._free_at: dict[int, float] = {}
        for lease in sorted(leases, key=lambda lease: lease.expires_at):
            if lease.address in subnet.network:
                self._note(lease)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_address.values())

    def lease_of(self, mac: MacAddress) -> Lease | None:
        """What the host had last, over or not, unless it was only offered."""
        lease = self._by_address.get(self._last_of.get(mac, -1))
        known = lease is not None and lease.mac == mac and lease.state in (LeaseState.BOUND, LeaseState.RELEASED)
        return lease if known else None

    def offer(
        self,
        mac: MacAddress,
        client_id: bytes,
        wanted: IPv4Address | None,
        ours: IPv4Address,
        now: float,
        reserved: IPv4Address | None = None,
    ) -> Lease | None:
        """Holds an address for a host: its reserved one, its last one, the one it wants, a fresh one, the stalest one.

        None where no address is free. `ours` is never lent. `reserved` lies in this subnet; while somebody else still
        has it the host gets another.
        """
        for address in self._own_candidates(mac, wanted, reserved):
            if self._is_free(mac, address, int(ours), now, reserved):
                return self._hold(mac, client_id, address, now)
        for _ in range(_MOST_TRIED):
            found = self._next_free(now)
            if found is None:
                return None
            if self._is_free(mac, found, int(ours), now, reserved):
                return self._hold(mac, client_id, found, now)
            self._becomes_free(found, now + _LOOK_AGAIN_S)
        return None

    def bind(
        self,
        mac: MacAddress,
        client_id: bytes,
        address: IPv4Address,
        ours: IPv4Address,
        now: float,
        reserved: IPv4Address | None = None,
        lease_time_s: int | None = None,
    ) -> tuple[Lease, ...]:
        """Lends the address for the lease time; empty where the host may not have it."""
        if not self._is_free(mac, int(address), int(ours), now, reserved):
            return ()
        changed: list[Lease] = []
        former = self._by_address.get(self._last_of.get(mac, -1))
        if former is not None and former.address != address and former.mac == mac and former.state is LeaseState.BOUND:
            changed.append(replace(former, state=LeaseState.RELEASED, expires_at=now))
        changed.append(
            Lease(
                mac=mac,
                client_id=client_id,
                address=address,
                expires_at=now + (lease_time_s or self.subnet.lease_time_s),
                state=LeaseState.BOUND,
            )
        )
        for lease in changed:
            self._note(lease)
        return tuple(changed)

    def release(self, mac: MacAddress, address: IPv4Address, now: float) -> tuple[Lease, ...]:
        """The holder gives the address back; empty where it is not the holder."""
        lease = self._by_address.get(int(address))
        if lease is None or lease.mac != mac or lease.state is not LeaseState.BOUND:
            return ()
        return (self._note(replace(lease, state=LeaseState.RELEASED, expires_at=now)),)

    def decline(self, mac: MacAddress, address: IPv4Address, now: float) -> tuple[Lease, ...]:
        """The holder found somebody else on the address: quarantine. Empty where it is not the holder."""
        lease = self._by_address.get(int(address))
        if lease is None or lease.mac != mac or not lease.is_live(now):
            return ()
        return (self._note(replace(lease, state=LeaseState.DECLINED, expires_at=now + QUARANTINE_S)),)

    def withdraw_offer(self, mac: MacAddress) -> None:
        """The host took another server's offer."""
        lease = self._by_address.get(self._last_of.get(mac, -1))
        if lease is not None and lease.mac == mac and lease.state is LeaseState.OFFERED:
            address = int(lease.address)
            del self._by_address[address], self._last_of[mac]
            self._becomes_free(address, 0.0)

    def _own_candidates(
        self, mac: MacAddress, wanted: IPv4Address | None, reserved: IPv4Address | None
    ) -> Iterator[int]:
        if reserved is not None:
            yield int(reserved)
        if mac in self._last_of:
            yield self._last_of[mac]
        if wanted is not None:
            yield int(wanted)
        # A start that depends on the MAC gives a host its old address even after the book was lost.
        start = self._first + zlib.crc32(mac.octets) % self.subnet.size
        if start not in self._by_address:
            yield start

    def _next_free(self, now: float) -> int | None:
        """An address that nobody had yet, else the one that has been free for the longest time."""
        while self._cursor <= self._last:
            address = self._cursor
            self._cursor += 1
            if address not in self._by_address:
                return address
        while self._free_from and self._free_from[0][0] <= now:
            free_at, address = heapq.heappop(self._free_from)
            if self._free_at.get(address) == free_at:
                return address
        return None

    def _is_free(self, mac: MacAddress, address: int, ours: int, now: float, reserved: IPv4Address | None) -> bool:
        """Whether the host may have this address now."""
        if not self._lowest < address < self._highest or address in (self._router, ours):
            return False
        if self._is_taken(mac, address, now):
            return False
        if reserved is not None and address == int(reserved):
            return True
        is_bound_to_reserved = reserved is not None and not self._is_taken(mac, int(reserved), now)
        return not is_bound_to_reserved and self._is_common(mac, address)

    def _is_taken(self, mac: MacAddress, address: int, now: float) -> bool:
        lease = self._by_address.get(address)
        if lease is None or not lease.is_live(now):
            return False
        return lease.mac != mac or lease.state is LeaseState.DECLINED

    def _is_common(self, mac: MacAddress, address: int) -> bool:
        return self._first <= address <= self._last and not self._networks.is_kept_from(mac, IPv4Address(address))

    def _hold(self, mac: MacAddress, client_id: bytes, address: int, now: float) -> Lease:
        held = self._by_address.get(address)
        if held is not None and held.mac == mac and held.state is LeaseState.BOUND and held.is_live(now):
            return held  # a bound host that starts over keeps its lease while it asks
        return self._note(
            Lease(
                mac=mac,
                client_id=client_id,
                address=IPv4Address(address),
                expires_at=now + OFFER_HELD_S,
                state=LeaseState.OFFERED,
            )
        )

    def _note(self, lease: Lease) -> Lease:
        address = int(lease.address)
        before = self._by_address.get(address)
        # Only the last holder of an address is remembered: invented MACs cannot fill the memory.
        if before is not None and before.mac != lease.mac and self._last_of.get(before.mac) == address:
            del self._last_of[before.mac]
        self._by_address[address] = lease
        if lease.state is not LeaseState.DECLINED:
            self._last_of[lease.mac] = address
        elif self._last_of.get(lease.mac) == address:
            del self._last_of[lease.mac]
        self._becomes_free(address, lease.expires_at)
        return lease

    def _becomes_free(self, address: int, at: float) -> None:
        if not self._first <= address <= self._last:
            return
        self._free_at[address] = at
        heapq.heappush(self._free_from, (at, address))
        if len(self._free_from) > 2 * len(self._free_at) + 64:  # renewals leave entries behind that no longer count
            self._free_from = [(at, address) for address, at in self._free_at.items()]
            heapq.heapify(self._free_from)
