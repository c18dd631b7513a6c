"""Recent events: a plain list."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from pxeforge.services import events, hosts
from pxeforge.services.context import Context
from pxeforge.webapp.pages.readable import host_label

_EVENT_LIMIT = 200


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/events")
    def event_list() -> ResponseReturnValue:
        labels = {host["id"]: host_label(host) for host in hosts.list_hosts(ctx)}
        return render_template("events.html", events=events.recent(ctx, limit=_EVENT_LIMIT), labels=labels)
