"""Racks: which host stands where, no two in one unit; the view that pages and the command line draw."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from pxeforge.services.context import Context
from pxeforge.services.events import differing, record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.versions import NONE_YET, expect_rack, version_of_rack
from pxeforge.store.tables import Host, Rack

HEIGHT: Final = 42  # units of a rack that nobody said anything about
_TALLEST: Final = 99
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]{0,62})")
_SETTING: Final = "rack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a host stands; `unit` is the lowest one it takes, counted from 1 at the floor. None: somewhere in it."""

    rack: str
    unit: int | None = None
    height: int = 1

    @property
    def units(self) -> range:
        return range(self.unit, self.unit + self.height) if self.unit is not None else range(0)

    def kept(self) -> dict[str, Any]:
        """As the host's setting `rack`."""
        return {"name": self.rack, "unit": self.unit, "height": self.height}

    def __str__(self) -> str:
        return f"{self.rack} unit {self.unit}" if self.unit is not None else self.rack


def position_of(settings: Mapping[str, Any]) -> Position | None:
    """The position in a host's settings."""
    found = settings.get(_SETTING)
    if not isinstance(found, dict) or not found.get("name"):
        return None
    return Position(rack=found["name"], unit=found.get("unit"), height=found.get("height") or 1)


def parse(raw: object) -> Position:
    """{"name": text, "unit": number or None, "height": number}; raises Problem."""
    if not isinstance(raw, dict) or set(raw) - {"name", "unit", "height"} or not raw.get("name"):
        raise Problem('the rack position must be an object: {"name": "r1", "unit": 12, "height": 1}')
    name, unit, height = str(raw["name"]), raw.get("unit"), raw.get("height")
    height = 1 if height is None else height
    if not _NAME.fullmatch(name):
        raise Problem(f"{name!r} is no name of a rack: use letters, digits and _ . : -, at most 63")
    for what, value in (("unit", unit), ("height", height)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _TALLEST):
            raise Problem(f"the {what} of a rack position is a whole number from 1 to {_TALLEST}, not {value!r}")
    return Position(rack=name, unit=unit, height=height)


def checked(session: Session, host: Host, raw: object) -> dict[str, Any]:
    """The setting `rack` for this host; raises Problem where it is none, Conflict where somebody stands there."""
    wanted = parse(raw)
    row = session.get(Rack, wanted.rack)
    tall = row.height if row else HEIGHT
    if wanted.units and wanted.units[-1] > tall:
        raise Problem(
            f"rack {wanted.rack} has {tall} units: unit {wanted.unit} with height {wanted.height} does not fit; "
            f"a taller one is said by `pxeforge rack set {wanted.rack} --height N`"
        )
    if wanted.units:
        session.flush()
        neighbours = session.scalars(
            select(Host).where(Host.settings[_SETTING]["name"].as_string() == wanted.rack, Host.id != host.id)
        )
        for other in neighbours:
            refuse_overlap(wanted, position_of(other.settings), other)
    return wanted.kept()


def refuse_overlap(wanted: Position, taken: Position | None, other: Host) -> None:
    """Raises Conflict where `other` stands in one of the units that are wanted."""
    if taken is not None and taken.rack == wanted.rack and set(taken.units) & set(wanted.units):
        raise Conflict(
            f"{other.name or other.id} stands at {taken} (height {taken.height}): choose another unit than "
            f"{wanted.unit}, or move that host first"
        )


def names(ctx: Context, *, after: str | None = None) -> list[str]:
    """Of all racks, or those behind `after`: those that somebody said something of, and those that hosts stand in."""
    name = Host.settings[_SETTING]["name"].as_string()
    with ctx.database.read() as session:
        told = set(session.scalars(select(name).where(name.is_not(None)).distinct()))
        found = told | set(session.scalars(select(Rack.name)))
    return sorted((one for one in found if after is None or natural(one) > natural(after)), key=natural)


def rack_view(ctx: Context, only: Collection[str] | None = None) -> list[dict[str, Any]]:
    """[{rack, height, note, units: [{unit, height, host, host_id, mac, state, roles}], unplaced: [the same]}].

    By rack, then unit; `unplaced` are hosts of which only the rack is known. `only`: these racks and no others.
    """
    name, only = Host.settings[_SETTING]["name"].as_string(), None if only is None else set(only)
    query = select(Host).options(defer(Host.facts)).where(name.is_not(None) if only is None else name.in_(only))
    with ctx.database.read() as session:
        known = {row.name: row for row in session.scalars(select(Rack)) if only is None or row.name in only}
        placed: dict[str, list[tuple[Host, Position]]] = {}
        for host in session.scalars(query):
            place = position_of(host.settings)
            if place is not None:
                placed.setdefault(place.rack, []).append((host, place))
    return [_one_rack(one, known.get(one), placed.get(one, ())) for one in sorted({*known, *placed}, key=natural)]


def show(ctx: Context, name: str) -> dict[str, Any]:
    """One rack as rack_view tells it, with the version of what was said of it. Raises NotFound."""
    found = rack_view(ctx, [name])
    if not found:
        raise NotFound(f"there is no rack {name!r}: see `pxeforge rack list`")
    (rack,) = found
    return {**rack, "version": version_of_rack(name, rack["height"], rack["note"])}


def _version(name: str, row: Rack | None) -> str:
    return version_of_rack(name, row.height if row else HEIGHT, row.note if row else "")


def _versions(name: str, row: Rack | None) -> tuple[str, ...]:
    return (_version(name, row),) if row else (_version(name, row), NONE_YET)


def natural(name: str) -> list[tuple[int, int | str]]:
    """r2 before r10; no two names are equal."""
    parts = [part for part in re.split(r"(\d{1,9})", name) if part]
    return [*((0, int(part)) if part.isdecimal() else (1, part) for part in parts), (-1, name)]


def _one_rack(name: str, row: Rack | None, placed: Iterable[tuple[Host, Position]]) -> dict[str, Any]:
    units: list[dict[str, Any]] = []
    unplaced: list[dict[str, Any]] = []
    for host, place in placed:
        shown = {
            "unit": place.unit, "height": place.height, "host": host.label,
            "host_id": host.id, "mac": host.macs[0] if host.macs else None, "state": host.state,
            "roles": [one.role for one in host.roles],
        }  # fmt: skip
        (unplaced if place.unit is None else units).append(shown)
    return {
        "rack": name, "height": row.height if row else HEIGHT, "note": row.note if row else "",
        "units": sorted(units, key=lambda one: one["unit"] or 0),
        "unplaced": sorted(unplaced, key=lambda one: str(one["host"])),
    }  # fmt: skip


def set_rack(
    ctx: Context, name: str, *, height: int | None = None, note: str | None = None, who: str,
    expected_version: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Says how tall a rack is, or a word about it; makes it if need be. Raises Problem, Stale."""
    parse({"name": name, "height": height})
    if note is not None and (len(note) > 200 or not note.isprintable()):
        raise Problem("the note of a rack is one line of at most 200 characters")
    with ctx.database.write() as session:
        row = session.get(Rack, name)
        expect_rack(session, name, _versions(name, row), expected_version)
        before = {"height": row.height, "note": row.note} if row else {}
        if row is None:
            row = Rack(name=name, height=HEIGHT, note="")
            session.add(row)
        row.height, row.note = height or row.height, row.note if note is None else note
        _refuse_too_low(session, row)
        after = {"height": row.height, "note": row.note}
        if before != after:
            record(
                session, ctx, source="operator", kind="rack_changed", who=who, message=f"rack {name} changed by {who}",
                data=differing(before, after),
            )  # fmt: skip
        return {"name": name, **after, "version": _version(name, row)}


def _refuse_too_low(session: Session, row: Rack) -> None:
    inside = session.scalars(select(Host).where(Host.settings[_SETTING]["name"].as_string() == row.name))
    for host in inside:
        place = position_of(host.settings)
        if place is not None and place.units and place.units[-1] > row.height:
            raise Conflict(f"{host.name or host.id} stands at {place}, above {row.height}: move it first")


def remove_rack(ctx: Context, name: str, *, who: str, expected_version: str | None = None) -> None:
    """Forgets what was said of a rack; refused while hosts stand in it. Raises Problem, Stale."""
    with ctx.database.write() as session:
        row = session.get(Rack, name)
        if row is None:
            raise NotFound(f"there is no rack {name!r} that something was said of: see `pxeforge rack list`")
        expect_rack(session, name, _versions(name, row), expected_version)
        inside = session.scalars(
            select(Host).where(Host.settings[_SETTING]["name"].as_string() == name).limit(1)
        ).first()
        if inside is not None:
            raise Conflict(f"{inside.name or inside.id} stands in rack {name}: move its hosts first")
        session.delete(row)
        record(
            session, ctx, source="operator", kind="rack_removed", who=who, message=f"rack {name} removed by {who}",
            data={"before": {"height": row.height, "note": row.note}},
        )  # fmt: skip
