"""How many tasks of a run may use a resource at once: defaults, and what the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pxeforge.services.problems import Problem

DEFAULT_LIMITS: Final[Mapping[str, int]] = MappingProxyType({"mirror": 20, "join": 1})
_MOST: Final = 100_000


def check(limits: Mapping[str, Any]) -> dict[str, int]:
    """Those that were set, by resource; raises Problem that says which one cannot be."""
    for name, number in limits.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MOST:
            raise Problem(f"the limit of {name} is a number of tasks from 1 to {_MOST}, not {number!r}")
    return dict(limits)


def effective(of_settings: Mapping[str, int]) -> dict[str, int]:
    return {**DEFAULT_LIMITS, **of_settings}
