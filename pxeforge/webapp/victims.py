"""Which disks of a host an install would overwrite, as far as its disk rule and the facts it reported tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.render.disks import DiskLayout, DiskRule, DiskRuleKind, ReservedDisk
from pxeforge.render.values import AnswersProblem
from pxeforge.services.answers import effective
from pxeforge.webapp.reported import Disk, hardware

_RULES: Final = {
    DiskRuleKind.FIRST: "the first disk that is not removable, in the order in which the installer finds them",
    DiskRuleKind.SERIAL: "the disk with this serial number",
    DiskRuleKind.BY_PATH: "the disk on this port of the controller",
    DiskRuleKind.NAME: "the disk with this device name",
    DiskRuleKind.SIZE: "the first disk that is not removable and has this size",
}
_NAMING: Final = frozenset({DiskRuleKind.SERIAL, DiskRuleKind.BY_PATH, DiskRuleKind.NAME})


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A host about to be armed for a profile: the disk rule that will choose, and the disks it has as far as we know.

    `named`: those that a rule names outright; `spared`: those that are reserved for a role.
    """

    host: dict[str, Any]
    profile: str
    rule: str
    rule_means: str
    second_rule: str  # of a mirror over two disks; empty where there is one disk
    may_lose_data: str
    disks: tuple[Disk, ...]
    named: tuple[Disk, ...]
    spared: tuple[Disk, ...]
    none_fits: bool  # a rule names a disk, and the host reported others only
    may_wipe: bool  # at least one disk may be wiped though it carries data


def victim(host: dict[str, Any], profile: Mapping[str, Any]) -> Victim:
    """`profile` as profiles.show tells it, `host` as hosts.show."""
    settings = host["settings"]
    own = {key: value for key, value in settings.items() if key in ("disk", "wipe")}
    wanted = effective(profile["parameters"], settings.get("parameters") or {}, own)
    disks = hardware(host["facts"]).disks
    rule, mirrored = str(wanted["disk"]), wanted["layout"] == DiskLayout.RAID1.value
    second = str(wanted.get("mirror_disk") or "") if mirrored else ""
    spared = tuple(disk for disk in disks if any(_fits(one, disk) for one in _reserved(wanted)))
    named = tuple(disk for disk in disks if _is_named(rule, disk) or _is_named(second, disk))
    kind, wipe = _kind(rule), wanted["wipe"]
    allowed = set(wipe) if isinstance(wipe, list) else set()
    return Victim(
        host=host,
        profile=str(profile["name"]),
        rule=rule,
        rule_means=_RULES.get(kind, "the disk that fits this rule") if kind else "the disk that fits this rule",
        second_rule=(second or "the next disk that is not removable") if mirrored else "",
        may_lose_data=wipe_words(wipe),
        disks=tuple(disk for disk in disks if disk not in spared),
        named=named,
        spared=spared,
        none_fits=bool(disks) and not named and kind in _NAMING,
        may_wipe=wipe is True or any(allowed & names_of(disk) for disk in named or disks),
    )


def _kind(text: str) -> DiskRuleKind | None:
    try:
        return DiskRule.parse(text).kind
    except AnswersProblem:
        return None


def _is_named(rule: str, disk: Disk) -> bool:
    kind, _equals, value = rule.partition("=")
    return bool(value) and kind != DiskRuleKind.SIZE.value and value in names_of(disk)


def _reserved(wanted: Mapping[str, Any]) -> list[DiskRule]:
    found = []
    for entry in wanted.get("reserved_disks") or []:
        try:
            found.append(ReservedDisk.parse(entry).rule)
        except AnswersProblem:  # arming refuses it and says why
            continue
    return found


def _fits(rule: DiskRule, disk: Disk) -> bool:
    if rule.kind is not DiskRuleKind.SIZE:
        return rule.value in names_of(disk)
    if disk.size_bytes is None:
        return False
    return (rule.min_bytes or 0) <= disk.size_bytes and (rule.max_bytes is None or disk.size_bytes <= rule.max_bytes)


def names_of(disk: Disk) -> set[str]:
    """All by which a rule or the setting `wipe` can name it."""
    names = {disk.name, f"/dev/{disk.name}", disk.serial, disk.by_path, disk.by_path.rpartition("/")[2]}
    return names - {"", "/dev/"}


def wipe_words(wipe: object) -> str:
    """What the setting `wipe` means for a disk that carries data."""
    if wipe is True:
        return "It is wiped even if it carries data."
    if isinstance(wipe, list) and wipe:
        serials = " or ".join(map(str, wipe))
        return f"If it carries data it is wiped only with the serial {serials}; else the installer stops."
    return "If it carries data the installer stops and leaves it alone (wipe is off)."
