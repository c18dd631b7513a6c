"""Power by a command of the operator's, as `power.toml` has it: no shell, and hosts fill only the places it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.power_config import filled, places
from pxeforge.services.power_driver import Deadline, PowerFault, Target, quoted
from pxeforge.services.power_program import run

PASSWORD_VARIABLE: Final = "PXEFORGE_POWER_PASSWORD"  # noqa: S105 - where a command finds it
VALUE: Final = re.compile(r"[A-Za-z0-9_.:/@+,][A-Za-z0-9_.:/@+,-]{0,199}")  # never an option of the program
_STATES: Final = {"on": PowerState.ON, "off": PowerState.OFF}


def values_of(target: Target) -> dict[str, str]:
    """What can stand between braces: the host's own options, `host`, `mac`, and `address` and `user` where set."""
    own = {key: str(target.settings[key]) for key in ("address", "user") if key in target.settings}
    return {
        **{key: str(value) for key, value in target.settings.get("options", {}).items()},
        **own, "host": target.label, **({"mac": target.macs[0]} if target.macs else {}),
    }  # fmt: skip


class Command:
    """`argv`: the operator's words by what they do. Exit code 0 is success; `status` says on or off."""

    def __init__(self, target: Target, argv: Mapping[PowerAbility, tuple[str, ...]], deadline: Deadline) -> None:
        self._target, self._argv, self._deadline = target, argv, deadline
        self.can = frozenset(argv)

    def state(self) -> PowerState:
        words = self._run(PowerAbility.STATUS).split()
        return _STATES.get(words[0].lower(), PowerState.UNKNOWN) if words else PowerState.UNKNOWN

    def switch_on(self) -> None:
        self._run(PowerAbility.ON)

    def switch_off(self, *, soft: bool) -> None:
        self._run(PowerAbility.SOFT_OFF if soft else PowerAbility.OFF)

    def restart(self) -> None:
        self._run(PowerAbility.CYCLE)

    def netboot_once(self) -> None:
        self._run(PowerAbility.PXE)

    def close(self) -> None:
        """Each word is a process of its own."""

    def _run(self, what: PowerAbility) -> str:
        name, values = self._target.settings["command"], values_of(self._target)
        argv = self._argv[what]
        if missing := [one for one in places(argv) if one not in values]:
            raise PowerFault(f"the command {name} needs {missing[0]}: set it with --option {missing[0]}=…")
        if wrong := [one for one in places(argv) if not VALUE.fullmatch(values[one])]:
            raise PowerFault(f"the command {name} gets no {wrong[0]} like {values[wrong[0]]!r}: set a plainer one")
        ended = run(filled(argv, values), self._secrets(), self._deadline)
        if ended.code != 0:
            said = quoted(ended.said) or "it says nothing"
            raise PowerFault(f"the command {name} failed to do {what.value} ({ended.code}): {said}")
        return ended.out

    def _secrets(self) -> dict[str, str]:
        return {PASSWORD_VARIABLE: self._target.password} if self._target.password else {}
