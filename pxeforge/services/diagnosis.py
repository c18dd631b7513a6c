"""What holds hosts up, as it is told: the named diagnosis of each, with its evidence and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from pxeforge.domain.diagnosis import WORDS, DiagnosisName
from pxeforge.services.context import Context
from pxeforge.store.tables import Diagnosis, Host


def view(row: Diagnosis) -> dict[str, Any]:
    return {
        "name": row.name, "sentence": row.sentence, "remedy": WORDS[DiagnosisName(row.name)][1], "since": row.since,
        "evidence": row.evidence,
    }  # fmt: skip


def told(session: Session, host_ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """What holds these hosts (None: all) up, by host id."""
    query = select(Diagnosis).join(Host, Host.id == Diagnosis.host_id).where(Host.state == Diagnosis.state)
    if host_ids is not None:
        query = query.where(Diagnosis.host_id.in_(list(host_ids)))
    return {row.host_id: view(row) for row in session.scalars(query)}


def diagnosis_of(ctx: Context, host: Host) -> dict[str, Any] | None:
    """name, sentence, remedy, since (unix seconds) and evidence (events: id, at, message); None: nothing is known."""
    with ctx.database.read() as session:
        return told(session, [host.id]).get(host.id)


def what_needs_attention(
    ctx: Context, limit: int = 20, *, after: tuple[float, str] | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """The hosts that something holds up, the newest first: host (name or MAC), host_id, state, and as diagnosis_of.

    `after`: (since, host_id) of the one before them.
    """
    with ctx.database.read() as session:
        query = (
            select(Diagnosis, Host).join(Host, Host.id == Diagnosis.host_id).where(Host.state == Diagnosis.state)
            .order_by(Diagnosis.since.desc(), Diagnosis.host_id).limit(limit)
        )  # fmt: skip
        if after is not None:
            at, host_id = after
            later = and_(Diagnosis.since == at, Diagnosis.host_id > host_id)
            query = query.where(or_(Diagnosis.since < at, later))
        return [
            {"host": host.name or next(iter(host.macs), host.id), "host_id": host.id, "state": host.state, **view(row)}
            for row, host in session.execute(query)
        ]


def counts(session: Session) -> dict[str, int]:
    """How many hosts each diagnosis holds for now, by its name."""
    query = select(Diagnosis.name, func.count()).join(Host, Host.id == Diagnosis.host_id)
    return dict(session.execute(query.where(Host.state == Diagnosis.state).group_by(Diagnosis.name)).all())
