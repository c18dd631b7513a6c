"""Turns a disk layout into what partman, the partitioner of debian-installer, is told: method and recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pxeforge.render.disks import SWAP, DiskLayout, Disks, Partition

# Megabytes (10^6) that the firmware's partition takes at most.
FIRMWARE_MB: Final = 1100
_BOOT: Final = Partition(mount="/boot", size_bytes=10**9, filesystem="ext4")
# Where partman's own recipe will not do: it knows no arrays, and asks for more than a reserve may leave.
_DEFAULT: Final = (Partition(mount="/", size_bytes=None), Partition(mount=SWAP, size_bytes=10**9))
_MIN_REST_MB: Final = 3000
_MUCH: Final = 1_000_000_000
_METHODS: Final = {
    DiskLayout.PLAIN: "regular",
    DiskLayout.LVM: "lvm",
    DiskLayout.RAID1: "raid",
    DiskLayout.LUKS: "crypto",
}


@dataclass(frozen=True, slots=True)
class RaidDevice:
    """One array of a RAID layout; `number` is that of its partition on both disks."""

    number: int
    filesystem: str  # or `swap`
    mount: str  # `-` for swap


@dataclass(frozen=True, slots=True, kw_only=True)
class PartmanPlan:
    """What the disk guard hands to partman. Without `recipe` partman's own one for everything in one is taken."""

    method: str
    recipe: str  # without the partitions that the firmware needs: the guard puts those in front
    needs_mb: int  # what the recipe takes at least; partman would silently choose another one on a smaller disk
    raid: tuple[RaidDevice, ...]
    guided_size: str  # of the volume group: `max` or `50000MB`
    # What the guard, which knows the disk, leaves free in the volume group: then it sets guided_size.
    reserve_mb: int
    reserve_percent: int
    outside_mb: int  # what is not in the volume group: /boot


def partman_plan(disks: Disks) -> PartmanPlan:
    """The plan for these disks."""
    partitions = _partitions(disks)
    outside, inside = _outside_and_inside(disks, partitions)
    return PartmanPlan(
        method=_METHODS[disks.layout],
        recipe=_recipe(disks, outside, inside),
        needs_mb=sum(_least_mb(one) for one in (*outside, *inside)),
        raid=tuple(_raid_devices(disks, outside)) if disks.layout is DiskLayout.RAID1 else (),
        guided_size=_guided_size(inside),
        reserve_mb=-(-disks.reserve_bytes // 10**6) if disks.reserve_bytes is not None else 0,
        reserve_percent=disks.reserve_percent or 0,
        outside_mb=sum(_least_mb(one) for one in outside) if disks.has_volume_group else 0,
    )


def _partitions(disks: Disks) -> tuple[Partition, ...]:
    """The one that takes the rest comes last, where it can; none at all for partman's own recipe."""
    has_reserve = disks.reserve_bytes is not None or disks.reserve_percent is not None
    needs_own = has_reserve or disks.layout is DiskLayout.RAID1
    return tuple(sorted(disks.partitions or (_DEFAULT if needs_own else ()), key=lambda one: one.size_bytes is None))


def _outside_and_inside(disks: Disks, partitions: tuple[Partition, ...]) -> tuple[list[Partition], list[Partition]]:
    """What is outside the volume group (all, where there is none), and what is inside."""
    if not disks.has_volume_group or not partitions:
        return list(partitions), []
    outside = [one for one in partitions if one.mount == "/boot"] or [_BOOT]
    return outside, [one for one in partitions if one.mount != "/boot"]


def _least_mb(partition: Partition) -> int:
    return partition.size_mb if partition.size_mb is not None else _MIN_REST_MB


def _guided_size(inside: list[Partition]) -> str:
    # Where all sizes are fixed the last volume would take what is left of the group.
    is_fixed = bool(inside) and all(one.size_mb is not None for one in inside)
    return f"{sum(map(_least_mb, inside))}MB" if is_fixed else "max"


def _raid_devices(disks: Disks, partitions: list[Partition]) -> Iterator[RaidDevice]:
    """The first partition of each disk is the firmware's (ESP, or that of GRUB on GPT)."""
    for number, one in enumerate(partitions, start=2):
        yield RaidDevice(number, disks.filesystem_of(one), "-" if one.mount == SWAP else one.mount)


def _recipe(disks: Disks, outside: list[Partition], inside: list[Partition]) -> str:
    """In the form of partman-auto's recipes, on one line."""
    if disks.layout is DiskLayout.RAID1:
        return " ".join([*(_entry(disks, one, "method{ raid }") for one in outside), *_filler(outside)])
    parts = [_entry(disks, one) for one in outside]
    if not disks.has_volume_group:
        return " ".join([*parts, *_filler(outside)])
    return " ".join([*parts, *(_entry(disks, one, f"$lvmok{{ }} lv_name{{ {one.volume_name} }}") for one in inside)])


def _entry(disks: Disks, one: Partition, more: str = "") -> str:
    filesystem = disks.filesystem_of(one)
    is_swap, is_raid = filesystem == SWAP, "method{ raid }" in more
    kind = "linux-swap" if is_swap else filesystem
    if one.size_mb is None:
        sizes = f"{_MIN_REST_MB} {_MUCH} -1"
    else:
        sizes = f"{one.size_mb} {one.size_mb} {one.size_mb}"
    if is_raid:
        use = ""
    elif is_swap:
        use = "method{ swap } format{ }"
    else:
        use = (
            f"method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ {filesystem} }} "
            f"mountpoint{{ {one.mount} }}"
        )
    words = [sizes, kind, more, use, "."]
    return " ".join(word for word in words if word)


def _filler(partitions: list[Partition]) -> list[str]:
    """An unused partition with what fixed sizes leave: partman would give it to the last one."""
    if not partitions or any(one.size_bytes is None for one in partitions):
        return []
    return [f"1 {_MUCH} -1 free method{{ keep }} ."]
