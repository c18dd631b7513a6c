"""ARP packets as Linux sends them, and any bytes."""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.arp import probe, speaker

# arping of iputils: 10.77.0.50 answers 10.77.0.1.
REPLY = bytes.fromhex("0001080006040002525400123456 0a4d0032 525400000001 0a4d0001".replace(" ", ""))


def test_a_reply_tells_who_has_the_address() -> None:
    assert speaker(REPLY) == (IPv4Address("10.77.0.50"), MacAddress.parse("52:54:00:12:34:56"))
    assert speaker(REPLY + bytes(18)) == speaker(REPLY)  # Ethernet pads


def test_a_probe_names_no_sender_address() -> None:
    packet = probe(MacAddress.parse("52:54:00:12:34:56"), IPv4Address("10.77.0.50"))
    assert packet == bytes.fromhex("0001080006040001 525400123456 00000000 000000000000 0a4d0032".replace(" ", ""))
    assert speaker(packet) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_a_speaker_or_nothing(packet: bytes) -> None:
    found = speaker(packet)
    assert found is None or len(packet) >= 28
