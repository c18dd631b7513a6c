import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.lifecycle import NEXT, HostState, IllegalSignal, Signal, advance


def test_only_arming_leads_to_armed() -> None:
    ways = {signal for (_, signal), after in NEXT.items() if after is HostState.ARMED}
    assert ways == {Signal.ARM}


def test_an_install_that_runs_cannot_be_armed_over() -> None:
    with pytest.raises(IllegalSignal, match="installing cannot take arm"):
        advance(HostState.INSTALLING, Signal.ARM)


def test_only_an_armed_host_can_begin_to_install() -> None:
    before = {state for (state, _), after in NEXT.items() if after is HostState.INSTALLING}
    assert before == {HostState.ARMED, HostState.BOOTING, HostState.INSTALLING}


def test_every_state_can_be_reached_and_left() -> None:
    reached = set(NEXT.values())
    left = {state for state, _ in NEXT}
    assert set(HostState) - {HostState.DISCOVERED} <= reached
    assert left == set(HostState)


@given(st.lists(st.sampled_from(Signal), max_size=40))
def test_without_arming_no_history_ends_in_an_install(signals: list[Signal]) -> None:
    state = HostState.DISCOVERED
    for signal in signals:
        if signal is Signal.ARM:
            continue
        try:
            state = advance(state, signal)
        except IllegalSignal:
            continue
    assert state not in (HostState.ARMED, HostState.BOOTING, HostState.INSTALLING, HostState.WIPING)


def test_what_nobody_calls_back_from_ends_without_a_failure() -> None:
    assert advance(advance(HostState.BOOTING, Signal.SERVED), Signal.RESCUE_OVER) is HostState.KNOWN
    assert advance(HostState.BOOTING, Signal.NOT_CHOSEN) is HostState.KNOWN
    for signal in (Signal.SERVED, Signal.NOT_CHOSEN):
        assert {state for state, taken in NEXT if taken is signal} == {HostState.BOOTING}


def test_a_retired_host_can_only_come_back() -> None:
    assert {signal for state, signal in NEXT if state is HostState.RETIRED} == {Signal.REVIVE}


@pytest.mark.parametrize("state", [HostState.INSTALLING, HostState.INSTALLED, HostState.WIPING])
def test_what_writes_to_disks_is_neither_armed_over_nor_retired(state: HostState) -> None:
    for signal in (Signal.ARM, Signal.RETIRE, Signal.RUN_STARTED):
        with pytest.raises(IllegalSignal):
            advance(state, signal)


def test_only_what_the_installer_finished_registers() -> None:
    assert {state for state, signal in NEXT if signal is Signal.REGISTER} == {HostState.INSTALLED}


def test_only_a_wipe_that_began_ends_as_wiped() -> None:
    assert {state for state, signal in NEXT if signal is Signal.WIPED} == {HostState.WIPING}
