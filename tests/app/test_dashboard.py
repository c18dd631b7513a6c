"""The dashboard shows what /metrics tells: all of it, and nothing else."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pxeforge.protocol.prometheus import Kind
from pxeforge.services.metric_table import METRICS

BOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana" / "pxeforge.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
SERIES = {
    **{metric.name: metric for metric in METRICS if metric.kind is not Kind.HISTOGRAM},
    **{f"{m.name}{end}": m for m in METRICS for end in ("_bucket", "_sum", "_count") if m.kind is Kind.HISTOGRAM},
}
PROMETHEUS_OWN = {"instance", "job", "le"}


def series_in(query: str) -> list[str]:
    return re.findall(r"\bpxeforge_\w+", query)


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_query_names_metrics_and_labels_that_exist(title: str, query: str, legend: str) -> None:
    assert series_in(query), title
    assert set(series_in(query)) <= SERIES.keys()
    known = PROMETHEUS_OWN.union(*(SERIES[name].labels for name in series_in(query)))
    grouped = {label for words in re.findall(r"\bby \(([^)]*)\)", query) for label in words.split(", ")}
    asked = set(re.findall(r"(\w+)(?:=|=~|!=|!~)\"", query))
    assert grouped | asked <= known
    assert set(re.findall(r"{{(\w+)}}", legend)) <= known


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_value_that_a_query_asks_for_is_one_that_the_label_may_have(title: str, query: str, legend: str) -> None:
    for name, conditions in re.findall(r"\b(pxeforge_\w+){([^}]*)}", query):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', conditions):
            known = SERIES[name].labels.get(label)
            assert known is None or set(values.split("|")) <= known, (title, legend)


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_counters_are_asked_for_their_change(title: str, query: str, legend: str) -> None:
    for name in series_in(query):
        changes = re.search(rf"\b(rate|increase)\({name}{{[^}}]*}}\[", query) is not None
        assert changes == (SERIES[name].kind is not Kind.GAUGE), (title, legend)
    assert query.count("(") == query.count(")")


def test_every_metric_has_a_panel() -> None:
    shown = {SERIES[name].name for _, query, _ in QUERIES for name in series_in(query)}
    assert {metric.name for metric in METRICS} == shown


def test_panels_have_numbers_of_their_own_and_do_not_cover_one_another() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])

    def cover(one: dict[str, Any], other: dict[str, Any]) -> bool:
        return all(one[a] < other[a] + other[size] and other[a] < one[a] + one[size] for a, size in ("xw", "yh"))

    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert not [pair for pair in itertools.combinations(places, 2) if cover(*pair)]
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_board_names_no_data_source_of_ours() -> None:
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "instance"]
