"""What every step type has in common: check, change, and what a check finds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pxeforge.agent.execution import Execution


@dataclass(frozen=True)
class Finding:
    """What a check saw: whether something is to be done, the state (digested, never sent), why, and a diff."""

    needed: bool
    state: Any
    reason: str = ""
    diff: str = ""
    waiting: bool = False  # nothing to change: something else must come true first

    @property
    def digest(self) -> str:
        text = json.dumps(self.state, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Step:
    """One step: `check` only looks, `change` makes it so and returns what commands printed."""

    type: str = ""
    parameters: frozenset[str] = frozenset()
    acts_at_once = False  # whether something is to be done shows only by doing it: `act` instead of check and change

    def __init__(self, params: Mapping[str, Any], execution: Execution, step_id: str = "") -> None:
        self.params = params
        self.execution = execution
        self.step_id = step_id

    def check(self) -> Finding:
        raise NotImplementedError

    def change(self, found: Finding) -> str:
        raise NotImplementedError

    def act(self) -> tuple[str, str]:
        """For steps with acts_at_once: (what was changed, '' for nothing; what commands printed)."""
        raise NotImplementedError

    def verify(self) -> Finding:
        """After a change: what is still not as it should be."""
        return self.check()
