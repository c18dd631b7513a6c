"""What programs of the host print is read by parsers that give what they promise, or a ValueError, for any text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.agent.ansible_step import read_result
from pxeforge.agent.block_devices import parse_blkid, parse_lsblk, parse_wipefs
from pxeforge.agent.lvm import parse_report
from pxeforge.agent.network_step import parse_addresses
from pxeforge.agent.ovs import bridges_of, parse_table

WORDS = st.sampled_from(
    (
        *("blockdevices", "children", "path", "signatures", "report", "pv", "headings", "data", "set", "map", "ifname"),
        *("addr_info", "tasks", "hosts", "status", "name", "size", "ports", "_uuid", "external_ids"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | WORDS, inner),
    max_leaves=20,
)
TEXTS = st.one_of(st.text(), JSON.map(json.dumps), st.integers(1, 10**5).map(lambda count: "[" * count))
PARSERS: dict[str, Callable[[str], Any]] = {
    "lsblk": parse_lsblk,
    "wipefs": parse_wipefs,
    "blkid": parse_blkid,
    "lvm": lambda text: parse_report(text, "pv"),
    "ovs": lambda text: bridges_of(dict.fromkeys(("Bridge", "Port", "Controller"), parse_table(text))),
    "ip": parse_addresses,
    "ansible": read_result,
}


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(text=TEXTS)
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except ValueError:
        return


@given(st.lists(st.lists(JSON, min_size=2, max_size=2)))
def test_any_table_of_open_vswitch_gives_bridges(data: list[list[Any]]) -> None:
    rows = parse_table(json.dumps({"headings": ["name", "ports"], "data": data}))
    assert len(bridges_of({"Bridge": rows, "Port": rows, "Controller": rows})) <= len(data)


def test_lsblk_gives_a_tree_with_numbers_however_they_are_printed() -> None:
    part = {"kname": "sda1", "path": "/dev/sda1", "type": "part", "size": "512", "maj:min": "  8:1", "ro": "1"}
    disk = {"kname": "sda", "path": "/dev/sda", "type": "disk", "size": 1024, "serial": " S1 ", "children": [part]}
    (found,) = parse_lsblk(json.dumps({"blockdevices": [disk]}))
    assert (found.size_bytes, found.serial, found.is_read_only) == (1024, "S1", False)
    assert [(one.name, one.size_bytes, one.number) for one in found.tree()] == [("sda", 1024, ""), ("sda1", 512, "8:1")]
    assert found.children[0].is_read_only


def test_sets_and_maps_of_open_vswitch_are_read() -> None:
    uuid = ["uuid", "p1"]
    table = {
        "headings": [
            *("_uuid", "name", "ports", "other_config", "external_ids", "controller", "datapath_type", "stp_enable"),
        ],
        "data": [
            [["uuid", "b1"], "br0", uuid, ["map", [["hwaddr", "52:54:00:00:00:01"]]],
             ["map", [["pxeforge", "network"]]],
             ["set", []], "netdev", False],
        ],
    }  # fmt: skip
    port = {"_uuid": "p1", "name": "eth0", "external_ids": {"pxeforge": "network"}}
    found = bridges_of({"Bridge": parse_table(json.dumps(table)), "Port": [port], "Controller": []})["br0"]
    assert (found.datapath, found.hwaddr, found.ports, found.controller, found.is_ours) == (
        "netdev", "52:54:00:00:00:01", ("eth0",), (), True,
    )  # fmt: skip
