"""The block devices of the host, what stands on them and where they are mounted; only looks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.facts import disk_serial
from pxeforge.agent.foreign_json import read_json

_SYSTEM_PATHS = frozenset({"/", "/usr", "/var", "/boot", "/boot/efi", "/etc", "/home"})
_COLUMNS = "NAME,KNAME,PATH,TYPE,SIZE,SERIAL,MAJ:MIN,RO"  # without NAME it prints no tree
_DEEPEST = 32


@dataclass(frozen=True)
class BlockDevice:
    """A disk, a partition, or what stands on them (volumes of LVM, arrays, encrypted devices)."""

    name: str
    path: str
    kind: str  # disk, part, lvm, raid1, crypt, loop …
    size_bytes: int
    serial: str
    number: str  # major:minor
    is_read_only: bool
    children: tuple[BlockDevice, ...] = ()

    def tree(self) -> Iterator[BlockDevice]:
        yield self
        for child in self.children:
            yield from child.tree()


@dataclass(frozen=True)
class Signature:
    """Something that a program has written to say what a device holds; `uuid` of it, '' when it has none."""

    kind: str
    uuid: str
    label: str = ""


def parse_lsblk(text: str) -> list[BlockDevice]:
    """Devices of `lsblk --json --bytes`; raises ValueError."""
    found = read_json(text)
    entries = found.get("blockdevices") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of block devices")
    return _devices(entries, 0)


def _devices(entries: Any, depth: int) -> list[BlockDevice]:
    if depth > _DEEPEST or not isinstance(entries, list):
        raise ValueError("no list of devices")
    devices = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise ValueError("a device without a path")
        devices.append(
            BlockDevice(
                name=str(entry.get("kname") or ""),
                path=entry["path"],
                kind=str(entry.get("type") or ""),
                size_bytes=_number(entry.get("size")),
                serial=str(entry.get("serial") or "").strip(),
                number=str(entry.get("maj:min") or "").strip(),
                is_read_only=entry.get("ro") in (True, 1, "1"),
                children=tuple(_devices(entry.get("children") or [], depth + 1)),
            )
        )
    return devices


def _number(value: Any) -> int:
    """Older lsblk prints numbers as text."""
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) else 0


def parse_wipefs(text: str) -> list[Signature]:
    """Signatures of `wipefs --json`; empty output is none. Raises ValueError."""
    if not text.strip():
        return []
    found = read_json(text)
    entries = found.get("signatures") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("no list of signatures")
    return [
        Signature(str(entry.get("type") or "unknown"), str(entry.get("uuid") or ""), str(entry.get("label") or ""))
        for entry in entries
    ]


def parse_blkid(text: str) -> dict[str, str]:
    """KEY=value lines of `blkid --output export`."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class BlockDevices:
    """Asks lsblk, wipefs and blkid."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def all(self) -> list[BlockDevice]:
        ran = self._execution.run(["lsblk", "--json", "--bytes", f"--output={_COLUMNS}"], timeout_s=60)
        try:
            if ran.code == 0:
                return [self._with_serial(device) for device in parse_lsblk(ran.stdout)]
        except ValueError as error:
            raise StepFailed(f"what lsblk prints cannot be read ({error})", ran.output) from None
        raise StepFailed("lsblk cannot tell the disks", ran.output)

    def _with_serial(self, device: BlockDevice) -> BlockDevice:
        """The serial number as facts tell it: by that, people and blueprints name a disk."""
        told = disk_serial(self._execution.path(f"/sys/block/{device.name}"))
        return replace(device, serial=told) if told else device

    def find(self, selector: str) -> BlockDevice:
        """The one whole disk for `serial=…` or `path=/dev/…`; raises StepFailed."""
        key, _, value = selector.partition("=")
        if not value:
            raise StepFailed(
                f"the blueprint gives no disk of this host the purpose {selector}: add it, or say serial=…"
            )
        devices = self.all()
        disks = [device for device in devices if device.kind in ("disk", "loop", "mpath")]
        if key == "serial":
            found = {device.name: device for device in disks if device.serial == value}
        else:
            real = str(self._execution.path(value).resolve()) if value.startswith("/dev/disk/") else value
            found = {device.name: device for device in disks if device.path == real}
        if len(found) == 1:
            return next(iter(found.values()))
        there = ", ".join(f"{disk.path} ({disk.serial or 'no serial'})" for disk in disks if disk.kind == "disk")
        what = "no whole disk" if not found else "more than one disk"
        raise StepFailed(f"{what} here has {key} {value}: there is {there or 'none'}")

    def signatures(self, path: str) -> list[Signature]:
        ran = self._execution.run(["wipefs", "--no-act", "--json", path], timeout_s=60)
        try:
            if ran.code == 0:
                return parse_wipefs(ran.stdout)
        except ValueError as error:
            raise StepFailed(f"what wipefs prints cannot be read ({error})", ran.output) from None
        raise StepFailed(f"wipefs cannot tell what {path} holds", ran.output)

    def identity(self, path: str) -> tuple[str, str]:
        """(kind, UUID) of what a device holds as a whole: a file system's type, `gpt`, …; ('', '') when nothing."""
        ran = self._execution.run(["blkid", "--probe", "--output", "export", path], timeout_s=60)
        if ran.code == 2:
            return "", ""
        if ran.code != 0:
            raise StepFailed(f"blkid cannot tell what {path} holds", ran.output)
        told = parse_blkid(ran.stdout)
        return told.get("TYPE") or told.get("PTTYPE", ""), told.get("UUID") or told.get("PTUUID", "")

    def mounts(self) -> dict[str, list[str]]:
        """Where devices are mounted, by major:minor; `[swap]` for swap by path."""
        found: dict[str, list[str]] = {}
        for line in _kernel_text("/proc/self/mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4:
                found.setdefault(fields[2], []).append(_unescaped(fields[4]))
        for line in _kernel_text("/proc/swaps").splitlines()[1:]:
            found.setdefault(_unescaped(line.split()[0]), []).append("[swap]")
        return found

    def uses(self, device: BlockDevice) -> list[str]:
        """Where the device, or anything on it, is mounted or used as swap."""
        mounts = self.mounts()
        return [place for part in device.tree() for key in (part.number, part.path) for place in mounts.get(key, [])]


def _kernel_text(path: str) -> str:
    """The kernel's own word, whatever the root folder is."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StepFailed(f"{path} cannot be read: {error.strerror}") from None


def carries_the_system(uses: list[str]) -> bool:
    return any(place in _SYSTEM_PATHS for place in uses)


def _unescaped(text: str) -> str:
    """proc(5) writes blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
