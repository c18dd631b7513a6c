"""How long a host may take for each part of its way: defaults, the server's settings, a profile's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pxeforge.services.problems import Problem

PARAMETER: Final = "budgets"  # of a profile
# Seconds, and what they are for. `ends`: then the server ends it; the others only lead to a diagnosis.
_TABLE: Final = {
    "netboot": (1800, "from arming until the host is seen on the wire"),
    "loader": (60, "from the offer of a boot file until the host fetches one"),
    "menu": (60, "from the boot loader until the menu is asked for"),
    "kernel": (180, "from the menu until the kernel is fetched"),
    "answers": (600, "from the kernel until the answers are asked for"),
    "installer": (600, "from the answers until the installer says a word"),
    "step": (2700, "for one step of the installer"),
    "install": (10800, "from the answers until the installer has finished; then the install is given up"),
    "registration": (900, "from there until the new system has registered"),
    "installed": (3600, "from there until the new system has registered; then the install is given up"),
    "agent": (900, "from the registration until the agent connects, and without a word of it later"),
    "silence": (1800, "for an agent without a word while a run has a task for it; then that task has failed"),
    "rescue": (86400, "for a rescue system or a memory test; then the host is no longer taken for being in it"),
    "wiping": (21600, "for a wipe, from the answers or its last report; then it is given up"),
}
DEFAULT_BUDGETS: Final[Mapping[str, float]] = MappingProxyType({name: float(row[0]) for name, row in _TABLE.items()})
BUDGET_WORDS: Final = MappingProxyType({name: row[1] for name, row in _TABLE.items()})
_LEAST_S, _MOST_S = 10, 30 * 86400


def check(budgets: Mapping[str, Any]) -> dict[str, float]:
    """The budgets that were set, by name; raises Problem that says which one cannot be."""
    for name, seconds in budgets.items():
        if name not in DEFAULT_BUDGETS:
            raise Problem(f"there is no time budget {name!r}: known are {', '.join(DEFAULT_BUDGETS)}")
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not _LEAST_S <= seconds <= _MOST_S:
            raise Problem(f"the time budget {name} is {_LEAST_S} to {_MOST_S} seconds, not {seconds!r}")
    return {name: float(seconds) for name, seconds in budgets.items()}


def effective(of_server: Mapping[str, float], layer: Mapping[str, Any]) -> dict[str, float]:
    """All budgets for a host: those of the server, and over them those in the parameters it was armed with."""
    return {**DEFAULT_BUDGETS, **of_server, **(layer.get(PARAMETER) or {})}
