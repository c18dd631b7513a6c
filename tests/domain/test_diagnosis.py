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
    _N.START_LOOP: Trail(state=_S.BOOTING, menu=mark(9), kernel=mark(10), starts=[mark(1), mark(5), mark(11)]),
    _N.NEVER_BOOTED: Trail(
        state=_S.KNOWN, armed=mark(1), ended=mark(9, "time is over"), ended_by_server=True, failed_in=_S.ARMED
    ),
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
        (_S.INSTALLING, {"answers": mark(6), "word": mark(7), "step": mark(7), "local": mark(8)}, _N.LATE_NEVER_CALLED),
        (_S.INSTALLING, {"answers": mark(6), "word": mark(7), "step": mark(7, "finish-install")}, _N.LATE_NEVER_CALLED),
        (_S.INSTALLED, {"answers": mark(6), "finished": mark(7)}, _N.NEVER_REGISTERED),
        (_S.WIPING, {"answers": mark(6)}, _N.INSTALLER_SILENT),
    ],
)
def test_a_host_whose_time_was_over_keeps_the_reason(
    failed_in: HostState, more: dict[str, Mark], name: DiagnosisName
) -> None:
    trail = Trail(state=_S.FAILED, ended=mark(9), ended_by_server=True, failed_in=failed_in, **more)
    assert named(trail, 10) is name


@pytest.mark.parametrize(
    ("failed_in", "field", "name"),
    [(_S.BOOTING, "starts", _N.START_LOOP), (_S.INSTALLED, "boots_after", _N.BOOT_LOOP)],
)
def test_a_host_that_looped_until_its_time_was_over_keeps_that_reason(
    failed_in: HostState, field: str, name: DiagnosisName
) -> None:
    trail = Trail(
        state=_S.FAILED, ended=mark(9), ended_by_server=True, failed_in=failed_in, menu=mark(2), finished=mark(3)
    )
    setattr(trail, field, [mark(4 + number) for number in range(LOOP_BOOTS)])
    assert named(trail, 10) is name


@pytest.mark.parametrize(
    ("more", "reached"), [({}, "boot loader"), ({"menu": 3}, "menu"), ({"menu": 3, "kernel": 4}, "kernel")]
)
def test_a_loop_before_the_installer_says_how_far_it_came(more: dict[str, int], reached: str) -> None:
    trail = Trail(state=_S.ARMED, netboot=mark(5), offered=mark(5), loader=mark(2), starts=[mark(1), mark(4), mark(5)])
    found = diagnose(replace(trail, **{key: mark(at) for key, at in more.items()}), 6, BUDGETS)
    assert found is not None
    assert found.sentence == f"starts again and again before its installer (last reached: {reached}): boot loop"


def test_an_end_of_the_installer_without_late_command_is_not_called_a_step_that_hangs() -> None:
    trail = Trail(state=_S.INSTALLING, answers=mark(6), word=mark(7), step=mark(7, "finish-install"))
    assert named(trail, 107) is None
    assert named(trail, 108) is _N.LATE_NEVER_CALLED
    late_hangs = replace(trail, late=mark(8), word=mark(8))
    assert named(late_hangs, 109) is _N.INSTALLER_STOPPED


def test_an_installed_host_that_never_registers_and_loops_has_a_disk_that_does_not_boot() -> None:
    trail = Trail(state=_S.INSTALLED, finished=mark(8), boots_after=[mark(10 + n) for n in range(LOOP_BOOTS)])
    assert named(trail, 10_000) is _N.BOOT_LOOP


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "armed, but never seen on the wire"),
        ({"netboot": 2, "offered": 2}, "it was offered a boot file and fetched none"),
        ({"netboot": 2, "offered": 2, "loader": 3}, "boot loader fetched, menu never asked"),
    ],
)
def test_what_was_armed_in_vain_says_why_until_it_is_armed_again(more: dict[str, int], why: str) -> None:
    trail = replace(AT_ONCE[_N.NEVER_BOOTED], **{key: mark(at) for key, at in more.items()})
    found = diagnose(trail, 10, BUDGETS)
    assert found is not None
    assert why in found.sentence
    assert trail.ended in found.evidence


def test_what_an_operator_disarmed_was_not_armed_in_vain() -> None:
    assert named(replace(AT_ONCE[_N.NEVER_BOOTED], ended=None), 10_000) is None


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
