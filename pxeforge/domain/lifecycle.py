"""The life of a host as one transition table; the picture in the docs is drawn from it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class HostState(enum.Enum):
    """Where a host stands."""

    DISCOVERED = "discovered"  # seen on the wire, nobody vouched for it
    KNOWN = "known"  # named by an operator or an import
    ARMED = "armed"  # the next netboot gets what it was armed for, once
    BOOTING = "booting"  # armed, and it has fetched its menu
    INSTALLING = "installing"  # it has fetched its answers: from now on every netboot is local
    INSTALLED = "installed"  # the installer has finished; the new system has not registered yet
    REGISTERED = "registered"  # installed; its bootstrap has called back
    CONFIGURING = "configuring"  # a run works on it
    READY = "ready"  # the last run and its checks passed
    FAILED = "failed"  # install, wipe or run did not end well; the timeline says where
    RESCUE = "rescue"  # a rescue system or a memory test was handed out and may be running
    WIPING = "wiping"  # the disks that were named are being erased
    RETIRED = "retired"  # out of use: nobody arms it or runs anything on it, its netboots are local


class Signal(enum.Enum):
    """What can happen to a host."""

    ADOPT = "adopt"
    ARM = "arm"
    DISARM = "disarm"
    MENU_FETCHED = "menu_fetched"
    ANSWERS_FETCHED = "answers_fetched"
    FINISHED = "finished"  # the installer says so
    REGISTER = "register"
    ENROL = "enrol"  # a host that has its system already registers by the command it was given
    SERVED = "served"  # a rescue system or memory test was handed out: the host calls nobody back
    NOT_CHOSEN = "not_chosen"  # nobody chose from the menu in time
    RESCUE_OVER = "rescue_over"  # the operator says so, its time is over, or the host was seen elsewhere
    WIPE_BEGUN = "wipe_begun"  # it has fetched the answers of a wipe
    WIPED = "wiped"
    RETIRE = "retire"
    REVIVE = "revive"
    GAVE_UP = "gave_up"
    RUN_STARTED = "run_started"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"


class IllegalSignal(Exception):
    """The signal means nothing in this state; the message names both."""

    def __init__(self, state: HostState, signal: Signal) -> None:
        super().__init__(f"a host that is {state.value} cannot take {signal.value}")
        self.state, self.signal = state, signal


_S, _G = HostState, Signal
NEXT: Final[Mapping[tuple[HostState, Signal], HostState]] = {
    (_S.DISCOVERED, _G.ADOPT): _S.KNOWN,
    (_S.KNOWN, _G.ADOPT): _S.KNOWN,
    **{
        (state, _G.ARM): _S.ARMED
        for state in (_S.DISCOVERED, _S.KNOWN, _S.ARMED, _S.BOOTING, _S.REGISTERED, _S.READY, _S.FAILED, _S.RESCUE)
    },
    # What is running (an install, a wipe) can be re-armed only after it was given up (disarm): two arms must never
    # overlap.
    **{(state, _G.DISARM): _S.KNOWN for state in (_S.ARMED, _S.BOOTING, _S.RESCUE)},
    **{(state, _G.DISARM): _S.FAILED for state in (_S.INSTALLING, _S.INSTALLED, _S.WIPING)},
    (_S.ARMED, _G.MENU_FETCHED): _S.BOOTING,
    (_S.BOOTING, _G.MENU_FETCHED): _S.BOOTING,
    # Firmware may fetch the menu by a loader we do not see (chained): the answers alone prove the boot.
    (_S.ARMED, _G.ANSWERS_FETCHED): _S.INSTALLING,
    (_S.BOOTING, _G.ANSWERS_FETCHED): _S.INSTALLING,
    # Installers may fetch the answers twice: once to find them, once to run them.
    (_S.INSTALLING, _G.ANSWERS_FETCHED): _S.INSTALLING,
    (_S.INSTALLING, _G.FINISHED): _S.INSTALLED,
    (_S.INSTALLED, _G.REGISTER): _S.REGISTERED,
    **{(state, _G.ENROL): _S.REGISTERED for state in (_S.KNOWN, _S.REGISTERED, _S.READY, _S.FAILED)},
    (_S.CONFIGURING, _G.ENROL): _S.CONFIGURING,  # a new agent goes on with the run
    (_S.BOOTING, _G.SERVED): _S.RESCUE,
    (_S.BOOTING, _G.NOT_CHOSEN): _S.KNOWN,
    (_S.RESCUE, _G.RESCUE_OVER): _S.KNOWN,
    **{(state, _G.WIPE_BEGUN): _S.WIPING for state in (_S.ARMED, _S.BOOTING, _S.WIPING)},
    (_S.WIPING, _G.WIPED): _S.KNOWN,
    (_S.ARMED, _G.GAVE_UP): _S.KNOWN,
    **{(state, _G.GAVE_UP): _S.FAILED for state in (_S.BOOTING, _S.INSTALLING, _S.INSTALLED, _S.WIPING)},
    # Out of use is what nothing is under way on.
    **{
        (state, _G.RETIRE): _S.RETIRED
        for state in (_S.DISCOVERED, _S.KNOWN, _S.REGISTERED, _S.READY, _S.FAILED, _S.RESCUE)
    },
    (_S.RETIRED, _G.REVIVE): _S.KNOWN,
    # A live host that was armed and disarmed again is known, and still has its agent.
    **{
        (state, _G.RUN_STARTED): _S.CONFIGURING
        for state in (_S.KNOWN, _S.REGISTERED, _S.READY, _S.FAILED, _S.CONFIGURING)
    },
    (_S.CONFIGURING, _G.RUN_SUCCEEDED): _S.READY,
    (_S.CONFIGURING, _G.RUN_FAILED): _S.FAILED,
}


def advance(state: HostState, signal: Signal) -> HostState:
    """The state after the signal; raises IllegalSignal."""
    try:
        return NEXT[state, signal]
    except KeyError:
        raise IllegalSignal(state, signal) from None
