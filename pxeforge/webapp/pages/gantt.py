"""The stages of a host as a Gantt chart: where each bar begins and how long it is, per attempt. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

_LEAST_WIDTH: Final = 0.6  # percent: what took no time is still seen
# The colours are those of the states that the stages belong to.
_TONES: Final = {
    "armed": "armed", "netboot": "booting", "loader": "booting", "menu": "booting", "kernel": "booting",
    "installer": "installing", "installed": "installed", "registered": "registered", "configuring": "configuring",
    "rescue": "rescue", "wiping": "wiping",
}  # fmt: skip
_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800,
)  # fmt: skip
_MOST_TICKS: Final = 4
_IDLE_S: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`start` and `width` in percent of the chart; `lasted_s` until now where it is not over."""

    stage: str
    step: str  # of the installer; empty for a stage
    tone: str  # the state of a host in whose colour it is drawn
    state: str  # done | running | failed
    note: str
    began_at: float
    ended_at: float | None
    lasted_s: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale, `place` in percent, named by the seconds since the chart's begin."""

    place: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One attempt: its bars, oldest first, and the scale they stand on."""

    began_at: float
    lasted_s: float
    running: bool
    failed: bool
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def charts(stages: Iterable[Mapping[str, Any]], now: float) -> list[Chart]:
    """`stages` as services/timeline.py: stages_of gives them; a chart for each arming or later deploy, newest first."""
    ordered = sorted(stages, key=lambda one: int(one["attempt"]))
    groups = [list(group) for _attempt, group in groupby(ordered, lambda one: int(one["attempt"]))]
    parts = [part for group in groups for part in _parts(group, now)]
    return [_chart(part, now) for part in reversed(parts)]


def _parts(stages: list[Mapping[str, Any]], now: float) -> list[list[Mapping[str, Any]]]:
    """Cut where nothing happened for long: a deploy a day after the install would leave nothing of it to see."""
    parts: list[list[Mapping[str, Any]]] = []
    for stage in stages:
        idle = float(stage["began_at"]) - _end(parts[-1][-1], now) if parts else math.inf
        if idle > max(_IDLE_S, _end(parts[-1][-1], now) - float(parts[-1][0]["began_at"]) if parts else 0):
            parts.append([])
        parts[-1].append(stage)
    return parts


def _chart(stages: list[Mapping[str, Any]], now: float) -> Chart:
    begin = min(float(stage["began_at"]) for stage in stages)
    end = max(_end(stage, now) for stage in stages)
    span = max(end - begin, 1.0)
    bars = tuple(_bar(stage, begin, span, now) for stage in stages)
    return Chart(
        began_at=begin, lasted_s=end - begin, running=any(bar.state == "running" for bar in bars),
        failed=any(bar.state == "failed" for bar in bars), bars=bars, ticks=_ticks(span),
    )  # fmt: skip


def _end(stage: Mapping[str, Any], now: float) -> float:
    """Never before its begin: a clock that jumped back must not draw a bar to the left."""
    ended = stage["ended_at"]
    return max(float(stage["began_at"]), float(now if ended is None else ended))


def _bar(stage: Mapping[str, Any], begin: float, span: float, now: float) -> Bar:
    began, ended = float(stage["began_at"]), _end(stage, now)
    width = max(100 * (ended - began) / span, _LEAST_WIDTH)
    start = min(100 * (began - begin) / span, 100 - width)
    return Bar(
        stage=str(stage["stage"]), step=str(stage["stage"]).partition(": ")[2], tone=_tone(stage),
        state=str(stage["state"]), note=str(stage.get("note") or ""), began_at=began,
        ended_at=stage["ended_at"], lasted_s=ended - began, start=round(max(start, 0), 2), width=round(width, 2),
    )  # fmt: skip


def _tone(stage: Mapping[str, Any]) -> str:
    return "failed" if stage["state"] == "failed" else _TONES.get(str(stage["stage"]).partition(":")[0], "known")


def _ticks(span: float) -> tuple[Tick, ...]:
    """Round numbers, few enough to be read, the begin among them."""
    step = next((one for one in _STEPS_S if span / one <= _MOST_TICKS), None)
    if step is None:
        step = math.ceil(span / _MOST_TICKS / 604800) * 604800
    return tuple(Tick(round(100 * at / span, 2), at) for at in range(0, math.floor(span) + 1, step))
