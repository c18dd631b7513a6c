"""What the whole server is doing right now, for its first page: boots under way, runs, and room on the disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.services.cache_counters import read_counters
from pxeforge.services.context import Context
from pxeforge.store.tables import Attempt, Event, Host, Run, RunTask

# In the order in which a host comes through them; the rest of its life is nobody's wait.
STEPS: Final = ("armed", "booting", "installing", "installed", "registered")
_UNDER_WAY: Final = ("installed", "installing", "booting", "wiping", "rescue", "armed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes; of the disk that the data directory is on, and of the package cache on it."""

    free: int
    total: int
    cache_used: int
    cache_hits: int
    cache_requests: int


def newest_event(ctx: Context) -> int:
    """A number that grows with everything that is written into a timeline."""
    with ctx.database.read() as session:
        return session.scalar(select(func.max(Event.id))) or 0


def under_way(ctx: Context, *, limit: int) -> list[dict[str, Any]]:
    """Hosts that boot or install, furthest first, then armed ones: each with its last event and since when."""
    with ctx.database.read() as session:
        found: list[Host] = []
        for state in _UNDER_WAY:
            query = select(Host).where(Host.state == state).order_by(Host.armed_until.desc(), Host.id)
            found += session.scalars(query.limit(limit - len(found)))
            if len(found) >= limit:
                break
        return [_boot(session, host) for host in found]


def _boot(session: Session, host: Host) -> dict[str, Any]:
    of_host = select(Event.at, Event.message).where(Event.host_id == host.id).order_by(Event.id.desc()).limit(1)
    last = session.execute(of_host).first()
    attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
    return {
        "id": host.id, "name": host.name, "macs": list(host.macs), "state": host.state,
        "armed_until": host.armed_until, "said": last.message if last else "", "said_at": last.at if last else None,
        "profile": attempt.profile if attempt else "", "armed_at": attempt.armed_at if attempt else None,
        "steps": STEPS, "step": STEPS.index(host.state) if host.state in STEPS else None,
    }  # fmt: skip


def runs(ctx: Context, *, limit: int) -> list[dict[str, Any]]:
    """The newest runs, those that are going on first, with how many of their tasks are over."""
    with ctx.database.read() as session:
        order = ((Run.state == "running").desc(), Run.created_at.desc())
        found = list(session.scalars(select(Run).order_by(*order).limit(limit)))
        per_state = select(RunTask.run_id, RunTask.finished_at.is_not(None), func.count()).where(
            RunTask.run_id.in_([run.id for run in found])
        )
        counted: dict[tuple[str, bool], int] = {
            (run_id, bool(over)): count
            for run_id, over, count in session.execute(
                per_state.group_by(RunTask.run_id, RunTask.finished_at.is_not(None))
            )
        }
        return [
            {
                "id": run.id, "kind": run.kind, "state": run.state, "check": run.check, "started_by": run.started_by,
                "created_at": run.created_at, "finished_at": run.finished_at, "over": counted.get((run.id, True), 0),
                "tasks": counted.get((run.id, True), 0) + counted.get((run.id, False), 0),
            }
            for run in found
        ]  # fmt: skip


def room(ctx: Context) -> Room:
    disk = shutil.disk_usage(ctx.data_dir)
    cache = read_counters(ctx.data_dir / "cache" / ".counters")
    return Room(
        free=disk.free, total=disk.total, cache_used=cache.get("used_bytes", 0),
        cache_hits=cache.get("hits", 0) + cache.get("joined", 0), cache_requests=cache.get("requests", 0),
    )  # fmt: skip
