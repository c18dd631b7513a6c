"""Hosts that have roles and are not installed yet: what a deploy will do there once they are, as far as roles tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from pxeforge.domain.lifecycle import HostState
from pxeforge.engine.plan import PlanProblem, role_order
from pxeforge.engine.roles import Role
from pxeforge.services import blueprints, plans
from pxeforge.services.context import Context
from pxeforge.services.role_catalogue import roles_at_hand
from pxeforge.store.tables import AgentCredential, Assignment, Host


def later(
    ctx: Context, *, blueprint: str | None = None, limit: Sequence[str] = (),
    assigned: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """[{host_id, host_name, state, roles, tasks: [{role, name}]}] by name; what is asked for is as in plans.plan.

    None of it can be deployed now. `roles` has those that come along, in the order in which they are done; `tasks` is
    empty where the roles do not go together. What steps do is known only from the facts of an installed host.
    """
    roles, wished = roles_at_hand(ctx), assigned or {}
    with ctx.database.read() as session:
        chosen = plans.limited(session, limit)
        query = select(Host).order_by(Host.name, Host.id)
        if blueprint is None:
            query = query.where(Host.id.in_(select(Assignment.host_id)) | Host.id.in_(wished))
        rows = session.scalars(query).all()
        wanted = blueprints.wanted(ctx, session, blueprint, rows, roles)
        with_agent = set(session.scalars(select(AgentCredential.host_id)))
        waiting = [
            host for host in rows
            if not blueprints.deployable(host, with_agent) and host.state != HostState.RETIRED.value
            and (not chosen or host.id in chosen)
        ]  # fmt: skip
        given = {host.id: tuple(wished.get(host.id, wanted.per_host.get(host.id, ((), {}))[0])) for host in waiting}
        return [
            {
                "host_id": host.id, "host_name": host.label,
                "state": host.state, **_expected(given[host.id], roles),
            }
            for host in waiting if given[host.id]
        ]  # fmt: skip


def _expected(names: Sequence[str], roles: Mapping[str, Role]) -> dict[str, Any]:
    try:
        order = role_order(names, roles)
    except PlanProblem:  # what is wrong is said where roles are given, and by the plan once it counts
        return {"roles": list(names), "tasks": []}
    tasks = [{"role": name, "name": task.name} for name in order for task in roles[name].tasks if task.kind == "deploy"]
    return {"roles": list(order), "tasks": tasks}
