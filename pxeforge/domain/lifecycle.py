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
    REGISTERED = "registered"  # installed; its bootstrap has called back
    CONFIGURING = "configuring"  # a run works on it
    READY = "ready"  # the last run and its checks passed
    FAILED = "failed"  # install or run did not end well; the timeline says where


class Signal(enum.Enum):
    """What can happen to a host."""

    ADOPT = "adopt"
    ARM = "arm"
    DISARM = "disarm"
    MENU_FETCHED = "menu_fetched"
    ANSWERS_FETCHED = "answers_fetched"
    REGISTER = "register"
    SERVED = "served"  # a rescue system or memory test was started, or nobody chose from the menu: nothing more comes
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
        for state in (_S.DISCOVERED, _S.KNOWN, _S.ARMED, _S.BOOTING, _S.REGISTERED, _S.READY, _S.FAILED)
    },
    # An install that is running can be re-armed only after it was given up (disarm): two arms must never overlap.
    (_S.ARMED, _G.DISARM): _S.KNOWN,
    (_S.BOOTING, _G.DISARM): _S.KNOWN,
    (_S.INSTALLING, _G.DISARM): _S.FAILED,
    (_S.ARMED, _G.MENU_FETCHED): _S.BOOTING,
    (_S.BOOTING, _G.MENU_FETCHED): _S.BOOTING,
    # Firmware may fetch the menu by a loader we do not see (chained): the answers alone prove the boot.
    (_S.ARMED, _G.ANSWERS_FETCHED): _S.INSTALLING,
    (_S.BOOTING, _G.ANSWERS_FETCHED): _S.INSTALLING,
    # Installers may fetch the answers twice: once to find them, once to run them.
    (_S.INSTALLING, _G.ANSWERS_FETCHED): _S.INSTALLING,
    (_S.INSTALLING, _G.REGISTER): _S.REGISTERED,
    (_S.BOOTING, _G.SERVED): _S.KNOWN,
    (_S.ARMED, _G.GAVE_UP): _S.KNOWN,
    (_S.BOOTING, _G.GAVE_UP): _S.FAILED,
    (_S.INSTALLING, _G.GAVE_UP): _S.FAILED,
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
