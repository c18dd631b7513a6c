"""Racks as pictures: which host stands in which unit, and hosts placed by dragging or by a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import bulk_edits, host_list, racks
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages import fresh

_RACKS_SHOWN: Final = 8
_LOOSE_SHOWN: Final = 60
UNIT_PX: Final = 20
WIDTH_PX: Final = 290
_LEFT_PX: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A host as it is drawn; pixels from the top left of the rack's picture."""

    host: dict[str, Any]
    y: int
    height: int

    @property
    def words(self) -> str:
        """For who does not see the picture."""
        place = f"unit {self.host['unit']}"
        if self.host["height"] > 1:
            place = f"units {self.host['unit']} to {self.host['unit'] + self.host['height'] - 1}"
        return f"{self.host['host']}, {self.host['state']}, {place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One rack: unit 1 is at the floor, so the picture counts from the top down."""

    name: str
    note: str
    units: int
    boxes: tuple[Box, ...]
    free: tuple[tuple[int, int], ...]  # unit and its y
    loose: tuple[dict[str, Any], ...]  # in this rack, in no unit

    @property
    def height(self) -> int:
        return self.units * UNIT_PX + 2

    @property
    def taken(self) -> int:
        return self.units - len(self.free)


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/racks", endpoint="racks")
    def rack_page() -> ResponseReturnValue:
        seen = fresh.mark(ctx)
        if (same := fresh.unchanged(seen)) is not None:
            return same
        only, page = request.args.get("rack", ""), _page()
        names = racks.names(ctx)
        fitting = [name for name in names if only in ("", name)]
        view = racks.rack_view(ctx, fitting[(page - 1) * _RACKS_SHOWN : page * _RACKS_SHOWN])
        q = request.args.get("q", "").strip()
        loose = host_list.page(ctx, host_list.Wanted(text=q, rack=""), limit=_LOOSE_SHOWN)
        return render_template(
            "racks.html", seen=seen, drawings=[draw(one) for one in view], names=names,
            said=racks.show(ctx, only) if only in names else None,
            only=only, page=page, last_page=max(1, -(-len(fitting) // _RACKS_SHOWN)), loose=loose, q=q,
            unit_px=UNIT_PX, width=WIDTH_PX, left=_LEFT_PX,
        )  # fmt: skip

    @pages.post("/racks/place")
    def rack_place() -> ResponseReturnValue:
        g.back = _back()
        host = request.form.get("host", "").strip()
        if not host:
            raise Problem("say which host: its name or a MAC address")
        place = _place()
        done = _edit(ctx, host, place)
        unit = f" unit {place['unit']}" if place and place["unit"] else ""
        flash(f"{done} stands in {place['name']}{unit} now." if place else f"{done} stands in no rack now.", "good")
        return redirect(g.back, 303)

    @pages.post("/racks/set")
    def rack_set() -> ResponseReturnValue:
        """A rack that there is already is changed only with the `version` that the form was made of."""
        g.back = _back()
        name, version = request.form.get("name", "").strip(), request.form.get("version") or None
        if version is None and name in racks.names(ctx):
            g.back = url_for("pages.racks", rack=name, _anchor="change")
            raise Problem(f"there is a rack {name} already: this is what is said of it, change it here")
        done = racks.set_rack(
            ctx, name, height=_number("height", "the height"), note=request.form.get("note"), who=g.who,
            expected_version=version,
        )  # fmt: skip
        flash(f"Rack {done['name']} has {done['height']} units.", "good")
        return redirect(g.back, 303)

    @pages.post("/racks/remove")
    def rack_remove() -> ResponseReturnValue:
        name = request.form.get("name", "")
        g.back = url_for("pages.racks", rack=name, _anchor="change")
        racks.remove_rack(ctx, name, who=g.who, expected_version=request.form.get("version") or None)
        g.back = url_for("pages.racks")
        flash("The rack is removed.", "good")
        return redirect(g.back, 303)


def draw(rack: Mapping[str, Any]) -> Drawing:
    """From racks.rack_view."""
    units = int(rack["height"])
    boxes = [
        Box(host=host, y=_y(units, host["unit"], host["height"]), height=host["height"] * UNIT_PX)
        for host in rack["units"]
    ]  # fmt: skip
    taken = {unit for host in rack["units"] for unit in range(host["unit"], host["unit"] + host["height"])}
    return Drawing(
        name=rack["rack"], note=rack["note"], units=units, boxes=tuple(boxes), loose=tuple(rack["unplaced"]),
        free=tuple((unit, _y(units, unit, 1)) for unit in range(units, 0, -1) if unit not in taken),
    )  # fmt: skip


def _y(units: int, unit: int, height: int) -> int:
    return (units - (unit + height - 1)) * UNIT_PX + 1


def _place() -> dict[str, Any]:
    """From the form; empty: out of its rack."""
    if request.form.get("do") == "out":
        return {}
    rack = request.form.get("rack", "").strip()
    if not rack:
        raise Problem("say which rack the host stands in")
    return {"name": rack, "unit": _number("unit", "the unit"), "height": _number("height", "the height") or 1}


def _edit(ctx: Context, host: str, place: dict[str, Any]) -> str:
    """Returns what the host is called; raises Problem with its one reason."""
    try:
        done = bulk_edits.apply(ctx, [host], {"rack": place}, g.who)
    except bulk_edits.BadEdits as problem:
        raise Problem(problem.wrong[0][1]) from None
    return str(done["hosts"][0]["host"])


def _number(key: str, what: str) -> int | None:
    text = request.form.get(key, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 3:
        raise Problem(f"{what} is a whole number, not {text[:20]!r}")
    return int(text)


def _page() -> int:
    text = request.args.get("page", "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 5 else 1


def _back() -> str:
    """To the page with the same racks on it."""
    kept: dict[str, Any] = {
        key: request.form[f"at_{key}"] for key in ("rack", "q", "page") if request.form.get(f"at_{key}")
    }
    return url_for("pages.racks", **kept)
