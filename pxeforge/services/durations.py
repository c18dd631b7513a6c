"""How long tasks take on this site: by what earlier runs of the same task took."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.store.tables import Run, RunTask

_LATEST: Final = 20  # times that count
_ENDED_WELL: Final = [state.value for state in SUCCEEDED]


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds that a task usually takes, at most took, and of how many times that is known."""

    seconds: float
    most_s: float
    times: int

    def view(self) -> dict[str, Any]:
        return {"usual_s": round(self.seconds, 1), "most_s": round(self.most_s, 1), "times": self.times}


class Durations:
    """Asked once per task of a role, for all hosts."""

    def __init__(self, session: Session, *, kind: str, check: bool) -> None:
        self._session, self._kind, self._check = session, kind, check
        self._known: dict[tuple[str, str], list[tuple[str, str, float]]] = {}

    def usual(self, role: str, name: str, host_id: str) -> Usual | None:
        """By the newest time on this host; else by what it took where it changed something, as it will here.

        A second deploy of a task takes a moment, and the first one its time: a mean of both would fit neither.
        """
        rows = self._rows(role, name)
        most = max((seconds for _, _, seconds in rows), default=0.0)
        mine = next((seconds for host, _, seconds in rows if host == host_id), None)
        if mine is not None:
            return Usual(mine, most, len(rows))
        changed = [seconds for _, state, seconds in rows if state == TaskState.CHANGED.value]
        told = changed or [seconds for _, _, seconds in rows]
        return Usual(statistics.median(told), most, len(told)) if told else None

    def total(self, tasks: Iterable[tuple[str, str, str]]) -> float | None:
        """Seconds for all of these (role, name, host id) one after the other; None where nothing is known of one."""
        found = [self.usual(*task) for task in tasks]
        return None if any(one is None for one in found) else sum(one.seconds for one in found if one is not None)

    def _rows(self, role: str, name: str) -> list[tuple[str, str, float]]:
        """Newest first: host, state, seconds."""
        if (role, name) not in self._known:
            query = (
                select(RunTask.host_id, RunTask.state, RunTask.finished_at - RunTask.started_at)
                .join(Run, Run.id == RunTask.run_id)
                .where(RunTask.role == role, RunTask.name == name, RunTask.finished_at.is_not(None))
                .where(RunTask.state.in_(_ENDED_WELL), RunTask.started_at.is_not(None))
                .where(Run.kind == self._kind, Run.check == self._check)
                .order_by(RunTask.finished_at.desc())
                .limit(_LATEST)
            )
            self._known[role, name] = [
                (host, state, float(took or 0.0)) for host, state, took in self._session.execute(query)
            ]
        return self._known[role, name]
