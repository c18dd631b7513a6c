"""How a host goes out of use: retired, its disks erased, or forgotten; each after a page that names what is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import hosts, profiles, retirement, wiping
from pxeforge.services.arming import ARMED_FOR_S
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.pages.arming import for_s_of
from pxeforge.webapp.pages.readable import listing
from pxeforge.webapp.reported import hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One of them: what its button says, and what it means."""

    what: str
    title: str
    words: str
    danger: bool = True
    signal: Signal | None = None  # None: possible in every state


_ENDS: Final = (
    End(
        what="retire", title="Retire", danger=False, signal=Signal.RETIRE,
        words="It stays known with its timeline; nobody arms it or deploys to it, and its netboots start its disk.",
    ),
    End(
        what="revive", title="Take into use again", danger=False, signal=Signal.REVIVE,
        words="It is known again and can be armed. Nothing is installed by this.",
    ),
    End(
        what="wipe", title="Erase disks", signal=Signal.ARM,
        words="Its next netboot erases the disks that you choose, once, by their serials; nothing can be brought back.",
    ),
    End(
        what="forget", title="Forget",
        words="Its NICs, roles and credentials are removed here; its disks stay as they are.",
    ),
)  # fmt: skip


def ends_of(state: str) -> list[End]:
    """What is possible for a host in this state."""
    return [one for one in _ENDS if one.signal is None or (HostState(state), one.signal) in NEXT]


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.route("/hosts/<host_id>/end/<what>", methods=["GET", "POST"])
    def host_end(host_id: str, what: str) -> ResponseReturnValue:
        """Asks with the names of what is concerned; with `confirm` it happens."""
        host = hosts.show(ctx, host_id)
        here = url_for("pages.host_end", host_id=host["id"], what=what)
        g.back = url_for("pages.host_page", host_id=host["id"])
        end = next((one for one in _ENDS if one.what == what), None)
        if end is None:
            raise NotFound("there is no such page")
        if end not in ends_of(host["state"]):
            raise Problem(f"a host that is {host['state']} cannot be dealt with like this: look at its page")
        if end.what == "forget":
            hosts.check_may_be_forgotten(host["state"])
        if request.method == "GET" or request.form.get("confirm") != "yes":
            return render_template(
                "host_end.html", host=host, end=end, disks=hardware(host["facts"]).disks, back=g.back,
                unconfirmed=request.method == "POST", profiles=profiles.list_profiles(ctx),
                armed_for_s=ARMED_FOR_S,
            )  # fmt: skip
        if end.what == "wipe":  # a mistake in the form is told there
            g.back = here
        return _carry_out(ctx, host, end)


def _carry_out(ctx: Context, host: dict[str, Any], end: End) -> ResponseReturnValue:
    if end.what == "forget":
        hosts.forget(ctx, host["id"], who=g.who)
        flash("The host was forgotten. If it netboots again, it is discovered anew.", "good")
        return redirect(url_for("pages.host_list"), 303)
    if end.what == "wipe":
        form = request.form
        armed = wiping.arm_wipe(
            ctx, host["id"], confirmed=form.get("name", "").strip(), serials=form.getlist("disk"),
            overwrite=form.get("overwrite") == "yes", retire=form.get("retire") == "yes",
            profile=form.get("profile") or None, for_s=for_s_of(form.get("for_s")), who=g.who,
        )  # fmt: skip
        flash(f"Armed: its next netboot erases {listing(armed['erases'])}. Netboot it in time, or disarm it.", "good")
        return redirect(url_for("pages.host_page", host_id=host["id"]), 303)
    if end.what == "retire":
        retirement.retire(ctx, host["id"], who=g.who, why=request.form.get("why", "").strip())
        flash("The host is retired: nobody arms it or deploys to it from now on.", "good")
    else:
        retirement.revive(ctx, host["id"], who=g.who)
        flash("The host is in use again.", "good")
    return redirect(g.back, 303)
