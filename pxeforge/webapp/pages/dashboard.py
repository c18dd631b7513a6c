"""The first page: how the hosts stand, what needs somebody, what is under way, and how the server is."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from pxeforge.services import check_results, drift, events, host_list, hosts, images, overview, profiles, runs
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.readiness import Readiness
from pxeforge.webapp.pages import fresh

_BOOTS: Final = 8
_RUNS: Final = 5
_EVENTS: Final = 12
_ATTENTION: Final = 8


def add_routes(pages: Blueprint, ctx: Context, readiness: Readiness, attention: Attention) -> None:
    @pages.get("/")
    def home() -> ResponseReturnValue:
        seen = fresh.mark(ctx)
        if (same := fresh.unchanged(seen)) is not None:
            return same
        counts = host_list.counts(ctx)
        newest = events.recent(ctx, limit=_EVENTS)
        return render_template(
            "dashboard.html", seen=seen, counts=counts, total=sum(counts.values()), checks=readiness.checks(),
            boots=overview.under_way(ctx, limit=_BOOTS), runs=overview.runs(ctx, limit=_RUNS), events=newest,
            labels=hosts.labels(ctx, {event["host_id"] for event in newest if event["host_id"]}),
            attention=attention.all()[:_ATTENTION], waiting=len(attention.all()),
            bad_services=[one for one in check_results.show(ctx) if one["state"] == check_results.BAD][:_ATTENTION],
            drifted=_drifted(ctx), room=overview.room(ctx), first_steps=_first_steps(ctx, counts),
            addresses=ctx.addresses,
        )  # fmt: skip


def _drifted(ctx: Context) -> dict[str, Any] | None:
    """How much the last dry run of the timer found, if anything."""
    found = drift.show(ctx)
    if not found["differs"]:
        return None
    hosts_of = {one["host_id"] for one in found["differs"]}
    return {"run": found["run"], "at": found["at"], "steps": len(found["differs"]), "hosts": len(hosts_of)}


def _first_steps(ctx: Context, counts: dict[str, int]) -> list[dict[str, Any]]:
    """What a new server needs before it has installed its first host, in order; empty once one is ready."""
    if counts.get("ready") or counts.get("registered"):
        return []
    total = sum(counts.values())
    return [
        {"done": bool(images.list_images(ctx)), "what": "image"},
        {"done": bool(profiles.list_profiles(ctx)), "what": "profile"},
        {"done": total > 0, "what": "host"},
        {"done": total > counts.get("discovered", 0) + counts.get("known", 0), "what": "arm"},
        {"done": _any_run(ctx), "what": "deploy"},
    ]


def _any_run(ctx: Context) -> bool:
    try:
        return bool(runs.list_runs(ctx))
    except Problem:
        return False
