"""Why is it waiting? By name: what a task waits for, on which host that is, what it last said, how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.services.context import Context
from pxeforge.services.durations import Durations
from pxeforge.store.tables import AgentCredential, Run

SILENT_S: Final = 60.0  # an agent that said nothing for so long is told of
_TOLD: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A task that a host has in hand."""

    host_name: str
    started_at: float | None
    lease_until: float | None
    said: str | None


class Waiting:
    """Of one run, at one moment."""

    def __init__(
        self, session: Session, ctx: Context, run: Run, states: Mapping[str, TaskState],
        held: Mapping[str, Held], later: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._ctx, self._plan, self._states, self._now = ctx, ctx.runs.plan(session, run.id), states, ctx.clock()
        self._held, self._later = held, later
        self._lost = self._plan.graph.lost(states)
        self._is_live = run.state == "running"
        self.durations = Durations(session, kind=run.kind, check=run.check)
        graph = self._plan.graph
        self._ready = set(graph.ready(states, ctx.limits)) if self._is_live else set()
        seen = select(AgentCredential.host_id, AgentCredential.seen_at)
        self._seen = {row.host_id: row.seen_at for row in session.execute(seen)} if self._ready else {}

    def sentence(self, name: str, *, nearest: bool = True) -> str | None:
        """None for a task that does not wait. `nearest`: of what is under way, tell only what it waits for itself."""
        if self._states[name] not in (TaskState.PENDING, TaskState.BLOCKED):
            return None
        if name in self._ready:
            told = self._of_ready(name)
            if told is not None:
                return told
        said = self._plan.graph.why_waiting(name, self._states, self._ctx.limits, self._lost)
        before = self._plan.graph.before(name) if nearest else self.running_before(name)
        return "; ".join([said, *[self._in_words(each) for each in before if each in self._held][:_TOLD]])

    def state(self, name: str) -> str:
        return self._states[name].value

    def _of_ready(self, name: str) -> str | None:
        """What its own host has to do with it."""
        task = self._plan.tasks[name]
        busy = next((one for one in self._plan.of_host[task.host_id] if one in self._held), None)
        if busy is not None:
            return f"{name} waits until {task.host_name} has ended {self._in_words(busy)}"
        if self._later.get(name, 0.0) > self._now:
            return f"{name} failed and is tried again in {self._later[name] - self._now:.0f} s"
        seen_at = self._seen.get(task.host_id)
        if seen_at is None or self._now - seen_at > SILENT_S:
            since = "has never connected" if seen_at is None else f"was last seen {self._now - seen_at:.0f} s ago"
            who = f"the agent of {task.host_name}"
            return f"{name} waits for {who}, which {since}: is the host up, and does it reach us?"
        return None

    def running_before(self, name: str) -> list[str]:
        """Tasks under way that this one waits for, directly or behind others; the nearest first."""
        graph, found, looked_at = self._plan.graph, dict[str, None](), {name}
        front = [name]
        while front:
            front = [
                before for one in front for before in graph.before(one)
                if self._states.get(before) not in SUCCEEDED and before not in looked_at
            ]  # fmt: skip
            front = list(dict.fromkeys(front))
            looked_at.update(front)
            found.update(dict.fromkeys(one for one in front if one in self._held))
        return list(found)

    def holder(self, name: str) -> dict[str, Any]:
        """Who has a task in hand, since when, what was said of it last, and how long it takes elsewhere."""
        held, task = self._held[name], self._plan.tasks[name]
        usual = self.durations.usual(task.role, task.name, task.host_id)
        return {
            "task": name, "host_id": task.host_id, "host_name": held.host_name,
            "running_s": round(self._now - held.started_at, 1) if held.started_at else 0.0,
            "lease_ends_s": round(held.lease_until - self._now, 1) if held.lease_until else None,
            "said": held.said, **(usual.view() if usual else {"usual_s": None, "most_s": None, "times": 0}),
        }  # fmt: skip

    def _in_words(self, name: str) -> str:
        told = self.holder(name)
        usual = f" of usually {told['usual_s']:.0f} s" if told["usual_s"] is not None else ""
        said = f", last said: {told['said']}" if told["said"] else ""
        return f"{name}, held by {told['host_name']} for {told['running_s']:.0f} s{usual}{said}"

    def expected(self, name: str) -> dict[str, Any] | None:
        task = self._plan.tasks[name]
        usual = self.durations.usual(task.role, task.name, task.host_id)
        return usual.view() if usual else None

    def left_s(self) -> float | None:
        """Until the run ends, if each host does what it has left at its usual pace; None while that is not known."""
        if not self._is_live:
            return None
        longest = 0.0
        for names in self._plan.of_host.values():
            tasks = [self._plan.tasks[name] for name in names if self._states[name] is TaskState.PENDING]
            total = self.durations.total((task.role, task.name, task.host_id) for task in tasks)
            if total is None:
                return None
            longest = max(longest, total + sum(self._rest_s(name) for name in names if name in self._held))
        return round(longest, 1)

    def _rest_s(self, name: str) -> float:
        told = self.holder(name)
        return max(0.0, float(told["usual_s"] or 0.0) - float(told["running_s"]))
