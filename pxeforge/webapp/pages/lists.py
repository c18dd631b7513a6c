"""Recent events: a plain list."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from pxeforge.services import events, hosts
from pxeforge.services.context import Context

_EVENT_LIMIT = 200


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/events")
    def event_list() -> ResponseReturnValue:
        shown = events.recent(ctx, limit=_EVENT_LIMIT)
        labels = hosts.labels(ctx, {event["host_id"] for event in shown if event["host_id"]})
        return render_template("events.html", events=shown, labels=labels)
