"""A blueprint that lies on somebody's computer, checked against the roles and releases at hand here."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pxeforge.engine.blueprint import BlueprintProblem, parse_blueprint
from pxeforge.engine.document import Finding
from pxeforge.services.blueprints import releases_at_hand
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.role_catalogue import roles_at_hand

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


def check(ctx: Context, file: str, text: str, beside: Mapping[str, str]) -> list[dict[str, Any]]:
    """All that is wrong in it: file, line, message, fix. `file`: what it is called in what is told; `beside`: the
    texts, by name, of blueprints that lie in the same folder and that it may extend. Raises Problem.
    """
    strange = next((name for name in beside if not _NAME.fullmatch(name)), None)
    if strange is not None:
        raise Problem(f"{strange!r} is no name of a blueprint: use letters, digits, - and _")
    roles, releases = roles_at_hand(ctx), releases_at_hand(ctx)
    with tempfile.TemporaryDirectory(prefix="pxeforge-blueprint-") as folder:
        for name, content in beside.items():
            (Path(folder) / f"{name}.yaml").write_text(content, encoding="utf-8")
        try:
            parse_blueprint(text, file, roles, [Path(folder), *ctx.assets("blueprints")], releases)
        except BlueprintProblem as problem:
            home = str(Path(file).parent)
            return [_view(one, folder, home) for one in problem.findings]
    return []


def _view(one: Finding, folder: str, home: str) -> dict[str, Any]:
    """With the names that the files have where they come from."""
    found = one.file.removeprefix(f"{folder}/")
    file = one.file if found == one.file else str(Path(home) / found)
    return {"file": file, "line": one.line, "message": one.message, "fix": one.fix}
