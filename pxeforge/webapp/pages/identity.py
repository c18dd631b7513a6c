"""Who is who, settled on pages: hosts merged, conflicts accepted, NICs added, moved, removed; each after a question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, identity
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One of them. `asks`: the field that says with what it is done, and its label."""

    title: str
    means: str
    asks: tuple[str, str]
    carry_out: Callable[[Context, dict[str, Any], str], str]  # the host, the field; returns what is told


def _merge(ctx: Context, host: dict[str, Any], text: str) -> str:
    identity.merge(ctx, host["id"], text, who=g.who)
    return "The two records are one host now."


def _settle(ctx: Context, _host: dict[str, Any], text: str) -> str:
    identity.settle(ctx, text, who=g.who)
    return "It is accepted as it is; it comes back when something about it changes."


def _add(ctx: Context, host: dict[str, Any], text: str) -> str:
    identity.nic_add(ctx, host["id"], text, who=g.who)
    return "The NIC was added."


def _move(ctx: Context, host: dict[str, Any], text: str) -> str:
    identity.nic_move(ctx, text, host["id"], who=g.who)
    return "The NIC was moved here."


def _remove(ctx: Context, host: dict[str, Any], text: str) -> str:
    _expect_own(host, text)
    identity.nic_remove(ctx, text, who=g.who)
    return "The NIC was removed."


_DEEDS: Final = {
    "merge": Deed(
        title="Merge", asks=("other", "Which host is this one too? Name or MAC"), carry_out=_merge,
        means="Two records become one host. This host gets the NICs, tags and events of the other and keeps its own "
        "name, roles and settings; those of the other are lost.",
    ),
    "settle": Deed(
        title="Accept as it is", asks=("conflict", "Which conflict? Its eight letters"), carry_out=_settle,
        means="Nothing about the hosts is changed. It is not told again until something about it changes.",
    ),
    "nic-add": Deed(
        title="Add a NIC", asks=("mac", "MAC of the NIC"), carry_out=_add,
        means="The host is known by it too. A host that was only discovered by this NIC becomes part of this one.",
    ),
    "nic-move": Deed(
        title="Move a NIC here", asks=("mac", "MAC of the NIC"), carry_out=_move,
        means="The NIC was put into this host: it comes here with its reserved address, and is no longer the other's.",
    ),
    "nic-remove": Deed(
        title="Remove a NIC", asks=("mac", "MAC of the NIC"), carry_out=_remove,
        means="The NIC is gone. If it netboots again, it is discovered as a new host.",
    ),
}  # fmt: skip


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.route("/hosts/<host_id>/identity/<what>", methods=["GET", "POST"])
    def host_identity(host_id: str, what: str) -> ResponseReturnValue:
        """Asks with the names of what is concerned; with `confirm` it happens."""
        host = hosts.show(ctx, host_id)
        g.back = url_for("pages.host_page", host_id=host["id"])
        deed = _DEEDS.get(what)
        if deed is None:
            raise NotFound("there is no such page")
        field, label = deed.asks
        about = request.values.get(field, "").strip()
        if request.method == "GET" or request.form.get("confirm") != "yes":
            return render_template(
                "host_identity.html", host=host, what=what, deed=deed, field=field, label=label, about=about,
                unconfirmed=request.method == "POST", back=g.back, **_concerned(ctx, host, what, about),
            )  # fmt: skip
        asked: dict[str, Any] = {"host_id": host["id"], "what": what, field: about}
        g.back = url_for("pages.host_identity", **asked)
        told = deed.carry_out(ctx, host, about)
        flash(told, "good")
        return redirect(url_for("pages.host_page", host_id=host["id"]), 303)


def _concerned(ctx: Context, host: dict[str, Any], what: str, about: str) -> dict[str, Any]:
    """The other host, and the sentence of the conflict, as far as they are known. Raises Problem."""
    if not about:
        return {"other": None, "conflict": None}
    if what == "settle":
        found = identity.conflicts(ctx, host=host["id"])
        conflict = next((one for one in found if one["id"] == about), None)
        if conflict is None:
            raise NotFound("this conflict is settled, or there is none any more: look at the host's page")
        return {"other": None, "conflict": conflict}
    if what == "merge":
        other = hosts.show(ctx, about)
        if other["id"] == host["id"]:
            raise Problem("a host cannot be merged with itself: name another one")
        return {"other": other, "conflict": None}
    if what == "nic-remove":
        _expect_own(host, about)
    return {"other": _owner(ctx, host, about), "conflict": None}


def _owner(ctx: Context, host: dict[str, Any], mac: str) -> dict[str, Any] | None:
    """Who has the NIC now, if that is somebody else."""
    try:
        found = hosts.show(ctx, mac)
    except NotFound:
        return None
    return found if found["id"] != host["id"] else None


def _expect_own(host: dict[str, Any], mac: str) -> None:
    if mac not in host["macs"]:
        raise Problem(f"{mac} is no NIC of this host (any more): it has {', '.join(host['macs'])}")
