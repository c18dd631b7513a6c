"""Roles with all that they require, in an order in which they can be installed on one host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.roles import Role, absent


def role_order(names: Sequence[str], roles: Mapping[str, Role], *, going: bool = False) -> tuple[str, ...]:
    """The names and all roles they require, required ones first; raises PlanProblem (unknown, cycle, conflict).

    Of the names, one that replaces a role comes wherever that role is required. `going`: all of them are taken from
    the host, where roles in conflict may have come one after the other.
    """
    order: list[str] = []
    instead = {role.replaces: role.name for name in names if (role := roles.get(name)) and role.replaces}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise PlanProblem(
                f"roles require each other: {' → '.join((*path, name))}: remove one of these requirements"
            )
        if name in order:
            return
        if name not in roles:
            raise PlanProblem(": ".join(absent(name, roles)))
        for required in roles[name].requires:
            visit(instead.get(required, required), (*path, name))
        order.append(name)

    for name in names:
        visit(name, ())
    for name in () if going else order:
        for other in roles[name].conflicts:
            if other in order:
                raise PlanProblem(f"roles {name} and {other} cannot be on one host: give one of them to another host")
    return tuple(order)
