"""LLDP frames: what switches send is read, and no bytes do harm."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.agent.lldp import NotLldp, parse

HEAD = bytes.fromhex("0180c200000e3cecef00000188cc")


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


SWITCH = (
    tlv(1, b"\x04" + bytes.fromhex("3cecef000001"))
    + tlv(2, b"\x05Ethernet1/12")
    + tlv(3, b"\x00\x78")
    + tlv(4, b"to node 7")
    + tlv(5, b"leaf1.example")
    + tlv(8, b"\x05\x01\x0a\x00\x00\x01\x02\x00\x00\x00\x01\x00")
    + tlv(127, b"\x00\x80\xc2\x01\x00\x64")
)


def test_a_switch_tells_its_name_port_address_and_vlan() -> None:
    assert parse(HEAD + SWITCH + tlv(0, b"")) == {
        "chassis": "3c:ec:ef:00:00:01", "port": "Ethernet1/12", "ttl_s": 120, "port_description": "to node 7",
        "system": "leaf1.example", "address": "10.0.0.1", "vlan": 100,
    }  # fmt: skip


def test_padding_behind_the_end_and_a_vlan_tag_in_front_do_no_harm() -> None:
    tagged = HEAD[:12] + bytes.fromhex("81000064") + HEAD[12:]
    assert parse(tagged + SWITCH + tlv(0, b"") + bytes(7))["system"] == "leaf1.example"


def test_control_characters_become_blanks_and_texts_are_short() -> None:
    told = parse(HEAD + tlv(1, b"\x07a") + tlv(2, b"\x05b\x1b[31mc") + tlv(5, b"x" * 400))
    assert told["port"] == "b [31mc"
    assert len(told["system"]) == 255


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (HEAD[:13], "too short"),
        (HEAD[:12] + b"\x08\x00" + SWITCH, "0x0800 is not LLDP"),
        (HEAD + tlv(1, b"\x07a"), "chassis and port are missing"),
        (HEAD + struct.pack("!H", 1 << 9 | 20) + b"x", "20 bytes, 1 are left"),
        (HEAD + SWITCH + b"\x02", "cut off"),
    ],
)
def test_what_is_no_lldp_is_refused_in_words(frame: bytes, said: str) -> None:
    with pytest.raises(NotLldp, match=said):
        parse(frame)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for frame in (noise, HEAD + noise, HEAD + SWITCH + noise):
        try:
            told = parse(frame)
        except NotLldp:
            continue
        assert all(value.isprintable() and len(value) <= 255 for value in told.values() if isinstance(value, str))


@given(st.lists(st.tuples(st.integers(0, 127), st.binary(max_size=300)), max_size=12))
def test_any_tlvs_are_read_or_refused(tlvs: list[tuple[int, bytes]]) -> None:
    body = b"".join(tlv(kind, value) for kind, value in tlvs)
    try:
        told = parse(HEAD + body)
    except NotLldp:
        return
    assert {"chassis", "port"} <= set(told)
