"""Arming hosts for an install, a rescue system, a memory test or a menu, after a page that names what happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import arming, hosts, images, install_ends, profiles
from pxeforge.services.boot_menu import MEMTEST_IMAGE, MEMTEST_NUMBER, MENU_TIMEOUT_S, RESCUE_NUMBER
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.pages import bulk_power
from pxeforge.webapp.pages.readable import duration, host_label, listing
from pxeforge.webapp.victims import victim

_LONGEST_S: Final = 7 * 86400
_MOST_CHOICES: Final = 9
_MOST_ARMED: Final = 200
_MOST_TOLD: Final = 6
_MOST_FORECASTS: Final = 10  # hosts that are looked at before they are armed; each takes a tenth of a second
WHATS: Final = {
    "install": "Install a profile", "rescue": "Start a rescue system", "memtest": "Test the memory",
    "menu": "Let somebody at the console choose from a menu",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the hosts are to be armed for; `timeout_s` is the menu's."""

    what: str
    profiles: tuple[str, ...]
    for_s: float
    timeout_s: int

    @property
    def words(self) -> str:
        if self.what == "menu":
            return f"a menu of {listing(self.profiles)}"
        if self.what == "rescue":
            return f"the rescue system of {self.profiles[0]}"
        return "a memory test" if self.what == "memtest" else self.profiles[0]

    def carry_out(self, ctx: Context, text: str, who: str) -> dict[str, Any]:
        """Raises Problem."""
        if self.what == "menu":
            return arming.arm_menu(
                ctx, text, profiles=self.profiles, timeout_s=self.timeout_s, for_s=self.for_s, who=who
            )  # fmt: skip
        if self.what == "install":
            return arming.arm(ctx, text, profile=self.profiles[0], for_s=self.for_s, who=who)
        profile = self.profiles[0] if self.profiles else None
        return arming.arm_program(ctx, text, boot=self.what, profile=profile, for_s=self.for_s, who=who)


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.route("/arm/choose", methods=["GET", "POST"])
    def arm_choose() -> ResponseReturnValue:
        """What to arm the chosen hosts for."""
        g.back = url_for("pages.host_list")
        return choose(ctx, request.values.getlist("host"))

    @pages.post("/arm")
    def arm() -> ResponseReturnValue:
        """Without `confirm` it shows what would happen; with it, it happens."""
        chosen = request.form.getlist("host")
        g.back = _back(chosen)
        if request.form.get("confirm") != "yes":
            return ask(ctx, chosen)
        _some(chosen)
        _carry_out(ctx, _order(), chosen)
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/disarm")
    def disarm(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        install_ends.disarm(ctx, host_id, who=g.who)
        flash("The host is disarmed: its next netboot starts what is on its disk.", "good")
        return redirect(g.back, 303)


def choose(ctx: Context, chosen: list[str]) -> ResponseReturnValue:
    """The page that asks what to arm these hosts for; raises Problem."""
    known = profiles.list_profiles(ctx)
    return render_template(
        "arm_choose.html", hosts=[hosts.show(ctx, text) for text in _some(chosen)], profiles=known,
        places=range(1, min(len(known), _MOST_CHOICES) + 1), has_memtest=_memtest(ctx) is not None,
        armed_for_s=arming.ARMED_FOR_S, timeout_s=MENU_TIMEOUT_S, whats=WHATS, chosen=request.values.get("profile"),
        from_host=request.values.get("from", ""), back=_back(chosen),
    )  # fmt: skip


def _some(chosen: list[str]) -> list[str]:
    if not chosen:
        raise Problem("choose at least one host, then press the button again")
    if len(chosen) > _MOST_ARMED:
        raise Problem(f"{len(chosen)} hosts are too many to look at on one page: arm {_MOST_ARMED} at a time")
    return chosen


def _carry_out(ctx: Context, order: Order, chosen: list[str]) -> None:
    """Arms one host after the other; what is refused is told and keeps none of the others from being armed."""
    armed: list[dict[str, Any]] = []
    told: list[tuple[str, str]] = []
    for text in chosen:
        try:
            host = order.carry_out(ctx, text, g.who)
        except Problem as problem:
            told.append((str(problem), "error"))
            continue
        armed.append(host)
        told += [(warning, "warn") for warning in host["warnings"]]
    if armed:
        whom = f"{host_label(armed[0])} is" if len(armed) == 1 else f"{len(armed)} hosts are"
        flash(f"{whom} armed for {order.words}: netboot within {duration(order.for_s)}.", "good")
        told += _netboot(ctx, [host["id"] for host in armed]) if request.form.get("boot_now") == "yes" else []
    # Messages travel in a cookie, which holds 4 KB.
    words = list(dict.fromkeys(told))
    for message, kind in words[:_MOST_TOLD]:
        flash(message, kind)
    if len(words) > _MOST_TOLD:
        flash(f"{len(words) - _MOST_TOLD} more of the like: see the timelines of the hosts.", "warn")


def _netboot(ctx: Context, armed: list[str]) -> list[tuple[str, str]]:
    """Has those started from the network that can be; what is to be told of it. The order's page comes next."""
    able, told = bulk_power.able_to_netboot(ctx, armed), list[tuple[str, str]]()
    if able:
        try:
            g.back = url_for("pages.power_order", order_id=bulk_power.switch(ctx, able, "pxe"))
        except Problem as problem:
            told.append((str(problem), "error"))
    left = len(armed) - len(able)
    if left:
        told.append((f"{left} of them cannot be started from here: start them by hand.", "warn"))
    return told


def ask(ctx: Context, chosen: list[str]) -> ResponseReturnValue:
    """The page that names hosts, MACs, and for installs the disks that are overwritten; raises Problem."""
    chosen, order = _some(chosen), _order()
    victims = [hosts.show(ctx, text) for text in chosen]
    wanted = [profiles.show(ctx, name) for name in order.profiles]
    installing = wanted if order.what in ("install", "menu") else []
    rows: list[dict[str, Any]] = [
        {"host": host, "victims": [victim(host, profile) for profile in installing], "warnings": [], "problems": []}
        for host in victims
    ]
    for row in rows[:_MOST_FORECASTS]:
        row["warnings"], row["problems"] = _forecast(ctx, row["host"]["id"], installing)
    return render_template(
        "arm.html", order=order, rows=rows, back=_back(chosen), from_host=request.form.get("from", ""),
        image=_program_image(ctx, order, wanted), rescue_number=RESCUE_NUMBER,
        memtest_number=MEMTEST_NUMBER if _memtest(ctx) else "", whats=WHATS,
        bootable=bulk_power.able_to_netboot(ctx, [host["id"] for host in victims]),
    )  # fmt: skip


def _forecast(ctx: Context, host_id: str, installing: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What arming would warn of, and why it would be refused; each said once."""
    warnings: list[str] = []
    problems: list[str] = []
    for profile in installing:
        try:
            warnings += arming.forecast(ctx, host_id, profile=profile["name"])
        except Problem as problem:
            problems.append(str(problem))
    return list(dict.fromkeys(warnings)), list(dict.fromkeys(problems))


def _order() -> Order:
    """From the form; raises Problem."""
    form = request.form
    what = form.get("what", "install")
    if what not in WHATS:
        raise Problem("say what to arm the host for: an install, a rescue system, a memory test or a menu")
    field = {"install": "profile", "rescue": "rescue_profile", "menu": "menu_profile"}.get(what)
    names = tuple(name for name in form.getlist(field) if name) if field else ()
    if field and not names:
        raise Problem("there is no profile to arm for: import an image first, in Images")
    return Order(what=what, profiles=names, for_s=for_s_of(form.get("for_s")), timeout_s=_timeout_s(form))


def _timeout_s(form: Any) -> int:
    try:
        return int(form.get("timeout_s") or MENU_TIMEOUT_S)
    except ValueError:
        raise Problem("the menu's time is a number of seconds: 5 to 3500") from None


def _program_image(ctx: Context, order: Order, wanted: list[dict[str, Any]]) -> str:
    """`name/version` that a rescue system or memory test comes from; raises NotFound."""
    if order.what == "rescue":
        return images.reference(images.newest(ctx, wanted[0]["image"]))
    return images.reference(images.newest(ctx, MEMTEST_IMAGE)) if order.what == "memtest" else ""


def _memtest(ctx: Context) -> images.Image | None:
    try:
        return images.newest(ctx, MEMTEST_IMAGE)
    except NotFound:
        return None


def _back(chosen: list[str]) -> str:
    """To the host's page, if one host came from there."""
    if len(chosen) == 1 and request.values.get("from") == "host":
        return url_for("pages.host_page", host_id=chosen[0])
    return url_for("pages.host_list")


def for_s_of(text: str | None) -> float:
    try:
        seconds = float(text or arming.ARMED_FOR_S)
    except ValueError:
        seconds = 0.0
    if not 60 <= seconds <= _LONGEST_S:
        raise Problem("a host is armed for one minute at least and a week at most: choose a time in between")
    return seconds
