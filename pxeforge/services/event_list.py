"""Events of all hosts, chosen and in parts: back from the newest for who reads, on from a number for who follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from pxeforge.services.audit import of_host
from pxeforge.services.context import Context
from pxeforge.services.events import event_view
from pxeforge.store.tables import Event

MOST: Final = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is None is not asked for. `host` as hosts.find takes it; `source` and `kind` as events have them."""

    host: str | None = None
    run: str | None = None
    source: str | None = None
    kind: str | None = None
    who: str | None = None
    since: float | None = None  # unix seconds
    until: float | None = None


def newest(ctx: Context, wanted: Wanted, *, before_id: int | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Newest first; only those with an id below `before_id`. Raises NotFound for a host."""
    with ctx.database.read() as session:
        query = _query(session, wanted).order_by(Event.id.desc()).limit(max(0, min(limit, MOST)))
        if before_id is not None:
            query = query.where(Event.id < before_id)
        return [event_view(row) for row in session.scalars(query)]


def after(ctx: Context, wanted: Wanted, last_id: int, *, limit: int = 200) -> list[dict[str, Any]]:
    """Oldest first, those with an id above `last_id`."""
    with ctx.database.read() as session:
        query = _query(session, wanted).where(Event.id > last_id).order_by(Event.id).limit(max(0, min(limit, MOST)))
        return [event_view(row) for row in session.scalars(query)]


def last_id(ctx: Context) -> int:
    """The greatest id there is; 0 without events."""
    with ctx.database.read() as session:
        return session.scalar(select(func.max(Event.id))) or 0


def _query(session: Session, wanted: Wanted) -> Select[Event]:
    exact = {Event.run_id: wanted.run, Event.source: wanted.source, Event.kind: wanted.kind, Event.who: wanted.who}
    query = select(Event)
    for column, value in exact.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.host is not None:
        query = query.where(of_host(session, wanted.host))
    if wanted.since is not None:
        query = query.where(Event.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Event.at <= wanted.until)
    return query
