"""Measurements → medians, ratios and a table."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class _Kind(enum.Enum):
    RATIO = "times the (fastest) peer"
    LEAST = "at least"
    MOST = "at most"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a row is to reach: a share of its peer, or a figure of its own."""

    kind: _Kind
    value: float

    @classmethod
    def ratio(cls, value: float) -> Aim:
        return cls(_Kind.RATIO, value)

    @classmethod
    def least(cls, value: float) -> Aim:
        return cls(_Kind.LEAST, value)

    @classmethod
    def most(cls, value: float) -> Aim:
        return cls(_Kind.MOST, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure: a figure of each round, ours and each peer's taken in turn."""

    measure: str
    unit: str
    aim: Aim
    ours: Sequence[float]
    peers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spoilt: str = ""  # what went wrong on the way, so that the figure does not count

    @property
    def figure(self) -> float:
        return statistics.median(self.ours)

    def ratios(self, peer: str) -> list[float]:
        """Round by round: what slows a whole round down slows both."""
        return [mine / other for mine, other in zip(self.ours, self.peers[peer], strict=True)]

    @property
    def reached(self) -> bool:
        if self.spoilt:
            return False
        if self.aim.kind is _Kind.RATIO:
            return min(statistics.median(self.ratios(peer)) for peer in self.peers) >= self.aim.value
        return self.figure >= self.aim.value if self.aim.kind is _Kind.LEAST else self.figure <= self.aim.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The time of one answer by the number of hosts in the database, in rising order."""

    measure: str
    times_ms: Mapping[int, float]


def growth_markdown(rows: Sequence[Growth]) -> str:
    """A table with a column per number of hosts; the last one is the most hosts by the fewest."""
    sizes = list(rows[0].times_ms) if rows else []
    heads = ["one at a time, ms", *(f"{size:,} hosts" for size in sizes), "ratio"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for row in rows:
        times = [row.times_ms[size] for size in sizes]
        cells = [row.measure, *(f"{each:.2f}" for each in times), f"**{times[-1] / times[0]:.2f}**"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """A table in Markdown with a line per row."""
    lines = ["| measure | pxeforge | peer | ratio (rounds) | to reach |", "| --- | --- | --- | --- | --- |"]
    lines.extend(_line(row) for row in rows)
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    peers = ", ".join(f"{peer} {_number(statistics.median(each))}" for peer, each in row.peers.items()) or "—"
    cells = (row.measure, _own(row), peers, ", ".join(_ratio(row.ratios(peer)) for peer in row.peers) or "—", _aim(row))
    return f"| {' | '.join(cells)} |"


def _own(row: Row) -> str:
    """The figure with its unit; where no ratio shows how the rounds differ, with their range."""
    figure = _with_unit(row.figure, row.unit)
    if row.aim.kind is _Kind.RATIO:
        return figure
    spread = f" ({_number(min(row.ours))} to {_number(max(row.ours))})" if len(row.ours) > 1 else ""
    return f"**{figure}**{spread}"


def _ratio(each: Sequence[float]) -> str:
    return f"**{statistics.median(each):.2f}** ({min(each):.2f} to {max(each):.2f})"


def _aim(row: Row) -> str:
    sign = "≤" if row.aim.kind is _Kind.MOST else "≥"
    value = f"{row.aim.value:.1f} ×" if row.aim.kind is _Kind.RATIO else _with_unit(row.aim.value, row.unit)
    why = f" ({row.spoilt})" if row.spoilt else ""
    return f"{sign} {value}" if row.reached else f"{sign} {value}: missed{why}"


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)}{unit}" if unit.startswith("/") else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
