"""What we write, Prometheus's own parser reads back; and labels cannot be made to grow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pxeforge.protocol.prometheus import OTHER, Histogram, Kind, Metric, Sheet

COUNTER = Metric(name="c_total", kind=Kind.COUNTER, words="a\\b\nc", labels={"who": None})
PLAIN = Metric(name="plain_total", kind=Kind.COUNTER, words="x")
GAUGE = Metric(name="g", kind=Kind.GAUGE, words="x", labels={"state": frozenset({"on", "off"})})
TIMES = Metric(name="t", kind=Kind.HISTOGRAM, words="x", labels={"stage": frozenset({"a"})}, bounds=(1, 2.5))
TABLE = (COUNTER, PLAIN, GAUGE, TIMES)
# The parser splits lines as str.splitlines does, which takes more for an end of line than the format does.
WORDS = st.text().filter(lambda text: len(text.replace("\n", "").splitlines()) <= 1 and "\r" not in text)


def parsed(sheet: Sheet) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(sheet.text())
        for sample in family.samples
    }


@given(st.dictionaries(WORDS, st.floats(allow_nan=False) | st.integers(0, 10**15)))
def test_every_label_and_number_is_read_back_as_it_was(values: dict[str, float]) -> None:
    sheet = Sheet(TABLE)
    for who, value in values.items():
        sheet.add("c_total", value, who=who)
    found = parsed(sheet)
    assert {key: found["c_total", frozenset({("who", key)})] for key in values} == values


@given(st.lists(st.text()))
def test_a_label_with_known_values_never_has_another(states: list[str]) -> None:
    sheet = Sheet(TABLE)
    for state in states:
        sheet.add("g", 1, state=state)
    labels = {dict(labels)["state"] for name, labels in parsed(sheet) if name == "g"}
    assert labels <= {"on", "off", OTHER}


def test_the_same_labels_are_summed_and_zeros_are_there_from_the_beginning() -> None:
    sheet = Sheet(TABLE)
    sheet.add("c_total", 2, who="a")
    sheet.add("c_total", 0.5, who="a")
    found = parsed(sheet)
    assert found["c_total", frozenset({("who", "a")})] == 2.5
    assert found["plain_total", frozenset()] == 0
    assert found["g", frozenset({("state", "on")})] == 0


def test_buckets_count_what_is_at_most_their_bound() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0.5, 1, 2, 2.5, 99):
        histogram.add(value)
    sheet = Sheet(TABLE)
    sheet.add_histogram("t", histogram, stage="a")
    [family] = [one for one in text_string_to_metric_families(sheet.text()) if one.name == "t"]
    assert {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "t_bucket"} == {
        "1": 2, "2.5": 4, "+Inf": 5,
    }  # fmt: skip
    rest = {sample.name: sample.value for sample in family.samples if sample.name != "t_bucket"}
    assert rest == {"t_sum": 105, "t_count": 5}


def test_numbers_beyond_all_bounds_have_their_own_spelling() -> None:
    sheet = Sheet(TABLE)
    sheet.add("g", math.inf, state="on")
    sheet.add("g", math.nan, state="off")
    assert parsed(sheet)["g", frozenset({("state", "on")})] == math.inf
    assert math.isnan(parsed(sheet)["g", frozenset({("state", "off")})])


def test_what_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Sheet(TABLE).add("unknown", 1)
    with pytest.raises(KeyError, match="has the labels"):
        Sheet(TABLE).add("g", 1, colour="red")
