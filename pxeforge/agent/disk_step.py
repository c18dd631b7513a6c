"""The disk step: a whole disk as a file system, as partitions or as an LVM volume group; never over data unasked."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxeforge.agent import lvm, mounting
from pxeforge.agent.block_devices import BlockDevice, BlockDevices, carries_the_system
from pxeforge.agent.execution import StepFailed
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_json

_MIB = 1 << 20
_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NODE_S = 10.0  # until udev has made the nodes of new partitions
_MAKE_S = 1800.0  # mkfs discards the whole device, which some disks take their time for
_MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-U"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m"),
    "swap": ("mkswap", "--force", "--uuid"),
}


@dataclass(frozen=True)
class _Volume:
    """A file system that is to be: where it stands, and where it is mounted."""

    name: str  # '' for the disk itself
    path: str
    filesystem: str
    mount: str | None
    options: str

    @property
    def place(self) -> str | None:
        return "none" if self.filesystem == "swap" else self.mount


class DiskStep(Step):
    """What it makes gets identifiers that are written down before: that is how it knows its own work again.

    The record stands in the agent's state folder: {selector: {"id": of the partition table, file system or physical
    volume, "volumes": {name: UUID of the file system}}}.
    """

    type = "disk"
    parameters = frozenset({"disk", "layout", "filesystem", "mount", "options", "volumes", "group", "wipe"})

    def check(self) -> Finding:
        disk = self._disk()
        words = list(self._todo(disk))
        return Finding(bool(words), [disk.path, disk.size_bytes, words], "; ".join(words))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        disk = self._disk()
        if not self._is_made(disk):
            self._clear(disk)
            self._lay_out(disk)
            disk = self._devices().find(self.params["disk"])
        if self.params["layout"] == "lvm" and not lvm.has_group(self.execution, self.params["group"]):
            lvm.make_group(self.execution, disk.path, self.params["group"])
        for volume in self._volumes(disk):
            self._make_volume(volume)
        return ""

    # --- looking ---

    def _devices(self) -> BlockDevices:
        return BlockDevices(self.execution)

    def _disk(self) -> BlockDevice:
        """The disk, that may be used; raises StepFailed."""
        devices = self._devices()
        disk = devices.find(self.params["disk"])
        uses = devices.uses(disk)
        if carries_the_system(uses):
            raise StepFailed(f"{disk.path} carries the system that runs here: choose another disk")
        if disk.is_read_only:
            raise StepFailed(f"{disk.path} is read-only: choose another disk")
        if self._is_made(disk):
            return disk
        what = self._content(disk)
        if what and not self._may_wipe(disk):
            raise StepFailed(
                f"{disk.path} ({disk.serial or 'no serial'}) holds {what}: nothing was changed; to lose that, say"
                f" wipe: {disk.serial or disk.path}"
            )
        if uses:
            raise StepFailed(f"{disk.path} is in use ({', '.join(uses)}): unmount it first")
        return disk

    def _may_wipe(self, disk: BlockDevice) -> bool:
        """A disk without a serial number is named by its path."""
        return self.params.get("wipe") == (disk.serial or disk.path)

    def _content(self, disk: BlockDevice) -> str:
        """What the disk holds, in words; '' when it is empty."""
        found = [f"{item.kind} {item.label}".strip() for item in self._devices().signatures(disk.path)]
        found += [f"{child.kind} {child.path}" for child in disk.children]
        return ", ".join(dict.fromkeys(found))

    def _is_made(self, disk: BlockDevice) -> bool:
        """Whether what is on the disk is this step's work."""
        record = self._record()
        if not record:
            return False
        kind, identity = self._devices().identity(disk.path)
        if self.params["layout"] == "lvm":
            return kind == "LVM2_member" and identity.replace("-", "") == record["id"].replace("-", "")
        wanted = "gpt" if self.params["layout"] == "partition" else self.params.get("filesystem", "ext4")
        return kind == wanted and identity.lower() == record["id"]

    def _todo(self, disk: BlockDevice) -> Iterator[str]:
        if not self._is_made(disk):
            content = self._content(disk)
            verb = f"wipe {disk.path} ({content}) and make" if content else f"make {disk.path}"
            yield f"{verb} {self.params.get('group') or self.params['layout']}"
            return
        if self.params["layout"] == "lvm" and not lvm.has_group(self.execution, self.params["group"]):
            yield f"make volume group {self.params['group']}"
        for volume in self._volumes(disk):
            yield from self._volume_todo(volume)

    def _volume_todo(self, volume: _Volume) -> Iterator[str]:
        if not volume.path:
            yield f"make logical volume {volume.name}"
            return
        if volume.filesystem == "none":
            return
        if not self._has_filesystem(volume):
            yield f"make {volume.filesystem} on {volume.path}"
        if volume.place is None:
            return
        line = self._line(volume)
        use = f"swap to {volume.path}" if volume.filesystem == "swap" else f"mount {volume.path} at {volume.mount}"
        other = mounting.other_owner(self.execution, line)
        if other:
            raise StepFailed(f"/etc/fstab mounts something else at {volume.mount} ({other}): remove that line")
        if not mounting.has_line(self.execution, line):
            yield f"{use} at boot"
        if not self._is_mounted(volume):
            yield use

    def _has_filesystem(self, volume: _Volume) -> bool:
        """Ours; raises StepFailed for somebody else's."""
        kind, identity = self._devices().identity(volume.path)
        if not kind:
            return False
        if kind == volume.filesystem and identity == self._uuid(volume.name):
            return True
        raise StepFailed(f"{volume.path} holds {kind} {identity}, which this step did not make: look at it by hand")

    def _is_mounted(self, volume: _Volume) -> bool:
        target = "[swap]" if volume.filesystem == "swap" else str(self.execution.path(str(volume.mount)))
        number = _number_of(volume.path)
        mounts = self._devices().mounts()
        return any(target in mounts.get(key, []) for key in (number, str(Path(volume.path).resolve())))

    def _line(self, volume: _Volume) -> str:
        place = str(volume.place)
        return mounting.fstab_line(self._uuid(volume.name), place, volume.filesystem, volume.options)

    def _volumes(self, disk: BlockDevice) -> list[_Volume]:
        """All file systems of the layout; a logical volume that is not there yet has no path."""
        params = self.params
        if params["layout"] == "filesystem":
            options = params.get("options", "defaults")
            return [_Volume("", disk.path, params.get("filesystem", "ext4"), params.get("mount"), options)]
        volumes = params.get("volumes") or []
        if params["layout"] == "lvm":
            there = lvm.logical_volumes(self.execution, params["group"])
            paths = {item["name"]: there.get(item["name"], "") for item in volumes}
        else:
            parts = sorted(
                (child for child in disk.children if child.kind == "part"), key=lambda part: _order(part.name)
            )
            if len(parts) != len(volumes):
                raise StepFailed(
                    f"{disk.path} has {len(parts)} partitions, and {len(volumes)} are asked for: change one"
                )
            paths = {item["name"]: part.path for item, part in zip(volumes, parts)}  # noqa: B905 (Python 3.9)
        return [
            _Volume(
                item["name"],
                paths[item["name"]],
                item.get("filesystem", "ext4"),
                item.get("mount"),
                item.get("options", "defaults"),
            )
            for item in volumes
        ]

    # --- changing ---

    def _clear(self, disk: BlockDevice) -> None:
        """Empties a disk that may be wiped; one that is empty stays as it is."""
        if not self._content(disk):
            return
        lvm.take_apart(self.execution, [part.path for part in disk.tree()])
        left = [
            part
            for part in self._devices().find(self.params["disk"]).tree()
            if part.kind not in ("disk", "part", "loop")
        ]
        if left:
            raise StepFailed(f"{disk.path} is part of {left[0].kind} {left[0].path}: take that apart first")
        for part in reversed(list(disk.tree())):
            if part.kind in ("part", "disk", "loop"):
                self._must(["wipefs", "--all", "--force", part.path])
        self._settle(disk)

    def _lay_out(self, disk: BlockDevice) -> None:
        params, layout = self.params, self.params["layout"]
        names = [item["name"] for item in params.get("volumes") or []]
        identity = lvm.new_id() if layout == "lvm" else str(uuid.uuid4())
        volumes = {"": identity} if layout == "filesystem" else {name: str(uuid.uuid4()) for name in names}
        self._write_record({"id": identity, "volumes": volumes})
        if layout == "partition":
            self._must(["sfdisk", "--quiet", "--wipe=always", "--wipe-partitions=always", disk.path], self._table(disk))
            self._settle(disk)
            self._wait_for_partitions(disk, len(names))
        elif layout == "lvm":
            lvm.make_physical(self.execution, disk.path, identity)
        else:
            self._make_filesystem(disk.path, params.get("filesystem", "ext4"), identity)

    def _make_volume(self, volume: _Volume) -> None:
        path = volume.path
        if not path:
            sizes = {item["name"]: str(item.get("size", "rest")) for item in self.params["volumes"]}
            lvm.make_volume(self.execution, self.params["group"], volume.name, sizes[volume.name])
            path = lvm.logical_volumes(self.execution, self.params["group"])[volume.name]
        made = _Volume(volume.name, path, volume.filesystem, volume.mount, volume.options)
        if made.filesystem == "none":
            return
        if not self._has_filesystem(made):
            self._make_filesystem(path, made.filesystem, self._uuid(made.name))
        if made.place is None:
            return
        if not self._is_mounted(made):
            mounting.mount_now(self.execution, path, str(made.mount), made.filesystem, made.options)
        line = self._line(made)
        if not mounting.has_line(self.execution, line):
            mounting.write_line(self.execution, line)
            self.execution.run(["systemctl", "daemon-reload"])  # it makes mount units of fstab

    def _make_filesystem(self, path: str, filesystem: str, identity: str) -> None:
        maker = list(_MAKERS[filesystem])
        self._must([*maker, f"uuid={identity}" if filesystem == "xfs" else identity, path])

    def _table(self, disk: BlockDevice) -> str:
        """A script for sfdisk(8). Starts and sizes in MiB, which fits every disk's sectors."""
        lines = ["label: gpt", f"label-id: {self._record()['id'].upper()}"]
        free = disk.size_bytes - 2 * _MIB  # the two copies of the table
        for item in self.params["volumes"]:
            kind = "S" if item.get("filesystem") == "swap" else "L"
            size = size_bytes(str(item.get("size", "rest")), disk.size_bytes)
            text = f", size={size // _MIB}MiB" if size is not None else ""
            free -= size or 0
            lines.append(f'name="{item["name"]}", type={kind}{text}')
        if free < 0:
            raise StepFailed(f"{disk.path} has {disk.size_bytes // _MIB} MiB, less than the volumes need together")
        return "\n".join(lines) + "\n"

    def _wait_for_partitions(self, disk: BlockDevice, count: int) -> None:
        end = time.monotonic() + _NODE_S
        while True:
            parts = [child for child in self._devices().find(self.params["disk"]).children if child.kind == "part"]
            if len(parts) == count and all(Path(part.path).exists() for part in parts):
                return
            if time.monotonic() > end:
                raise StepFailed(f"{disk.path} was partitioned, but its {count} partitions have no device files")
            self.execution.pause(0.2)

    def _settle(self, disk: BlockDevice) -> None:
        for argv in (["blockdev", "--rereadpt", disk.path], ["udevadm", "settle", "--timeout=10"]):
            try:
                self.execution.run(argv, timeout_s=30)
            except StepFailed:
                continue  # a system without udev makes its nodes by itself

    def _must(self, argv: list[str], stdin: str | None = None) -> None:
        ran = self.execution.run(argv, stdin=stdin, timeout_s=_MAKE_S)
        if ran.code != 0:
            raise StepFailed(f"{argv[0]} did not succeed", ran.output)

    # --- the record ---

    def _record(self) -> dict[str, Any]:
        record = self._records().get(self.params["disk"])
        return record if isinstance(record, dict) and "id" in record and "volumes" in record else {}

    def _records(self) -> dict[str, Any]:
        try:
            found = json.loads(self._record_file().read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StepFailed(f"{self._record_file()} cannot be read ({error}): look at the disks by hand") from None
        return found if isinstance(found, dict) else {}

    def _uuid(self, volume: str) -> str:
        """The identifier that the file system has, or is to get; a volume that came later gets one now."""
        record = self._record()
        if volume not in record.get("volumes", {}):
            if self.execution.check_only or not record:
                return "to-be-made"
            record["volumes"][volume] = str(uuid.uuid4())
            self._write_record(record)
        return str(record["volumes"][volume])

    def _write_record(self, record: Mapping[str, Any]) -> None:
        write_json(self._record_file(), {**self._records(), self.params["disk"]: dict(record)})

    def _record_file(self) -> Path:
        if self.execution.state_folder is None:
            raise StepFailed("this agent keeps no state: it could not know its own disks again")
        return self.execution.state_folder / "disks.json"


def size_bytes(text: str, whole: int) -> int | None:
    """Bytes of `10G` or `50%` of the whole; None for the rest."""
    if text == "rest":
        return None
    if text.endswith("%"):
        return whole * int(text[:-1]) // 100 // _MIB * _MIB
    return int(text[:-1]) * _UNITS[text[-1]]


def _order(name: str) -> int:
    """The number of a partition: vda10 comes after vda9."""
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits or 0)


def _number_of(path: str) -> str:
    device = Path(path).stat().st_rdev
    return f"{os.major(device)}:{os.minor(device)}"
