"""Which disks a host is installed to and how they are divided; every other disk is left alone."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pxeforge.render.values import DEVICE_WORD, NAME, AnswersProblem, check, check_unique, known_keys, size_bytes

FILESYSTEMS: Final = ("ext4", "xfs", "ext3", "btrfs")
SWAP: Final = "swap"
# A disk that carries one of these in a label or a volume group's name holds somebody's data: `wipe: true` is not
# enough, its serial must be named.
DATA_LABELS: Final = ("keep", "ceph", "swift", "cinder", "gluster", "moosefs")
_MOUNT: Final = re.compile(r"/|(/[A-Za-z0-9._-]+)+")
_VOLUME_NAME: Final = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,62}")
_MIN_PARTITION: Final = 10 * 10**6
_MIN_ROOT: Final = 10**9


class DiskRuleKind(enum.Enum):
    """How the install disk is named."""

    FIRST = "first"  # first disk that is not removable, in the installer's order
    SERIAL = "serial"  # serial number or WWN as udev or sysfs tells it
    BY_PATH = "by-path"  # a name in /dev/disk/by-path
    NAME = "name"  # a device like /dev/vda, for virtual disks without serial
    SIZE = "size"  # first disk that is not removable and between min_bytes and max_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRule:
    """Which disk to install to. `min_bytes`/`max_bytes` (None: no limit) are checked for every kind."""

    kind: DiskRuleKind = DiskRuleKind.FIRST
    value: str = ""
    min_bytes: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        needs_value = self.kind in (DiskRuleKind.SERIAL, DiskRuleKind.BY_PATH, DiskRuleKind.NAME)
        if needs_value and not DEVICE_WORD.fullmatch(self.value):
            raise AnswersProblem(f"disk rule {self.kind.value} needs a value, not {self.value!r}")
        if not needs_value and self.value:
            raise AnswersProblem(f"disk rule {self.kind.value} takes no value, not {self.value!r}")
        if self.kind is DiskRuleKind.NAME and not self.value.startswith("/dev/"):
            raise AnswersProblem(f"disk rule name needs a device like /dev/vda, not {self.value!r}")
        if self.kind is DiskRuleKind.SIZE and self.min_bytes is None and self.max_bytes is None:
            raise AnswersProblem("disk rule size needs a smallest or a largest size")
        if (self.min_bytes or 0) < 0 or (self.max_bytes is not None and self.max_bytes < (self.min_bytes or 0)):
            raise AnswersProblem("disk rule: the largest size is below the smallest")

    @classmethod
    def parse(cls, text: str) -> DiskRule:
        """Reads `first`, `serial=…`, `by-path=…`, `name=/dev/vda`, `size=20G..500G` (either side may be missing)."""
        kind, _, value = text.strip().partition("=")
        if kind == "size":
            low, dots, high = value.partition("..")
            if not dots:
                raise AnswersProblem(f"disk rule {text!r}: write size=MIN..MAX, for example size=20G..500G")
            return cls(kind=DiskRuleKind.SIZE, min_bytes=size_bytes(low), max_bytes=size_bytes(high))
        try:
            return cls(kind=DiskRuleKind(kind), value=value)
        except AnswersProblem:
            raise
        except ValueError:
            kinds = ", ".join(kind.value for kind in DiskRuleKind)
            raise AnswersProblem(f"unknown disk rule {text!r}: use one of {kinds}") from None

    def fits(self, disk: Mapping[str, object]) -> bool:
        """Whether a disk, as a host's facts tell of it (name, size_bytes, serial, by_path …), fits the rule."""
        size = disk.get("size_bytes")
        if isinstance(size, int) and (size < (self.min_bytes or 0) or (self.max_bytes and size > self.max_bytes)):
            return False
        if self.kind in (DiskRuleKind.FIRST, DiskRuleKind.SIZE):
            return not disk.get("removable")
        if self.kind is DiskRuleKind.NAME:
            return str(disk.get("name", "")).removeprefix("/dev/") == self.value.removeprefix("/dev/")
        if self.kind is DiskRuleKind.BY_PATH:
            return str(disk.get("by_path", "")).removeprefix("/dev/disk/by-path/") == self.value
        return self.value in (disk.get("serial"), disk.get("wwn"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedDisk:
    """Disks that are kept for a role: the installer neither chooses nor touches them, whatever they carry."""

    name: str  # whom for, like `ceph`
    rule: DiskRule

    def __post_init__(self) -> None:
        check(NAME, "reserved disk", self.name, "letters, digits, _ . -")
        if self.rule.kind is DiskRuleKind.FIRST:
            raise AnswersProblem(f"reserved disk {self.name}: name it by serial, by-path, name or size, not `first`")

    @classmethod
    def parse(cls, entry: object) -> ReservedDisk:
        """From `{name, disk}`, where `disk` is a disk rule."""
        values = known_keys("reserved_disks", entry, ("name", "disk"), ("name", "disk"))
        return cls(name=str(values["name"]), rule=DiskRule.parse(str(values["disk"])))


class DiskLayout(enum.Enum):
    """How the install disk is divided."""

    PLAIN = "plain"  # partitions
    LVM = "lvm"  # /boot, and a volume group with the rest
    RAID1 = "raid1"  # partitions mirrored over two disks, with a boot loader on both
    LUKS = "luks"  # /boot, and a volume group in an encrypted partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition (or logical volume) of fixed size; `size_bytes` None takes what is left."""

    mount: str  # a path, or `swap`
    size_bytes: int | None
    filesystem: str | None = None  # None: that of the profile

    def __post_init__(self) -> None:
        if self.mount != SWAP:
            check(_MOUNT, "partition", self.mount, "a path like /var, or swap")
        if self.mount.startswith("/boot/efi") or {".", ".."} & set(self.mount.split("/")):
            raise AnswersProblem(f"partition {self.mount}: leave it out; the EFI system partition is made where needed")
        if self.filesystem is not None and (self.mount == SWAP or self.filesystem not in FILESYSTEMS):
            raise AnswersProblem(f"partition {self.mount}: its filesystem is one of {', '.join(FILESYSTEMS)}")
        smallest = _MIN_ROOT if self.mount == "/" else _MIN_PARTITION
        if self.size_bytes is not None and self.size_bytes < smallest:
            raise AnswersProblem(f"partition {self.mount}: {self.size_bytes} bytes are too few: write it like 20G")

    @property
    def volume_name(self) -> str:
        """How the logical volume is called: `root`, `swap`, `var_log`."""
        return "root" if self.mount == "/" else self.mount.strip("/").replace("/", "_").replace("-", "_")

    @property
    def size_mb(self) -> int | None:
        """In units of 10^6 bytes, as partman and most installers count."""
        return self.size_bytes // 10**6 if self.size_bytes is not None else None

    @property
    def size_mib(self) -> int | None:
        return self.size_bytes // 2**20 if self.size_bytes is not None else None

    @classmethod
    def parse(cls, entry: object) -> Partition:
        """From `{mount, size, filesystem}`; `size` like `20G`, or `rest`."""
        values = known_keys("partitions", entry, ("mount", "size", "filesystem"), ("mount", "size"))
        size, filesystem = str(values["size"]), values.get("filesystem")
        return cls(
            mount=str(values["mount"]),
            size_bytes=None if size == "rest" else size_bytes(size),
            filesystem=str(filesystem) if filesystem is not None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disks:
    """Everything about the disks of one host."""

    rule: DiskRule = field(default_factory=DiskRule)
    mirror_rule: DiskRule | None = None  # raid1: the second disk; None: the next one that is not removable
    wipe: bool | tuple[str, ...] = False  # True: any data but DATA_LABELS; else serials that may be wiped
    layout: DiskLayout = DiskLayout.PLAIN
    filesystem: str = "ext4"
    partitions: tuple[Partition, ...] = ()  # none: one for everything, and swap
    volume_group: str = "vg0"  # lvm, luks
    reserve_bytes: int | None = None  # lvm, luks: left free in the volume group, at least
    reserve_percent: int | None = None
    reserved: tuple[ReservedDisk, ...] = ()
    keep_labels: tuple[str, ...] = DATA_LABELS

    def __post_init__(self) -> None:
        if self.filesystem not in FILESYSTEMS:
            raise AnswersProblem(f"filesystem: {self.filesystem!r} is not one of {', '.join(FILESYSTEMS)}")
        check(_VOLUME_NAME, "volume_group", self.volume_group, "letters, digits, + _ . -")
        for serial in self.wipe if isinstance(self.wipe, tuple) else ():
            check(DEVICE_WORD, "wipe", serial, "serial numbers")
        for label in self.keep_labels:
            check(NAME, "keep_labels", label, "words")
        check_unique("reserved disk", [f"{one.name} {one.rule}" for one in self.reserved])
        if self.mirror_rule is not None and self.layout is not DiskLayout.RAID1:
            raise AnswersProblem("mirror_disk: only the layout raid1 has a second disk")
        if self.mirror_rule == self.rule and self.rule.kind not in (DiskRuleKind.FIRST, DiskRuleKind.SIZE):
            raise AnswersProblem("mirror_disk: it is the same disk as `disk`: name another")
        self._check_reserve()
        self._check_partitions()

    def _check_reserve(self) -> None:
        if self.reserve_bytes is None and self.reserve_percent is None:
            return
        if not self.has_volume_group:
            raise AnswersProblem("reserve: only the layouts lvm and luks have a volume group with space to leave")
        if self.reserve_percent is not None and not 1 <= self.reserve_percent <= 95:
            raise AnswersProblem("reserve: leave 1% to 95% of the volume group")
        if any(one.size_bytes is None for one in self.partitions):
            return
        if self.partitions:
            raise AnswersProblem("reserve: partitions of fixed size leave what they leave: remove it")

    def _check_partitions(self) -> None:
        mounts = [one.mount for one in self.partitions]
        check_unique("partition", mounts)
        if mounts and "/" not in mounts:
            raise AnswersProblem("partitions: one of them must be /")
        rests = [one.mount for one in self.partitions if one.size_bytes is None]
        if len(rests) > 1:
            raise AnswersProblem(f"partitions: only one can take the rest, not {', '.join(rests)}")
        if SWAP in rests:
            raise AnswersProblem("partitions: swap needs a size")
        check_unique("logical volume", [one.volume_name for one in self.partitions])

    @property
    def has_volume_group(self) -> bool:
        return self.layout in (DiskLayout.LVM, DiskLayout.LUKS)

    @property
    def disk_count(self) -> int:
        """How many disks the layout takes."""
        return 2 if self.layout is DiskLayout.RAID1 else 1

    def filesystem_of(self, partition: Partition) -> str:
        """`swap`, or the filesystem the partition gets."""
        return SWAP if partition.mount == SWAP else partition.filesystem or self.filesystem

    @property
    def filesystems(self) -> frozenset[str]:
        """All that must be there to make it."""
        return frozenset({self.filesystem, *(self.filesystem_of(one) for one in self.partitions)}) - {SWAP}


def parse_reserve(text: str | None) -> tuple[int | None, int | None]:
    """`200G` or `40%` as (bytes, percent)."""
    if text is None or not text.strip():
        return None, None
    percent = re.fullmatch(r"([0-9]{1,2})%", text.strip(), re.ASCII)
    return (None, int(percent[1])) if percent else (size_bytes(text), None)


def parse_partitions(entries: Iterable[object]) -> tuple[Partition, ...]:
    """The parameter `partitions`; raises AnswersProblem."""
    return tuple(Partition.parse(entry) for entry in entries)
