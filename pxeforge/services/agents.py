"""Agents: who they are (a credential per host) and what their greeting tells."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from pxeforge.services import rescue
from pxeforge.services.context import Context, digest
from pxeforge.services.events import record, told_lately
from pxeforge.services.problems import Forbidden, Problem
from pxeforge.services.retirement import is_retired
from pxeforge.store.tables import AgentCredential, Host

POLL_S = 2.0
_SEEN_EVERY_S = 10.0
# Past the ORM: a thousand agents ask five hundred times a second.
_BY_DIGEST = "SELECT host_id, seen_at FROM agent_credentials WHERE digest = :digest"
_FACTS_REFUSED_EVERY_S = 3600.0


def authenticate(ctx: Context, credential: str) -> str:
    """The host id behind a credential; raises Forbidden."""
    rows = ctx.database.look_up(_BY_DIGEST, digest=digest(credential))
    if not rows:
        raise Forbidden("this credential is not known: register the host again")
    host_id, seen_at = str(rows[0][0]), rows[0][1]
    if seen_at is None or ctx.clock() - seen_at > _SEEN_EVERY_S:
        with ctx.database.write() as session:
            host, row = _known(session, host_id)
            host.seen_at = row.seen_at = ctx.clock()
    return host_id


def _known(session: Session, host_id: str) -> tuple[Host, AgentCredential]:
    """Raises Forbidden for a host that was forgotten a moment ago."""
    host, row = session.get(Host, host_id), session.get(AgentCredential, host_id)
    if host is None or row is None:
        raise Forbidden("this host was forgotten: register it again")
    if is_retired(host):
        raise Forbidden("this host is retired: bring it back first (`pxeforge host revive`)")
    return host, row


def hello(
    ctx: Context, host_id: str, *, version: str, boot_id: str, facts: dict[str, Any], clock: float | None, peer: str
) -> dict[str, Any]:
    """The agent has started: its facts and address are news, a new boot id means that the host has booted."""
    now = ctx.clock()
    with ctx.database.write() as session:
        host, row = _known(session, host_id)
        try:
            if facts:
                from pxeforge.services.facts import merge_facts  # 7 MB that only those need who are told facts

                merge_facts(session, ctx, host, facts)
        except Problem as problem:  # odd hardware must not cost us the host: what we knew before stays
            if not told_lately(session, ctx, host_id, "facts_refused", str(problem), within_s=_FACTS_REFUSED_EVERY_S):
                record(session, ctx, host_id=host_id, source="agent", kind="facts_refused", message=str(problem))
        host.address, host.seen_at = peer or host.address, now
        if row.boot_id != boot_id[:64]:
            record(
                session, ctx, host_id=host_id, source="agent", kind="agent_connected",
                message=f"installed system is up, agent {version[:32]} connected from {peer}",
            )  # fmt: skip
            rescue.agent_is_up(session, ctx, host)
        row.boot_id, row.version, row.seen_at = boot_id[:64], version[:32], now
        row.clock_skew_s = round(clock - now, 3) if clock is not None else None
    return {"server_time": now, "poll_s": POLL_S}
