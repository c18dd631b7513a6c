"""Which disks an install would overwrite, as the API tells it: those that are named for sure, else those it may be."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from pxeforge.services import profiles
from pxeforge.services.context import Context
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.victims import victim


class DiskTold(TypedDict):
    name: str
    serial: str
    size_bytes: float | None


class Overwritten(TypedDict):
    """Of one profile that may be installed."""

    profile: str
    rule: Annotated[str, Says(text="by which the installer chooses the disk")]
    means: str
    disks: Annotated[list[DiskTold], Says(text="those that the rule names; else all that it may be; empty: unknown")]
    sure: Annotated[bool, Says(text="the rule names these disks")]
    may_lose_data: Annotated[str, Says(text="what happens where the disk carries data")]


def overwritten(ctx: Context, host: dict[str, Any], names: list[str]) -> list[Overwritten]:
    """`host` with its settings and facts; `names`: the profiles that may be installed. Raises NotFound."""
    return [_told(host, profiles.show(ctx, name)) for name in names]


def _told(host: dict[str, Any], profile: dict[str, Any]) -> Overwritten:
    found = victim(host, profile)
    return {
        "profile": found.profile,
        "rule": found.rule,
        "means": found.rule_means,
        "disks": [
            {"name": disk.name, "serial": disk.serial, "size_bytes": disk.size_bytes}
            for disk in found.named or (() if found.none_fits else found.disks)
        ],
        "sure": bool(found.named),
        "may_lose_data": found.may_lose_data,
    }
