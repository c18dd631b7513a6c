"""Places for large transfers: bounded, fair by host, never lost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.servers.http_admission import Admission, Turn


def test_who_finds_a_place_starts_and_the_next_one_waits() -> None:
    admission: Admission[str] = Admission(2)
    assert [admission.ask(who, who) for who in "abc"] == [Turn.NOW, Turn.NOW, Turn.WAIT]
    assert admission.counts() == {"sending": 2, "waiting": 1}
    assert admission.leave("a") == ["c"]
    assert admission.counts() == {"sending": 2, "waiting": 0}


def test_a_host_with_many_requests_does_not_keep_others_waiting() -> None:
    admission: Admission[str] = Admission(4)
    assert [admission.ask(f"greedy{n}", "10.0.0.1") for n in range(4)] == [Turn.NOW, Turn.NOW, Turn.WAIT, Turn.WAIT]
    assert admission.ask("modest1", "10.0.0.2") is Turn.NOW
    assert admission.ask("other", "10.0.0.3") is Turn.NOW
    assert admission.ask("modest2", "10.0.0.2") is Turn.WAIT
    assert admission.ask("late", "10.0.0.4") is Turn.WAIT
    assert admission.leave("greedy0") == ["late"]  # it has none yet; the others came earlier but have one
    assert admission.leave("late") == ["greedy2"]


def test_who_gives_up_waiting_is_never_called() -> None:
    admission: Admission[str] = Admission(1)
    for who in "abc":
        admission.ask(who, who)
    assert admission.leave("b") == []
    assert admission.leave("a") == ["c"]
    assert admission.leave("c") == []
    assert admission.leave("c") == []
    assert admission.counts() == {"sending": 0, "waiting": 0}


def test_a_queue_that_is_full_says_so() -> None:
    admission: Admission[int] = Admission(1, longest_queue=2)
    assert [admission.ask(who, str(who)) for who in range(4)] == [Turn.NOW, Turn.WAIT, Turn.WAIT, Turn.BUSY]
    assert admission.leave(3) == []


@given(st.integers(1, 8), st.randoms(use_true_random=False))
def test_everybody_is_served_once_and_the_bound_holds(places: int, chance: random.Random) -> None:
    admission: Admission[int] = Admission(places)
    running: set[int] = set()
    served: list[int] = []
    waiting = 0
    for who in range(60):
        turn = admission.ask(who, f"host{chance.randrange(6)}")
        if turn is Turn.NOW:
            running.add(who)
            served.append(who)
        else:
            waiting += 1
        if running and chance.random() < 0.5:
            leaver = chance.choice(sorted(running))
            running.discard(leaver)
            for admitted in admission.leave(leaver):
                running.add(admitted)
                served.append(admitted)
        assert len(running) <= places
        assert admission.counts()["sending"] == len(running)
    while running:
        for admitted in admission.leave(running.pop()):
            running.add(admitted)
            served.append(admitted)
    assert sorted(served) == list(range(60))
