"""The audit log: the events that somebody caused, with who, from where and how, what was before and what is after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.services.events import event_view
from pxeforge.services.hosts import find
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
            query = query.where(Event.host_id == host_id_of(session, wanted.host))
        return [event_view(row) for row in session.scalars(query)]


def host_id_of(session: Session, text: str) -> str:
    """Also of a host that was forgotten since, by its whole id."""
    try:
        return find(session, text).id
    except NotFound:
        if _ID.fullmatch(text):
            return text
        raise
