"""The life of hosts by the API: stages, diagnoses, wipes, the end of rescue systems, retirement."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.domain.lifecycle import HostState
from pxeforge.services import diagnosis, enrolment, rescue, retirement, timeline, wiping
from pxeforge.services.arming import ARMED_FOR_S
from pxeforge.services.context import Context
from pxeforge.webapp.api_hosts import ArmedHost, DiagnosisTold, Host, Seconds
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told


class Stage(TypedDict):
    """A part of a host's way."""

    stage: Annotated[str, Says(text="as in the documentation; a step of the installer is `installer: STEP`")]
    began_at: Seconds
    ended_at: Seconds | None
    state: Literal["done", "running", "failed"]
    note: str
    attempt: Annotated[int, Says(text="which of the armings that are told of; 1 is the first")]


class StagesAsked(TypedDict):
    attempts: NotRequired[Annotated[int, Says(text="how many armings, the newest ones", least=1, most=50)]]


class HeldUp(DiagnosisTold):
    """A host that something holds up."""

    host: Annotated[str, Says(text="its name, else a MAC address")]
    host_id: str
    state: HostState


class Wipe(TypedDict):
    """Which disks are erased: `serials`, or all that the host has reported."""

    confirmed: Annotated[str, Says(text="the host's name once more")]
    serials: NotRequired[list[str]]
    all_disks: NotRequired[bool]
    overwrite: NotRequired[Annotated[bool, Says(text="every byte, not only both ends and a discard")]]
    power: NotRequired[Annotated[str, Says(text="what the host does at the end: poweroff (default) or reboot")]]
    retire: NotRequired[Annotated[bool, Says(text="the host is retired once its disks are erased")]]
    profile: NotRequired[Annotated[str, Says(text="whose installer is started; default: the one it had last")]]
    for_s: NotRequired[Annotated[float, Says(text="how long the host stays armed; two hours without it")]]


class ArmedForWipe(ArmedHost):
    erases: list[str]


class Enrolment(TypedDict):
    """Of a host that has its system already."""

    for_s: NotRequired[Annotated[float, Says(text="how long the command is good; an hour without it")]]


class EnrolmentCommand(TypedDict):
    host_id: str
    host_name: str | None
    command: Annotated[str, Says(text="for a shell of root on the host; it holds a token that is good once")]
    expires_at: Seconds


class Retirement(TypedDict):
    why: NotRequired[str]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _reading(api, ctx)
    _changing(api, ctx)


def _reading(api: Blueprint, ctx: Context) -> None:
    @api.get("/hosts/<host>/stages")
    @told(asks=StagesAsked, gives=list[Stage], problems=(404, 409))
    def host_stages(host: str, query: dict[str, Any]) -> Any:
        """What the host did since it was armed last, with times, oldest first."""
        return timeline.stages_of(ctx, host, attempts=query.get("attempts", 1))

    @api.get("/diagnoses")
    @told(gives=HeldUp, pages=Pages(keys=((float, int), (str,))))
    def list_diagnoses(part: Part) -> Any:
        """The hosts that something holds up, the newest first."""
        after: Any = part.after
        rows = diagnosis.what_needs_attention(ctx, part.limit + 1, after=after)
        return first(rows, part.limit, lambda row: (row["since"], row["host_id"]))


def _changing(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts/<host>/wipe")
    @told(takes=Wipe, gives=ArmedForWipe, problems=(404, 409), once=True)
    def wipe_host(host: str, body: dict[str, Any]) -> Any:
        """The next netboot of the host erases these disks, once, and no others."""
        return wiping.arm_wipe(
            ctx, host, confirmed=body["confirmed"], serials=body.get("serials", []),
            all_disks=body.get("all_disks", False), overwrite=body.get("overwrite", False),
            power=body.get("power", "poweroff"), retire=body.get("retire", False), profile=body.get("profile"),
            for_s=body.get("for_s", ARMED_FOR_S), who=g.who,
        )  # fmt: skip

    @api.post("/hosts/<host>/enrol")
    @told(takes=Enrolment, gives=EnrolmentCommand, problems=(404, 409))
    def enrol_host(host: str, body: dict[str, Any]) -> Any:
        """A command that registers the running host and starts its agent; an earlier one is good no longer."""
        return enrolment.enrol(ctx, host, for_s=body.get("for_s", enrolment.VALID_FOR_S), who=g.who)

    @api.post("/hosts/<host>/rescue-over")
    @told(gives=Host, problems=(404, 409), once=True)
    def end_rescue(host: str) -> Any:
        """The host is no longer taken for being in a rescue system or a memory test."""
        return rescue.end(ctx, host, who=g.who)

    @api.post("/hosts/<host>/retire")
    @told(takes=Retirement, gives=Host, problems=(404, 409), once=True)
    def retire_host(host: str, body: dict[str, Any]) -> Any:
        """Nobody arms the host any more and nothing runs on it."""
        return retirement.retire(ctx, host, who=g.who, why=body.get("why", ""))

    @api.post("/hosts/<host>/revive")
    @told(gives=Host, problems=(404, 409), once=True)
    def revive_host(host: str) -> Any:
        """A retired host is known again."""
        return retirement.revive(ctx, host, who=g.who)
