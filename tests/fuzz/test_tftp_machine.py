"""A TFTP transfer over a wire that loses, doubles and reorders, with strangers and silence in between.

The client is the one of tests/protocol/tftp (RFC 1350 and 7440); the server's side goes the way that servers/tftp.py
goes: the short cut first. Whatever has happened, a wire that is good again must end it with every byte.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pxeforge.protocol.tftp.packet import Ack, Data, Error, Opcode, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Download, Limits, Outcome, Outgoing
from tests.protocol.tftp.test_transfer import PEER, STRANGER, Client, content

_RETRIES = 60
_LATENCY_S = 0.001


class Transfer(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.to_client: list[bytes] = []
        self.to_server: list[bytes] = []
        self.told_strangers = 0

    @initialize(
        size=st.one_of(st.integers(0, 9000), st.sampled_from([512, 1024, 4096, 70_000])),
        blksize=st.sampled_from([None, "512", "64", "1468"]),
        windowsize=st.sampled_from([None, "1", "2", "5", "64"]),
        tsize=st.booleans(),
    )
    def begin(self, size: int, blksize: str | None, windowsize: str | None, tsize: bool) -> None:
        options = {"blksize": blksize, "windowsize": windowsize, "tsize": "0" if tsize else None}
        wanted = {name: value for name, value in options.items() if value is not None}
        self.content = content(min(size, 9000) if blksize == "64" else size)
        self.client = Client()
        self.transfer = Download(
            Request(Opcode.READ, b"x", "octet", wanted), PEER, size=len(self.content), limits=Limits(retries=_RETRIES),
            read=lambda offset, length: self.content[offset : offset + length],
        )  # fmt: skip
        self.put(self.transfer.start(self.now))

    def put(self, outgoing: Outgoing) -> None:
        for datagram in outgoing:
            if datagram.to == PEER:
                self.to_client.append(datagram.payload)
            else:
                self.told_strangers += 1

    def serve(self, datagram: bytes) -> None:
        self.now += _LATENCY_S
        packet = self.transfer.next_packet(datagram, self.now)
        if packet is not None:
            self.to_client.append(packet)
        else:
            self.put(self.transfer.received(datagram, PEER, self.now))

    def hand_to_client(self, payload: bytes) -> None:
        self.to_server += self.client.receive(payload)

    @precondition(lambda self: self.to_client)
    @rule(at=st.integers(0, 200), keep=st.booleans())
    def a_packet_reaches_the_client(self, at: int, keep: bool) -> None:
        """In or out of order; kept: it will come again."""
        at %= min(len(self.to_client), 8)
        self.hand_to_client(self.to_client[at] if keep else self.to_client.pop(at))

    @precondition(lambda self: self.to_server)
    @rule(at=st.integers(0, 200), keep=st.booleans())
    def a_packet_reaches_the_server(self, at: int, keep: bool) -> None:
        at %= min(len(self.to_server), 8)
        self.serve(self.to_server[at] if keep else self.to_server.pop(at))

    @rule(count=st.integers(1, 70))
    def the_wire_is_good_for_a_while(self, count: int) -> None:
        for _ in range(count):
            if self.to_client:
                self.hand_to_client(self.to_client.pop(0))
            if self.to_server:
                self.serve(self.to_server.pop(0))

    @rule(to_client=st.integers(0, 9), to_server=st.integers(0, 9))
    def packets_are_lost(self, to_client: int, to_server: int) -> None:
        del self.to_client[:to_client]
        del self.to_server[:to_server]

    @precondition(lambda self: self.transfer.deadline is not None)
    @rule()
    def nothing_comes_for_a_while(self) -> None:
        assert self.transfer.deadline is not None
        self.now = max(self.now, self.transfer.deadline)
        self.put(self.transfer.expired(self.now))
        self.to_server += self.client.silence()

    @rule(junk=st.one_of(st.binary(max_size=8), st.integers(0, 65535).map(lambda block: encode(Ack(block)))))
    def a_stranger_speaks(self, junk: bytes) -> None:
        before, told = self.transfer.bytes_acked, self.told_strangers
        self.put(self.transfer.received(junk, STRANGER, self.now))
        assert self.told_strangers == told + 1
        assert self.transfer.bytes_acked == before

    @rule(junk=st.binary(max_size=3))
    def the_peer_sends_half_a_packet(self, junk: bytes) -> None:
        self.serve(junk)

    @invariant()
    def what_has_arrived_is_right(self) -> None:
        if not hasattr(self, "transfer"):
            return
        assert self.content.startswith(bytes(self.client.got))
        assert self.transfer.outcome in (None, Outcome.COMPLETE)
        if self.transfer.outcome is Outcome.COMPLETE:
            assert bytes(self.client.got) == self.content

    @invariant()
    def the_wire_is_not_flooded(self) -> None:
        if hasattr(self, "transfer"):
            assert all(isinstance(parse(each), Data) for each in self.to_client[1:] if each[1] == Opcode.DATA)
            assert self.transfer.deadline is not None or self.transfer.outcome is not None

    def teardown(self) -> None:
        if not hasattr(self, "transfer"):
            return
        for _ in range(3000):
            if self.client.done and not self.to_server:
                break
            if self.to_client or self.to_server:
                self.the_wire_is_good_for_a_while(1)
            elif self.transfer.deadline is not None:
                self.nothing_comes_for_a_while()
        assert bytes(self.client.got) == self.content


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("block", [0, 2, 65535])
def test_the_short_cut_takes_nothing_but_the_ack_of_the_block_under_way(block: int) -> None:
    data = content(5000)
    transfer = Download(
        Request(Opcode.READ, b"x"), PEER, size=5000, read=lambda offset, length: data[offset : offset + length]
    )
    transfer.start(0.0)
    assert transfer.next_packet(encode(Ack(block)), 0.0) is None
    assert transfer.next_packet(encode(Error(0)), 0.0) is None
    assert transfer.bytes_acked == 0
    assert parse(transfer.next_packet(encode(Ack(1)), 0.0) or b"") == Data(2, data[512:1024])
    assert transfer.next_packet(encode(Ack(1)), 0.0) is None  # a copy
