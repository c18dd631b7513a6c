"""Where the time of an install goes: marks from a host's timeline, shown as a table of stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_MENU_ITEM = re.compile(r"main-menu.*Menu item '([^']+)' selected")
_WIDTH = 90


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A stage began at this moment (unix seconds)."""

    at: float
    stage: str


def unix_seconds(at: object) -> float:
    """A number, or an ISO 8601 time (without a zone: UTC); raises ValueError."""
    if isinstance(at, int | float):
        return float(at)
    moment = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def marks_of(events: Iterable[Mapping[str, object]]) -> list[Mark]:
    """Marks from timeline events {at, kind, source, message}, in order of time.

    d-i's syslog counts only where it says which menu item it begins; every other event is a mark. The same stage
    twice in a row is one.
    """
    marks: list[Mark] = []
    for event in sorted(events, key=lambda event: unix_seconds(event["at"])):
        stage = _stage(event)
        if stage and not (marks and marks[-1].stage == stage):
            marks.append(Mark(unix_seconds(event["at"]), stage))
    return marks


def _stage(event: Mapping[str, object]) -> str | None:
    message = " ".join(str(event.get("message") or "").split())
    if item := _MENU_ITEM.search(message):
        return f"d-i: {item[1]}"
    if "syslog" in (event.get("kind"), event.get("source")):
        return None
    kind = str(event.get("kind") or "event")
    return (f"{kind}: {message}" if message else kind)[:_WIDTH]


def table(marks: Iterable[Mark], start: float, end: float, ending: str = "end") -> str:
    """Lines "at s / took s / stage"; seconds count from start, the last stage lasts until end."""
    ordered = sorted(mark for mark in marks if start <= mark.at <= end)
    lines = [f"{'at s':>8} {'took s':>8}  stage"]
    for mark, until in zip(ordered, [*(mark.at for mark in ordered[1:]), end], strict=False):
        lines.append(f"{mark.at - start:8.1f} {until - mark.at:8.1f}  {mark.stage}")
    lines.append(f"{end - start:8.1f} {'':8}  {ending}")
    return "\n".join(lines)
