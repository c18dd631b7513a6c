"""Turns the model of an install into the lines of a kickstart file that differ by release: disks, network, clock."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pxeforge.domain.installer import ENTERPRISE_LINUX, major
from pxeforge.render.disks import SWAP, DiskLayout, Disks, Partition
from pxeforge.render.network import Network
from pxeforge.render.networkmanager import networkmanager_files
from pxeforge.render.repositories import Repository
from pxeforge.render.values import AnswersProblem

if TYPE_CHECKING:
    from pxeforge.render.answers import AnswersContext

# What the disk guard puts in for the disks that it chose, by their names in the kernel (vda).
DISK: Final = "@DISK@"
SECOND_DISK: Final = "@DISK2@"
_OLDEST: Final = 6
_NEWEST: Final = 10
_BOOT_MIB: Final = 1024
_ESP_MIB: Final = 600
_SWAP_MIB: Final = 2048
_SMALLEST_MIB: Final = 1024  # of a partition that grows
_RESCUE: Final = ("C", "POSIX", "C.UTF-8")


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Red Hat's family; `level` is the Enterprise Linux whose installer it is nearest to (6 to 10)."""

    distribution: str
    number: int
    level: int

    @classmethod
    def of(cls, distribution: str, release: str) -> Release:
        """Raises AnswersProblem for a release whose installer is not known."""
        number = major(release)
        if number is None:
            raise AnswersProblem(f"{distribution} {release!r} is no release: import its image again")
        if distribution == "fedora":
            level = 9 if number >= 34 else 8 if number >= 28 else 7
            return cls(distribution, number, level)
        if distribution not in ENTERPRISE_LINUX or number < _OLDEST:
            raise AnswersProblem(
                f"there is no kickstart for {distribution} {release}: it is for CentOS 6 and newer, Rocky, Alma, Fedora"
            )
        return cls(distribution, number, min(number, _NEWEST))

    @property
    def has_agent_python(self) -> bool:
        """Whether its `python3` is new enough for the agent (3.9)."""
        return self.level >= 9

    @property
    def has_network_manager(self) -> bool:
        """Whether key files of NetworkManager configure it."""
        return self.level >= 7


def kickstart_variables(context: AnswersContext) -> Mapping[str, object]:
    """What the templates in kickstart/ may use on top of what all answers may. Raises AnswersProblem."""
    release = Release.of(context.source.distribution, context.source.release)
    if context.source.tree_url is None:
        raise AnswersProblem("the image has no installation tree: import the installation media (DVD) again")
    suites = [one.name for one in context.repositories if one.suite is not None]
    if suites:
        raise AnswersProblem(f"repository {suites[0]} has a suite, as in Debian: give the URL of an RPM repository")
    if not release.has_network_manager and not context.network.is_simple:
        raise AnswersProblem(
            "network: CentOS 6 is given one NIC, by DHCP or with one address; configure the rest in a late snippet"
        )
    # Its installer cannot mirror the EFI system partition: the guard refuses.
    is_bios_only = release.level == _OLDEST and context.disks.layout is DiskLayout.RAID1
    by_uefi = () if is_bios_only else disk_lines(context.disks, release, context.installed_args, is_efi=True)
    return {
        "level": release.level,
        "is_fedora": release.distribution == "fedora",
        "has_agent_python": release.has_agent_python,
        "lang": "en_US.UTF-8" if context.locale in _RESCUE else context.locale,
        "network_line": network_line(context.network, release, context.hostname),
        "disks_by_bios": tuple(disk_lines(context.disks, release, context.installed_args, is_efi=False)),
        "disks_by_uefi": tuple(by_uefi),
        "nm_files": networkmanager_files(context.network, context.hostname),
        "yum_files": {one.name: yum_file(one) for one in context.repositories},
        "all_packages": tuple(_packages(context, release)),
    }


def _packages(context: AnswersContext, release: Release) -> Iterator[str]:
    for package in dict.fromkeys([*context.packages, *(["sudo"] if any(one.sudo for one in context.users) else [])]):
        if package != "python3" or release.has_agent_python:
            yield package


def yum_file(repository: Repository) -> str:
    """A repository as yum and dnf have it."""
    key = repository.key_url or f"file:///etc/pki/rpm-gpg/RPM-GPG-KEY-{repository.name}"
    lines = [f"[{repository.name}]", f"name={repository.name}", f"baseurl={repository.url}", "enabled=1", "gpgcheck=1"]
    return "\n".join([*lines, f"gpgkey={key}", ""])


def network_line(network: Network, release: Release, hostname: str) -> str:
    """The NIC that netboots, as the installer needs it. What is more than that NetworkManager gets at the end."""
    # The first NIC of an installed EL 6 is up only if it is told to.
    words = ["network", "--device=bootif", "--onboot=yes"]
    static = network.static_address() if network.is_simple else None
    if static is None:
        words.append("--bootproto=dhcp")
    else:
        words += ["--bootproto=static", f"--ip={static.address}", f"--netmask={static.netmask}"]
        words += [f"--gateway={static.gateway}"] if static.gateway else []
        words += [f"--nameserver={','.join(static.nameservers)}"] if static.nameservers else ["--nodns"]
    if release.level > _OLDEST:
        words.append("--activate")
    return " ".join([*words, f"--hostname={hostname}"])


# ------------------------------------------------------------------------------------------ disks


def disk_lines(disks: Disks, release: Release, installed_args: str, *, is_efi: bool) -> Iterator[str]:
    """Everything about the disks; DISK and SECOND_DISK stand for the disks that the guard chose. No other is touched.

    The first line is the one that matters most: with it the installer does not even see the others.
    """
    chosen = ",".join([DISK, SECOND_DISK][: disks.disk_count])
    yield f"ignoredisk --only-use={chosen}"
    yield "zerombr"
    # Mirrored boot loaders need a place of their own on each disk, which only GPT has.
    is_gpt = disks.layout is DiskLayout.RAID1 and release.level > _OLDEST
    yield f"clearpart --all --initlabel{' --disklabel=gpt' if is_gpt else ''} --drives={chosen}"
    boot = f"--driveorder={chosen}" if release.level == _OLDEST else f"--boot-drive={DISK}"
    append = f" --append={shlex.quote(installed_args)}" if installed_args else ""
    yield f"bootloader --location=mbr {boot}{append}"
    if disks.layout is DiskLayout.RAID1:
        yield from _raid(disks, release, is_efi=is_efi)
    elif disks.has_volume_group:
        yield from _volume_group(disks, release, is_efi=is_efi)
    else:
        yield from _plain(disks, release, is_efi=is_efi)


def _system_partitions(release: Release, *, is_efi: bool) -> Iterator[str]:
    """What the firmware and the boot loader need."""
    if release.level > _OLDEST:
        yield "reqpart"
    elif is_efi:
        yield f"part /boot/efi --fstype=efi --size=200 --ondisk={DISK}"


def _boot_partition(disks: Disks) -> Partition:
    own = next((one for one in disks.partitions if one.mount == "/boot"), None)
    return own or Partition(mount="/boot", size_bytes=_BOOT_MIB * 2**20, filesystem="ext4")


def _without_boot(disks: Disks) -> tuple[Partition, ...]:
    """All but /boot; without any partitions: everything in one, and swap."""
    if not disks.partitions:
        return (Partition(mount=SWAP, size_bytes=_SWAP_MIB * 2**20), Partition(mount="/", size_bytes=None))
    return tuple(one for one in disks.partitions if one.mount != "/boot")


def _plain(disks: Disks, release: Release, *, is_efi: bool) -> Iterator[str]:
    yield from _system_partitions(release, is_efi=is_efi)
    for one in (_boot_partition(disks), *_without_boot(disks)):
        yield f"part {one.mount} {_size(one)} {_filesystem(disks, one)} --ondisk={DISK}"


def _volume_group(disks: Disks, release: Release, *, is_efi: bool) -> Iterator[str]:
    yield from _system_partitions(release, is_efi=is_efi)
    boot = _boot_partition(disks)
    yield f"part /boot {_size(boot)} {_filesystem(disks, boot)} --ondisk={DISK}"
    encrypted = " --encrypted --passphrase=@PASSPHRASE@" if disks.layout is DiskLayout.LUKS else ""
    yield f"part pv.01 --size={_SMALLEST_MIB} --grow --ondisk={DISK}{encrypted}"
    group = f"volgroup {disks.volume_group} pv.01"
    if disks.reserve_percent is not None:
        group += f" --reserved-percent={disks.reserve_percent}"
    elif disks.reserve_bytes is not None:
        group += f" --reserved-space={-(-disks.reserve_bytes // 2**20)}"
    yield group
    for one in _without_boot(disks):
        words = f"--vgname={disks.volume_group} --name={one.volume_name} {_size(one)} {_filesystem(disks, one)}"
        yield f"logvol {one.mount} {words}"


def _raid(disks: Disks, release: Release, *, is_efi: bool) -> Iterator[str]:
    """Each partition on both disks; the EFI system partition too, so that the firmware finds it on either."""
    number = 10
    arrays: list[str] = []
    if is_efi and release.level > _OLDEST:
        yield from _members(number, f"--size={_ESP_MIB}")
        arrays.append("raid /boot/efi --level=RAID1 --device=boot_efi --fstype=efi raid.10 raid.11")
        number += 10
    elif release.level > _OLDEST:
        for disk in (DISK, SECOND_DISK):
            yield f"part biosboot --fstype=biosboot --size=1 --ondisk={disk}"
    for index, one in enumerate((_boot_partition(disks), *_without_boot(disks))):
        yield from _members(number, _size(one))
        device = f"md{index}" if release.level == _OLDEST else one.volume_name
        use = f"--device={device} {_filesystem(disks, one)}"
        arrays.append(f"raid {one.mount} --level=1 {use} raid.{number} raid.{number + 1}")
        number += 10
    yield from arrays


def _members(number: int, size: str) -> Iterator[str]:
    for offset, disk in enumerate((DISK, SECOND_DISK)):
        yield f"part raid.{number + offset} {size} --ondisk={disk}"


def _size(one: Partition) -> str:
    return f"--size={one.size_mib}" if one.size_mib is not None else f"--size={_SMALLEST_MIB} --grow"


def _filesystem(disks: Disks, one: Partition) -> str:
    return f"--fstype={disks.filesystem_of(one)}"
