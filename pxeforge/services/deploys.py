"""What operators do with runs: deploys and verifications are started, cancelled, taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import Signal
from pxeforge.engine.graph import SUCCEEDED, TaskState
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.services import beginnings, hosts, plans, run_ends, secrets
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.run_progress import Change
from pxeforge.services.runs import find_run, run_view
from pxeforge.store.tables import Host, Run, RunTask

_HOSTS_TOLD: Final = 50  # of a run, in the audit log
_KINDS: Final = {"deploy": ("deploy", "remove"), "verify": ("verify",)}  # of tasks, by kind of run
TIMER: Final = "timer"
OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run is asked for."""

    kind: str
    who: str
    blueprint: str | None = None
    check: bool = False
    limit: Sequence[str] = ()
    only: str | None = None
    remove_unassigned: bool = False
    from_step: str | None = None
    origin: str = field(default=OPERATOR)


def deploy(
    ctx: Context, *, blueprint: str | None = None, check: bool = False, limit: Sequence[str] = (),
    remove_unassigned: bool = False, from_step: str | None = None, who: str,
) -> dict[str, Any]:  # fmt: skip
    """Starts a deploy of all assigned roles; one run at a time. `check` changes nothing on the hosts.

    `remove_unassigned`: roles are taken from hosts that had them deployed and no longer have them. `from_step`: a role,
    `role.task` or `role.task@host`; what stands before it counts as done and is told as `left_out`.
    """
    return start(
        ctx, Start(kind="deploy", blueprint=blueprint, check=check, limit=limit, remove_unassigned=remove_unassigned,
                   from_step=from_step, who=who),
    )  # fmt: skip


def verify(
    ctx: Context, *, blueprint: str | None = None, only: str | None = None, limit: Sequence[str] = (), who: str
) -> dict[str, Any]:
    """Starts the checks of all assigned roles: real operations on the hosts."""
    return start(ctx, Start(kind="verify", blueprint=blueprint, only=only, limit=limit, who=who))


def start(ctx: Context, asked: Start) -> dict[str, Any]:
    """Raises Conflict while another run goes on; one of the timer gives way to an operator's."""
    with ctx.database.write() as session:
        _make_way(session, ctx, asked)
        wish = plans.Wish(asked.blueprint, remove_unassigned=asked.remove_unassigned)
        compiled, problems, _ = plans.compiled_plan(ctx, session, wish)
        chosen = plans.limited(session, asked.limit)
        wished = compiled.only(
            lambda task: (
                task.kind in _KINDS[asked.kind]
                and (not chosen or task.host_id in chosen)
                and (asked.only is None or asked.only in task.id)
            )
        )
        left_out: list[PlannedTask] = []
        if asked.from_step is not None and wished.tasks:
            wished, left_out = beginnings.begun(wished, asked.from_step)
        tasks = wished.tasks
        if not tasks:
            reason = "; ".join(problems) or "no registered host has a role: `pxeforge host assign HOST ROLE`"
            raise Problem(f"nothing to {asked.kind}: {reason}")
        secrets.ensure(session, ctx, sorted({name for task in tasks for name in task.secrets}))
        run = _added(session, ctx, asked, tasks)
        if asked.origin != TIMER:
            _tell_start(session, ctx, asked, run, tasks, left_out)
        if asked.kind == "deploy" and not asked.check:
            message = f"deploy {run.id} started by {asked.who}"
            _configuring(session, ctx, [task.host_id for task in tasks], asked.who, message)
        session.flush()
        begun = {} if asked.from_step is None else {"left_out": beginnings.told(session, left_out)}
        return {**run_view(session, ctx, run), **begun}


def _make_way(session: Session, ctx: Context, asked: Start) -> None:
    busy = session.scalars(select(Run).where(Run.state == "running")).first()
    if busy is None:
        return
    if busy.origin == TIMER and asked.origin != TIMER:
        _cancel(session, ctx, busy, who=asked.who, message=f"gave way to the {asked.kind} of {asked.who}")
        session.flush()
        return
    raise Conflict(
        f"the {busy.kind} {busy.id} of {busy.started_by} is running: wait for it or `pxeforge run cancel {busy.id}`"
    )


def _added(session: Session, ctx: Context, asked: Start, tasks: Sequence[PlannedTask]) -> Run:
    now = ctx.clock()
    run = Run(
        id=new_id(), kind=asked.kind, state="running", blueprint=asked.blueprint, check=asked.check,
        started_by=asked.who, origin=asked.origin, created_at=now, going_since=now, version=0, losses=[],
    )  # fmt: skip
    session.add(run)
    session.flush()
    session.add_all(
        RunTask(
            id=new_id(), run_id=run.id, planned_id=task.id, position=position, host_id=task.host_id, role=task.role,
            name=task.name, state=TaskState.PENDING.value, planned=task.to_json(), fence=0, result={}, tries=0,
        )
        for position, task in enumerate(tasks)
    )  # fmt: skip
    session.flush()
    return run


def _tell_start(
    session: Session, ctx: Context, asked: Start, run: Run, tasks: Sequence[PlannedTask],
    left_out: Sequence[PlannedTask],
) -> None:  # fmt: skip
    label = "dry run" if asked.check else asked.kind
    removals = sorted({f"{task.role} from {task.host_name}" for task in tasks if task.kind == "remove"})
    told = {
        "kind": asked.kind, "state": run.state, "dry run": asked.check, "blueprint": asked.blueprint,
        "tasks": len(tasks), "hosts": sorted({task.host_name for task in tasks})[:_HOSTS_TOLD],
        **({"removes": removals[:_HOSTS_TOLD]} if removals else {}),
        **({"from": asked.from_step, "counts as done": [task.id for task in left_out[:_HOSTS_TOLD]]}
           if asked.from_step else {}),
    }  # fmt: skip
    begins = f" from {asked.from_step} on: {len(left_out)} tasks before it count as done" if asked.from_step else ""
    record(
        session, ctx, run_id=run.id, source="engine", kind="run_started", who=asked.who,
        message=f"{label} started by {asked.who}{begins}", data={"after": told},
    )  # fmt: skip


def _configuring(session: Session, ctx: Context, host_ids: Sequence[str], who: str, message: str) -> None:
    for host_id in dict.fromkeys(host_ids):
        hosts.move(
            session, ctx, session.get_one(Host, host_id), Signal.RUN_STARTED, source="engine", who=who, message=message
        )


def cancel(ctx: Context, run_id: str, *, who: str) -> dict[str, Any]:
    """No new task starts; what is under way may end and is still told."""
    with ctx.database.write() as session:
        run = find_run(session, run_id)
        if run.state != "running":
            raise Conflict(f"the run {run.id} is {run.state} already")
        _cancel(session, ctx, run, who=who, message=f"cancelled by {who}")
        session.flush()
        return run_view(session, ctx, run)


def _cancel(session: Session, ctx: Context, run: Run, *, who: str, message: str) -> None:
    change = Change(session, ctx.runs, run)
    unended = [name for name, state in change.states.items() if state in (TaskState.PENDING, TaskState.RUNNING)]
    change.mark(
        unended, TaskState.CANCELLED, finished_at=ctx.clock(), fence=RunTask.fence + 1, lease_until=None,
        not_before=None,
    )  # fmt: skip
    record(
        session, ctx, run_id=run.id, source="engine", kind="run_cancelled", who=who, message=message,
        data={"before": {"state": "running"}, "after": {"state": "cancelled"}},
    )  # fmt: skip
    run_ends.end(session, ctx, change, "cancelled")


def resume(ctx: Context, run_id: str, *, who: str, task: str | None = None) -> dict[str, Any]:
    """Takes a failed or cancelled run up again: what succeeded stays, the rest is pending once more.

    With `task` (its id, or its name in the plan) that one is done again, with all that wait for it and nothing else;
    a run that succeeded may be taken up like this too, and as a whole where it lost hosts.
    """
    with ctx.database.write() as session:
        run = find_run(session, run_id)
        change = Change(session, ctx.runs, run)
        again = _again(change, task)
        takes_up = run.state in ("failed", "cancelled") or (run.state == "succeeded" and (task or run.losses))
        if not takes_up:
            raise Conflict(f"the run {run.id} is {run.state}: only a failed or cancelled run can be resumed")
        _make_way(session, ctx, Start(kind=run.kind, who=who))
        touched = change.hosts_of(again) if task else list(change.plan.of_host)
        _refuse_forgotten(session, change, run)
        before = run.state
        change.mark(
            again, TaskState.PENDING, finished_at=None, started_at=None, result={}, tries=0, not_before=None, said=None
        )
        run.state, run.finished_at, run.going_since, run.losses = "running", None, ctx.clock(), []
        change.close()
        message = f"resumed by {who}" if task is None else f"{again[0]} done again by {who}"
        record(
            session, ctx, run_id=run.id, source="engine", kind="run_resumed", who=who, message=message,
            data={"before": {"state": before}, "after": {"state": run.state, "tasks again": len(again)}},
        )  # fmt: skip
        if run.kind == "deploy" and not run.check:
            _configuring(session, ctx, touched, who, f"deploy {run.id} resumed")
        session.flush()
        return run_view(session, ctx, run)


def _again(change: Change, task: str | None) -> list[str]:
    """What is to be done once more, in the order of the plan; the one that is named comes first. Raises NotFound."""
    plan = change.plan
    if task is None:
        return [name for name, state in change.states.items() if state not in SUCCEEDED]
    named = next((name for name, row_id in plan.rows.items() if task in (name, row_id)), None)
    if named is None:
        raise NotFound(f"the run {change.run.id} has no task {task!r}: see `pxeforge run show {change.run.id} --json`")
    return [named, *plan.graph.descendants(named)]


def _refuse_forgotten(session: Session, change: Change, run: Run) -> None:
    known = set(session.scalars(select(Host.id).where(Host.id.in_(list(change.plan.of_host)))))
    lost = next((names[0] for host_id, names in change.plan.of_host.items() if host_id not in known), None)
    if lost is not None:
        raise Conflict(f"the host {change.plan.tasks[lost].host_name} was forgotten since: start a new {run.kind}")
