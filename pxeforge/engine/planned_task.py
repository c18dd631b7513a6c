"""One task of a plan: what a host does in one go. Light, as every process that hands tasks out knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """What one host does in one go. `id` is `<role>.<task>@<host name>`; values of secrets are tokens in `steps`.

    `after` holds ids of tasks and of barriers, `opens` the barriers that this task helps to open, `may_lose` the
    groups of its host with how many hosts of each may be lost (see `engine/graph.py`).
    """

    id: str
    host_id: str
    host_name: str
    role: str
    name: str
    steps: list[dict[str, Any]]  # {"name", "id": "role.task.step", "type", "params"}
    after: tuple[str, ...]
    secrets: tuple[str, ...]
    kind: Literal["deploy", "verify", "remove"]
    timeout_s: float
    resource: str | None
    interrupts: Literal["tenants", "nobody"] = "nobody"
    retries: int = 0
    level: int | None = None
    opens: tuple[str, ...] = ()
    may_lose: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _TASK_FIELDS}
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {**values, **lists, "may_lose": [list(pair) for pair in self.may_lose]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PlannedTask:
        """What `to_json` gave, an earlier version's too."""
        tuples = {name: tuple(values.get(name, ())) for name in ("after", "secrets", "opens")}
        may_lose = tuple((str(group), int(number)) for group, number in values.get("may_lose", ()))
        return cls(**{**values, **tuples, "may_lose": may_lose})

    @property
    def title(self) -> str:
        return f"{self.role}: {self.name.replace('-', ' ')}"


_TASK_FIELDS = tuple(item.name for item in fields(PlannedTask))
