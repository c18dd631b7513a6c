"""The timeline: events are written with the change they tell of, and read back with durations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.services.context import Context
from pxeforge.store.tables import Event


def record(
    session: Session,
    ctx: Context,
    *,
    source: str,
    kind: str,
    message: str,
    host_id: str | None = None,
    run_id: str | None = None,
    who: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Adds one event to the transaction of the change it tells of."""
    session.add(
        Event(
            at=ctx.clock(), source=source, kind=kind, message=message, host_id=host_id, run_id=run_id, who=who,
            data=data or {},
        )
    )  # fmt: skip


def event_view(event: Event) -> dict[str, Any]:
    return {
        "id": event.id, "at": event.at, "source": event.source, "kind": event.kind, "message": event.message,
        "who": event.who, "host_id": event.host_id, "run_id": event.run_id, "data": event.data,
    }  # fmt: skip


def timeline(ctx: Context, host_id: str, *, after_id: int = 0, limit: int = 2000) -> list[dict[str, Any]]:
    """The host's events, oldest first; each with `since_s`, the seconds since the one before."""
    with ctx.database.read() as session:
        rows = session.scalars(
            select(Event).where(Event.host_id == host_id, Event.id > after_id).order_by(Event.id.desc()).limit(limit)
        ).all()
    views = [event_view(row) for row in reversed(rows)]
    for before, view in zip([None, *views], views, strict=False):
        view["since_s"] = round(view["at"] - before["at"], 3) if before else 0.0
    return views


def recent(ctx: Context, *, limit: int = 50) -> list[dict[str, Any]]:
    """The newest events of all hosts, newest first."""
    with ctx.database.read() as session:
        return [event_view(row) for row in session.scalars(select(Event).order_by(Event.id.desc()).limit(limit))]
