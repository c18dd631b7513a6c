"""Turns a disk layout into the actions that Ubuntu's installer takes (curtin's storage configuration)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pxeforge.render.disks import SWAP, DiskLayout, Disks, Partition

# Stand for the disks that the guard chose: without it the installer finds no disk and stops.
DISK: Final = "/dev/chosen-by-pxeforge"
SECOND_DISK: Final = "/dev/chosen-second-by-pxeforge"
KEY_FILE: Final = "/run/pxeforge-disk-key"
_MIB: Final = 1 << 20
_BOOT: Final = Partition(mount="/boot", size_bytes=1024 * _MIB, filesystem="ext4")
_ESP_BYTES: Final = 512 * _MIB
_SLACK_BYTES: Final = 64 * _MIB  # partition tables, alignment, headers of LVM and LUKS
_REST: Final = -1
Action = dict[str, Any]


def curtin_actions(disks: Disks, *, is_efi: bool) -> tuple[Action, ...]:
    """All actions, in the order in which they must come. No other disk than the chosen ones is named in them."""
    return tuple(_actions(disks, is_efi=is_efi))


def _actions(disks: Disks, *, is_efi: bool) -> Iterator[Action]:
    names = ["disk1", "disk2"][: disks.disk_count]
    for number, (name, path) in enumerate(zip(names, (DISK, SECOND_DISK), strict=False)):
        yield {
            "type": "disk", "id": name, "path": path, "ptable": "gpt", "wipe": "superblock-recursive",
            "preserve": False, **({} if is_efi else {"grub_device": True}), "name": f"install-{number + 1}",
        }  # fmt: skip
    for number, name in enumerate(names, start=1):
        yield from _firmware(name, number, is_efi=is_efi)
    if disks.layout is DiskLayout.RAID1:
        yield from _raid(disks)
    elif disks.has_volume_group:
        yield from _volume_group(disks)
    else:
        yield from _plain(disks)
    if is_efi:
        yield {"type": "mount", "id": "mount-esp", "device": "format-esp1", "path": "/boot/efi"}


def _firmware(disk: str, number: int, *, is_efi: bool) -> Iterator[Action]:
    if not is_efi:
        yield _partition(f"bios{number}", disk, _MIB, flag="bios_grub")
        return
    esp = _partition(f"esp{number}", disk, _ESP_BYTES, flag="boot")
    yield {**esp, "grub_device": True}
    yield {"type": "format", "id": f"format-esp{number}", "volume": f"esp{number}", "fstype": "fat32"}


def _partition(name: str, disk: str, size: int, **more: object) -> Action:
    return {
        "type": "partition", "id": name, "device": disk, "size": size, "wipe": "superblock", "preserve": False, **more,
    }  # fmt: skip


def _partitions(disks: Disks) -> tuple[Partition, ...]:
    """In order, the one that takes the rest at the end; without any: everything in one, and swap."""
    chosen = disks.partitions or (
        Partition(mount=SWAP, size_bytes=2048 * _MIB), Partition(mount="/", size_bytes=None)
    )  # fmt: skip
    return tuple(sorted(chosen, key=lambda one: one.size_bytes is None))


def _size(one: Partition) -> int:
    return _REST if one.size_bytes is None else one.size_bytes // _MIB * _MIB


def _plain(disks: Disks) -> Iterator[Action]:
    for one in _partitions(disks):
        flag = {"flag": "swap"} if one.mount == SWAP else {}
        yield _partition(one.volume_name, "disk1", _size(one), **flag)
        yield from _use(disks, one, one.volume_name)


def _volume_group(disks: Disks) -> Iterator[Action]:
    boot = next((one for one in disks.partitions if one.mount == "/boot"), _BOOT)
    yield _partition("boot", "disk1", _size(boot))
    yield from _use(disks, boot, "boot")
    yield _partition("volumes", "disk1", _REST)
    device = "volumes"
    if disks.layout is DiskLayout.LUKS:
        device = "crypt"
        yield {
            "type": "dm_crypt", "id": device, "volume": "volumes", "dm_name": "crypt", "keyfile": KEY_FILE,
            "preserve": False,
        }  # fmt: skip
    yield {
        "type": "lvm_volgroup", "id": "group", "name": disks.volume_group, "devices": [device], "preserve": False,
    }  # fmt: skip
    for one in _partitions(disks):
        if one.mount == "/boot":
            continue
        name = f"volume-{one.volume_name}"
        yield {
            "type": "lvm_partition", "id": name, "name": one.volume_name, "volgroup": "group",
            "size": _volume_size(disks, one), "wipe": "superblock", "preserve": False,
        }  # fmt: skip
        yield from _use(disks, one, name)


def _volume_size(disks: Disks, one: Partition) -> int | str:
    """The volume that takes the rest leaves what is reserved; the guard knows how large the disk is."""
    if one.size_bytes is not None or (disks.reserve_bytes is None and disks.reserve_percent is None):
        return _size(one)
    return "@ROOT_BYTES@"


def fixed_bytes(disks: Disks) -> int:
    """What of the disk the volume that takes the rest cannot have, besides what is reserved."""
    boot = next((one for one in disks.partitions if one.mount == "/boot"), _BOOT)
    others = [one for one in _partitions(disks) if one.mount != "/boot" and one.size_bytes is not None]
    return _ESP_BYTES + _SLACK_BYTES + sum(_size(one) for one in (boot, *others))


def _raid(disks: Disks) -> Iterator[Action]:
    boot = next((one for one in disks.partitions if one.mount == "/boot"), _BOOT)
    parts = [boot, *(one for one in _partitions(disks) if one.mount != "/boot")]
    for number in (1, 2):
        for one in parts:
            yield _partition(f"{one.volume_name}{number}", f"disk{number}", _size(one))
    for index, one in enumerate(parts):
        name = f"md-{one.volume_name}"
        yield {
            "type": "raid", "id": name, "name": f"md{index}", "raidlevel": 1, "preserve": False, "metadata": "1.2",
            "devices": [f"{one.volume_name}1", f"{one.volume_name}2"],
        }  # fmt: skip
        yield from _use(disks, one, name)


def _use(disks: Disks, one: Partition, volume: str) -> Iterator[Action]:
    filesystem = disks.filesystem_of(one)
    yield {"type": "format", "id": f"format-{one.volume_name}", "volume": volume, "fstype": filesystem}
    yield {
        "type": "mount", "id": f"mount-{one.volume_name}", "device": f"format-{one.volume_name}",
        "path": "" if one.mount == SWAP else one.mount,
    }  # fmt: skip
