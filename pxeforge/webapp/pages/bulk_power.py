"""The power of many hosts switched at once: a page names those that it is done with and those that it cannot, then it
is ordered, and a page tells of each host as it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, power, power_orders
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.power import ACTIONS
from pxeforge.webapp.pages.readable import host_label

_MEANS: Final = {
    "on": "Those that are on already stay as they are.",
    "pxe": "They are started anew, from the network: what they are doing now is broken off.",
    "cycle": "They lose power for some seconds: what they are doing now is broken off.",
    "off": "They lose power at once: what they are doing now is broken off.",
    "soft-off": "Their operating systems are asked to shut down.",
}


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/power-orders/<order_id>")
    def power_order(order_id: str) -> ResponseReturnValue:
        """What becomes of an order on each host; it refreshes itself until the order has ended."""
        order = power_orders.show(ctx, order_id)
        action = "soft-off" if order["soft"] else order["action"]
        over = sum(row["ended_at"] is not None for row in order["hosts"])
        return render_template("power_order.html", order=order, title=ACTIONS[action], over=over, bar=_bar(order))


def _bar(order: dict[str, Any]) -> list[dict[str, Any]]:
    """How many hosts are how far, with their part of a bar that is 100 long."""
    tally = Counter(row["progress"] for row in order["hosts"])
    shown, start = [], 0.0
    for progress in ("done", "failed", "broken-off", "underway", "waiting"):
        width = 100 * tally[progress] / len(order["hosts"])
        if width:
            shown.append({"state": progress, "count": tally[progress], "start": start, "width": width})
        start += width
    return shown


def ask_or_do(ctx: Context, chosen: Sequence[str]) -> ResponseReturnValue:
    """By the form: the page that asks, or with `confirm` the deed. Raises Problem."""
    action = request.form.get("power", "")
    if action not in ACTIONS:
        raise Problem("choose what to do with their power, then press the button again")
    if len(chosen) > power.MOST_HOSTS:
        raise Problem(f"{len(chosen)} hosts are too many to switch at once: choose {power.MOST_HOSTS} at most")
    able, unable = _sorted_out(ctx, chosen, "off" if action == "soft-off" else action)
    if request.form.get("confirm") == "yes":
        if not able:
            raise Problem("none of these hosts can be switched like this: say how on their pages, under Power")
        order = switch(ctx, [host["id"] for host, _ in able], action, force=request.form.get("force") == "yes")
        return redirect(url_for("pages.power_order", order_id=order), 303)
    return render_template(
        "bulk_power.html", action=action, title=ACTIONS[action], means=_MEANS[action], able=able, unable=unable,
        refused=[about["refused"] for _, about in able if about["refused"] and action != "on"], back=g.back,
    )  # fmt: skip


def able_to_netboot(ctx: Context, ids: Sequence[str]) -> list[str]:
    """Those of these hosts that can be started from the network from here."""
    return [one for one in ids if "pxe" in power.describe(ctx, one)["can"]]


def switch(ctx: Context, ids: Sequence[str], action: str, *, force: bool = False) -> str:
    """Orders it for all of them; the id of the order, whose page tells what becomes of it. Raises Problem."""
    soft = action == "soft-off"
    done = power_orders.order(ctx, ids, "off" if soft else action, who=g.who, force=force, soft=soft)
    return str(done["id"])


def _sorted_out(
    ctx: Context, chosen: Sequence[str], ability: str
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], list[str]]:
    """(host, how its power is reached) of those that can do it, and the names of the others. Raises NotFound."""
    able, unable = [], []
    for text in chosen:
        host, about = hosts.show(ctx, text), power.describe(ctx, text)
        if ability in about["can"]:
            able.append((host, about))
        else:
            unable.append(host_label(host))
    return able, unable
