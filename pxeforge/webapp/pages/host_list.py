"""The list of hosts: filtered, sorted and paged by the database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import host_list as listing
from pxeforge.services import hosts, profiles
from pxeforge.services.arming import ARMED_FOR_S
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.webapp.auth import safe_next
from pxeforge.webapp.pages import fresh
from pxeforge.webapp.pages.hosts import role_choice, words
from pxeforge.webapp.pages.power import ACTIONS
from pxeforge.webapp.reported import hardware

COLUMNS: Final = {
    "state": "State", "address": "Address", "hardware": "Hardware", "roles": "Roles", "tags": "Tags", "rack": "Rack",
    "firmware": "Firmware", "serial": "Serial", "seen": "Seen", "agent": "Agent", "armed": "Armed for",
    "created": "Known since",
}  # fmt: skip
_USUAL: Final = ("state", "address", "hardware", "roles", "tags", "seen")
_SORTED_BY: Final = {
    "state": "state", "address": "address", "firmware": "firmware", "serial": "serial", "seen": "seen_at",
    "created": "created_at",
}  # fmt: skip
_COOKIE: Final = "pxeforge-columns"
_YEAR_S: Final = 366 * 86400
SIZES: Final = (50, 100, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The filter as it stands in the address of the page; what is empty is not asked for."""

    q: str = ""
    state: str = ""
    role: str = ""  # "-" is a host without any
    tag: str = ""
    rack: str = ""  # "-" is a host without a place
    firmware: str = ""
    attention: str = ""  # "1": only hosts that need somebody
    sort: str = "name"
    down: str = ""
    page: int = 1
    size: int = 100

    @classmethod
    def of_request(cls) -> Asked:
        """From the address or a form; what makes no sense is left out."""
        given = {key: request.values.get(key, "").strip() for key in ("q", "role", "tag", "rack", "firmware")}
        state, sort = request.values.get("state", ""), request.values.get("sort", "name")
        page, size = (request.values.get(key, "") for key in ("page", "size"))
        return cls(
            **given,
            state=state if state in {one.value for one in HostState} else ("" if not state else "none"),
            attention="1" if request.values.get("attention") else "",
            sort=sort if sort in listing.SORTS else "name",
            down="1" if request.values.get("down") else "",
            page=max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1,
            size=int(size) if size in map(str, SIZES) else 100,
        )

    @property
    def is_filtered(self) -> bool:
        return any((self.q, self.state, self.role, self.tag, self.rack, self.firmware, self.attention))

    def address(self, **changed: Any) -> dict[str, Any]:
        """For url_for: what differs from the usual, with these changes."""
        mine = replace(self, **({"page": 1} | changed))
        usual = Asked()
        found = {key: getattr(mine, key) for key in self.__slots__}
        return {key: value for key, value in found.items() if value != getattr(usual, key)}

    def wanted(self, attention: Attention) -> listing.Wanted:
        return listing.Wanted(
            text=self.q, states=(self.state,) if self.state not in ("", "none") else (), tag=self.tag or None,
            role={"": None, "-": ""}.get(self.role, self.role), rack={"": None, "-": ""}.get(self.rack, self.rack),
            firmware={"": None, "-": ""}.get(self.firmware, self.firmware), sort=self.sort,
            descending=bool(self.down), ids=self._ids(attention),
        )  # fmt: skip

    def _ids(self, attention: Attention) -> frozenset[str] | None:
        if self.state == "none":
            return frozenset()
        return attention.host_ids() if self.attention else None


def add_routes(pages: Blueprint, ctx: Context, attention: Attention) -> None:
    @pages.get("/hosts")
    def host_list() -> ResponseReturnValue:
        seen = fresh.mark(ctx)
        if (same := fresh.unchanged(seen)) is not None:
            return same
        asked = Asked.of_request()
        found = listing.page(
            ctx, asked.wanted(attention), limit=asked.size, offset=(asked.page - 1) * asked.size, facts=True
        )  # fmt: skip
        columns = _columns()
        return render_template(
            "hosts.html", seen=seen, asked=asked, found=found, last_page=max(1, -(-found.found // asked.size)),
            hardware={host["id"]: hardware(host["facts"]) for host in found.hosts} if "hardware" in columns else {},
            columns=columns, all_columns=COLUMNS, sorted_by=_SORTED_BY, sizes=SIZES,
            profiles=profiles.list_profiles(ctx), roles=role_choice(ctx), racks=listing.racks(ctx),
            firmwares=[one.value for one in Firmware], addresses=ctx.addresses, armed_for_s=ARMED_FOR_S,
            power_actions=ACTIONS,
        )  # fmt: skip

    @pages.post("/hosts")
    def host_add() -> ResponseReturnValue:
        g.back = url_for("pages.host_list", _anchor="add")
        form = request.form
        host = hosts.add(
            ctx, macs=words(form.get("macs", "")), name=form.get("name", "").strip() or None,
            tags=words(form.get("tags", "")), who=g.who,
        )  # fmt: skip
        flash("The host was added.", "good")
        return redirect(url_for("pages.host_page", host_id=host["id"]), 303)

    @pages.post("/hosts/columns")
    def host_columns() -> ResponseReturnValue:
        """Which columns this browser shows; kept in a cookie of its own."""
        chosen = [name for name in COLUMNS if name in request.form.getlist("column")]
        response = redirect(safe_next(request.form.get("next")), 303)
        response.set_cookie(_COOKIE, ".".join(chosen) or "-", max_age=_YEAR_S, secure=True, samesite="Strict")
        return response


def _columns() -> list[str]:
    kept = request.cookies.get(_COOKIE)
    chosen = kept.split(".") if kept else _USUAL
    return [name for name in COLUMNS if name in chosen]
