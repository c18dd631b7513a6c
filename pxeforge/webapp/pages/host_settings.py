"""How one host is installed: its intended profile, disk, loader, network and own parameters, in a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.boot import LoaderChoice
from pxeforge.services import hosts, profiles
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide, reveal
from pxeforge.services.parameter_words import PARAMETER_WORDS
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.hosts import words
from pxeforge.webapp.pages.profile_form import as_text, parse_yaml
from pxeforge.webapp.reported import Disk, hardware
from pxeforge.webapp.victims import Victim, names_of, victim, wipe_words

WIPES: Final = {
    "": "as its profile says",
    "no": "no: the installer stops at a disk that carries data",
    "some": "only the disks marked here",
    "any": "yes, whichever disk the rule chooses",
}
_LOADERS: Final = {
    "auto": "auto: what suits its firmware", "ipxe": "iPXE", "pxelinux": "PXELINUX (BIOS)",
    "lpxelinux": "lpxelinux: the same with kernel and initrd by HTTP", "grub": "GRUB behind the signed shim (UEFI)",
}  # fmt: skip


class _Network(NamedTuple):
    name: str
    title: str
    hint: str
    kind: str = "text"


_NETWORK: Final = (
    _Network("router", "Router", "10.0.0.1"),
    _Network("dns", "DNS servers", "10.0.0.2 10.0.0.3", "list"),
    _Network("ntp", "Time servers", "10.0.0.4", "list"),
    _Network("domain", "Domain", "example.org"),
    _Network("search", "Search domains", "example.org lab.example.org", "list"),
    _Network("mtu", "MTU (bytes)", "1500", "number"),
    _Network("lease_time_s", "Lease time (seconds)", "3600", "number"),
)


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.route("/hosts/<host_id>/settings", methods=["GET", "POST"])
    def host_settings(host_id: str) -> ResponseReturnValue:
        """The form keeps what was typed when something is wrong with it, and the `version` that it was made of."""
        host = hosts.show(ctx, host_id)
        g.back = url_for("pages.host_page", host_id=host["id"], _anchor="settings-title")
        if request.method == "GET":
            return _page(ctx, host, _typed_of(ctx, host), request.args.get("profile", ""))
        try:
            saved = hosts.change(
                ctx, host["id"], who=g.who, expected_version=request.form.get("version") or None,
                **_given(ctx, host, request.form),
            )  # fmt: skip
        except Problem as problem:
            return _page(ctx, host, _typed_again(host, request.form), "", problem), problem.status
        wipe = saved["settings"].get("wipe")
        flash(f"Saved for the next time it is armed.{f' {wipe_words(wipe)}' if wipe is not None else ''}", "good")
        return redirect(g.back, 303)


def _page(
    ctx: Context, host: dict[str, Any], typed: dict[str, Any], profile: str, problem: Problem | None = None
) -> str:  # fmt: skip
    known = profiles.list_profiles(ctx)
    disks = hardware(host["facts"]).disks
    return render_template(
        "host_settings.html", host=host, typed=typed, problem=problem, profiles=[one["name"] for one in known],
        would=_would(host, known, profile), disks=[(disk, serial_of(disk, typed["wipe_disk"])) for disk in disks],
        version=typed.get("version") or host["version"], loaders=_LOADERS, wipes=WIPES, network=_NETWORK,
        help=PARAMETER_WORDS, back=g.back,
    )  # fmt: skip


def _would(host: dict[str, Any], known: Sequence[Mapping[str, Any]], asked: str) -> Victim | None:
    """What an install would overwrite now: with the profile asked for, the intended one or the last one."""
    last = (host["attempt"] or {}).get("profile")
    wanted = asked or host["settings"].get("profile") or last
    found = next((one for one in known if one["name"] == wanted), None)
    return victim(host, found) if found else None


def serial_of(disk: Disk, marked: Sequence[str]) -> str:
    """What marks this disk in the setting `wipe`: as it is marked already, else its serial number, path or device."""
    names = names_of(disk)
    present = [one for one in marked if one in names]
    return present[0] if present else disk.serial or disk.by_path or (f"/dev/{disk.name}" if disk.name else "")


# ------------------------------------------------------------------------------------------------ the form


def _typed_of(ctx: Context, host: dict[str, Any]) -> dict[str, Any]:
    """What the fields hold of the host as it is."""
    settings = host["settings"]
    wipe, network = settings.get("wipe"), settings.get("network", {})
    listed = [str(one) for one in wipe] if isinstance(wipe, list) else []
    known = {serial_of(disk, listed) for disk in hardware(host["facts"]).disks}
    own = settings.get("parameters") or {}
    return {
        "profile": settings.get("profile", ""), "loader": host["loader"], "disk": settings.get("disk", ""),
        "wipe": {None: "", True: "any", False: "no"}.get(wipe, "some") if not isinstance(wipe, list) else "some",
        "wipe_disk": listed, "wipe_more": " ".join(one for one in listed if one not in known),
        "parameters": as_text(hide(ctx, own), "yaml") if own else "",
        **{f"network_{one.name}": _shown(network.get(one.name)) for one in _NETWORK},
        **{f"reserve_{nic['mac']}": nic["reserved_address"] or "" for nic in host["nics"]},
    }  # fmt: skip


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _typed_again(host: dict[str, Any], form: Any) -> dict[str, Any]:
    """What was sent, so that it can be mended."""
    texts = ["profile", "loader", "disk", "wipe", "wipe_more", "parameters", "version"]
    texts += [f"network_{one.name}" for one in _NETWORK] + [f"reserve_{nic['mac']}" for nic in host["nics"]]
    return {**{key: form.get(key, "").strip() for key in texts}, "wipe_disk": form.getlist("wipe_disk")}


def _given(ctx: Context, host: dict[str, Any], form: Any) -> dict[str, Any]:
    """As hosts.change takes it: a field that is empty takes its setting away. Raises Problem."""
    typed = _typed_again(host, form)
    settings = {
        "profile": typed["profile"] or None, "disk": typed["disk"] or None, "wipe": _wipe(typed),
        "network": {one.name: _value(one, typed[f"network_{one.name}"]) for one in _NETWORK},
        "parameters": _parameters(ctx, typed["parameters"], host["settings"].get("parameters") or {}),
    }  # fmt: skip
    reserve = {nic["mac"]: typed[f"reserve_{nic['mac']}"] or None for nic in host["nics"]}
    return {"settings": settings, "reserve": reserve, "loader": typed["loader"] or LoaderChoice.AUTO.value}


def _wipe(typed: dict[str, Any]) -> bool | list[str] | None:
    if typed["wipe"] != "some":
        if typed["wipe"] not in WIPES:
            raise Problem("say whether a disk with data may be overwritten: choose one of the four")
        return {"": None, "no": False, "any": True}[typed["wipe"]]
    marked = list(dict.fromkeys([*typed["wipe_disk"], *words(typed["wipe_more"])]))
    if not marked:
        raise Problem("mark the disks that may be overwritten, or choose another answer")
    return marked


def _value(field: _Network, text: str) -> Any:
    if not text:
        return None
    if field.kind == "list":
        return words(text)
    return int(text) if field.kind == "number" and text.isdecimal() and len(text) < 10 else text


def _parameters(ctx: Context, text: str, before: Mapping[str, Any]) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found = parse_yaml(text.replace("\r\n", "\n"))
    except Problem as problem:
        raise Problem(f"own parameters: {problem}") from None
    if not isinstance(found, dict):
        raise Problem("own parameters: write one `name: value` a line, as YAML")
    return dict(reveal(ctx, found, before))
