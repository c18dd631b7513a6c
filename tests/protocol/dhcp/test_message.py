from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp.message import (
    DhcpMessage,
    MessageType,
    Op,
    Option,
    TooLong,
    encode_sub_options,
    sub_options,
)

from .packets import INSTALLER_DISCOVER, IPXE_DISCOVER, MAC, OVMF_DISCOVER, PXE_ROM_DISCOVER, message

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
codes = st.integers(1, 254).filter(lambda code: code not in (Option.OVERLOAD, Option.BOOT_FILE))
no_nul = st.binary(max_size=60).map(lambda value: value.replace(b"\0", b"x"))
messages = st.builds(
    DhcpMessage,
    op=st.sampled_from(Op),
    xid=st.integers(0, 2**32 - 1),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    chaddr=st.binary(max_size=16),
    sname=no_nul,
    file=no_nul,
    options=st.dictionaries(codes, st.binary(max_size=40), max_size=12),
)


@given(messages)
def test_what_is_encoded_is_parsed_again(sent: DhcpMessage) -> None:
    assert DhcpMessage.parse(sent.encode()) == sent


@given(st.binary(max_size=700))
def test_arbitrary_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        DhcpMessage.parse(data)


@given(st.binary(max_size=120))
def test_arbitrary_options_are_a_message_or_malformed(options: bytes) -> None:
    with suppress(Malformed):
        DhcpMessage.parse(PXE_ROM_DISCOVER[:240] + options)


@given(st.sampled_from([IPXE_DISCOVER, PXE_ROM_DISCOVER, OVMF_DISCOVER]), st.integers(0, 600), st.integers(0, 255))
def test_a_real_packet_with_one_wrong_byte_is_a_message_or_malformed(packet: bytes, at: int, value: int) -> None:
    damaged = bytearray(packet)
    damaged[at % len(packet)] = value
    with suppress(Malformed):
        DhcpMessage.parse(bytes(damaged))


@pytest.mark.parametrize("packet", [IPXE_DISCOVER, PXE_ROM_DISCOVER, OVMF_DISCOVER, INSTALLER_DISCOVER])
def test_real_discovers_are_read(packet: bytes) -> None:
    found = DhcpMessage.parse(packet)
    assert (found.message_type, found.chaddr, str(found.mac)) == (MessageType.DISCOVER, MAC, "52:54:00:12:34:56")


def test_a_value_above_255_bytes_is_split_and_joined() -> None:
    long = replace(message(MessageType.OFFER), options={43: bytes(range(256)) * 2})
    assert DhcpMessage.parse(long.encode()).options[43] == bytes(range(256)) * 2


def test_repeated_options_are_one_value() -> None:
    packet = PXE_ROM_DISCOVER[:240] + bytes.fromhex("4302 6162 350101 4301 63 ff")
    assert DhcpMessage.parse(packet).options[Option.BOOT_FILE] == b"abc"


def test_overloaded_fields_hold_options() -> None:
    packet = bytearray(PXE_ROM_DISCOVER[:240] + bytes.fromhex("350101 340103 ff"))
    packet[108:113] = bytes.fromhex("0c02 6869 ff")  # file: host name
    packet[44:49] = bytes.fromhex("0c02 2121 ff")  # sname: goes on with it
    found = DhcpMessage.parse(bytes(packet))
    assert (found.options[Option.HOST_NAME], found.file, found.sname) == (b"hi!!", b"", b"")
    assert Option.OVERLOAD not in found.options


def test_the_relay_agents_option_goes_last() -> None:
    encoded = message(MessageType.OFFER, RELAY_AGENT=b"\1\2ab", SERVER_ID=b"\x0a\0\0\1").encode()
    assert encoded.rstrip(b"\0").endswith(b"\x52\x04\x01\x02ab\xff")


def test_a_short_message_is_padded_to_what_old_roms_take() -> None:
    assert len(message(MessageType.OFFER).encode()) == 300


def test_the_boot_file_option_ends_with_a_nul_on_the_wire_only() -> None:
    sent = message(MessageType.OFFER, BOOT_FILE=b"pxelinux.0")
    assert b"\x43\x0bpxelinux.0\0" in sent.encode()
    assert DhcpMessage.parse(sent.encode()).options[Option.BOOT_FILE] == b"pxelinux.0"


def test_a_message_above_the_limit_is_refused() -> None:
    with pytest.raises(TooLong, match="the client takes 548"):
        message(MessageType.OFFER, BOOT_FILE=b"x" * 400).encode(548)


@pytest.mark.parametrize(
    ("max_size", "limit"), [(b"", 548), (b"\x02\x40", 548), (b"\x05\xdc", 1472), (b"\xff\xff", 1472)]
)
def test_the_limit_of_a_reply_comes_from_option_57(max_size: bytes, limit: int) -> None:
    assert message(MessageType.DISCOVER, MAX_SIZE=max_size).reply_limit == limit


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p[:239], "needs"),
        (lambda p: b"\x03" + p[1:], "op is 3"),
        (lambda p: p[:2] + b"\x11" + p[3:], "hlen is 17"),
        (lambda p: p[:236] + b"BOOT" + p[240:], "cookie"),
        (lambda p: p[:240] + b"\x35\x05\x01", "option 53 needs 5"),
        (lambda p: p[:240] + b"\x35", "length of option 53"),
    ],
)
def test_damaged_packets_are_malformed(damage, reason) -> None:
    with pytest.raises(Malformed, match=reason):
        DhcpMessage.parse(damage(PXE_ROM_DISCOVER))


def test_a_guid_as_hardware_address_is_no_mac() -> None:
    assert message(MessageType.DISCOVER, mac=bytes(range(16))).mac is None


@given(st.dictionaries(codes, st.binary(max_size=20), max_size=5))
def test_sub_options_are_read_again(options: dict[int, bytes]) -> None:
    assert sub_options(encode_sub_options(options)) == options
    assert sub_options(encode_sub_options(options, end=False)) == options
