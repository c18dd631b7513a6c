"""The page of the shipped roles, made from their files: what each is for, needs, and which variables it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pxeforge.assets import asset_dirs
from pxeforge.engine.roles import Role, load_roles
from pxeforge.engine.variables import Variable

_NOBODYS = Path("/nonexistent")  # no operator's folder: the page is about what is shipped
_INTRODUCTION = """
Variables are set in a blueprint, for all hosts under `variables` or in a rule for its hosts alone
([blueprints.md](../blueprints.md)); `pxeforge role show ROLE` shows those of your own roles too. Passwords and keys are
generated at the first deploy and stand here as *generated*.
"""


def roles_page(made_by: str) -> str:
    lines = [made_by, "", "# Roles", _INTRODUCTION]
    for role in load_roles(asset_dirs("roles", _NOBODYS)).values():
        lines += [f"## {role.name}", "", *_about(role), ""]
        if role.variables:
            lines += ["| Variable | Kind | Default | Means |", "| --- | --- | --- | --- |"]
            lines += [_row(variable) for variable in role.variables.values()]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _about(role: Role) -> Iterator[str]:
    yield f"{role.summary[:1].upper()}{role.summary[1:]}."
    for what, names in (("Requires", role.requires), ("Not beside", role.conflicts), ("Networks:", role.networks)):
        if names:
            yield f"{what} {', '.join(f'`{name}`' for name in names)}."


def _row(variable: Variable) -> str:
    kind = "generated" if variable.secret else variable.allowed or variable.type
    default = "" if variable.default in (None, "") else f"`{variable.default}`"
    return f"| `{variable.name}` | {_cell(kind)} | {_cell(default)} | {_cell(variable.help)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
