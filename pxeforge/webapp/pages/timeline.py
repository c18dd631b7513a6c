"""A host's events as its page shows them: stages with durations, and long log runs folded into one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from pxeforge.domain.lifecycle import Signal

_LOG_SOURCES: Final = frozenset({"installer", "agent"})
_FOLD_FROM = 4  # this many like lines in a row become one folded entry
_FOLD_SHOWN = 60
_STAGES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the timeline; `folded` holds the newest log lines it stands for, `hidden` counts the rest."""

    event: dict[str, Any]
    since_s: float
    folded: tuple[dict[str, Any], ...] = ()
    hidden: int = 0

    @property
    def count(self) -> int:
        return len(self.folded) + self.hidden

    @property
    def span_s(self) -> float:
        return float(self.event["at"]) - float(self.folded[0]["at"]) if self.folded else 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The host was in `state` from `at` (unix seconds) for `lasted_s`; None while it still is."""

    state: str
    at: float
    lasted_s: float | None


def entries(events: list[dict[str, Any]]) -> list[Entry]:
    """Newest first; runs of log lines of one source are folded."""
    return list(reversed([entry for _key, group in groupby(events, _log_key) for entry in _fold(list(group))]))


def stages(events: list[dict[str, Any]]) -> list[Stage]:
    """The states since the host was last armed (or since its first event), oldest first; the last few of them."""
    moves = [event for event in events if event["data"].get("to") and event["data"].get("from") != event["data"]["to"]]
    armed = [index for index, event in enumerate(moves) if event["kind"] == Signal.ARM.value]
    if armed:
        moves = moves[armed[-1] :]
    moves = moves[-_STAGES_SHOWN:]
    following: list[dict[str, Any] | None] = [*moves[1:], None]
    return [
        Stage(str(event["data"]["to"]), event["at"], after["at"] - event["at"] if after else None)
        for event, after in zip(moves, following, strict=True)
    ]


def _log_key(event: dict[str, Any]) -> tuple[str, str] | int:
    moves_host = bool(event["data"].get("to"))
    return (event["source"], event["kind"]) if event["source"] in _LOG_SOURCES and not moves_host else event["id"]


def _fold(group: list[dict[str, Any]]) -> Iterator[Entry]:
    if len(group) < _FOLD_FROM:
        yield from (Entry(event=event, since_s=event.get("since_s", 0.0)) for event in group)
        return
    yield Entry(
        event=group[-1],
        since_s=group[0].get("since_s", 0.0),
        folded=tuple(group[-_FOLD_SHOWN:]),
        hidden=max(0, len(group) - _FOLD_SHOWN),
    )
