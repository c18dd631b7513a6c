"""Work that can wait gives way to whoever waits for an answer, but not for ever."""

from __future__ import annotations

import time

import pytest

from pxeforge.services.context import Context
from pxeforge.services.courtesy import Courtesy


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on only by sleeping; what was slept."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(found))
    return found


def test_where_nobody_waits_work_rests_for_a_multiple_of_itself(slept: list[float]) -> None:
    Courtesy().give_way(0.5, 10.0)
    assert slept == [2.0]


def test_while_somebody_is_answered_work_waits_but_not_for_ever(slept: list[float]) -> None:
    courtesy = Courtesy()
    with courtesy.answering():
        courtesy.give_way(0.0, 3.0)
    assert sum(slept) == pytest.approx(3.0)


def test_work_goes_on_once_nobody_has_asked_for_a_moment(slept: list[float]) -> None:
    courtesy = Courtesy()
    with courtesy.answering(), courtesy.answering():
        pass
    courtesy.give_way(0.0, 3.0)
    assert 0.1 <= sum(slept) < 0.2


def test_an_answer_that_fails_is_over_too(slept: list[float]) -> None:
    courtesy = Courtesy()
    with pytest.raises(ZeroDivisionError), courtesy.answering():
        1 / 0  # noqa: B018
    courtesy.give_way(0.0, 3.0)
    assert sum(slept) < 0.2


def test_pages_are_what_is_given_way_to(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from pxeforge.webapp.admin import create_admin

    seen: list[bool] = []
    app = create_admin(ctx, trusted_socket=True)
    app.before_request(lambda: seen.append(ctx.courtesy._answering > 0))
    assert app.test_client().get("/healthz").status_code == 200
    assert seen == [True]
    assert ctx.courtesy._answering == 0
