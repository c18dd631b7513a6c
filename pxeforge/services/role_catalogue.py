"""Roles at hand: the shipped ones and the operator's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pxeforge.engine.roles import Role, RoleProblem, load_roles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem


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
