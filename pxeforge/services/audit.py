"""The audit log: the events that somebody caused, with who, from where and how, what was before and what is after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services.context import Context
from pxeforge.services.events import event_view
from pxeforge.services.hosts import FORGOTTEN, find
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Event

MOST: Final = 1000
_ID: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is None is not asked for. `host` as hosts.find takes it; `before`: only entries older than this id."""

    who: str | None = None
    kind: str | None = None
    host: str | None = None
    via: str | None = None  # session, password, token, token NAME, local
    address: str | None = None
    since: float | None = None  # unix seconds
    until: float | None = None
    before: int | None = None


def entries(ctx: Context, wanted: Filter, *, limit: int = 100) -> list[dict[str, Any]]:
    """Newest first, at most `limit`; the next page has `before` as the last one's id. Raises NotFound for a host."""
    query = select(Event).where(Event.who.is_not(None)).order_by(Event.id.desc()).limit(max(0, min(limit, MOST)))
    exact = {Event.who: wanted.who, Event.kind: wanted.kind, Event.address: wanted.address}
    for column, value in exact.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.via is not None:
        query = query.where((Event.via == wanted.via) | Event.via.startswith(f"{wanted.via} ", autoescape=True))
    if wanted.since is not None:
        query = query.where(Event.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Event.at <= wanted.until)
    if wanted.before is not None:
        query = query.where(Event.id < wanted.before)
    with ctx.database.read() as session:
        if wanted.host is not None:
            query = query.where(of_host(session, wanted.host))
        return [event_view(row) for row in session.scalars(query)]


def of_host(session: Session, text: str) -> ColumnElement[bool]:
    """The events of a host, or of those that were forgotten since: by whole id, or as they were called. Raises
    NotFound.
    """
    try:
        return Event.host_id == find(session, text).id
    except NotFound:
        forgotten = _forgotten(session, text)
        if not forgotten and not _ID.fullmatch(text):
            raise
        return Event.host_id.in_(forgotten) if forgotten else Event.host_id == text


def _forgotten(session: Session, text: str) -> list[str]:
    """Hosts that had this name or MAC address when they were forgotten; all of them, as each was called so once."""
    try:
        called = str(MacAddress.parse(text))
    except NotAMac:
        called = text.strip().lower()
    events = select(Event.host_id, Event.data).where(Event.kind == FORGOTTEN, Event.who.is_not(None))
    found = []
    for host_id, data in session.execute(events.where(Event.host_id.is_not(None)).order_by(Event.id)):
        before = data.get("before", {})
        if called == before.get("name") or called in before.get("macs", ()):
            found.append(host_id)
    return found
