from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.tftp.packet import Ack, Data, Error, ErrorCode, Opcode, OptionAck, Packet, Request, encode, parse

words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
options = st.dictionaries(words.map(str.lower), words, max_size=4)
names = st.binary(min_size=1, max_size=80).map(lambda name: name.replace(b"\0", b"x"))
blocks = st.integers(0, 65535)
packets = st.one_of(
    st.builds(
        Request,
        st.sampled_from([Opcode.READ, Opcode.WRITE]),
        names,
        st.sampled_from(["octet", "netascii", "mail"]),
        options,
    ),
    st.builds(Data, blocks, st.binary(max_size=600)),
    st.builds(Ack, blocks),
    st.builds(Error, st.integers(0, 65535), st.text(max_size=40).map(lambda text: text.replace("\0", ""))),
    st.builds(OptionAck, options),
)


@given(packets)
def test_what_is_encoded_is_parsed_again(packet: Packet) -> None:
    assert parse(encode(packet)) == packet


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_a_packet_or_malformed(datagram: bytes) -> None:
    with suppress(Malformed):
        parse(datagram)


@given(st.integers(0, 6), st.binary(max_size=60))
def test_arbitrary_bodies_are_a_packet_or_malformed(opcode: int, body: bytes) -> None:
    with suppress(Malformed):
        parse(bytes((0, opcode)) + body)


def test_a_request_of_a_boot_rom_is_read() -> None:
    packet = parse(b"\0\1pxelinux.0\0OCTET\0TSize\x000\0blksize\x001456\0")
    assert packet == Request(Opcode.READ, b"pxelinux.0", "octet", {"tsize": "0", "blksize": "1456"})


def test_padding_after_a_request_is_no_option() -> None:
    assert parse(b"\0\1x\0octet\0\0\0\0") == Request(Opcode.READ, b"x")


def test_of_a_repeated_option_the_first_counts() -> None:
    packet = parse(b"\0\1x\0octet\0blksize\x0010\0BLKSIZE\x0020\0")
    assert isinstance(packet, Request)
    assert packet.options == {"blksize": "10"}


def test_an_error_without_its_nul_is_read() -> None:
    assert parse(b"\0\5\0\x08TFTP Aborted") == Error(ErrorCode.FAILED_NEGOTIATION, "TFTP Aborted")


@pytest.mark.parametrize("datagram", [b"", b"\0", b"\0\x09", b"\0\4\1", b"\0\1name", b"\0\1x\0octet", b"\0\3\0"])
def test_incomplete_packets_are_malformed(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        parse(datagram)


def test_the_error_codes_are_those_of_the_rfcs() -> None:
    assert [code.value for code in ErrorCode] == list(range(9))
