"""Arming hosts for an install, after a page that names what will be wiped; and disarming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import hosts, installs, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.facts import Disk, hardware
from pxeforge.webapp.pages.readable import duration, host_label, listing

_LONGEST_S = 7 * 86400
_RULES = {
    "first": "the first disk that is not removable, in the order in which the installer finds them",
    "serial": "the disk with this serial number",
    "by-path": "the disk on this port of the controller",
    "name": "the disk with this device name",
    "size": "the first disk that is not removable and has this size",
}
_NAMING_RULES = frozenset({"serial", "by-path", "name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A host about to be armed: the disk rule that will choose, and the disks it has as far as we know."""

    host: dict[str, Any]
    rule: str
    rule_means: str
    may_lose_data: str
    disks: tuple[Disk, ...]
    named: tuple[Disk, ...]  # those that the rule names outright
    none_fits: bool  # the rule names a disk, and the host reported others only
    may_wipe: bool  # at least one disk may be wiped though it carries data


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.post("/arm")
    def arm() -> ResponseReturnValue:
        """Without `confirm` it shows what would happen; with it, it happens."""
        chosen = request.form.getlist("host")
        one = url_for("pages.host_page", host_id=chosen[0]) if len(chosen) == 1 else None
        g.back = one if one and request.form.get("from") == "host" else url_for("pages.host_list")
        profile, for_s = request.form.get("profile", ""), _for_s(request.form.get("for_s"))
        if not chosen:
            raise Problem("choose at least one host, then press the button again")
        if not profile:
            raise Problem("there is no profile to arm for: import an image first (`pxeforge image import debian-13`)")
        if request.form.get("confirm") != "yes":
            effective = profiles.show(ctx, profile)["effective"]
            victims = [_victim(hosts.show(ctx, text), effective) for text in chosen]
            return render_template(
                "arm.html", victims=victims, profile=profile, for_s=for_s, back=g.back,
                from_host=request.form.get("from", ""),
            )  # fmt: skip
        for text in chosen:
            host = installs.arm(ctx, text, profile=profile, for_s=for_s, who=g.who)
            flash(f"{host_label(host)} is armed for {profile}: netboot it within {duration(for_s)}.", "good")
        return redirect(g.back, 303)

    @pages.post("/hosts/<host_id>/disarm")
    def disarm(host_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.host_page", host_id=host_id)
        installs.disarm(ctx, host_id, who=g.who)
        flash("The host is disarmed: its next netboot starts what is on its disk.", "good")
        return redirect(g.back, 303)


def _victim(host: dict[str, Any], of_profile: dict[str, Any]) -> Victim:
    settings = host["settings"]
    wanted = {**of_profile, **(settings.get("parameters") or {}), **settings}
    rule, wipe = str(wanted.get("disk", "first")), wanted.get("wipe", False)
    kind, _equals, value = rule.partition("=")
    disks = hardware(host["facts"]).disks
    named = tuple(disk for disk in disks if value and value in _names(disk))
    allowed = set(wipe) if isinstance(wipe, list) else set()
    return Victim(
        host=host,
        rule=rule,
        rule_means=_RULES.get(kind, "the disk that fits this rule"),
        may_lose_data=_wipe_words(wipe),
        disks=disks,
        named=named,
        none_fits=bool(disks) and not named and kind in _NAMING_RULES,
        may_wipe=wipe is True or any(allowed & _names(disk) for disk in named or disks),
    )


def _names(disk: Disk) -> set[str]:
    return {disk.name, f"/dev/{disk.name}", disk.serial, disk.by_path, disk.by_path.rpartition("/")[2]}


def _wipe_words(wipe: object) -> str:
    if wipe is True:
        return "It is wiped even if it carries data."
    if isinstance(wipe, list) and wipe:
        return f"If it carries data it is wiped only with the serial {listing(wipe, ' or ')}; else the installer stops."
    return "If it carries data the installer stops and leaves it alone (wipe is off)."


def _for_s(text: str | None) -> float:
    try:
        seconds = float(text or installs.ARMED_FOR_S)
    except ValueError:
        seconds = 0.0
    if not 60 <= seconds <= _LONGEST_S:
        raise Problem("a host is armed for one minute at least and a week at most: choose a time in between")
    return seconds
