"""The Prometheus text format: what is measured, and its samples as text.

Source: "Text-based format" 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"  # the value of a label that is none of those it may have


class Kind(enum.Enum):
    """COUNTER only grows, until it begins anew. GAUGE goes up and down. HISTOGRAM counts values by their size."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that is measured.

    `labels`: the values that each may have; None: those that the operator's own settings name. What is measured about
    hosts must have a closed set: whatever a host can choose freely would make a series for each of its whims.
    """

    name: str
    kind: Kind
    words: str
    labels: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()  # of a histogram: the upper bound of each bucket but the last

    def values(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """The labels' values in their order, unknown ones as OTHER; raises KeyError for other labels."""
        if given.keys() != self.labels.keys():
            raise KeyError(f"{self.name} has the labels {list(self.labels)}, not {list(given)}")
        return tuple(
            given[label] if known is None or given[label] in known else OTHER for label, known in self.labels.items()
        )

    def beginnings(self) -> list[tuple[str, ...]]:
        """The label values of samples that are there before anything is measured."""
        if not self.labels:
            return [()] if self.kind is Kind.COUNTER else []
        [first, *more] = self.labels.values()
        return [(value,) for value in first or ()] if not more and self.kind is not Kind.HISTOGRAM else []


@dataclass(slots=True)
class Histogram:
    """How many values were how large."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)  # a bucket each, and one for what is larger than all bounds
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Sheet:
    """Samples of the metrics of a table; what is added twice under the same labels is summed.

    Counters without labels, and whatever has one label with known values, begin with zeros: of a series that appears
    with its first event, that event is never seen as a change.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}
        self._samples: dict[str, dict[tuple[str, ...], float]] = {
            metric.name: dict.fromkeys(metric.beginnings(), 0) for metric in self._metrics.values()
        }
        self._histograms: dict[str, list[tuple[tuple[str, ...], Histogram]]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Raises KeyError for a metric that is not in the table, or has other labels."""
        values, samples = self._metrics[name].values(labels), self._samples[name]
        samples[values] = samples.get(values, 0) + value

    def add_histogram(self, name: str, histogram: Histogram, **labels: str) -> None:
        self._histograms.setdefault(name, []).append((self._metrics[name].values(labels), histogram))

    def text(self) -> str:
        """In the order of the table; a metric without samples is left out."""
        lines: list[str] = []
        for metric in self._metrics.values():
            told = [
                line(metric.name, dict(zip(metric.labels, values, strict=True)), value)
                for values, value in sorted(self._samples[metric.name].items())
            ]
            for values, histogram in self._histograms.get(metric.name, ()):
                told += _buckets(metric.name, dict(zip(metric.labels, values, strict=True)), histogram)
            if told:
                lines += [f"# HELP {metric.name} {_escaped_help(metric.words)}"]
                lines += [f"# TYPE {metric.name} {metric.kind.value}", *told]
        return "".join(f"{each}\n" for each in lines)


def line(name: str, labels: Mapping[str, str], value: float) -> str:
    """One sample."""
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _buckets(name: str, labels: Mapping[str, str], histogram: Histogram) -> list[str]:
    lines, below = [], 0
    for bound, count in zip([*histogram.bounds, math.inf], histogram.counts, strict=True):
        below += count
        lines.append(line(f"{name}_bucket", {**labels, "le": _number(bound)}, below))
    return [*lines, line(f"{name}_sum", labels, histogram.total), line(f"{name}_count", labels, below)]


def _number(value: float) -> str:
    if math.isinf(value) or math.isnan(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
