"""Hosts that go out of use, and come back."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Host


def retire(ctx: Context, text: str, *, who: str, why: str = "") -> dict[str, Any]:
    """From now on nobody arms it and nothing runs on it; its agent is turned away. Raises Conflict while it is busy."""
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        retire_host(session, ctx, host, who=who, why=why)
        session.flush()
        return hosts.view(host)


def retire_host(session: Session, ctx: Context, host: Host, *, who: str | None, why: str = "") -> None:
    """The same in the caller's transaction."""
    said = f"retired{f' by {who}' if who else ''}{f': {why}' if why else ''}"
    hosts.move(session, ctx, host, Signal.RETIRE, who=who, source="operator" if who else "server", message=said)
    host.armed_until = None


def revive(ctx: Context, text: str, *, who: str) -> dict[str, Any]:
    """The host is in use again, as a known one; an agent that it still has may connect."""
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        hosts.move(session, ctx, host, Signal.REVIVE, who=who, message=f"brought back by {who}")
        session.flush()
        return hosts.view(host)


def is_retired(host: Host) -> bool:
    return host.state == HostState.RETIRED.value
