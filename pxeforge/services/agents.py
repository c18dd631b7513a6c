"""Agents: who they are (a credential per host) and what their greeting tells."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pxeforge.services.context import Context, digest
from pxeforge.services.events import record
from pxeforge.services.facts import merge_facts
from pxeforge.services.problems import Forbidden
from pxeforge.store.tables import AgentCredential, Host

POLL_S = 2.0
_SEEN_EVERY_S = 10.0


def authenticate(ctx: Context, credential: str) -> str:
    """The host id behind a credential; raises Forbidden."""
    with ctx.database.read() as session:
        row = session.scalars(select(AgentCredential).where(AgentCredential.digest == digest(credential))).first()
        if row is None:
            raise Forbidden("this credential is not known: register the host again")
        stale = row.seen_at is None or ctx.clock() - row.seen_at > _SEEN_EVERY_S
        host_id = row.host_id
    if stale:
        with ctx.database.write() as session:
            session.get_one(AgentCredential, host_id).seen_at = ctx.clock()
            session.get_one(Host, host_id).seen_at = ctx.clock()
    return host_id


def hello(
    ctx: Context, host_id: str, *, version: str, boot_id: str, facts: dict[str, Any], clock: float | None, peer: str
) -> dict[str, Any]:
    """The agent has started: its facts and address are news, a new boot id means that the host has booted."""
    now = ctx.clock()
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        row = session.get_one(AgentCredential, host_id)
        if facts:
            merge_facts(session, ctx, host, facts)
        host.address, host.seen_at = peer or host.address, now
        if row.boot_id != boot_id:
            record(
                session, ctx, host_id=host_id, source="agent", kind="agent_connected",
                message=f"installed system is up, agent {version[:32]} connected from {peer}",
            )  # fmt: skip
        row.boot_id, row.version, row.seen_at = boot_id[:64], version[:32], now
        row.clock_skew_s = round(clock - now, 3) if clock is not None else None
    return {"server_time": now, "poll_s": POLL_S}
