"""Criteria and templates of rules: what they mean, and that no value is ever read as more than a value."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.host_rules import (
    BadRule,
    Disk,
    NoValue,
    Subject,
    as_host_name,
    check_template,
    fill,
    misses,
    read_criteria,
    read_gives,
)

HOST = Subject(
    name="n1", state="known", macs=("52:54:00:12:34:56",), vendor="Dell Inc.", product="PowerEdge R640", serial="ABC",
    firmware="uefi-x64", memory_bytes=67_300_000_000, cpus=16, disks=(Disk(size_bytes=480_000_000_000),),
    addresses=("10.77.0.9",), relays=("10.1.0.1",), circuit_ids=("eth1/7",), switches=("leaf1",),
    switch_ports=("Ethernet1/12",), rack="r1", unit=12, tags=("a", "b"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "fits"),
    [
        ("mac", "5254.00", True), ("mac", "52:54:01", False), ("vendor", "dell*", True), ("vendor", "dell", False),
        ("memory", ">=64G", True), ("memory", ">=64Gi", False), ("memory", "<1T", True), ("cpus", "16", True),
        ("cpus", "17-32", False), ("subnet", "10.77.0.0/24", True), ("subnet", "10.78.0.0/24", False),
        ("relay", "10.1.*", True), ("circuit_id", "eth1/?", True), ("rack", "r*", True), ("unit", "1-12", True),
        ("tag", "b", True), ("tag", "!b", False), ("tag", "!c", True), ("switch", "leaf*", True), ("role", "x", False),
        ("remote_id", "*", False), ("remote_id", "!x", True), ("disk_size", "480G", True), ("disks", "0", False),
        ("disk_rotational", "true", False), ("firmware", ["bios", "uefi-*"], True), ("state", "disc*", False),
    ],
)  # fmt: skip
def test_a_criterion_fits_or_says_why_not(key: str, value: object, fits: bool) -> None:
    told = misses(read_criteria({key: value}), HOST)
    assert (told == []) is fits
    assert all(len(one) > 10 for one in told)


def test_what_is_not_known_of_a_host_fits_nothing_that_asks_for_it() -> None:
    for key, value in (("memory", ">0"), ("disks", ">=0"), ("vendor", "*"), ("unit", ">0"), ("subnet", "0.0.0.0/0")):
        assert misses(read_criteria({key: value}), Subject()) != []


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_value_of_a_host_is_read_as_a_template(serial: str, product: str) -> None:
    host = Subject(serial=serial, product=product)
    try:
        assert fill("{serial}/{product}", host) == f"{serial}/{product}"
    except NoValue:
        assert "" in (serial, product)


@given(st.text(max_size=80))
def test_any_text_becomes_a_host_name_or_nothing(text: str) -> None:
    name = as_host_name(text)
    assert name == "" or re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


@given(st.text(max_size=40))
def test_any_template_is_taken_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(BadRule, NoValue):
        check_template(text, numbered=True)
        assert isinstance(fill(text, HOST, n=1), str)


@given(st.dictionaries(st.sampled_from(["mac", "memory", "subnet", "vendor", "disks", "x"]), st.text(max_size=20)))
def test_any_criteria_are_taken_or_refused_in_words(raw: dict[str, str]) -> None:
    with contextlib.suppress(BadRule):
        criteria = read_criteria(raw)
        assert all(misses(criteria, Subject()))
        misses(criteria, HOST)


def test_numbers_are_padded_and_the_last_number_of_a_port_is_told() -> None:
    assert fill("node{n:03}-{port_number}-{circuit_number}-{mac_tail}", HOST, n=7) == "node007-12-7-123456"


@pytest.mark.parametrize("name", ["localhost", "12", "0x7f", "import"])
def test_a_name_that_no_host_can_have_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(BadRule, match=r"choose another name|into the name"):
        read_gives({"name": name})


def test_what_a_rule_gives_is_kept_as_it_was_said() -> None:
    gives = read_gives({"name": "n{n}", "tags": "a, b", "rack": "r1", "unit": "{port_number}", "arm": "false"})
    assert gives.kept() == {"name": "n{n}", "tags": ["a", "b"], "rack": "r1", "unit": "{port_number}"}
    assert read_gives(gives.kept()) == gives
