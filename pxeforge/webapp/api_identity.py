"""Identities by the API: conflicts shown and settled, hosts merged, NICs added, moved and removed."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import identity
from pxeforge.services.context import Context
from pxeforge.webapp.api_hosts import Host
from pxeforge.webapp.paging import Part, sorted_part
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told

Seconds = Annotated[float, Says(text="unix seconds, UTC")]


class ConflictsAsked(TypedDict):
    host: NotRequired[Annotated[str, Says(text="only what this host has part in")]]
    settled: NotRequired[Annotated[bool, Says(text="also what was accepted")]]


class HostInConflict(TypedDict):
    id: str
    name: str | None
    mac: str
    state: str


class IdentityConflict(TypedDict):
    """What does not fit together, and what to do about it."""

    id: str
    kind: Annotated[str, Says(text="uuid_shared, serial_shared, new_nic, nic_claimed or moved")]
    sentence: str
    remedy: str
    commands: list[str]
    hosts: list[HostInConflict]
    mac: str | None
    since: Seconds
    settled_at: Seconds | None
    settled_by: str | None


class Merging(TypedDict):
    host: Annotated[str, Says(text="the host that becomes part of the one in the address")]


class NewNic(TypedDict):
    mac: str


class NicMove(TypedDict):
    host: Annotated[str, Says(text="whose NIC it is now")]


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/conflicts")
    @told(asks=ConflictsAsked, gives=IdentityConflict, pages=Pages(keys=((float, int), (str,))), problems=(404, 409))
    def list_conflicts(query: dict[str, Any], part: Part) -> Any:
        """Identities that two hosts show, NICs and hosts that were moved; the newest first."""
        found = identity.conflicts(ctx, host=query.get("host"), settled=query.get("settled", False))
        return sorted_part(found, part, lambda row: (-row["since"], row["id"]))

    @api.post("/conflicts/<conflict>/settle")
    @told(gives=IdentityConflict, problems=(404,))
    def settle_conflict(conflict: str) -> Any:
        """Accepts a conflict as it is; it comes back when something about it changes."""
        return identity.settle(ctx, conflict, who=g.who)

    @api.post("/hosts/<host>/merge")
    @told(takes=Merging, gives=Host, problems=(404, 409), once=True)
    def merge_hosts(host: str, body: dict[str, Any]) -> Any:
        """Makes one host of two: the other's NICs, tags and events come to this one."""
        return identity.merge(ctx, host, body["host"], who=g.who)

    @api.post("/hosts/<host>/nics")
    @told(takes=NewNic, gives=Host, problems=(404, 409), once=True)
    def add_nic(host: str, body: dict[str, Any]) -> Any:
        """A further NIC of the host; one that only stood for a discovered host is taken over."""
        return identity.nic_add(ctx, host, body["mac"], who=g.who)

    @api.post("/nics/<mac>/move")
    @told(takes=NicMove, gives=Host, problems=(404, 409), once=True)
    def move_nic(mac: str, body: dict[str, Any]) -> Any:
        """The NIC was put into another host."""
        return identity.nic_move(ctx, mac, body["host"], who=g.who)

    @api.delete("/nics/<mac>")
    @told(gives=Host, problems=(404, 409))
    def remove_nic(mac: str) -> Any:
        """The NIC is gone; the last one of a host stays."""
        return identity.nic_remove(ctx, mac, who=g.who)
