"""Disks that roles need beside the system's own: whether a host, by its facts, has them (R-38)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskNeed:
    """What a role declares: so many whole disks of at least this size, which the installer leaves alone."""

    count: int
    min_bytes: int


def lacking_disks(facts: Mapping[str, Any], needs: Mapping[str, DiskNeed]) -> str | None:
    """What is missing for the roles in `needs`, as one sentence; None when all is there or nothing is known yet.

    A disk that carries the system never counts; one that a role uses already does.
    """
    disks = [disk for disk in facts.get("disks", ()) if "system" in disk]
    if not needs or not disks:
        return None
    free = sorted(disk["size_bytes"] for disk in disks if not disk["system"] and not disk.get("removable"))
    for role, need in sorted(needs.items(), key=lambda item: -item[1].min_bytes):
        fitting = [size for size in free if size >= need.min_bytes]
        if len(fitting) < need.count:
            return (
                f"role {role} needs {need.count} disks of at least {need.min_bytes // 10**9} GB beside the system's, "
                f"and {len(fitting)} are left: keep them out of the install (parameters disk, layout and "
                "reserved_disks of the profile) or add some"
            )
        for size in fitting[-need.count :]:
            free.remove(size)
    return None
