"""The list of hosts and the page of one host."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import attempts, deploys, events, hosts, installs, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.facts import hardware
from pxeforge.webapp.pages.timeline import entries, stages

_TIMELINE_LIMIT = 1500
_ATTEMPTS_SHOWN = 10
_BUSY = frozenset({"armed", "booting", "installing", "configuring"})


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/")
    def home() -> ResponseReturnValue:
        return redirect(url_for("pages.host_list"), 303)

    @pages.get("/hosts")
    def host_list() -> ResponseReturnValue:
        state, text = request.args.get("state", ""), request.args.get("q", "").strip()
        everybody = hosts.list_hosts(ctx)
        shown = [host for host in everybody if state in ("", host["state"]) and _fits(host, text)]
        counts = {one.value: sum(host["state"] == one.value for host in everybody) for one in HostState}
        return render_template(
            "hosts.html", hosts=shown, total=len(everybody), counts=counts, state=state, q=text,
            profiles=profiles.list_profiles(ctx), roles=_roles(ctx), addresses=ctx.addresses,
            armed_for_s=installs.ARMED_FOR_S,
        )  # fmt: skip

    @pages.post("/hosts")
    def host_add() -> ResponseReturnValue:
        g.back = url_for("pages.host_list", _anchor="add")
        form = request.form
        host = hosts.add(
            ctx, macs=_words(form.get("macs", "")), name=form.get("name", "").strip() or None,
            tags=_words(form.get("tags", "")), who=g.who,
        )  # fmt: skip
        flash("The host was added.", "good")
        return redirect(url_for("pages.host_page", host_id=host["id"]), 303)

    @pages.post("/hosts/assign")
    def hosts_assign() -> ResponseReturnValue:
        g.back = url_for("pages.host_list")
        chosen, role = request.form.getlist("host"), request.form.get("role", "")
        if not chosen or not role:
            raise Problem("choose at least one host and a role, then press the button again")
        hosts.assign(ctx, chosen, [role], who=g.who, known_roles=_role_names(ctx))
        flash(f"{role} was assigned to {len(chosen)} host{'s' if len(chosen) > 1 else ''}.", "good")
        return redirect(g.back, 303)

    @pages.get("/hosts/<host_id>")
    def host_page(host_id: str) -> ResponseReturnValue:
        host = hosts.show(ctx, host_id)
        log = events.timeline(ctx, host["id"], limit=_TIMELINE_LIMIT)
        earlier = attempts.of_host(ctx, host["id"], limit=_ATTEMPTS_SHOWN)
        return render_template(
            "host.html", host=host, hardware=hardware(host["facts"]), entries=entries(log), stages=stages(log),
            can={signal.value: (HostState(host["state"]), signal) in NEXT for signal in Signal},
            busy=host["state"] in _BUSY, profiles=profiles.list_profiles(ctx), roles=_roles(ctx),
            armed_for_s=installs.ARMED_FOR_S, recipe=_recipe(ctx, host),
            earlier=earlier, armed_for=_armed_for(host, earlier),
        )  # fmt: skip

    @pages.post("/hosts/<host_id>/change")
    def host_change(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        name = request.form.get("name", "").strip()
        hosts.change(ctx, host_id, who=g.who, name=name or None, tags=_words(request.form.get("tags", "")))
        flash("Saved.", "good")
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/assign")
    def host_assign(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        hosts.assign(ctx, [host_id], [request.form.get("role", "")], who=g.who, known_roles=_role_names(ctx))
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/unassign")
    def host_unassign(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        hosts.unassign(ctx, host_id, [request.form.get("role", "")], who=g.who)
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/forget")
    def host_forget(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        if request.form.get("confirm") != "yes":
            raise Problem("tick the box to confirm that the host is to be forgotten")
        hosts.forget(ctx, host_id, who=g.who)
        flash("The host was forgotten. If it netboots again, it is discovered anew.", "good")
        return redirect(url_for("pages.host_list"), 303)


def _armed_for(host: dict[str, Any], earlier: list[dict[str, Any]]) -> str:
    """install, rescue, memtest or menu; empty for a host that was never armed."""
    current = (host["attempt"] or {}).get("id")
    return next((str(one["purpose"]) for one in earlier if one["id"] == current), "")


def _fits(host: dict[str, Any], text: str) -> bool:
    """Every word of the filter occurs in what the list shows of the host."""
    shown = [host["name"], host["state"], host["address"], host["serial"], host["uuid"], host["id"]]
    haystack = " ".join(str(item) for item in [*shown, *host["macs"], *host["roles"], *host["tags"]] if item).lower()
    return all(word in haystack or word.replace("-", ":") in haystack for word in text.lower().split())


def _role_names(ctx: Context) -> list[str]:
    return [role["name"] for role in deploys.known_roles(ctx)]


def _roles(ctx: Context) -> list[dict[str, Any]]:
    """The roles to choose from; none while a role's file is broken (the roles page and the plan say what is wrong)."""
    try:
        return deploys.known_roles(ctx)
    except Problem:
        return []


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word]


def _recipe(ctx: Context, host: dict[str, Any]) -> str:
    """What to type at an iPXE prompt (Ctrl+B) when the DHCP way does not work; empty without a MAC."""
    if not host["macs"]:
        return ""
    return f"dhcp net0\nchain {ctx.addresses.boot_url}/boot/{host['macs'][0]}/menu.ipxe"
