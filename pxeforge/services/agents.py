"""Agents: who they are (a credential per host) and what their greeting tells."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.services import rescue
from pxeforge.services.context import Context, digest
from pxeforge.services.events import record, told_lately
from pxeforge.services.problems import Forbidden, Problem
from pxeforge.services.retirement import is_retired
from pxeforge.store.tables import AgentCredential, Host

POLL_S = 2.0
LONGEST_POLL_S = 10.0
QUESTIONS_PER_S = 200  # of all agents together
_SEEN_EVERY_S = 10.0
# Past the ORM: every agent asks every few seconds.
_BY_DIGEST = """
    SELECT a.host_id, a.seen_at, h.state FROM agent_credentials a JOIN hosts h ON h.id = a.host_id
    WHERE a.digest = :digest
"""
_AGENTS = "SELECT count(*) FROM agent_credentials"
_SEEN = tuple(
    f"UPDATE {table} SET seen_at = CAST(value ->> 1 AS float) FROM json_each(:rows) WHERE {table}.{key} = value ->> 0"  # noqa: S608
    for table, key in (("hosts", "id"), ("agent_credentials", "host_id"))
)
_FACTS_REFUSED_EVERY_S = 3600.0
_RETIRED = "this host is retired: bring it back first (`pxeforge host revive`)"


def authenticate(ctx: Context, credential: str) -> str:
    """The host id behind a credential; raises Forbidden. That it was heard of is written soon after."""
    rows = ctx.database.look_up(_BY_DIGEST, digest=digest(credential))
    if not rows:
        raise Forbidden("this credential is not known: register the host again")
    host_id, seen_at, state = rows[0]
    if state == HostState.RETIRED.value:
        raise Forbidden(_RETIRED)
    now = ctx.clock()
    if seen_at is None or not 0 <= now - seen_at <= _SEEN_EVERY_S:
        for statement in _SEEN:
            ctx.database.post_row(statement, host_id, now)
    return str(host_id)


def poll_s(ctx: Context) -> float:
    """How often an agent without tasks asks: POLL_S, less often when so many of them would be too much."""
    agents = ctx.database.look_up(_AGENTS)[0][0]
    return float(min(LONGEST_POLL_S, max(POLL_S, agents / QUESTIONS_PER_S)))


def _known(session: Session, host_id: str) -> tuple[Host, AgentCredential]:
    """Raises Forbidden for a host that was forgotten a moment ago."""
    host, row = session.get(Host, host_id), session.get(AgentCredential, host_id)
    if host is None or row is None:
        raise Forbidden("this host was forgotten: register it again")
    if is_retired(host):
        raise Forbidden(_RETIRED)
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
    return {"server_time": now, "poll_s": poll_s(ctx)}
