"""Plans: what a deploy would do, compiled from roles, hosts and a blueprint, as data, text and graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.engine.layout import Layout
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan, role_order
from pxeforge.engine.plan_views import plan_dot, plan_packages, plan_restarts, plan_text, predecessors
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.roles import Role
from pxeforge.services import beginnings, blueprints, deployed_roles, hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.role_catalogue import roles_at_hand
from pxeforge.store.tables import AgentCredential, Assignment, Host

_NOTHING: Final[Mapping[str, Sequence[str]]] = {}


def plan(
    ctx: Context, *, blueprint: str | None = None, limit: Sequence[str] = (),
    assigned: Mapping[str, Sequence[str]] | None = None, remove_unassigned: bool = False,
    from_step: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a deploy would do, as data, text and graph; nothing is changed.

    `assigned`: as if these hosts (by id) had these roles, instead of those that they have. `remove_unassigned`: also
    takes roles from hosts that had them deployed and no longer have them; what could be taken is told in any case.
    `from_step`: as if a deploy began there; what counts as done then is told as `left_out`.
    """
    with ctx.database.read() as session:
        wish = Wish(blueprint, assigned or _NOTHING, remove_unassigned)
        found = looked_at(ctx, session, wish, gathered(ctx, session, wish), limit, from_step)
    return told(found)


@dataclass(frozen=True, slots=True)
class Look:
    """A plan and what is to be told of it: `shown` are the tasks that were asked for."""

    digest: str
    problems: list[str]
    shown: Plan
    leftover: list[dict[str, Any]]
    left_out: list[beginnings.LeftOut]


def looked_at(
    ctx: Context, session: Session, wish: Wish, given: Gathered, limit: Sequence[str] = (), from_step: str | None = None
) -> Look:
    """The plan of what was gathered, less what `limit` and `from_step` leave out; raises NotFound and Problem."""
    compiled, problems, leftover = compiled_of(ctx, wish, given)
    chosen = limited(session, limit)
    names = {host.id: host.name or host.id for host in given.rows}
    shown = compiled.only(lambda task: not chosen or task.host_id in chosen)
    shown, before_it = (shown, []) if from_step is None else beginnings.begun(shown, from_step)
    left = [
        {"host_id": host_id, "host_name": names[host_id], "roles": roles, "removed": wish.remove_unassigned}
        for host_id, roles in leftover.items()
        if not chosen or host_id in chosen
    ]
    return Look(compiled.digest, problems, shown, left, beginnings.told(session, before_it))


def told(found: Look) -> dict[str, Any]:
    """As data, text and graph; without the database."""
    shown = found.shown
    before = predecessors(shown)
    return {
        "digest": found.digest,
        "problems": found.problems,
        "text": plan_text(shown),
        "dot": plan_dot(shown),
        "packages": plan_packages(shown),
        "restarts": [
            {"host_name": one.host, "unit": one.unit, "task": one.task, "when": list(one.when),
             "interrupts": one.interrupts}
            for one in plan_restarts(shown)
        ],
        "leftover": found.leftover,
        "left_out": found.left_out,
        "tasks": [
            {
                "id": task.id, "host_id": task.host_id, "host_name": task.host_name, "role": task.role,
                "name": task.name, "kind": task.kind, "after": before[task.id],
                "interrupts": task.interrupts,
                "steps": [{"name": step["name"], "type": step["type"]} for step in task.steps],
            }
            for task in shown.tasks
        ],
    }  # fmt: skip


def packages_of_plan(ctx: Context, *, blueprint: str | None = None) -> list[str]:
    """The names of the packages that a deploy would install, each once; raises Problem."""
    with ctx.database.read() as session:
        compiled, _, _ = compiled_plan(ctx, session, Wish(blueprint))
    return packages_in(task for task in compiled.tasks if task.kind == "deploy")


def packages_in(tasks: Iterable[PlannedTask]) -> list[str]:
    """The names of the packages that these tasks install, each once."""
    steps = [step for task in tasks for step in task.steps if step["type"] == "packages"]
    params = [step["params"] for step in steps if step["params"].get("state", "present") == "present"]
    return list(dict.fromkeys(name for each in params for name in each["names"]))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a plan is asked for: see `plan`."""

    blueprint: str | None = None
    assigned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remove_unassigned: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """The hosts that count for a wish, by name, and what is wanted of each: for its plan and what follows that."""

    roles: Mapping[str, Role]
    deployed: Mapping[str, Sequence[str]]
    rows: Sequence[Host]
    wanted: blueprints.Wanted
    with_agent: Collection[str]

    def names_of(self, host: Host, wish: Wish) -> tuple[str, ...]:
        """The roles that the host is to have."""
        return tuple(wish.assigned.get(host.id, self.wanted.per_host.get(host.id, ((), {}))[0]))


def gathered(ctx: Context, session: Session, wish: Wish) -> Gathered:
    """Raises NotFound and Problem (file and line) for the blueprint."""
    roles = roles_at_hand(ctx)
    deployed = deployed_roles.by_host(session)
    query = select(Host).order_by(Host.name, Host.id)
    if wish.blueprint is None:  # facts of hosts are large: only those that count
        some = Host.id.in_(select(Assignment.host_id)) | Host.id.in_(wish.assigned) | Host.id.in_(deployed)
        query = query.where(some)
    rows = session.scalars(query).all()
    wanted = blueprints.wanted(ctx, session, wish.blueprint, rows, roles)
    return Gathered(roles, deployed, rows, wanted, set(session.scalars(select(AgentCredential.host_id))))


def compiled_plan(ctx: Context, session: Session, wish: Wish) -> tuple[Plan, list[str], dict[str, list[str]]]:
    """The plan for every host that can take part, a sentence for each that cannot, and the roles (by host id) that are
    on hosts which no longer have them. Raises NotFound and Problem.
    """
    return compiled_of(ctx, wish, gathered(ctx, session, wish))


def compiled_of(ctx: Context, wish: Wish, given: Gathered) -> tuple[Plan, list[str], dict[str, list[str]]]:
    """The same of what was gathered; raises Problem."""
    roles, wanted = given.roles, given.wanted
    problems, members, leftover = [], [], {}
    for host in given.rows:
        variables = wanted.per_host.get(host.id, ((), {}))[1]
        names = given.names_of(host, wish)
        gone = _no_longer_wanted(given.deployed.get(host.id, ()), names, roles)
        if gone:
            leftover[host.id] = gone
        if not names and not (gone and wish.remove_unassigned):
            continue
        if not blueprints.deployable(host, given.with_agent) or not host.address:
            problems.append(
                f"{host.name or host.id} has roles but is {host.state}: it is left out until it is registered"
            )
            continue
        members.append(
            PlanHost(
                host_id=host.id, name=host.name or host.id, roles=names, addresses=(host.address,),
                facts=host.facts, variables=variables, server=_server(ctx.towards(host.address)),
                removes=tuple(gone) if wish.remove_unassigned else (),
            )
        )  # fmt: skip
    try:
        compiled = compile_plan(
            members, roles, server=_server(ctx), variables=wanted.variables, releases=wanted.releases,
            layout=wanted.layout,
        )  # fmt: skip
    except PlanProblem as problem:
        raise Problem(str(problem)) from problem
    return compiled, [*problems, *_alone(compiled, members, wanted.layout)], leftover


def _alone(compiled: Plan, members: Sequence[PlanHost], layout: Layout) -> list[str]:
    """A sentence for each VIP with a single host behind it: that is allowed, and no high availability."""
    found = []
    for vip in layout.vips:
        behind = [one.name for one in members if {*vip.roles} & {*compiled.roles_by_host.get(one.host_id, ())}]
        if len(behind) == 1:
            found.append(
                f"VIP {vip.name} has only {behind[0]} behind it: with that host all that is reached there is lost; "
                "three hosts go on without any one of them"
            )
    return found


def _no_longer_wanted(deployed: Sequence[str], names: Sequence[str], roles: Mapping[str, Role]) -> list[str]:
    """What is on the host and neither wanted there nor needed by what is."""
    try:
        kept = set(role_order(names, roles))
    except PlanProblem:  # the compiler says so better
        kept = set(names)
    return [role for role in deployed if role not in kept]


def _server(ctx: Context) -> PlanServer:
    return PlanServer(address=ctx.addresses.boot_address, boot_url=ctx.addresses.boot_url)


def limited(session: Session, limit: Sequence[str]) -> set[str]:
    """The ids of hosts that were named; raises NotFound."""
    return {hosts.find(session, text).id for text in limit}
