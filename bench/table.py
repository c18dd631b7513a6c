"""Measurements → medians, ratios and a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure: MB/s of each round, ours and the peer's taken in turn. `least` is the ratio to reach."""

    measure: str
    peer: str
    least: float
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios round by round: what slows a whole round down slows both."""
        return statistics.median(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))

    @property
    def reached(self) -> bool:
        return self.ratio >= self.least


def markdown(rows: Sequence[Row]) -> str:
    """A table in Markdown with a line per row."""
    lines = [
        "| measure | pxeforge, MB/s | peer, MB/s | ratio (rounds) | to reach |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        each = [mine / other for mine, other in zip(row.ours, row.theirs, strict=True)]
        lines.append(
            f"| {row.measure} | {statistics.median(row.ours):.4g} | {row.peer} {statistics.median(row.theirs):.4g} "
            f"| **{row.ratio:.2f}** ({min(each):.2f} to {max(each):.2f}) | ≥ {row.least:.1f} |"
        )
    return "\n".join(lines) + "\n"
