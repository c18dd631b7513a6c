"""Where a NIC was when its firmware asked: kept with the host; a new place is noted, and the rules are told."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from pxeforge.domain.boot import BootRequest
from pxeforge.services.context import Context
from pxeforge.services.events import insert
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import Host, RuleMark

MOVED: Final = "moved"
_LAST: Final = """
    SELECT n.host_id, s.interface, s.relay, s.circuit_id, s.remote_id
    FROM nics n LEFT JOIN sightings s ON s.mac = n.mac WHERE n.mac = :mac
"""
_KEEP: Final = """
    INSERT INTO sightings (mac, interface, relay, circuit_id, remote_id, at)
    VALUES (:mac, :interface, :relay, :circuit_id, :remote_id, :at)
    ON CONFLICT (mac) DO UPDATE SET interface = excluded.interface, relay = excluded.relay,
    circuit_id = excluded.circuit_id, remote_id = excluded.remote_id, at = excluded.at
"""
_MARK: Final = """
    INSERT INTO rule_marks (host_id, at) VALUES (:host_id, :at)
    ON CONFLICT (host_id) DO UPDATE SET at = excluded.at
"""
_NOTED: Final = "SELECT data, settled_at FROM identity_notes WHERE subject = :subject"
_NOTE: Final = """
    INSERT INTO identity_notes (subject, host_id, data, at) VALUES (:subject, :host_id, :data, :at)
    ON CONFLICT (subject) DO UPDATE SET host_id = excluded.host_id, data = excluded.data, at = excluded.at,
    settled_at = NULL, settled_by = NULL
"""
_KEYS: Final = ("interface", "relay", "circuit_id", "remote_id")


def sighted(statements: Statements, request: BootRequest, now: float) -> None:
    """A NIC that has a host was seen; one that has none is passed over."""
    mac = str(request.mac)
    rows = statements.rows(_LAST, mac=mac)
    if not rows:
        return
    host_id, *last = rows[0]
    here = [request.interface[:32], request.relay, request.circuit_id, request.remote_id]
    statements.run(_KEEP, mac=mac, at=now, **dict(zip(_KEYS, here, strict=True)))
    if last == here:
        return
    statements.run(_MARK, host_id=host_id, at=now)
    if last[0] is not None and _place(last) != _place(here):
        _note_move(statements, mac, host_id, last, here, now)


def mark(session: Session, ctx: Context, host: Host) -> None:
    """The rules look at this host soon: in the transaction of what is new about it."""
    session.flush()
    session.execute(delete(RuleMark).where(RuleMark.host_id == host.id))
    session.add(RuleMark(host_id=host.id, at=ctx.clock()))


def told_place(place: dict[str, str | None]) -> str:
    """`eth0`, or `relay 10.1.0.1, circuit Eth1/7`."""
    if not place.get("relay"):
        return place.get("interface") or "our own wire"
    said = [f"relay {place['relay']}"]
    said += [f"circuit {place['circuit_id']}"] if place.get("circuit_id") else []
    said += [f"remote {place['remote_id']}"] if place.get("remote_id") else []
    return ", ".join(said)


def _place(values: list[str | None]) -> list[str | None]:
    """What tells places apart: behind a relay it does not matter which of our interfaces hears it."""
    return ["", *values[1:]] if values[1] else values


def _note_move(
    statements: Statements, mac: str, host_id: str, last: list[str | None], here: list[str | None], now: float
) -> None:
    """Told from the place where the host was before anybody looked at it; back there, nothing is left to settle."""
    before, after = dict(zip(_KEYS, last, strict=True)), dict(zip(_KEYS, here, strict=True))
    subject = f"{MOVED}:{mac}"
    noted = statements.rows(_NOTED, subject=subject)
    if noted and noted[0][1] is None:
        data = json.loads(noted[0][0]) if isinstance(noted[0][0], str) else noted[0][0]
        before = data.get("from", before)
    if _place(list(before.values())) == _place(here):
        statements.run("DELETE FROM identity_notes WHERE subject = :subject", subject=subject)
    else:
        data = {"mac": mac, "from": before, "to": after}
        statements.run(_NOTE, subject=subject, host_id=host_id, data=json.dumps(data), at=now)
    message = f"{mac} was at {told_place(before)}, now it is at {told_place(after)}"
    insert(statements, at=now, host_id=host_id, source="dhcp", kind=MOVED, message=message)
