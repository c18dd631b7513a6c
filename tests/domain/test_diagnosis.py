"""Each diagnosis holds when its evidence is there and its time is over, and never before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.diagnosis import LOOP_BOOTS, WORDS, DiagnosisName, Mark, Trail, diagnose
from pxeforge.domain.lifecycle import HostState

NAMES = ("netboot", "loader", "menu", "kernel", "answers", "installer", "step", "registration", "agent")
BUDGETS = dict.fromkeys(NAMES, 100.0)
_N, _S = DiagnosisName, HostState


def mark(number: int, message: str = "x") -> Mark:
    """Event `number`, `number` seconds after the beginning."""
    return Mark(number, float(number), message)


def named(trail: Trail, now: float) -> DiagnosisName | None:
    found = diagnose(trail, now, BUDGETS)
    return found.name if found else None


HELD_UP = {
    _N.NEVER_SEEN: Trail(state=_S.ARMED, armed=mark(1)),
    _N.OFFER_NOT_TAKEN: Trail(state=_S.ARMED, armed=mark(1), netboot=mark(2), offered=mark(2)),
    _N.MENU_NEVER_ASKED: Trail(state=_S.ARMED, armed=mark(1), netboot=mark(2), offered=mark(2), loader=mark(3)),
    _N.KERNEL_NEVER_FETCHED: Trail(state=_S.BOOTING, menu=mark(4)),
    _N.ANSWERS_NEVER_ASKED: Trail(state=_S.BOOTING, menu=mark(4), kernel=mark(5)),
    _N.INSTALLER_SILENT: Trail(state=_S.INSTALLING, answers=mark(6)),
    _N.INSTALLER_STOPPED: Trail(state=_S.INSTALLING, answers=mark(6), word=mark(7), step=mark(7, "partman")),
    _N.NEVER_REGISTERED: Trail(state=_S.INSTALLED, finished=mark(8)),
    _N.AGENT_SILENT: Trail(state=_S.READY, registered=mark(9), has_agent=True, agent_seen_at=9.0),
}
AT_ONCE = {
    _N.NOT_OFFERED: Trail(state=_S.ARMED, armed=mark(1), netboot=mark(2), local=mark(2, "no loader for it")),
    _N.LATE_NEVER_CALLED: Trail(state=_S.INSTALLING, answers=mark(6), word=mark(7), local=mark(8)),
    _N.BOOT_LOOP: Trail(state=_S.REGISTERED, registered=mark(9), boots_after=[mark(10 + n) for n in range(LOOP_BOOTS)]),
    _N.INSTALLER_GAVE_UP: Trail(state=_S.FAILED, ended=mark(9, "disk vda carries data"), failed_in=_S.INSTALLING),
    _N.RUN_FAILED: Trail(state=_S.FAILED, ended=mark(9, "deploy failed"), failed_in=_S.CONFIGURING),
}


@pytest.mark.parametrize("name", HELD_UP)
def test_a_diagnosis_holds_when_its_time_is_over_and_not_before(name: DiagnosisName) -> None:
    trail = HELD_UP[name]
    last = max(mark.at for mark in (getattr(trail, slot) for slot in Trail.__slots__) if isinstance(mark, Mark))
    assert named(trail, last + 100) is None
    assert named(trail, last + 101) is name


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_an_event_proves_holds_at_once(name: DiagnosisName) -> None:
    found = diagnose(AT_ONCE[name], 20, BUDGETS)
    assert found is not None
    assert found.name is name
    assert found.evidence
    assert "{" not in found.sentence
    assert found.remedy == WORDS[name][1]


def test_every_diagnosis_can_be_found() -> None:
    assert {*HELD_UP, *AT_ONCE} == set(DiagnosisName) == set(WORDS)


def test_the_step_where_the_installer_stopped_is_named() -> None:
    found = diagnose(HELD_UP[_N.INSTALLER_STOPPED], 1000, BUDGETS)
    assert found is not None
    assert found.sentence == "installer stopped at partman"


def test_a_menu_at_the_console_may_wait_for_its_choice() -> None:
    assert named(replace(HELD_UP[_N.KERNEL_NEVER_FETCHED], starts_unattended=False), 10_000) is None


def test_an_answer_that_is_taken_at_last_ends_the_diagnosis() -> None:
    trail = replace(HELD_UP[_N.OFFER_NOT_TAKEN], loader=mark(500))
    assert named(trail, 550) is None


def test_a_second_netboot_counts_anew() -> None:
    trail = replace(HELD_UP[_N.MENU_NEVER_ASKED], offered=mark(500))
    assert named(trail, 550) is None
    assert named(trail, 601) is _N.OFFER_NOT_TAKEN


@pytest.mark.parametrize(
    ("failed_in", "more", "name"),
    [
        (_S.BOOTING, {"menu": mark(4)}, _N.KERNEL_NEVER_FETCHED),
        (_S.BOOTING, {"menu": mark(4), "kernel": mark(5)}, _N.ANSWERS_NEVER_ASKED),
        (_S.INSTALLING, {"answers": mark(6)}, _N.INSTALLER_SILENT),
        (_S.INSTALLING, {"answers": mark(6), "word": mark(7), "step": mark(7)}, _N.INSTALLER_STOPPED),
        (_S.INSTALLED, {"answers": mark(6), "finished": mark(7)}, _N.NEVER_REGISTERED),
        (_S.WIPING, {"answers": mark(6)}, _N.INSTALLER_SILENT),
    ],
)
def test_a_host_whose_time_was_over_keeps_the_reason(
    failed_in: HostState, more: dict[str, Mark], name: DiagnosisName
) -> None:
    trail = Trail(state=_S.FAILED, ended=mark(9), ended_by_server=True, failed_in=failed_in, **more)
    assert named(trail, 10) is name


def test_what_an_operator_gave_up_needs_no_diagnosis() -> None:
    assert named(Trail(state=_S.FAILED, answers=mark(6)), 10_000) is None


@pytest.mark.parametrize("state", [_S.DISCOVERED, _S.KNOWN, _S.RESCUE, _S.RETIRED])
def test_nothing_holds_up_a_host_that_is_to_do_nothing(state: HostState) -> None:
    assert named(Trail(state=state, armed=mark(1), menu=mark(2), answers=mark(3), has_agent=True), 10_000) is None


_MARKS = [name for name in Trail.__slots__ if name in {
    "armed", "netboot", "offered", "local", "loader", "menu", "kernel", "answers", "word", "step", "late", "finished",
    "registered", "agent", "ended",
}]  # fmt: skip


@given(
    state=st.sampled_from(HostState), now=st.integers(50, 2000), by_server=st.booleans(),
    marks=st.fixed_dictionaries(dict.fromkeys(_MARKS, st.none() | st.integers(1, 50).map(mark))),
    failed_in=st.none() | st.sampled_from(HostState),
)  # fmt: skip
def test_whatever_was_heard_there_is_one_answer_that_rests_on_events(
    state: HostState, now: int, marks: dict[str, Mark | None], by_server: bool, failed_in: HostState | None
) -> None:
    trail = Trail(state=state, ended_by_server=by_server, failed_in=failed_in, **marks)
    found = diagnose(trail, now, BUDGETS)
    if found is not None:
        assert "{" not in found.sentence
        assert all(mark in marks.values() or mark.message for mark in found.evidence)
