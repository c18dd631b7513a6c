"""The compiled short way of lockstep, beside the transfer it stands in for."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.protocol.tftp.packet import Ack, Data, Opcode, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Download

lockstep = pytest.importorskip("pxeforge.servers.lockstep", reason="no C compiler when pxeforge was installed")
CONTENT = random.Random(5).randbytes(300_000)


class Wire:
    """A connected pair of UDP sockets, an open file, and what the short way hands to Python."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "file"
        self.path.write_bytes(CONTENT)
        self.file = os.open(self.path, os.O_RDONLY)
        self.ours, self.client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (self.ours, self.client):
            one.bind(("127.0.0.1", 0))
        self.ours.connect(self.client.getsockname())
        self.client.connect(self.ours.getsockname())
        self.client.setblocking(False)
        self.others: list[bytes] = []

    def short_way(self, size: int = len(CONTENT), blksize: int = 1468) -> lockstep.Lockstep:
        self.others.clear()
        return lockstep.Lockstep(self.ours.fileno(), self.file, size, blksize, self.others.append)

    def ask(self, way: lockstep.Lockstep, datagram: bytes) -> bytes | None:
        """What the client hears when it says this."""
        self.client.send(datagram)
        way()
        try:
            return self.client.recv(70_000)
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self.file)
        self.ours.close()
        self.client.close()


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = Wire(tmp_path_factory.mktemp("lockstep"))
    yield wire
    wire.close()


@given(size=st.integers(0, 40_000), blksize=st.integers(8, 9000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_ack_brings_the_block_that_the_transfer_would_send(wire: Wire, size: int, blksize: int) -> None:
    way, peer = wire.short_way(size, blksize), ("192.0.2.7", 2070)
    request = Request(Opcode.READ, "file", "octet", {"blksize": str(blksize)})
    agreed = Download(request, peer, size=size, read=lambda start, length: CONTENT[:size][start : start + length])
    blocks = size // agreed.agreed.blksize + 1
    way = wire.short_way(size, agreed.agreed.blksize)
    way.is_out(1)
    [_option_ack] = agreed.start(0.0)
    [first] = agreed.received(encode(Ack(0)), peer, 0.0)
    assert parse(first.payload) == Data(1, CONTENT[:size][: agreed.agreed.blksize])
    for block in range(1, blocks):
        [expected] = agreed.received(encode(Ack(block)), peer, 0.0)
        assert wire.ask(way, encode(Ack(block))) == expected.payload
        assert way.sent == block + 1
    assert wire.ask(way, encode(Ack(blocks))) is None
    assert wire.others == [encode(Ack(blocks))]  # the end is the transfer's to tell


@given(datagrams=st.lists(st.binary(max_size=20) | st.builds(lambda block: encode(Ack(block)), st.integers(0, 65535))))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_not_the_awaited_ack_is_handed_over_as_it_came(wire: Wire, datagrams: list[bytes]) -> None:
    way, sent, handed = wire.short_way(), 7, []
    way.is_out(sent)
    for datagram in datagrams:
        heard = wire.ask(way, datagram)
        if datagram == encode(Ack(sent)):
            sent += 1
            start = (sent - 1) * 1468
            assert heard == encode(Data(sent, CONTENT[start : start + 1468]))
        else:
            assert heard is None
            handed.append(datagram)
    assert (way.sent, wire.others) == (sent, handed)


def test_block_numbers_wrap_to_zero_in_a_large_file(wire: Wire, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(8 * 65_540))
    file = os.open(large, os.O_RDONLY)
    way = lockstep.Lockstep(wire.ours.fileno(), file, 8 * 65_540, 8, wire.others.append)
    way.is_out(65_534)
    heard = [wire.ask(way, encode(Ack(block))) for block in (65_534, 65_535, 0, 1)]
    assert [parse(packet or b"").block for packet in heard] == [65_535, 0, 1, 2]  # type: ignore[union-attr]
    os.close(file)


def test_nothing_is_sent_before_a_block_is_out_or_after_the_close(wire: Wire) -> None:
    way = wire.short_way()
    assert wire.ask(way, encode(Ack(0))) is None
    assert wire.others == [encode(Ack(0))]
    way.is_out(1)
    way.close()
    assert wire.ask(way, encode(Ack(1))) is None
    assert len(wire.others) == 1


def test_a_file_that_became_shorter_is_the_transfers_trouble(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    path.write_bytes(CONTENT[:100_000])
    file = os.open(path, os.O_RDONLY)
    wire.others.clear()
    way = lockstep.Lockstep(wire.ours.fileno(), file, 100_000, 1000, wire.others.append)
    way.is_out(1)
    assert wire.ask(way, encode(Ack(1))) == encode(Data(2, CONTENT[1000:2000]))
    path.write_bytes(b"short")
    way.is_out(80)
    assert wire.ask(way, encode(Ack(80))) is None
    assert (way.sent, wire.others) == (80, [encode(Ack(80))])
    os.close(file)


def test_going_back_reads_anew(wire: Wire) -> None:
    """A block's end is where the next one's header was: what was sent once is not sent from the same bytes again."""
    way = wire.short_way()
    way.is_out(1)
    first = [wire.ask(way, encode(Ack(block))) for block in (1, 2, 3)]
    way.is_out(1)
    assert [wire.ask(way, encode(Ack(block))) for block in (1, 2, 3)] == first


def test_a_handler_that_closes_it_does_no_harm(wire: Wire) -> None:
    heard: list[bytes] = []

    def end(datagram: bytes) -> None:
        way.close()
        heard.append(datagram)

    way = lockstep.Lockstep(wire.ours.fileno(), wire.file, len(CONTENT), 1468, end)
    wire.ask(way, b"\0\5\0\0enough\0")
    assert heard == [b"\0\5\0\0enough\0"]


def test_an_error_of_the_handler_is_not_lost(wire: Wire) -> None:
    def fails(_: bytes) -> None:
        raise KeyError("no")

    way = lockstep.Lockstep(wire.ours.fileno(), wire.file, len(CONTENT), 1468, fails)
    with pytest.raises(KeyError):
        wire.ask(way, b"x")


@pytest.mark.parametrize("blksize", [0, 7, 65_536, 1 << 31])
def test_a_block_size_out_of_range_is_refused(wire: Wire, blksize: int) -> None:
    with pytest.raises(ValueError, match="8 to"):
        wire.short_way(blksize=blksize)
