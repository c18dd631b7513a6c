"""How an arming or an install ends before its registration: taken back, or given up."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import Signal
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Attempt, Host

GAVE_UP: Final = "gave up"  # the outcome of what took too long


def disarm(ctx: Context, text: str, *, who: str) -> dict[str, Any]:
    """Takes the arming back, or gives up a running install (its tokens die at once)."""
    with ctx.database.write() as session:
        return disarm_host(session, ctx, hosts.find(session, text), who=who)


def disarm_host(session: Session, ctx: Context, host: Host, *, who: str) -> dict[str, Any]:
    """The same in the caller's transaction."""
    hosts.move(session, ctx, host, Signal.DISARM, who=who, message=f"disarmed by {who}")
    close_attempts(session, host, "disarmed")
    host.armed_until = None
    session.flush()
    return hosts.view(host)


def give_up(session: Session, ctx: Context, host: Host, why: str, *, source: str) -> None:
    hosts.move(session, ctx, host, Signal.GAVE_UP, source=source, message=why)
    close_attempts(session, host, GAVE_UP)
    host.armed_until = None


def close_attempts(session: Session, host: Host, outcome: str) -> None:
    """Ends what the host was armed for; a menu is an attempt per choice."""
    for attempt in session.scalars(select(Attempt).where(Attempt.host_id == host.id, Attempt.outcome.is_(None))):
        attempt.outcome = outcome
