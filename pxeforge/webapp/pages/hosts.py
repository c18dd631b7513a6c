"""The page of one host."""

from __future__ import annotations

import re
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import arming, attempts, host_overview, hosts, installer_log, power, profiles, role_catalogue
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.pages import fresh
from pxeforge.webapp.pages.gantt import charts
from pxeforge.webapp.pages.host_ends import ends_of
from pxeforge.webapp.pages.power import ACTIONS
from pxeforge.webapp.pages.timeline import entries
from pxeforge.webapp.reported import hardware, nics

_ATTEMPTS_SHOWN: Final = 10
_SOURCES: Final = {"": "All", **{name: name for name in host_overview.SOURCES}}


def add_routes(pages: Blueprint, ctx: Context) -> None:
    _look_routes(pages, ctx)
    _change_routes(pages, ctx)


def _look_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/hosts/<host_id>")
    def host_page(host_id: str) -> ResponseReturnValue:
        seen = fresh.mark(ctx)
        same = fresh.unchanged(seen)
        if same is not None:
            return same
        host = hosts.show(ctx, host_id)
        about, earlier = (
            host_overview.overview(ctx, host["id"]),
            attempts.of_host(ctx, host["id"], limit=_ATTEMPTS_SHOWN),
        )
        return render_template(
            "host.html", host=host, hardware=hardware(host["facts"]), nics=nics(host["nics"], host["facts"]), seen=seen,
            diagnosis=about["diagnosis"], conflicts=about["conflicts"],
            services=about["services"], gone=about["gone"], charts=charts(about["stages"], ctx.clock()),
            log=installer_log.piece(ctx, host["id"]), **_events(ctx, host["id"]),
            can={signal.value: (HostState(host["state"]), signal) in NEXT for signal in Signal},
            profiles=profiles.list_profiles(ctx), roles=role_choice(ctx),
            armed_for_s=arming.ARMED_FOR_S, recipe=_recipe(ctx, host), earlier=earlier,
            armed_for=_armed_for(host, earlier), ends=ends_of(host["state"]), power=power.describe(ctx, host["id"]),
            power_actions=ACTIONS,
        )  # fmt: skip

    @pages.get("/hosts/<host_id>/log")
    def host_log(host_id: str) -> ResponseReturnValue:
        """The installer's log; with `after` only what came since, for the page that follows it."""
        host, after = hosts.show(ctx, host_id), request.args.get("after", type=int)
        piece = installer_log.piece(ctx, host["id"], after=after)
        if not request.headers.get("HX-Request"):
            return render_template("host_log.html", host=host, piece=piece)
        if after == piece.end:
            return "", 204
        return render_template("host_log_more.html", host=host, piece=piece)

    @pages.get("/hosts/<host_id>/log/installer.log")
    def host_log_file(host_id: str) -> ResponseReturnValue:
        """The whole file as it is, with what the installer said of its own address: for operators."""
        host = hosts.show(ctx, host_id)
        path = installer_log.log_path(ctx, host["id"])
        if not path.exists():
            raise NotFound("this host's installer has logged nothing yet")
        return send_file(
            path, mimetype="text/plain", as_attachment=True, download_name=f"{host['name'] or host['id']}-installer.log"
        )  # fmt: skip


def _change_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.post("/hosts/<host_id>/change")
    def host_change(host_id: str) -> ResponseReturnValue:
        """With the `version` that the form was made of: what somebody else saved since is not overwritten."""
        g.back = url_for("pages.host_page", host_id=host_id, _anchor="change-title")
        name = request.form.get("name", "").strip()
        hosts.change(
            ctx, host_id, who=g.who, name=name or None, tags=words(request.form.get("tags", "")),
            expected_version=request.form.get("version") or None,
        )  # fmt: skip
        flash("Saved.", "good")
        return redirect(url_for("pages.host_page", host_id=host_id), 303)

    @pages.post("/hosts/<host_id>/assign")
    def host_assign(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        known = role_catalogue.role_names(ctx)
        hosts.assign(ctx, [host_id], [request.form.get("role", "")], who=g.who, known_roles=known)
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/unassign")
    def host_unassign(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        hosts.unassign(ctx, host_id, [request.form.get("role", "")], who=g.who)
        return redirect(g.back, 303)


def _events(ctx: Context, host_id: str) -> dict[str, Any]:
    """The part of the timeline that the address asks for."""
    source = request.args.get("source", "")
    source = source if source in _SOURCES else ""
    before = request.args.get("before", default=0, type=int)
    before = before if 0 < before < 2**62 else 0
    log, older = host_overview.events(ctx, host_id, source=source or None, before_id=before or None)
    asked = {key: value for key, value in (("source", source), ("before", before)) if value}
    return {"entries": entries(log), "older": older, "source": source, "sources": _SOURCES, "asked": asked}


def _armed_for(host: dict[str, Any], earlier: list[dict[str, Any]]) -> str:
    """install, rescue, memtest, menu or wipe; empty for a host that was never armed."""
    current = (host["attempt"] or {}).get("id")
    return next((str(one["purpose"]) for one in earlier if one["id"] == current), "")


def role_choice(ctx: Context) -> list[dict[str, Any]]:
    """The roles to choose from; none while a role's file is broken (the roles page and the plan say what is wrong)."""
    try:
        return role_catalogue.known_roles(ctx)
    except Problem:
        return []


def words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word]


def _recipe(ctx: Context, host: dict[str, Any]) -> str:
    """What to type at an iPXE prompt (Ctrl+B) when the DHCP way does not work; empty without a MAC."""
    if not host["macs"]:
        return ""
    return f"dhcp net0\nchain {ctx.addresses.boot_url}/boot/{host['macs'][0]}/menu.ipxe"
