"""What one power action does, with a machine that follows the drivers' contract."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pxeforge.domain.power import PowerAbility, PowerAction, PowerState
from pxeforge.services.power_driver import Deadline, PowerFault
from pxeforge.services.power_steps import Outcome, carry_out
from pxeforge.services.problems import Problem

ALL = frozenset(PowerAbility)
ON, OFF, UNKNOWN = PowerState.ON, PowerState.OFF, PowerState.UNKNOWN


@dataclass
class Machine:
    """A driver with a machine behind it that switches after it was looked at `slow` times."""

    power: PowerState = OFF
    can: frozenset[PowerAbility] = ALL
    slow: int = 0
    told: list[str] = field(default_factory=list)
    broken: str = ""  # this is refused
    _coming: PowerState | None = None

    def state(self) -> PowerState:
        if self._coming is not None:
            self.slow -= 1
            if self.slow < 0:
                self.power, self._coming = self._coming, None
        return self.power

    def switch_on(self) -> None:
        self._do("on", ON)

    def switch_off(self, *, soft: bool) -> None:
        self._do("soft-off" if soft else "off", OFF)

    def restart(self) -> None:
        self._do("cycle", ON)

    def netboot_once(self) -> None:
        self._do("pxe", self.power)

    def close(self) -> None: ...

    def _do(self, what: str, then: PowerState) -> None:
        if what == self.broken:
            raise PowerFault("the lid is open")
        self.told.append(what)
        self._coming = then


def do(machine: Machine, action: PowerAction, **more: bool) -> Outcome:
    return carry_out(machine, action, Deadline(60), pause=lambda _seconds: None, **more)


@pytest.mark.parametrize(
    ("before", "action", "told", "after"),
    [
        (OFF, PowerAction.ON, ["on"], ON),
        (ON, PowerAction.ON, [], ON),
        (ON, PowerAction.OFF, ["off"], OFF),
        (OFF, PowerAction.OFF, [], OFF),
        (ON, PowerAction.CYCLE, ["cycle"], ON),
        (OFF, PowerAction.CYCLE, ["on"], ON),
        (ON, PowerAction.PXE, ["pxe", "cycle"], ON),
        (OFF, PowerAction.PXE, ["pxe", "on"], ON),
    ],
)
def test_only_what_is_missing_is_done(
    before: PowerState, action: PowerAction, told: list[str], after: PowerState
) -> None:
    machine = Machine(before, slow=3)
    done = do(machine, action)
    assert (machine.told, done.state, done.note) == (told, after, None)


def test_without_a_cycle_of_its_own_it_is_off_and_on() -> None:
    machine = Machine(ON, ALL - {PowerAbility.CYCLE}, slow=2)
    assert do(machine, PowerAction.CYCLE).message == "was switched off and on again"
    assert machine.told == ["off", "on"]


def test_a_machine_that_stays_on_is_never_told_to_switch_on() -> None:
    machine = Machine(ON, ALL - {PowerAbility.CYCLE}, slow=1000)
    with pytest.raises(PowerFault, match="still says that it is on"):
        do(machine, PowerAction.CYCLE)
    assert machine.told == ["off"]


def test_a_shutdown_that_takes_long_is_said_to_do_so() -> None:
    machine = Machine(ON, slow=1000)
    done = do(machine, PowerAction.OFF, soft=True)
    assert (machine.told, done.state, done.message) == (["soft-off"], ON, "was asked to shut down")
    assert done.note == "it still says that it is on: wait, or switch it off without --soft"


def test_what_cannot_be_known_is_said_to_be_unknown() -> None:
    machine = Machine(UNKNOWN, frozenset({PowerAbility.ON}))
    done = do(machine, PowerAction.ON)
    assert (done.state, machine.told) == (UNKNOWN, ["on"])
    assert done.note == "nobody can say whether it did: its state cannot be asked"


@pytest.mark.parametrize("action", [PowerAction.OFF, PowerAction.CYCLE, PowerAction.PXE])
def test_what_the_driver_cannot_do_is_refused_before_anything_is_done(action: PowerAction) -> None:
    machine = Machine(ON, frozenset({PowerAbility.ON}))
    with pytest.raises(Problem, match="cannot do"):
        do(machine, action)
    assert machine.told == []


def test_a_firmware_that_always_netboots_needs_no_word_about_it() -> None:
    machine = Machine(UNKNOWN, frozenset({PowerAbility.ON}))
    assert do(machine, PowerAction.PXE, always_netboots=True).message.endswith("to boot from the network")
    assert machine.told == ["on"]


def test_a_next_boot_that_was_set_but_not_started_is_told_of() -> None:
    machine = Machine(OFF, broken="on")
    with pytest.raises(
        PowerFault, match="the next boot will be from the network, but it could not be started: the lid"
    ):
        do(machine, PowerAction.PXE)
    machine = Machine(OFF, broken="pxe")
    with pytest.raises(PowerFault, match=r"^the lid is open$"):
        do(machine, PowerAction.PXE)
    assert machine.told == []
