"""Finds what holds hosts up, writes it down once with an event, and takes it back when it is over."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.diagnosis import Found, diagnose
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import trails
from pxeforge.services.budgets import effective
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.install_ends import GAVE_UP
from pxeforge.store.tables import AgentCredential, Attempt, Diagnosis, Host

KIND, KIND_OVER = "diagnosis", "diagnosis_over"
MOST_AT_ONCE: Final = 300  # hosts of one look; each costs about a millisecond
_PART: Final = 15  # hosts that are read in one piece
_LONGEST_REST_S: Final = 0.3  # between two pieces: other work waits for the end of a look
_looks = itertools.count()
_UNDER_WAY: Final = tuple(
    state.value
    for state in (HostState.ARMED, HostState.BOOTING, HostState.INSTALLING, HostState.INSTALLED, HostState.WIPING)
)
_WITH_AGENT: Final = tuple(
    state.value for state in (HostState.REGISTERED, HostState.CONFIGURING, HostState.READY)
)  # fmt: skip


def look(ctx: Context) -> None:
    """Finds what holds hosts up now. Each change of a host's diagnosis is one transaction with its event."""
    now = ctx.clock()
    with ctx.database.read() as session:
        known = {row.host_id: row for row in session.scalars(select(Diagnosis))}
        states = _candidates(session, known, now, ctx.budgets)
    for one in _followed(ctx, _in_turn(sorted(states)), now):
        row, state = known.get(one.host_id), one.trail.state.value
        if row is not None and row.state == state == HostState.FAILED.value:
            continue  # why it failed is known, and nothing more comes
        found = diagnose(one.trail, now, effective(ctx.budgets, one.layer))
        if (row.name if row and row.state == state else None) != (found.name.value if found else None) or (
            row is not None and row.state != state
        ):
            _write(ctx, one.host_id, state, found)


def _followed(ctx: Context, host_ids: Sequence[str], now: float) -> Iterator[trails.Followed]:
    """A few at a time: pages that are asked for meanwhile wait for one part, and not for all of them."""
    for start in range(0, len(host_ids), _PART):
        began = time.thread_time()
        with ctx.database.read() as session:
            part = trails.trails(session, host_ids[start : start + _PART], now)
        yield from part
        if start + _PART < len(host_ids):
            ctx.courtesy.give_way(time.thread_time() - began, _LONGEST_REST_S)


def _in_turn(host_ids: Sequence[str]) -> Sequence[str]:
    """All of them while they are few, else a part with each look: thousands of silent agents, or a room that is
    switched on, must not keep the process from everything else.
    """
    parts = -(-len(host_ids) // MOST_AT_ONCE)
    return host_ids if parts <= 1 else host_ids[next(_looks) % parts :: parts]


def _candidates(
    session: Session, known: Mapping[str, Diagnosis], now: float, budgets: Mapping[str, float]
) -> dict[str, str]:
    """The hosts whose diagnosis may be another one than before, by id, with their states."""
    columns = (Host.id, Host.state)
    found = dict(session.execute(select(*columns).where(Host.state.in_(_UNDER_WAY))).all())
    failed = (
        select(*columns).join(Attempt, Attempt.id == Host.attempt_id)
        .where(Host.state == HostState.FAILED.value, Attempt.since_event > 0)
    )  # fmt: skip
    armed_in_vain = (
        select(*columns).join(Attempt, Attempt.id == Host.attempt_id)
        .where(Host.state == HostState.KNOWN.value, Attempt.outcome == GAVE_UP, Attempt.since_event > 0)
    )  # fmt: skip
    for host_id, state in [*session.execute(failed).all(), *session.execute(armed_in_vain).all()]:
        if host_id not in known or known[host_id].state != state:
            found[host_id] = state
    silent_since = now - min(effective(budgets, {})["agent"], 60.0)
    quiet = (
        select(*columns).join(AgentCredential, AgentCredential.host_id == Host.id)
        .where(Host.state.in_(_WITH_AGENT))
        .where(AgentCredential.seen_at.is_(None) | (AgentCredential.seen_at < silent_since))
    )  # fmt: skip
    found |= dict(session.execute(quiet).all())
    if known:
        found |= dict(session.execute(select(*columns).where(Host.id.in_(list(known)))).all())
    return found


def _write(ctx: Context, host_id: str, state: str, found: Found | None) -> None:
    with ctx.database.write() as session:
        host, row = session.get(Host, host_id), session.get(Diagnosis, host_id)
        if host is None or host.state != state:
            return  # it moved on meanwhile: the next look sees it as it is
        if row is not None and (found is None or found.name.value != row.name):
            record(
                session, ctx, host_id=host_id, source="server", kind=KIND_OVER, message=f"over: {row.sentence}",
                data={"diagnosis": row.name},
            )  # fmt: skip
        if found is None:
            if row is not None:
                session.delete(row)
            return
        if row is None or row.name != found.name.value:
            evidence = [{"id": mark.id, "at": mark.at, "message": mark.message} for mark in found.evidence]
            record(
                session, ctx, host_id=host_id, source="server", kind=KIND,
                message=f"{found.sentence}. {found.remedy}",
                data={"diagnosis": found.name.value, "evidence": evidence},
            )  # fmt: skip
            row = row or Diagnosis(host_id=host_id)
            row.name, row.since, row.sentence, row.evidence = found.name.value, ctx.clock(), found.sentence, evidence
            session.add(row)
        row.state = state
