"""Which of the free hosts a rule with `count` takes: those that it has already, then those that fit, then by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pxeforge.engine.disk_needs import DiskNeed, lacking_disks
from pxeforge.engine.layout import Layout, Place, attachments, chosen_disks, unknown_nics
from pxeforge.engine.release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryHost:
    """What a blueprint can match; `macs` in any spelling.

    `ready`: it can take part in a deploy now. `has`: roles that this blueprint deployed there. `also_has`: what any
    other deploy brought there.
    """

    host_id: str
    name: str
    macs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    ready: bool = True
    has: frozenset[str] = frozenset()
    also_has: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a rule asks of each of its hosts; `roles` with all that they require."""

    roles: frozenset[str] = frozenset()
    disks: Mapping[str, DiskNeed] = field(default_factory=dict)
    networks: tuple[str, ...] = ()


def choose(
    count: int, hosts: Iterable[InventoryHost], wants: Wants, place: Place, layout: Layout, release: Release | None
) -> list[InventoryHost]:
    """The best of them, `count` at most. A host that the blueprint uses stays chosen while it is installed anew."""

    def rank(host: InventoryHost) -> tuple[int, bool, int, str]:
        foreign = len((host.has | host.also_has) - (host.has & wants.roles))
        return len(wants.roles - host.has), not _fits(host, wants, place, layout, release), foreign, host.name

    usable = [host for host in hosts if host.ready or host.has & wants.roles]
    return sorted(usable, key=rank)[:count]


def _fits(host: InventoryHost, wants: Wants, place: Place, layout: Layout, release: Release | None) -> bool:
    """Whether the host has the disks, the nics, the networks and the system that are asked for."""
    if release is not None and not release.fits(host.facts):
        return False
    if lacking_disks(host.facts, wants.disks) or chosen_disks(place, host.facts)[1] or unknown_nics(place, host.facts):
        return False
    found = attachments(layout, place, host.name, host.addresses, host.facts)
    return all(purpose in found and found[purpose].problem is None for purpose in wants.networks)


def few(names: Sequence[str], most: int = 3) -> str:
    """A few of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
