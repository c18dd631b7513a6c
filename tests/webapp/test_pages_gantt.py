"""The Gantt chart: bars where they belong, whatever the clocks did."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.webapp.pages.gantt import charts

NOW = 1_000_000.0


def stage(name: str, began: float, ended: float | None, attempt: int = 1, state: str = "") -> dict[str, Any]:
    state = state or ("running" if ended is None else "done")
    return {"stage": name, "began_at": began, "ended_at": ended, "state": state, "note": "", "attempt": attempt}


def test_bars_stand_where_and_as_long_as_their_stages() -> None:
    [chart] = charts([stage("armed", NOW - 100, NOW - 60), stage("menu", NOW - 60, NOW - 50),
                      stage("installer: partman", NOW - 50, None)], NOW)  # fmt: skip
    assert [(bar.start, bar.width, bar.lasted_s) for bar in chart.bars] == [(0, 40, 40), (40, 10, 10), (50, 50, 50)]
    assert [(bar.tone, bar.step) for bar in chart.bars] == [("armed", ""), ("booting", ""), ("installing", "partman")]
    assert (chart.lasted_s, chart.running, chart.failed) == (100, True, False)
    assert [(tick.place, tick.seconds) for tick in chart.ticks] == [(0, 0), (30, 30), (60, 60), (90, 90)]


def test_each_arming_has_a_chart_and_the_newest_is_first() -> None:
    told = [stage("armed", 10, 20), stage("menu", 20, 30, state="failed"), stage("armed", 100, None, 2)]
    newest, first = charts(told, 160)
    assert [bar.stage for bar in newest.bars] == ["armed"]
    assert (first.failed, first.bars[-1].tone, newest.failed) == (True, "failed", False)


def test_a_deploy_long_after_the_install_has_a_chart_of_its_own() -> None:
    told = [stage("armed", 0, 60), stage("installer", 60, 500), stage("configuring", 86_400, 86_700)]
    assert [[bar.stage for bar in chart.bars] for chart in charts(told, NOW)] == [
        ["configuring"],
        ["armed", "installer"],
    ]
    soon = [*told[:2], stage("configuring", 700, 900)]
    assert len(charts(soon, NOW)) == 1


def test_nothing_has_no_chart() -> None:
    assert charts([], NOW) == []


moments = st.floats(0, 2e9, allow_nan=False)
stages = st.lists(
    st.builds(
        stage, st.sampled_from(["armed", "menu", "installer: x", "?"]), moments, st.none() | moments, st.integers(1, 3)
    ),
    max_size=12,
)  # fmt: skip


@given(stages, moments)
def test_no_bar_leaves_its_chart_and_none_vanishes(told: list[dict[str, Any]], now: float) -> None:
    drawn = charts(told, now)
    assert sum(len(chart.bars) for chart in drawn) == len(told)
    for chart in drawn:
        assert 1 <= len(chart.ticks) <= 6
        for bar in chart.bars:
            assert bar.start >= 0
            assert bar.width > 0
            assert bar.start + bar.width <= 100.01
            assert bar.lasted_s >= 0
