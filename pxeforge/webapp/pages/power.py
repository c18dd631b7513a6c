"""Power of a host on its page: its state, asked when the page is shown, and its buttons, each after a question."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

ACTIONS: Final = {
    "on": "Switch on", "pxe": "Netboot now", "cycle": "Switch off and on", "off": "Switch off",
    "soft-off": "Shut down",
}  # fmt: skip
_MEANS: Final = {
    "pxe": "It is started anew, from the network: what it is doing now is broken off.",
    "cycle": "It loses power for some seconds: what it is doing now is broken off.",
    "off": "It loses power at once: what it is doing now is broken off.",
    "soft-off": "Its operating system is asked to shut down.",
}


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/hosts/<host_id>/power")
    def power_status(host_id: str) -> ResponseReturnValue:
        """Asks the BMC, which may take long: the host's page loads it when everything else is there."""
        return render_template("power_status.html", status=power.status(ctx, host_id))

    @pages.route("/hosts/<host_id>/power/<action>", methods=["GET", "POST"])
    def power_act(host_id: str, action: str) -> ResponseReturnValue:
        """Asks with the host's name, but for switching on; with `confirm` it happens."""
        host = hosts.show(ctx, host_id)
        g.back = url_for("pages.host_page", host_id=host["id"], _anchor="power-title")
        if action not in ACTIONS:
            raise Problem(f"nothing is called {action!r}: use the buttons of the page")
        about = power.describe(ctx, host["id"])
        confirmed = action == "on" or request.form.get("confirm") == "yes"
        if request.method == "GET" or not confirmed:
            return render_template(
                "power_act.html", host=host, power=about, action=action, title=ACTIONS[action],
                means=_MEANS.get(action, ""), back=g.back,
            )  # fmt: skip
        done = power.act(
            ctx, host["id"], "off" if action == "soft-off" else action, who=g.who, soft=action == "soft-off",
            force=request.form.get("force") == "yes",
        )  # fmt: skip
        flash(done["message"] + (f" ({done['note']})" if done.get("note") else ""), "good")
        return redirect(g.back, 303)
