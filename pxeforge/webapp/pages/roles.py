"""The roles page: which host (MAC) gets which roles, saved in one go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import deploys, hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

_REGISTERED = frozenset({"registered", "configuring", "ready"})

Pair = tuple[str, str]  # host id, role


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/roles")
    def role_table() -> ResponseReturnValue:
        known = deploys.known_roles(ctx)
        everybody = hosts.list_hosts(ctx)
        names = [role["name"] for role in known]
        lost = sorted({role for host in everybody for role in host["roles"]} - set(names))
        return render_template(
            "roles.html", hosts=everybody, roles=known, lost=lost,
            remarks={host["id"]: _remarks(host, known) for host in everybody},
        )  # fmt: skip

    @pages.post("/roles")
    def role_save() -> ResponseReturnValue:
        g.back = url_for("pages.role_table")
        give, was = _pairs(request.form.getlist("give")), _pairs(request.form.getlist("was"))
        # Only what this form changed is changed: what somebody else assigned in the meantime stays.
        added, removed = give - was, was - give
        names = [role["name"] for role in deploys.known_roles(ctx)]
        current = {host["id"]: set(host["roles"]) for host in hosts.list_hosts(ctx)}
        for host_id, roles in _by_host(added):
            hosts.assign(ctx, [host_id], roles, who=g.who, known_roles=names)
        for host_id, roles in _by_host(removed):
            still = [role for role in roles if role in current.get(host_id, set())]
            if still:
                hosts.unassign(ctx, host_id, still, who=g.who)
        if added or removed:
            flash(f"Saved: {len(added)} assigned, {len(removed)} taken away.", "good")
        else:
            flash("Nothing was changed.", "plain")
        return redirect(g.back, 303)


def _remarks(host: dict[str, Any], known: list[dict[str, Any]]) -> list[str]:
    """What an operator should know before deploying this host's roles, one sentence each."""
    if not host["roles"]:
        return []
    present = set(host["roles"])
    remarks = [
        f"{missing} comes along: {role['name']} needs it"
        for role in known
        if role["name"] in present
        for missing in role["requires"]
        if missing not in present
    ]
    if host["registered_at"] is None and host["state"] not in _REGISTERED:
        remarks.append("not registered yet: install it first")
    return remarks


def _pairs(texts: Iterable[str]) -> set[Pair]:
    pairs = set()
    for text in texts:
        host_id, _space, role = text.partition(" ")
        if not host_id or not role:
            raise Problem("the form is damaged: reload the page and try again")
        pairs.add((host_id, role))
    return pairs


def _by_host(pairs: set[Pair]) -> list[tuple[str, list[str]]]:
    return [
        (host_id, sorted(role for one, role in pairs if one == host_id)) for host_id in sorted({h for h, _ in pairs})
    ]
