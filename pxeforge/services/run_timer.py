"""Runs that start by themselves: the checks of all roles, and dry runs that tell what drifted from the last deploy."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.services.context import Context
from pxeforge.services.deploys import TIMER, Start, start
from pxeforge.services.events import record
from pxeforge.services.problems import Problem
from pxeforge.store.tables import AgentCredential, Event, Host, Run, RunTask

What = Literal["verify", "drift"]
_LIVE_S: Final = 60.0  # only hosts whose agent was heard of lately: the others have a diagnosis of their own
_KEPT: Final = 20  # runs of each kind
_WHO: Final = "timer"
_AGAIN_S: Final = 60.0  # after a plan could not be made
_SAID_FOR_S: Final = 86400.0


class RunTimer:
    """Remembers when a plan could not be made: such a plan costs as much as one that can."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._failed_at: dict[What, float] = {}

    def tick(self) -> str | None:
        """Starts what is most overdue of what can start, if nothing is running; the id of the run."""
        ctx = self._ctx
        every_s: dict[What, float] = {"verify": ctx.verify_every_s, "drift": ctx.drift_every_s}
        late = {what: _late(ctx, what, seconds) for what, seconds in every_s.items() if seconds > 0}
        due = [what for what, how in late.items() if how >= 1.0 and not self._is_held(what)]
        if not due or _is_busy(ctx):
            return None
        tried = (self._start(what) for what in sorted(due, key=lambda what: -late[what]))
        return next((run_id for run_id in tried if run_id is not None), None)

    def _is_held(self, what: What) -> bool:
        return abs(self._ctx.clock() - self._failed_at.get(what, -math.inf)) < _AGAIN_S

    def _start(self, what: What) -> str | None:
        try:
            return _start(self._ctx, what)
        except Problem as problem:
            self._failed_at[what] = self._ctx.clock()
            _tell(self._ctx, what, str(problem))
            return None


def _late(ctx: Context, what: What, every_s: float) -> float:
    """How many times its interval has gone by since the last one began."""
    with ctx.database.read() as session:
        last = session.scalar(select(func.max(Run.created_at)).where(*_of(what)))
    return math.inf if last is None else (ctx.clock() - last) / every_s


def _is_busy(ctx: Context) -> bool:
    with ctx.database.read() as session:
        return session.scalars(select(Run.id).where(Run.state == "running").limit(1)).first() is not None


def _of(what: What) -> tuple[Any, ...]:
    return (Run.origin == TIMER, Run.kind == ("verify" if what == "verify" else "deploy"))


def _start(ctx: Context, what: What) -> str | None:
    """The id of the run; None while no host is there for it. Raises Problem."""
    with ctx.database.read() as session:
        blueprint = _last_blueprint(session)
        hosts = _live_hosts(session, ctx.clock())
    if not hosts:
        return None
    kind = "verify" if what == "verify" else "deploy"
    asked = Start(kind=kind, who=_WHO, blueprint=blueprint, check=what == "drift", limit=hosts, origin=TIMER)
    return str(start(ctx, asked)["id"])


def _tell(ctx: Context, what: What, reason: str) -> None:
    """In the audit log, where runs of the timer are too: each reason once a day."""
    now, kind = ctx.clock(), f"{what}_held"
    does = "the checks that are due cannot begin" if what == "verify" else "the dry run that is due cannot begin"
    message = f"{does}: {reason}"
    with ctx.database.write() as session:
        of_it = select(Event).where(Event.who == _WHO, Event.kind == kind).order_by(Event.id.desc()).limit(1)
        last = session.scalars(of_it).first()
        if last is None or last.message != message or abs(now - last.at) >= _SAID_FOR_S:
            record(session, ctx, source="engine", kind=kind, who=_WHO, message=message)


def _last_blueprint(session: Session) -> str | None:
    """That of the last real deploy: what it made is what is looked at."""
    real = select(Run.blueprint).where(Run.kind == "deploy", Run.check.is_(False)).order_by(Run.created_at.desc())
    return session.scalars(real.limit(1)).first()


def _live_hosts(session: Session, now: float) -> list[str]:
    query = (
        select(Host.id).join(AgentCredential, AgentCredential.host_id == Host.id)
        .where(Host.state == HostState.READY.value, AgentCredential.seen_at > now - _LIVE_S)
    )  # fmt: skip
    return list(session.scalars(query))


def tidy(ctx: Context) -> None:
    """Keeps the newest runs of the timer; those of operators stay."""
    whats: tuple[What, ...] = ("verify", "drift")
    for what in whats:
        of_these = _of(what)
        with ctx.database.read() as session:
            newest = select(Run.id).where(*of_these).order_by(Run.created_at.desc()).limit(_KEPT)
            kept = set(session.scalars(newest))
            gone = [
                one
                for one in session.scalars(select(Run.id).where(*of_these, Run.state != "running"))
                if one not in kept
            ]
        if gone:
            with ctx.database.write() as session:
                session.execute(delete(RunTask).where(RunTask.run_id.in_(gone)))
                session.execute(delete(Run).where(Run.id.in_(gone)))
