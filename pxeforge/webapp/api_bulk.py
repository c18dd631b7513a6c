"""Many hosts armed, disarmed and retired by the API: all of them or none."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import arming, bulk_actions
from pxeforge.services.boot_menu import MENU_TIMEOUT_S
from pxeforge.services.context import Context
from pxeforge.webapp.api_hosts import ArmedHost, Arming, Host
from pxeforge.webapp.overwritten import Overwritten, overwritten
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import told

_Where = Annotated[str, Says(text="also those that fit, e.g. `state=known tag=rack1`")]


class Chosen(TypedDict):
    """Hosts by name, MAC or id, and by selection; 200 at most."""

    hosts: NotRequired[list[str]]
    where: NotRequired[_Where]


class ArmingOfMany(Arming):
    """The same for each of these hosts; 200 at most."""

    hosts: NotRequired[list[str]]
    where: NotRequired[_Where]
    dry_run: NotRequired[Annotated[bool, Says(text="only tell what would happen")]]


class ArmedOfMany(ArmedHost):
    overwrites: Annotated[list[Overwritten], Says(text="which disks, by profile that may be installed")]


class ArmedMany(TypedDict):
    dry_run: bool
    hosts: list[ArmedOfMany]


class RetirementOfMany(Chosen):
    why: NotRequired[str]


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts/arm")
    @told(takes=ArmingOfMany, gives=ArmedMany, problems=(404, 409), once=True)
    def arm_hosts(body: dict[str, Any]) -> Any:
        """The next netboot of each of these hosts starts what is named here, once."""
        order = bulk_actions.Order(
            profile=body.get("profile"), boot=body.get("boot"), profiles=body.get("profiles"),
            timeout_s=body.get("timeout_s", MENU_TIMEOUT_S), for_s=body.get("for_s", arming.ARMED_FOR_S),
        )  # fmt: skip
        dry_run = body.get("dry_run", False)
        armed = bulk_actions.arm(
            ctx, body.get("hosts", []), order, who=g.who, where=body.get("where"), dry_run=dry_run
        )  # fmt: skip
        return {"dry_run": dry_run, "hosts": [_with_disks(ctx, host) for host in armed]}

    @api.post("/hosts/disarm")
    @told(takes=Chosen, gives=list[Host], problems=(404, 409), once=True)
    def disarm_hosts(body: dict[str, Any]) -> Any:
        """The next netboot of each of these hosts is local again."""
        return bulk_actions.disarm(ctx, body.get("hosts", []), who=g.who, where=body.get("where"))

    @api.post("/hosts/retire")
    @told(takes=RetirementOfMany, gives=list[Host], problems=(404, 409), once=True)
    def retire_hosts(body: dict[str, Any]) -> Any:
        """Nobody arms these hosts any more and nothing runs on them."""
        return bulk_actions.retire(
            ctx, body.get("hosts", []), who=g.who, where=body.get("where"), why=body.get("why", "")
        )  # fmt: skip


def _with_disks(ctx: Context, host: dict[str, Any]) -> dict[str, Any]:
    disks = overwritten(ctx, host, host["installs"])
    return {**{key: value for key, value in host.items() if key not in ("facts", "installs")}, "overwrites": disks}
