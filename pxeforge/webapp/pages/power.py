"""Power of a host on its pages: its state, its buttons, each after a question, and how it is reached."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from pxeforge.services.power_settings import DRIVERS
from pxeforge.services.problems import Problem
from pxeforge.services.versions import NONE_YET

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


class _Field(NamedTuple):
    name: str
    title: str
    hint: str = ""
    choices: tuple[str, ...] = ()

    @property
    def drivers(self) -> tuple[str, ...]:
        """Those that know it."""
        return tuple(name for name, driver in DRIVERS.items() if self.name in driver.settings)


_TITLES: Final = {
    "redfish": "Redfish", "ipmi": "IPMI", "wake-on-lan": "Wake-on-LAN: it can only be switched on",
    "command": "a command of the file power.toml",
}  # fmt: skip
_FIELDS: Final = (
    _Field("command", "Command", "as power.toml calls it"),
    _Field("address", "Address", "of the BMC; with Wake-on-LAN the network's broadcast address"),
    _Field("port", "Port", "empty: the usual one"),
    _Field("mac", "MAC", "which NIC is to be woken; empty: each"),
    _Field("user", "User"),
    _Field("netboot", "Netboots by", "always: its firmware boots from the network anyhow", ("pxe", "http", "always")),
    _Field("fingerprint", "Fingerprint", "SHA-256 of the BMC's certificate: the first look at its state tells it"),
    _Field("ca", "CA", "a PEM file in the folder power-ca of the operator's folder, instead of the fingerprint"),
    _Field("login", "Logs in by", "", ("auto", "session", "basic")),
    _Field("system", "System", "where a BMC has several"),
    _Field("privilege", "Privilege", "", ("OPERATOR", "ADMINISTRATOR")),
    _Field("cipher", "Cipher suite", "", ("17", "3")),
    _Field("options", "Options", "what fills the command's places: outlet=7 unit=2"),
)
_NUMBERS: Final = ("port", "cipher")


def add_routes(pages: Blueprint, ctx: Context) -> None:
    _switching(pages, ctx)
    _setting(pages, ctx)


def _setting(pages: Blueprint, ctx: Context) -> None:
    @pages.route("/hosts/<host_id>/power-settings", methods=["GET", "POST"])
    def power_settings(host_id: str) -> ResponseReturnValue:
        """The form keeps what was typed, but the password, when something is wrong with it."""
        host = hosts.show(ctx, host_id)
        g.back = url_for("pages.host_page", host_id=host["id"], _anchor="power-title")
        about = power.describe(ctx, host["id"])
        typed, problem = {**_as_typed(about["settings"]), "version": about["version"]}, None
        if request.method == "POST":
            typed = {"version": NONE_YET} | {
                name: value.strip() for name, value in request.form.items() if name != "password"
            }  # fmt: skip
            try:
                power.set_power(
                    ctx, host["id"], _given(typed), password=request.form.get("password") or None, who=g.who,
                    expected_version=typed["version"],
                )  # fmt: skip
            except Problem as found:
                problem = found
            else:
                flash("The settings are saved; nobody was asked yet whether they are right.", "good")
                return redirect(g.back, 303)
        return render_template(
            "power_settings.html", host=host, power=about, typed=typed, problem=problem, drivers=_TITLES,
            fields=_FIELDS, back=g.back,
        ), problem.status if problem else 200  # fmt: skip

    @pages.post("/hosts/<host_id>/power-settings/forget")
    def power_forget(host_id: str) -> ResponseReturnValue:
        host = hosts.show(ctx, host_id)
        g.back = url_for("pages.host_page", host_id=host["id"], _anchor="power-title")
        power.clear_power(ctx, host["id"], who=g.who, expected_version=request.form.get("version") or None)
        flash("Its power settings and the password are forgotten.", "good")
        return redirect(g.back, 303)


def _as_typed(settings: dict[str, Any]) -> dict[str, str]:
    """As the fields of the form hold them."""
    told = {name: str(value) for name, value in settings.items() if name != "options"}
    return told | {"options": " ".join(f"{key}={value}" for key, value in settings.get("options", {}).items())}


def _given(typed: dict[str, str]) -> dict[str, Any]:
    """As services/power.py takes them: what the driver does not know is left out; raises Problem."""
    driver = typed.get("driver", "")
    given: dict[str, Any] = {
        field.name: typed[field.name] for field in _FIELDS if driver in field.drivers and typed.get(field.name)
    }  # fmt: skip
    for name in _NUMBERS:
        if given.get(name, "").isdecimal():
            given[name] = int(given[name])
    if "options" in given:
        pairs = [word.partition("=") for word in given["options"].split()]
        if bad := [key for key, sign, _ in pairs if not sign]:
            raise Problem(f"the option {bad[0]} has no value: write {bad[0]}=VALUE")
        given["options"] = {key: value for key, _, value in pairs}
    return {"driver": driver, **given}


def _switching(pages: Blueprint, ctx: Context) -> None:
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
