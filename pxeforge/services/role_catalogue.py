"""Roles at hand: the shipped ones and the operator's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pxeforge.engine.roles import Roles, absent, read_roles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem


def roles_at_hand(ctx: Context) -> Roles:
    """Shipped and operator's roles; what uses one that is broken is refused, with file and line, where it does."""
    return read_roles(ctx.assets("roles"))


def role_names(ctx: Context) -> list[str]:
    """Of those that hosts can be given."""
    return sorted(roles_at_hand(ctx))


def known_roles(ctx: Context) -> list[dict[str, Any]]:
    """Those that hosts can be given."""
    return [
        {
            "name": role.name, "summary": role.summary, "requires": list(role.requires), "problem": None,
            "variables": [
                {
                    "name": v.name, "type": v.type, "default": v.default, "allowed": v.allowed, "help": v.help,
                    "secret": v.secret,
                }
                for v in role.variables.values()
            ],
        }
        for role in sorted(roles_at_hand(ctx).values(), key=lambda role: role.name)
    ]  # fmt: skip


def all_roles(ctx: Context) -> list[dict[str, Any]]:
    """Also those that are broken: `problem` says all that is wrong."""
    broken = [
        {
            "name": name, "summary": f"broken: {problem.findings[0]}", "requires": [], "problem": str(problem),
            "variables": [],
        }
        for name, problem in roles_at_hand(ctx).broken.items()
    ]  # fmt: skip
    return sorted([*known_roles(ctx), *broken], key=lambda view: str(view["name"]))


def check_roles(ctx: Context, names: Sequence[str]) -> None:
    """Raises NotFound for a role that does not exist, Problem for one that is broken."""
    known = roles_at_hand(ctx)
    for name in names:
        if name in known.broken:
            raise Problem(": ".join(absent(name, known)))
        if name not in known:
            raise NotFound(f"there is no role {name!r}: known are {', '.join(sorted(known))}")
