"""What is done with many hosts at once: asked for on the list, confirmed where something could be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import bulk_edits, host_list, hosts, install_ends, profiles, retirement
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.auth import safe_next
from pxeforge.webapp.pages import arming, bulk_power
from pxeforge.webapp.pages.host_list import Asked
from pxeforge.webapp.pages.hosts import words
from pxeforge.webapp.pages.readable import counted

_MOST_TOLD: Final = 5  # hosts whose refusal is told each; the rest is counted
_MOST_NAMED: Final = 500  # on the page that asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that is done with one host after the other, after a page that asks."""

    asks: str  # the question's verb
    means: str
    did: str
    carry_out: Callable[[Context, str, str], Any]
    danger: bool = False


def _forget(ctx: Context, host_id: str, who: str) -> None:
    hosts.forget(ctx, host_id, who=who)


def _disarm(ctx: Context, host_id: str, who: str) -> None:
    install_ends.disarm(ctx, host_id, who=who)


def _retire(ctx: Context, host_id: str, who: str) -> None:
    retirement.retire(ctx, host_id, who=who)


DEEDS: Final = {
    "disarm": Deed(
        asks="Disarm", did="disarmed", carry_out=_disarm,
        means="Their next netboot starts what is on their disks. A host that is installing is given up: it failed.",
    ),
    "retire": Deed(
        asks="Retire", did="retired", carry_out=_retire,
        means="They stay known with their timelines; nobody arms them or deploys to them, and their netboots start "
        "what is on their disks.",
    ),
    "forget": Deed(
        asks="Delete", did="deleted", carry_out=_forget, danger=True,
        means="Their NICs, roles and credentials are removed here; their disks stay as they are. A host that netboots "
        "again is discovered anew.",
    ),
}  # fmt: skip


def add_routes(pages: Blueprint, ctx: Context, attention: Attention) -> None:
    @pages.post("/hosts/do")
    def hosts_do() -> ResponseReturnValue:
        g.back = safe_next(request.form.get("next") or url_for("pages.host_list"))
        chosen, do = _chosen(ctx, attention), request.form.get("do", "")
        if do in ("give", "take"):
            return _roles(ctx, chosen, give=do == "give")
        if do in ("tag", "untag"):
            return _tags(ctx, chosen, add=do == "tag")
        if do in ("place", "unplace"):
            return _rack(ctx, chosen, request.form.get("new_rack", "").strip() if do == "place" else "")
        if do in ("meant", "unmeant"):
            return _profile(ctx, chosen, request.form.get("new_profile", "") if do == "meant" else "")
        if do == "power":
            return bulk_power.ask_or_do(ctx, chosen)
        if do == "arm":
            return arming.ask(ctx, chosen)
        if do == "choose":
            return arming.choose(ctx, chosen)
        if do not in DEEDS:
            raise Problem("there is no such action: reload the page and choose one")
        deed = DEEDS[do]
        if request.form.get("confirm") != "yes":
            named = host_list.page(ctx, host_list.Wanted(ids=frozenset(chosen)), limit=_MOST_NAMED).hosts
            return render_template("bulk.html", do=do, deed=deed, chosen=chosen, named=named, back=g.back)
        return _carry_out(ctx, deed, chosen)


def _chosen(ctx: Context, attention: Attention) -> list[str]:
    """The ticked hosts, or with `all` every host that fits the filter; raises Problem for none."""
    chosen = request.form.getlist("host")
    if request.form.get("all"):
        chosen = host_list.matching(ctx, Asked.of_request().wanted(attention))
    if not chosen:
        raise Problem("choose at least one host, then press the button again")
    return list(dict.fromkeys(chosen))


def _roles(ctx: Context, chosen: Sequence[str], *, give: bool) -> ResponseReturnValue:
    role = request.form.get("new_role", "")
    if not role:
        raise Problem("choose a role, then press the button again")
    did = f"{role} was {'assigned to' if give else 'taken away from'}"
    return _edit(ctx, chosen, {"add_roles" if give else "remove_roles": [role]}, did)


def _tags(ctx: Context, chosen: Sequence[str], *, add: bool) -> ResponseReturnValue:
    tags = words(request.form.get("tags", ""))
    if not tags:
        raise Problem("write at least one tag, then press the button again")
    did = f"{', '.join(tags)} was {'added to' if add else 'removed from'}"
    return _edit(ctx, chosen, {"add_tags" if add else "remove_tags": tags}, did)


def _rack(ctx: Context, chosen: Sequence[str], name: str) -> ResponseReturnValue:
    """Into a rack, those that are there already stay in their unit; without a name out of whichever they are in."""
    if not name and request.form.get("do") == "place":
        raise Problem("name a rack, then press the button again")
    if not name:
        return _edit(ctx, chosen, {"rack": {}}, "no rack is told any more of")
    inside = set(host_list.matching(ctx, host_list.Wanted(ids=frozenset(chosen), rack=name)))
    others = [one for one in chosen if one not in inside]
    if not others:
        flash(f"{counted(chosen, 'host')} stood in {name} already.", "good")
        return redirect(g.back, 303)
    return _edit(ctx, others, {"rack": {"name": name}}, f"{name} is now the rack of")


def _profile(ctx: Context, chosen: Sequence[str], name: str) -> ResponseReturnValue:
    """What they are meant to be installed with."""
    if name:
        profiles.show(ctx, name)  # raises NotFound
    elif request.form.get("do") == "meant":
        raise Problem("there is no profile yet: import an image first, in Images")
    did = f"{name} is now the profile of" if name else "no profile is intended any more for"
    return _edit(ctx, chosen, {"settings": {"profile": name or None}}, did)


def _edit(ctx: Context, chosen: Sequence[str], changes: dict[str, Any], did: str) -> ResponseReturnValue:
    """All of them or none, in one transaction."""
    try:
        done = bulk_edits.apply(ctx, chosen, changes, g.who)
    except bulk_edits.BadEdits as problem:
        flash("Nothing was changed: mend this and try again.", "error")
        _tell([f"{host}: {why}" for host, why in problem.wrong])
    else:
        same = done["matched"] - done["changed"]
        flash(f"{did} {counted(done['changed'], 'host')}{f', {same} had it so' if same else ''}.", "good")
    return redirect(g.back, 303)


def _tell(refused: Sequence[str]) -> None:
    """Messages travel in a cookie, which holds 4 KB."""
    for why in refused[:_MOST_TOLD]:
        flash(why, "error")
    if len(refused) > _MOST_TOLD:
        flash(f"{len(refused) - _MOST_TOLD} more were refused for reasons like these.", "error")


def _carry_out(ctx: Context, deed: Deed, chosen: Sequence[str]) -> ResponseReturnValue:
    """Each host in a change of its own; those that refuse are told, and the others are done."""
    refused: list[str] = []
    for host_id in chosen:
        try:
            deed.carry_out(ctx, host_id, g.who)
        except Problem as problem:
            refused.append(str(problem))
    done = len(chosen) - len(refused)
    if done:
        flash(f"{counted(done, 'host')} {deed.did}.", "good")
    _tell(refused)
    return redirect(g.back, 303)
