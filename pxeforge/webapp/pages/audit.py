"""The audit log: who changed what, when, from where and how; filtered and page by page."""

from __future__ import annotations

import json
from typing import Any, Final

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import audit, hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.readable import moment

_SHOWN: Final = 100
_SINCE: Final = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
_FIELDS: Final = ("who", "kind", "host", "via", "address")


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/audit")
    def audit_log() -> ResponseReturnValue:
        asked = {field: request.args.get(field, "").strip() for field in _FIELDS}
        since = request.args.get("since", "")
        wanted = audit.Filter(
            who=asked["who"] or None, kind=asked["kind"] or None, host=asked["host"] or None,
            via=asked["via"] or None, address=asked["address"] or None,
            since=ctx.clock() - _SINCE[since] if since in _SINCE else None,
            before=_before(),
        )  # fmt: skip
        found, problem = [], ""
        try:
            found = audit.entries(ctx, wanted, limit=_SHOWN + 1)
        except Problem as refused:
            problem = str(refused)
        older = None
        if len(found) > _SHOWN:
            found = found[:_SHOWN]
            terms: dict[str, Any] = {field: value for field, value in {**asked, "since": since}.items() if value}
            older = url_for("pages.audit_log", **terms, before=found[-1]["id"])
        return render_template(
            "audit.html", entries=[_entry(one) for one in found], asked=asked, since=since, sinces=list(_SINCE),
            problem=problem, older=older, filtered=any(asked.values()) or bool(since) or wanted.before is not None,
            labels=_labels(ctx, found),
        )  # fmt: skip


def _before() -> int | None:
    given = request.args.get("before", default=0, type=int)
    return given if 0 < given < 2**62 else None


def _entry(event: dict[str, Any]) -> dict[str, Any]:
    """The event with `changes`: what, before and after, as texts."""
    before, after = event["data"].get("before"), event["data"].get("after")
    one, two = before if isinstance(before, dict) else {}, after if isinstance(after, dict) else {}
    keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
    return {**event, "changes": [(key, _text(one, key), _text(two, key)) for key in keys]}


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if value is None:
        return "—"
    if key.endswith(("_at", "_until")) and isinstance(value, int | float):
        return moment(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _labels(ctx: Context, events: list[dict[str, Any]]) -> dict[str, str]:
    """Names of the hosts that are still there, by id."""
    wanted = {event["host_id"] for event in events if event["host_id"]}
    return hosts.labels(ctx, wanted) if wanted else {}
