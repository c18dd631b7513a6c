"""Hosts by the API: found, added, changed, given roles, armed, forgotten."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.domain.boot import LoaderChoice
from pxeforge.domain.diagnosis import DiagnosisName
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import arming, attempts, events, host_list, hosts, install_ends, role_catalogue
from pxeforge.services.attention import Attention
from pxeforge.services.boot_menu import MENU_TIMEOUT_S
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.api_events import Event
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told

Seconds = Annotated[float, Says(text="unix seconds, UTC")]


class Nic(TypedDict):
    mac: str
    name: str | None
    address: str | None
    reserved_address: str | None


class Evidence(TypedDict):
    """An event that a diagnosis rests on."""

    id: int
    at: Seconds
    message: str


class DiagnosisTold(TypedDict):
    """What holds a host up."""

    name: DiagnosisName
    sentence: str
    remedy: str
    since: Seconds
    evidence: list[Evidence]


class Host(TypedDict):
    """A host as lists show it."""

    id: str
    name: str | None
    state: HostState
    macs: list[str]
    nics: list[Nic]
    address: str | None
    uuid: str | None
    serial: str | None
    firmware: str | None
    loader: LoaderChoice
    tags: list[str]
    roles: list[str]
    settings: dict[str, Any]
    armed_until: Seconds | None
    created_at: Seconds
    seen_at: Seconds | None
    registered_at: Seconds | None
    agent_seen_at: Seconds | None
    agent_version: str | None
    clock_skew_s: float | None
    diagnosis: NotRequired[Annotated[DiagnosisTold | None, Says(text="what holds it up; told when hosts are read")]]


class CurrentAttempt(TypedDict):
    """What a host was armed for, once."""

    id: str
    profile: str
    image: str
    armed_at: Seconds
    armed_by: str
    expires_at: Seconds
    answers_at: Seconds | None
    registered_at: Seconds | None
    outcome: str | None


class Attempt(CurrentAttempt):
    """The same in the list of all of them."""

    purpose: str


class HostInFull(Host):
    """A host with its facts and what it is armed for."""

    facts: dict[str, Any]
    attempt: CurrentAttempt | None


class ArmedHost(Host):
    """A host that was just armed, and what may go wrong with it."""

    warnings: list[str]


class TimelineEvent(Event):
    """An event with the seconds since the one before."""

    since_s: float


class HostsAsked(TypedDict):
    """Which hosts; all that is given must fit."""

    q: NotRequired[Annotated[str, Says(text="words that occur in name, state, address, serial, MAC, role or tag")]]
    state: NotRequired[Annotated[str, Says(text="a state of hosts; with commas between them: any of these")]]
    tag: NotRequired[str]
    role: NotRequired[Annotated[str, Says(text="- is a host without any")]]
    rack: NotRequired[Annotated[str, Says(text="name of its rack; - is a host without a place")]]
    firmware: NotRequired[Annotated[str, Says(text="as hosts tell it; - is a host that told none")]]
    serial: NotRequired[Annotated[str, Says(text="the whole serial number, capitals or not")]]
    attention: NotRequired[Annotated[bool, Says(text="whether something holds it up, or its identity is in conflict")]]
    sort: NotRequired[Literal["name", "state", "address", "serial", "firmware", "seen_at", "created_at",
                              "registered_at"]]  # fmt: skip
    order: NotRequired[Literal["up", "down"]]


class TimelineAsked(TypedDict):
    after_id: NotRequired[Annotated[int, Says(text="only events with a greater id", least=0)]]


class NewHost(TypedDict):
    macs: Annotated[list[str], Says(text="MAC addresses, in any spelling; one at least")]
    name: NotRequired[str]
    roles: NotRequired[list[str]]
    tags: NotRequired[list[str]]


class HostChange(TypedDict):
    """What is left out stays as it is."""

    name: NotRequired[str]
    tags: NotRequired[list[str]]
    loader: NotRequired[str]
    settings: NotRequired[Annotated[dict[str, Any], Says(text="disk, wipe, parameters, network …; null takes one off")]]
    reserve: NotRequired[Annotated[dict[str, Any], Says(text="addresses kept for NICs, by MAC; null gives one back")]]


class Arming(TypedDict):
    """One of `profile`, `profiles` (a menu at the console) and `boot` (rescue, memtest, discover); without any of them
    the profile that the host is meant for.
    """

    profile: NotRequired[str]
    boot: NotRequired[str]
    profiles: NotRequired[list[str]]
    timeout_s: NotRequired[Annotated[int, Says(text="how long a menu waits")]]
    for_s: NotRequired[Annotated[float, Says(text="how long the host stays armed; two hours without it")]]


class RolesOfHosts(TypedDict):
    hosts: list[str]
    roles: list[str]


class Roles(TypedDict):
    roles: list[str]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _reading(api, ctx)
    _changing(api, ctx)
    _arming(api, ctx)
    _roles(api, ctx)


def _wanted(ctx: Context, query: dict[str, Any], attention: Attention) -> host_list.Wanted:
    """Raises NotFound for a role that neither exists nor is given to any host: nothing could ever fit it."""
    without = {key: "" if query.get(key) == "-" else query.get(key) for key in ("role", "rack", "firmware")}
    if without["role"] and without["role"] not in host_list.role_counts(ctx):
        role_catalogue.check_roles(ctx, [without["role"]])
    held_up = query.get("attention")
    return host_list.Wanted(
        text=query.get("q", ""), states=tuple(filter(None, query.get("state", "").split(","))), tag=query.get("tag"),
        **without, serial=query.get("serial"), sort=query.get("sort", "name"), descending=query.get("order") == "down",
        ids=attention.host_ids() if held_up else None, but=attention.host_ids() if held_up is False else None,
    )  # fmt: skip


def _reading(api: Blueprint, ctx: Context) -> None:
    attention = Attention(ctx)

    @api.get("/hosts")
    @told(asks=HostsAsked, gives=Host, pages=Pages(keys=((str, float, int, type(None)), (str,))), problems=(404,))
    def list_hosts(query: dict[str, Any], part: Part) -> Any:
        """All hosts, or those that fit."""
        wanted = _wanted(ctx, query, attention)
        rows = host_list.rows_after(ctx, wanted, part.after, limit=part.limit + 1)
        return first(rows, part.limit, lambda row: (row[wanted.sort], row["id"]))

    @api.get("/hosts/<host>")
    @told(gives=HostInFull, problems=(404, 409))
    def show_host(host: str) -> Any:
        """One host with its facts and what it is armed for."""
        return hosts.show(ctx, host)

    @api.get("/hosts/<host>/timeline")
    @told(asks=TimelineAsked, gives=TimelineEvent, pages=Pages(keys=((int,),)), problems=(404, 409))
    def host_timeline(host: str, query: dict[str, Any], part: Part) -> Any:
        """All events of the host, oldest first."""
        after_id = query.get("after_id", 0) if part.after is None else int(part.after[0] or 0)
        rows = events.timeline(ctx, hosts.id_of(ctx, host), after_id=after_id, limit=part.limit + 1)
        return first(rows, part.limit, lambda row: (row["id"],))

    @api.get("/hosts/<host>/attempts")
    @told(gives=Attempt, pages=Pages(keys=((float, int), (str,))), problems=(404, 409))
    def host_attempts(host: str, part: Part) -> Any:
        """What the host was armed for, newest first."""
        rows = attempts.of_host(ctx, host, limit=10_000)
        if part.after is not None:
            rows = [row for row in rows if (row["armed_at"], row["id"]) < part.after]
        return first(rows, part.limit, lambda row: (row["armed_at"], row["id"]))


def _changing(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts")
    @told(takes=NewHost, gives=Host, status=201, problems=(404, 409), once=True)
    def add_host(body: dict[str, Any]) -> Any:
        """Adds a host, or vouches for one that was discovered."""
        role_catalogue.check_roles(ctx, body.get("roles", []))
        return hosts.add(
            ctx, macs=body["macs"], name=body.get("name"), roles=body.get("roles", []), tags=body.get("tags", []),
            who=g.who,
        )  # fmt: skip

    @api.patch("/hosts/<host>")
    @told(takes=HostChange, gives=Host, problems=(404, 409), versioned=True)
    def change_host(host: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Sets what is given and leaves the rest; a discovered host becomes known."""
        return hosts.change(ctx, host, who=g.who, expected_version=expected_version, **body)

    @api.delete("/hosts/<host>")
    @told(problems=(404, 409), versioned=True)
    def forget_host(host: str, expected_version: str | None) -> Any:
        """Removes the host with its roles and credentials; its events stay."""
        hosts.forget(ctx, host, who=g.who, expected_version=expected_version)
        return {}


def _arming(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts/<host>/arm")
    @told(takes=Arming, gives=ArmedHost, problems=(404, 409), once=True)
    def arm_host(host: str, body: dict[str, Any]) -> Any:
        """The next netboot of the host starts what is named here, once."""
        for_s = body.get("for_s", arming.ARMED_FOR_S)
        if "profiles" in body:
            timeout_s = body.get("timeout_s", MENU_TIMEOUT_S)
            return arming.arm_menu(
                ctx, host, profiles=body["profiles"], timeout_s=timeout_s, for_s=for_s, who=g.who
            )  # fmt: skip
        if "boot" in body:
            profile = body.get("profile")
            return arming.arm_program(ctx, host, boot=body["boot"], profile=profile, for_s=for_s, who=g.who)
        profile = body.get("profile") or hosts.show(ctx, host)["settings"].get("profile")
        if not profile:
            raise Problem("arming needs a profile, and the host has none of its own: see `pxeforge profile list`")
        return arming.arm(ctx, host, profile=profile, for_s=for_s, who=g.who)

    @api.post("/hosts/<host>/disarm")
    @told(gives=Host, problems=(404, 409), once=True)
    def disarm_host(host: str) -> Any:
        """The next netboot of the host is local again; its tokens are worth nothing any more."""
        return install_ends.disarm(ctx, host, who=g.who)


def _roles(api: Blueprint, ctx: Context) -> None:
    def known() -> list[str]:
        return role_catalogue.role_names(ctx)

    @api.post("/hosts/assign")
    @told(takes=RolesOfHosts, gives=list[Host], problems=(404, 409), once=True)
    def assign_roles(body: dict[str, Any]) -> Any:
        """Gives roles to hosts, to all of them or to none."""
        return hosts.assign(ctx, body["hosts"], body["roles"], who=g.who, known_roles=known())

    @api.put("/hosts/<host>/roles")
    @told(takes=Roles, gives=Host, problems=(404, 409), versioned=True)
    def set_roles(host: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """The host gets exactly these roles."""
        return hosts.set_roles(
            ctx, host, body["roles"], who=g.who, known_roles=known(), expected_version=expected_version
        )  # fmt: skip

    @api.post("/hosts/<host>/unassign")
    @told(takes=Roles, gives=Host, problems=(404, 409), once=True, versioned=True)
    def unassign_roles(host: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Takes roles away from the host."""
        return hosts.unassign(ctx, host, body["roles"], who=g.who, expected_version=expected_version)
