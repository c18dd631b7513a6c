"""The power of many hosts switched at once: a page names those that it is done with and those that it cannot, then it
is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flask import flash, g, redirect, render_template, request
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.power import ACTIONS
from pxeforge.webapp.pages.readable import counted, host_label

_MOST_TOLD: Final = 5
_MEANS: Final = {
    "on": "Those that are on already stay as they are.",
    "pxe": "They are started anew, from the network: what they are doing now is broken off.",
    "cycle": "They lose power for some seconds: what they are doing now is broken off.",
    "off": "They lose power at once: what they are doing now is broken off.",
    "soft-off": "Their operating systems are asked to shut down.",
}
_DONE: Final = {
    "on": "switched on", "pxe": "netbooting", "cycle": "switched off and on", "off": "switched off",
    "soft-off": "asked to shut down",
}  # fmt: skip


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
        told, refused = switch(ctx, [host["id"] for host, _ in able], action, force=request.form.get("force") == "yes")
        _tell(told, refused)
        return redirect(g.back, 303)
    return render_template(
        "bulk_power.html", action=action, title=ACTIONS[action], means=_MEANS[action], able=able, unable=unable,
        refused=[about["refused"] for _, about in able if about["refused"] and action != "on"], back=g.back,
    )  # fmt: skip


def able_to_netboot(ctx: Context, ids: Sequence[str]) -> list[str]:
    """Those of these hosts that can be started from the network from here."""
    return [one for one in ids if "pxe" in power.describe(ctx, one)["can"]]


def switch(ctx: Context, ids: Sequence[str], action: str, *, force: bool = False) -> tuple[str, list[str]]:
    """Does it with all of them; a sentence of how many were switched (empty: none), and one for each that was not."""
    soft = action == "soft-off"
    rows = power.act_many(ctx, ids, "off" if soft else action, who=g.who, force=force, soft=soft)
    done = [row for row in rows if row["ok"]]
    notes = list(dict.fromkeys(row["note"] for row in done if row["note"]))
    said = f"{counted(done, 'host')} {_DONE[action]}{f' ({notes[0]})' if notes else ''}." if done else ""
    named = hosts.labels(ctx, [row["host"] for row in rows if not row["ok"]])
    return said, [_refusal(row, named) for row in rows if not row["ok"]]


def _refusal(row: dict[str, Any], named: dict[str, str]) -> str:
    label, why = named.get(row["host"], row["host"]), str(row["error"] or row["message"])
    return why if why.startswith(label) else f"{label}: {why}"


def _tell(said: str, refused: Sequence[str]) -> None:
    """Messages travel in a cookie, which holds 4 KB."""
    if said:
        flash(said, "good")
    for why in refused[:_MOST_TOLD]:
        flash(why[:400], "error")
    if len(refused) > _MOST_TOLD:
        flash(f"{len(refused) - _MOST_TOLD} more were not switched: their timelines say why.", "error")


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
