"""Carries out one power action with any driver: looks first, does only what is missing, looks again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pxeforge.domain.power import PowerAbility, PowerAction, PowerState
from pxeforge.services.power_driver import Deadline, Driver, PowerFault
from pxeforge.services.problems import Problem

_LOOK_EVERY_S: Final = 1.0
_LOOKS: Final = 20
_OFF_FOR_S: Final = 5.0  # power supplies hold on for a moment
_ALWAYS: Final = "if its firmware boots from the network first, set netboot=always"
_NOBODY_KNOWS: Final = "nobody can say whether it did: its state cannot be asked"

Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`message`: what was done, as a person says it. `note`: what the operator should know besides."""

    state: PowerState
    message: str
    note: str | None = None


def carry_out(
    driver: Driver, action: PowerAction, deadline: Deadline, *, soft: bool = False, always_netboots: bool = False,
    pause: Pause = time.sleep,
) -> Outcome:  # fmt: skip
    """Raises PowerFault, and Problem (nothing was done) for what the driver cannot do.

    `always_netboots`: the firmware boots from the network first anyhow, nobody has to tell it.
    """
    _check_can(driver, action, soft, always_netboots)
    steps = _Steps(driver, deadline, pause)
    if action is PowerAction.ON:
        return steps.on()
    if action is PowerAction.OFF:
        return steps.off(soft)
    if action is PowerAction.CYCLE:
        return steps.cycle()
    if not always_netboots:
        driver.netboot_once()
    try:
        done = steps.cycle() if PowerAbility.OFF in driver.can or PowerAbility.CYCLE in driver.can else steps.on()
    except PowerFault as fault:
        raise PowerFault(f"the next boot will be from the network, but it could not be started: {fault}") from fault
    return Outcome(done.state, f"{done.message}, to boot from the network", done.note)


def _check_can(driver: Driver, action: PowerAction, soft: bool, always_netboots: bool) -> None:
    can = driver.can
    if action is PowerAction.OFF:
        needed = {PowerAbility.SOFT_OFF if soft else PowerAbility.OFF}
    elif action is PowerAction.CYCLE:
        needed = set() if PowerAbility.CYCLE in can else {PowerAbility.OFF, PowerAbility.ON}
    elif action is PowerAction.PXE:
        needed = {PowerAbility.ON} | (set() if always_netboots else {PowerAbility.PXE})
    else:
        needed = {PowerAbility.ON}
    if missing := needed - can:
        able = ", ".join(sorted(can)) or "nothing"
        hint = f": {_ALWAYS}" if PowerAbility.PXE in missing else ""
        raise Problem(f"its power driver cannot do {', '.join(sorted(missing))}, only {able}{hint}")


@dataclass(frozen=True, slots=True)
class _Steps:
    driver: Driver
    deadline: Deadline
    pause: Pause

    def on(self) -> Outcome:
        if self._state() is PowerState.ON:
            return Outcome(PowerState.ON, "is on already")
        return self._from_off()

    def off(self, soft: bool) -> Outcome:
        if self._state() is PowerState.OFF:
            return Outcome(PowerState.OFF, "is off already")
        self.driver.switch_off(soft=soft)
        state = self._until(PowerState.OFF)
        if state is PowerState.OFF:
            return Outcome(state, "was shut down" if soft else "was switched off")
        told = "was asked to shut down" if soft else "was told to switch off"
        if state is PowerState.UNKNOWN:
            return Outcome(state, told, _NOBODY_KNOWS)
        patience = "wait, or switch it off without --soft" if soft else "ask again in a minute"
        return Outcome(state, told, f"it still says that it is on: {patience}")

    def cycle(self) -> Outcome:
        if self._state() is PowerState.OFF:
            return self._from_off()
        if PowerAbility.CYCLE in self.driver.can:
            self.driver.restart()
            return self._on_at_last("was switched off and on again")
        self.driver.switch_off(soft=False)
        if self._until(PowerState.OFF) is PowerState.ON:
            raise PowerFault("it was told to switch off and still says that it is on: ask again in a minute")
        self.pause(self.deadline.left_s(_OFF_FOR_S))
        self.driver.switch_on()
        return self._on_at_last("was switched off and on again")

    def _from_off(self) -> Outcome:
        self.driver.switch_on()
        return self._on_at_last("was switched on")

    def _on_at_last(self, done: str) -> Outcome:
        state = self._until(PowerState.ON)
        if state is PowerState.ON:
            return Outcome(state, done)
        said = "it still says that it is off: ask again in a minute"
        return Outcome(state, "was told to switch on", _NOBODY_KNOWS if state is PowerState.UNKNOWN else said)

    def _state(self) -> PowerState:
        return self.driver.state() if PowerAbility.STATUS in self.driver.can else PowerState.UNKNOWN

    def _until(self, wanted: PowerState) -> PowerState:
        """The state, as soon as it is the wanted one, after a while whatever it is; what was told is told by now."""
        state = PowerState.UNKNOWN
        try:
            for _look in range(_LOOKS):
                state = self._state()
                if state in (wanted, PowerState.UNKNOWN):
                    return state
                self.pause(self.deadline.left_s(_LOOK_EVERY_S))
            return self._state()
        except PowerFault:
            return state
