"""Hosts that have roles and are not installed yet: what a deploy will do there once they are, as far as roles tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.engine.plan import PlanProblem, role_order
from pxeforge.engine.roles import Role
from pxeforge.services import blueprints, plans
from pxeforge.services.context import Context


def later(
    ctx: Context, *, blueprint: str | None = None, limit: Sequence[str] = (),
    assigned: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """[{host_id, host_name, state, roles, tasks: [{role, name}]}] by name; what is asked for is as in plans.plan.

    None of it can be deployed now. `roles` has those that come along, in the order in which they are done; `tasks` is
    empty where the roles do not go together. What steps do is known only from the facts of an installed host.
    """
    with ctx.database.read() as session:
        wish = plans.Wish(blueprint, assigned or {})
        return _later(session, wish, plans.gathered(ctx, session, wish), limit)


def plan_and_later(
    ctx: Context, wish: plans.Wish, *, limit: Sequence[str] = (), later_limit: Sequence[str] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What plans.plan and what `later` tell, each with its own limit, of one look at hosts and blueprint."""
    with ctx.database.read() as session:
        given = plans.gathered(ctx, session, wish)
        found = plans.looked_at(ctx, session, wish, given, limit)
        follows = _later(session, wish, given, later_limit)
    return plans.told(found), follows


def _later(session: Session, wish: plans.Wish, given: plans.Gathered, limit: Sequence[str]) -> list[dict[str, Any]]:
    chosen = plans.limited(session, limit)
    waiting = [
        host for host in given.rows
        if not blueprints.deployable(host, given.with_agent) and host.state != HostState.RETIRED.value
        and (not chosen or host.id in chosen)
    ]  # fmt: skip
    return [
        {
            "host_id": host.id, "host_name": host.label, "state": host.state,
            **_expected(names, given.roles),
        }
        for host in waiting if (names := given.names_of(host, wish))
    ]  # fmt: skip


def _expected(names: Sequence[str], roles: Mapping[str, Role]) -> dict[str, Any]:
    try:
        order = role_order(names, roles)
    except PlanProblem:  # what is wrong is said where roles are given, and by the plan once it counts
        return {"roles": list(names), "tasks": []}
    tasks = [{"role": name, "name": task.name} for name in order for task in roles[name].tasks if task.kind == "deploy"]
    return {"roles": list(order), "tasks": tasks}
