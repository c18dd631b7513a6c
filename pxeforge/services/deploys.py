"""Deploys and verifications: compile the plan, hand tasks to agents by lease, take results, end the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.engine.graph import SUCCEEDED, TaskGraph, TaskState
from pxeforge.engine.plan import Plan, PlanHost, PlannedTask, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.plan_views import plan_dot, plan_text
from pxeforge.engine.roles import Role, RoleProblem, load_roles
from pxeforge.engine.secrets import redact, substitute
from pxeforge.services import blueprints, hosts, secrets
from pxeforge.services.context import Context, new_id
from pxeforge.services.events import record
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.store.tables import AgentCredential, Assignment, Host, Run, RunTask

_NOTHING: Mapping[str, Sequence[str]] = {}
LEASE_S = 60.0
_SILENT_AGENT_S = 60.0
_HOSTS_TOLD = 50  # of a run, in the audit log
MAX_LEASES = 5  # a task whose agent vanished so often is failed, not tried for ever
LIMITS = {"mirror": 20}
_STEP_TEXTS = ("message", "output", "diff")
_STEP_WORDS = ("id", "name", "type", "status", "before", "after")
_DEPLOYABLE = {  # and it must have an agent
    state.value
    for state in (HostState.KNOWN, HostState.REGISTERED, HostState.CONFIGURING, HostState.READY, HostState.FAILED)
}


# ---------------------------------------------------------------------------------------------- roles and plan


def roles_at_hand(ctx: Context) -> dict[str, Role]:
    """Shipped and operator's roles; raises Problem that names file and line."""
    try:
        return load_roles(ctx.assets("roles"))
    except RoleProblem as problem:
        raise Problem(str(problem)) from problem


def known_roles(ctx: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": role.name, "summary": role.summary, "requires": list(role.requires),
            "variables": [
                {"name": v.name, "type": v.type, "default": v.default, "help": v.help, "secret": v.secret}
                for v in role.variables.values()
            ],
        }
        for role in sorted(roles_at_hand(ctx).values(), key=lambda role: role.name)
    ]  # fmt: skip


def check_roles(ctx: Context, names: Sequence[str]) -> None:
    """Raises NotFound for a role that does not exist."""
    known = roles_at_hand(ctx)
    for name in names:
        if name not in known:
            raise NotFound(f"there is no role {name!r}: known are {', '.join(sorted(known))}")


def plan(
    ctx: Context, *, blueprint: str | None = None, limit: Sequence[str] = (),
    assigned: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a deploy would do, as data, text and graph; nothing is changed.

    `assigned`: as if these hosts (by id) had these roles, instead of those that they have.
    """
    with ctx.database.read() as session:
        compiled, problems = _compile(ctx, session, blueprint, assigned or {})
        chosen = _limited(session, limit)
    tasks = [task for task in compiled.tasks if not chosen or task.host_id in chosen]
    shown = replace(compiled, tasks=tuple(tasks))
    return {
        "digest": compiled.digest,
        "problems": problems,
        "text": plan_text(shown),
        "dot": plan_dot(shown),
        "tasks": [
            {
                "id": task.id, "host_id": task.host_id, "host_name": task.host_name, "role": task.role,
                "name": task.name, "kind": task.kind, "after": list(task.after),
                "steps": [{"name": step["name"], "type": step["type"]} for step in task.steps],
            }
            for task in tasks
        ],
    }  # fmt: skip


def packages_of_plan(ctx: Context, *, blueprint: str | None = None) -> list[str]:
    """The names of the packages that a deploy would install, each once; raises Problem."""
    with ctx.database.read() as session:
        compiled, _ = _compile(ctx, session, blueprint)
    steps = [step for task in compiled.tasks for step in task.steps if step["type"] == "packages"]
    params = [step["params"] for step in steps if step["params"].get("state", "present") == "present"]
    return list(dict.fromkeys(name for each in params for name in each["names"]))


def _compile(
    ctx: Context, session: Session, blueprint: str | None, assigned: Mapping[str, Sequence[str]] = _NOTHING
) -> tuple[Plan, list[str]]:
    """The plan for every host that can take part, and a sentence for each that cannot."""
    roles = roles_at_hand(ctx)
    query = select(Host).order_by(Host.name, Host.id)
    if blueprint is None:  # facts of hosts are large: only those that count
        query = query.where(Host.id.in_(select(Assignment.host_id)) | Host.id.in_(assigned))
    rows = session.scalars(query).all()
    wanted = blueprints.wanted(ctx, blueprint, rows, roles)
    with_agent = set(session.scalars(select(AgentCredential.host_id)))
    problems, members = [], []
    for host in rows:
        names, variables = wanted.per_host.get(host.id, ((), {}))
        names = tuple(assigned.get(host.id, names))
        if not names:
            continue
        if host.state not in _DEPLOYABLE or host.id not in with_agent or not host.address:
            problems.append(
                f"{host.name or host.id} has roles but is {host.state}: it is left out until it is registered"
            )
            continue
        members.append(
            PlanHost(
                host_id=host.id, name=host.name or host.id, roles=names, addresses=(host.address,),
                facts=host.facts, variables=variables, server=_server(ctx.towards(host.address)),
            )
        )  # fmt: skip
    try:
        return compile_plan(members, roles, server=_server(ctx), variables=wanted.variables), problems
    except PlanProblem as problem:
        raise Problem(str(problem)) from problem


def _server(ctx: Context) -> PlanServer:
    return PlanServer(address=ctx.addresses.boot_address, boot_url=ctx.addresses.boot_url)


def _limited(session: Session, limit: Sequence[str]) -> set[str]:
    return {hosts.find(session, text).id for text in limit}


# ---------------------------------------------------------------------------------------------- runs


def deploy(
    ctx: Context, *, blueprint: str | None = None, check: bool = False, limit: Sequence[str] = (), who: str
) -> dict[str, Any]:
    """Starts a deploy of all assigned roles; one run at a time. `check` changes nothing on the hosts."""
    return _start(ctx, "deploy", blueprint=blueprint, check=check, limit=limit, only=None, who=who)


def verify(ctx: Context, *, blueprint: str | None = None, only: str | None = None, who: str) -> dict[str, Any]:
    """Starts the checks of all assigned roles: real operations on the hosts."""
    return _start(ctx, "verify", blueprint=blueprint, check=False, limit=(), only=only, who=who)


def _start(
    ctx: Context, kind: str, *, blueprint: str | None, check: bool, limit: Sequence[str], only: str | None, who: str
) -> dict[str, Any]:
    with ctx.database.write() as session:
        busy = session.scalars(select(Run).where(Run.state == "running")).first()
        if busy is not None:
            raise Conflict(
                f"the {busy.kind} {busy.id} of {busy.started_by} is running: "
                f"wait for it or `pxeforge run cancel {busy.id}`"
            )
        compiled, problems = _compile(ctx, session, blueprint)
        chosen = _limited(session, limit)
        tasks = [
            task for task in compiled.tasks
            if task.kind == kind and (not chosen or task.host_id in chosen) and (only is None or only in task.id)
        ]  # fmt: skip
        if not tasks:
            reason = "; ".join(problems) or "no registered host has a role: `pxeforge host assign HOST ROLE`"
            raise Problem(f"nothing to {kind}: {reason}")
        secrets.ensure(session, ctx, sorted({name for task in tasks for name in task.secrets}))
        run = Run(
            id=new_id(), kind=kind, state="running", blueprint=blueprint, check=check, started_by=who,
            created_at=ctx.clock(),
        )  # fmt: skip
        session.add(run)
        _add_tasks(run, tasks)
        label = "dry run" if check else kind
        record(
            session,
            ctx,
            run_id=run.id,
            source="engine",
            kind="run_started",
            who=who,
            message=f"{label} started by {who}",
            data={"after": {"kind": kind, "state": run.state, "dry run": check, "blueprint": blueprint,
                            "tasks": len(tasks), "hosts": sorted({task.host_name for task in tasks})[:_HOSTS_TOLD]}},
        )  # fmt: skip
        if kind == "deploy" and not check:
            for host_id in dict.fromkeys(task.host_id for task in tasks):
                hosts.move(
                    session, ctx, session.get_one(Host, host_id), Signal.RUN_STARTED, source="engine", who=who,
                    message=f"deploy {run.id} started by {who}",
                )  # fmt: skip
        session.flush()
        return _run_view(session, run, ctx.clock())


def _add_tasks(run: Run, tasks: Sequence[PlannedTask]) -> None:
    inside = {task.id for task in tasks}
    for position, task in enumerate(tasks):
        planned = {**asdict(task), "after": [before for before in task.after if before in inside]}
        run.tasks.append(
            RunTask(
                id=new_id(), planned_id=task.id, position=position, host_id=task.host_id, role=task.role,
                name=task.name, state=TaskState.PENDING.value, planned=planned, fence=0, result={},
            )
        )  # fmt: skip


def list_runs(
    ctx: Context, *, limit: int = 100, after: Sequence[Any] | None = None, kind: str | None = None,
    state: str | None = None, blueprint: str | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Newest first, without tasks; only those behind the run that began at `after[0]` and has the id `after[1]`."""
    wanted = {Run.kind: kind, Run.state: state, Run.blueprint: blueprint}
    query = select(Run).where(*(column == value for column, value in wanted.items() if value is not None))
    if after is not None:
        at, last = after
        query = query.where((Run.created_at < at) | ((Run.created_at == at) & (Run.id < last)))
    with ctx.database.read() as session:
        runs = session.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit)).all()
        counted = select(RunTask.run_id, RunTask.state, func.count()).group_by(RunTask.run_id, RunTask.state)
        counts: dict[str, dict[str, int]] = {}
        for run_id, state, number in session.execute(counted.where(RunTask.run_id.in_([run.id for run in runs]))):
            counts.setdefault(run_id, {})[state] = number
        return [{**_summary(run), "counts": counts.get(run.id, {})} for run in runs]


def show_run(ctx: Context, run_id: str) -> dict[str, Any]:
    """One run (id or its beginning) with every task, its result and what it waits for."""
    with ctx.database.read() as session:
        return _run_view(session, _find_run(session, run_id), ctx.clock())


def cancel(ctx: Context, run_id: str, *, who: str) -> dict[str, Any]:
    """No new task starts; what is under way may end and is still told."""
    with ctx.database.write() as session:
        run = _find_run(session, run_id)
        if run.state != "running":
            raise Conflict(f"the run {run.id} is {run.state} already")
        for task in run.tasks:
            if task.state in (TaskState.PENDING.value, TaskState.RUNNING.value):
                task.state, task.finished_at, task.fence = TaskState.CANCELLED.value, ctx.clock(), task.fence + 1
        record(
            session, ctx, run_id=run.id, source="engine", kind="run_cancelled", who=who, message=f"cancelled by {who}",
            data={"before": {"state": "running"}, "after": {"state": "cancelled"}},
        )  # fmt: skip
        _end_run(session, ctx, run, "cancelled")
        session.flush()
        return _run_view(session, run, ctx.clock())


def resume(ctx: Context, run_id: str, *, who: str, task: str | None = None) -> dict[str, Any]:
    """Takes a failed or cancelled run up again: what succeeded stays, the rest is pending once more.

    With `task` (its id, or its name in the plan) that one is done again, with all that wait for it and nothing else;
    a run that succeeded may be taken up like this too.
    """
    with ctx.database.write() as session:
        run = _find_run(session, run_id)
        again = _again(run, task)
        if run.state not in ("failed", "cancelled") and (task is None or run.state == "running"):
            raise Conflict(f"the run {run.id} is {run.state}: only a failed or cancelled run can be resumed")
        busy = session.scalars(select(Run).where(Run.state == "running")).first()
        if busy is not None:
            raise Conflict(f"the {busy.kind} {busy.id} is running: wait for it or cancel it")
        lost = next((each for each in run.tasks if session.get(Host, each.host_id) is None), None)
        if lost is not None:
            raise Conflict(f"the host {lost.planned['host_name']} was forgotten since: start a new {run.kind}")
        before = run.state
        for each in again:
            each.state, each.finished_at, each.started_at = TaskState.PENDING.value, None, None
            each.result = {}
        run.state, run.finished_at = "running", None
        message = f"resumed by {who}" if task is None else f"{again[0].planned_id} done again by {who}"
        record(
            session, ctx, run_id=run.id, source="engine", kind="run_resumed", who=who, message=message,
            data={"before": {"state": before}, "after": {"state": run.state, "tasks again": len(again)}},
        )  # fmt: skip
        if run.kind == "deploy" and not run.check:
            for host_id in dict.fromkeys(each.host_id for each in (run.tasks if task is None else again)):
                hosts.move(
                    session, ctx, session.get_one(Host, host_id), Signal.RUN_STARTED, source="engine", who=who,
                    message=f"deploy {run.id} resumed",
                )  # fmt: skip
        session.flush()
        return _run_view(session, run, ctx.clock())


def _again(run: Run, task: str | None) -> list[RunTask]:
    """What is to be done once more, in the order of the plan; the one that is named comes first. Raises NotFound."""
    if task is None:
        return [each for each in run.tasks if TaskState(each.state) not in SUCCEEDED]
    named = next((each for each in run.tasks if task in (each.id, each.planned_id)), None)
    if named is None:
        raise NotFound(f"the run {run.id} has no task {task!r}: see `pxeforge run show {run.id} --json`")
    waiting = set(_graph(run).descendants(named.planned_id))
    return [named, *(each for each in run.tasks if each.planned_id in waiting)]


def plan_of(ctx: Context, run_id: str) -> dict[str, list[str]]:
    """What each task of a run waits for, by the names that both have in the plan."""
    with ctx.database.read() as session:
        run = _find_run(session, run_id)
        return {task.planned_id: list(task.planned["after"]) for task in run.tasks}


def _find_run(session: Session, text: str) -> Run:
    run = session.get(Run, text)
    if run is None:
        near = (
            session.scalars(select(Run).where(Run.id.startswith(text, autoescape=True))).all() if len(text) >= 3 else []
        )
        if len(near) != 1:
            raise NotFound(f"there is no run {text!r}: see `pxeforge run list`")
        run = near[0]
    return run


def _summary(run: Run) -> dict[str, Any]:
    return {
        "id": run.id, "kind": run.kind, "state": run.state, "check": run.check, "blueprint": run.blueprint,
        "started_by": run.started_by, "created_at": run.created_at, "finished_at": run.finished_at,
    }  # fmt: skip


def _run_view(session: Session, run: Run, now: float) -> dict[str, Any]:
    graph, states = _graph(run), _states(run)
    ready = set(graph.ready(states, LIMITS)) if run.state == "running" else set()
    seen = {row.host_id: row.seen_at for row in session.scalars(select(AgentCredential))} if ready else {}
    return {
        **_summary(run),
        "counts": dict(Counter(task.state for task in run.tasks)),
        "tasks": [
            {
                "id": task.id, "planned_id": task.planned_id, "host_id": task.host_id,
                "host_name": task.planned["host_name"], "role": task.role, "name": task.name, "state": task.state,
                "started_at": task.started_at, "finished_at": task.finished_at, "result": task.result,
                "waiting_for": _waiting_for(graph, states, task, task.planned_id in ready, seen.get(task.host_id), now),
            }
            for task in run.tasks
        ],
    }  # fmt: skip


def _waiting_for(
    graph: TaskGraph,
    states: dict[str, TaskState],
    task: RunTask,
    is_ready: bool,
    agent_seen_at: float | None,
    now: float,
) -> str | None:
    if task.state not in (TaskState.PENDING.value, TaskState.BLOCKED.value):
        return None
    if is_ready and (agent_seen_at is None or now - agent_seen_at > _SILENT_AGENT_S):
        since = "has never connected" if agent_seen_at is None else f"was last seen {now - agent_seen_at:.0f} s ago"
        name = task.planned["host_name"]
        return f"{task.planned_id} waits for the agent of {name}, which {since}: is the host up, and does it reach us?"
    return graph.why_waiting(task.planned_id, states, LIMITS)


def _planned(task: RunTask) -> PlannedTask:
    values = task.planned
    return PlannedTask(**{**values, "after": tuple(values["after"]), "secrets": tuple(values["secrets"])})


def _graph(run: Run) -> TaskGraph:
    return TaskGraph([_planned(task) for task in run.tasks])


def _states(run: Run) -> dict[str, TaskState]:
    return {task.planned_id: TaskState(task.state) for task in run.tasks}


# ---------------------------------------------------------------------------------------------- agents ask and tell


def claim(ctx: Context, host_id: str) -> dict[str, Any] | None:
    """The next task for this host, leased for LEASE_S; None when there is nothing it may start now."""
    if not _has_pending(ctx, host_id):
        return None
    with ctx.database.write() as session:
        for run in session.scalars(select(Run).where(Run.state == "running").order_by(Run.created_at)):
            task = _next_task(run, host_id)
            if task is not None:
                return _lease(session, ctx, run, task)
    return None


def _has_pending(ctx: Context, host_id: str) -> bool:
    # Every agent asks every few seconds: the common "no" must not take the write lock.
    query = (
        select(RunTask.id)
        .join(Run)
        .where(Run.state == "running", RunTask.host_id == host_id, RunTask.state == TaskState.PENDING.value)
        .limit(1)
    )
    with ctx.database.read() as session:
        return session.scalars(query).first() is not None


def _next_task(run: Run, host_id: str) -> RunTask | None:
    mine = {task.planned_id: task for task in run.tasks if task.host_id == host_id}
    if any(task.state == TaskState.RUNNING.value for task in mine.values()):
        return None  # one task at a time on a host: apt and service restarts do not mix
    ready = _graph(run).ready(_states(run), LIMITS)
    return next((mine[planned_id] for planned_id in ready if planned_id in mine), None)


def _lease(session: Session, ctx: Context, run: Run, task: RunTask) -> dict[str, Any]:
    now = ctx.clock()
    task.state, task.fence, task.lease_until = TaskState.RUNNING.value, task.fence + 1, now + LEASE_S
    task.started_at = task.started_at or now
    planned = _planned(task)
    values = {name: secrets.reveal(session, ctx, name) for name in planned.secrets}
    return {
        "task_id": task.id,
        "run_id": run.id,
        "fence": task.fence,
        "lease_s": LEASE_S,
        "timeout_s": planned.timeout_s,
        "kind": planned.kind,
        "title": planned.title,
        "check": run.check,
        "steps": substitute(planned.steps, values),
        "secrets": sorted(values.values()),
        "restart_hints": [],
    }


def renew(ctx: Context, host_id: str, task_id: str, fence: int, said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The agent lives and works: its lease is renewed and its progress noted. Raises Conflict for a stale fence."""
    with ctx.database.write() as session:
        task = _held(session, host_id, task_id, fence)
        task.lease_until = ctx.clock() + LEASE_S
        if said:
            last = said[-1]
            task.result = {**task.result, "now": f"{last.get('step', '')}: {last.get('status', '')}"[:200]}
        return {"cancel": False, "lease_s": LEASE_S}


def finish(ctx: Context, host_id: str, task_id: str, fence: int, result: dict[str, Any]) -> None:
    """Takes a task's result and moves the run on. Raises Conflict for a stale fence, Problem for a bad result."""
    status = result.get("status")
    if status not in (TaskState.OK.value, TaskState.CHANGED.value, TaskState.FAILED.value):
        raise Problem("a result has the status ok, changed or failed")
    with ctx.database.write() as session:
        task = _held(session, host_id, task_id, fence)
        values = [secrets.reveal(session, ctx, name) for name in _planned(task).secrets]
        task.state, task.finished_at, task.lease_until = status, ctx.clock(), None
        task.result = {"steps": _clean(result.get("steps", []), values)}
        word = {"ok": "nothing to change", "changed": "changed", "failed": "FAILED"}[status]
        tail = _failure(task.result["steps"]) if status == "failed" else ""
        record(
            session, ctx, host_id=host_id, run_id=task.run_id, source="engine", kind=f"task_{status}",
            message=f"{task.role}: {task.name}: {word}{tail}", data={"task": task.planned_id},
        )  # fmt: skip
        _advance_run(session, ctx, task.run)


def grant_again(ctx: Context) -> None:
    """At a start of ours: agents could not renew while we were away, so their leases begin anew."""
    with ctx.database.write() as session:
        running = update(RunTask).where(RunTask.state == TaskState.RUNNING.value)
        session.execute(running.values(lease_until=ctx.clock() + LEASE_S))


def expire_leases(ctx: Context) -> int:
    """Tasks whose agent fell silent are pending again (or failed, after MAX_LEASES); returns how many."""
    now = ctx.clock()
    overdue = select(RunTask).where(RunTask.state == TaskState.RUNNING.value, RunTask.lease_until < now)
    with ctx.database.read() as session:
        if session.scalars(overdue.limit(1)).first() is None:
            return 0
    with ctx.database.write() as session:
        tasks = session.scalars(overdue).all()
        for task in tasks:
            silences = int(task.result.get("silences", 0)) + 1
            lost = silences >= MAX_LEASES
            task.result = {**task.result, "silences": silences}
            task.state = TaskState.FAILED.value if lost else TaskState.PENDING.value
            task.finished_at = now if lost else None
            record(
                session, ctx, host_id=task.host_id, run_id=task.run_id, source="engine", kind="lease_lost",
                message=f"{task.role}: {task.name}: its agent fell silent"
                + (f" {silences} times: given up" if lost else ", it will be tried again"),
            )  # fmt: skip
            _advance_run(session, ctx, task.run)
        return len(tasks)


def _held(session: Session, host_id: str, task_id: str, fence: int) -> RunTask:
    """The task, if this host holds its lease under this fence; a late worker is harmless. Raises Conflict."""
    task = session.get(RunTask, task_id)
    if task is None or task.host_id != host_id:
        raise NotFound("there is no such task for this host")
    if task.state != TaskState.RUNNING.value or task.fence != fence:
        raise Conflict("this lease is over: drop the task")
    return task


def _advance_run(session: Session, ctx: Context, run: Run) -> None:
    graph, states = _graph(run), _states(run)
    blocked = set(graph.newly_blocked(states))
    for task in run.tasks:
        if task.planned_id in blocked:
            task.state, task.finished_at = TaskState.BLOCKED.value, ctx.clock()
            states[task.planned_id] = TaskState.BLOCKED
    if graph.finished(states):
        _end_run(session, ctx, run, "succeeded" if graph.succeeded(states) else "failed")


def _end_run(session: Session, ctx: Context, run: Run, state: str) -> None:
    run.state, run.finished_at = state, ctx.clock()
    counts = Counter(task.state for task in run.tasks)
    tally = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    record(session, ctx, run_id=run.id, source="engine", kind="run_ended", message=f"{run.kind} {state}: {tally}")
    if run.kind != "deploy" or run.check:
        return
    for host_id in dict.fromkeys(task.host_id for task in run.tasks):
        host = session.get(Host, host_id)
        if host is None or host.state != HostState.CONFIGURING.value:
            continue
        good = all(TaskState(task.state) in SUCCEEDED for task in run.tasks if task.host_id == host_id)
        hosts.move(
            session, ctx, host, Signal.RUN_SUCCEEDED if good else Signal.RUN_FAILED, source="engine",
            message=f"deploy {run.id} {'succeeded' if good else state} here",
        )  # fmt: skip


def _clean(steps: Any, values: Sequence[str]) -> list[dict[str, Any]]:
    """Step results as they may be stored: known keys, cut, without the values of secrets."""
    cleaned = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict):
            texts = {key: redact(str(step[key]), values)[-8000:] for key in _STEP_TEXTS if step.get(key)}
            plain = {key: str(step.get(key, ""))[:200] for key in _STEP_WORDS}
            duration = step.get("duration_s", 0)
            cleaned.append({**plain, **texts, "duration_s": duration if isinstance(duration, int | float) else 0.0})
    return cleaned


def _failure(steps: list[dict[str, Any]]) -> str:
    failed = next((step for step in steps if step["status"] == "failed"), None)
    if failed is None:
        return ""
    lines = (failed.get("message") or failed.get("output", "")).strip().splitlines()
    return f" at {failed['name']}: {lines[-1][:300] if lines else 'no output'}"
