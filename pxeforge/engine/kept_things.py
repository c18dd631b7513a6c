"""What roles that go share with roles that stay on the same host: it is not taken away with them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Thing = tuple[str, str]  # the type of step, and the package, path or unit


def wanted_by(steps: Iterable[Mapping[str, Any]]) -> set[Thing]:
    """The packages, files and units that these rendered steps bring about."""
    found: set[Thing] = set()
    for step in steps:
        params = step["params"]
        if step["type"] == "packages" and params.get("state", "present") == "present":
            found.update(("packages", name) for name in params["names"])
        elif step["type"] == "file" and params.get("state", "file") != "absent":
            found.add(("file", params["path"]))
        elif step["type"] == "unit" and (params.get("running") or params.get("enabled")):
            found.add(("unit", params["name"]))
    return found


def without(step: dict[str, Any], kept: set[Thing]) -> dict[str, Any] | None:
    """A step that takes away, less what is kept; None where nothing is left of it."""
    params = step["params"]
    if step["type"] == "packages" and params.get("state") == "absent":
        names = [name for name in params["names"] if ("packages", name) not in kept]
        if len(names) == len(params["names"]):
            return step
        return {**step, "params": {**params, "names": names}} if names else None
    takes = (step["type"] == "file" and params.get("state") == "absent") or (
        step["type"] == "unit" and params.get("running") is not True and params.get("enabled") is not True
    )
    return None if takes and (step["type"], params.get("path") or params["name"]) in kept else step
