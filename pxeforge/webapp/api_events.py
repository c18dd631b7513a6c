"""What happened, by the API: in parts, newest first, or as a stream that goes on."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, Response, g, request

from pxeforge.domain.user_role import UserRole
from pxeforge.services import event_list
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide_everywhere
from pxeforge.services.problems import Problem
from pxeforge.webapp.event_stream import Streams, gone_of
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told


class Event(TypedDict):
    """One line of a timeline. With `who` it is a line of the audit log."""

    id: int
    at: Annotated[float, Says(text="unix seconds, UTC")]
    source: str
    kind: str
    message: str
    who: str | None
    host_id: str | None
    run_id: str | None
    data: dict[str, Any]
    via: str | None
    address: str | None


class FollowAsked(TypedDict):
    """Which events; all that is given must fit."""

    host: NotRequired[Annotated[str, Says(text="a MAC, name, UUID or id")]]
    run: NotRequired[str]
    source: NotRequired[str]
    kind: NotRequired[str]
    who: NotRequired[str]


class EventsAsked(FollowAsked):
    """The same within a time."""

    since: NotRequired[Annotated[float, Says(text="unix seconds")]]
    until: NotRequired[Annotated[float, Says(text="unix seconds")]]


def add_routes(api: Blueprint, ctx: Context) -> None:
    streams = Streams(ctx)

    @api.get("/events")
    @told(asks=EventsAsked, gives=Event, pages=Pages(keys=((int,),)), problems=(404, 409))
    def recent_events(query: dict[str, Any], part: Part) -> Any:
        """Events of all hosts, newest first."""
        before = None if part.after is None else int(part.after[0] or 0)
        rows = event_list.newest(ctx, event_list.Wanted(**query), before_id=before, limit=part.limit + 1)
        return first(rows, part.limit, lambda row: (row["id"],))

    @api.get("/events/stream")
    @told(asks=FollowAsked, gives=Event, problems=(404, 409, 503), media="text/event-stream")
    def follow_events(query: dict[str, Any]) -> Any:
        """Server-sent events: what happens from now on, or from the event that Last-Event-ID names.

        It ends after a minute, and when who follows is logged out, disabled or given another role; whoever goes on
        follows with Last-Event-ID, as browsers do by themselves.
        """
        last = request.headers.get("Last-Event-ID", "").strip()
        if last and not (last.isascii() and last.isdigit() and len(last) < 19):
            raise Problem("Last-Event-ID must be the id of an event, as the stream sent it")
        reader = not g.actor.role.covers(UserRole.OPERATOR)
        told_of = (lambda value: hide_everywhere(ctx, value)) if reader else (lambda value: value)
        wanted, gone = event_list.Wanted(**query), gone_of(request.environ)
        stream = streams.open(wanted, int(last) if last else None, told_of, gone, g.follow_up())
        return Response(stream, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
