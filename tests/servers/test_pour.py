"""Files that flow to many sockets: what is compiled and what stands in for it do the same."""

from __future__ import annotations

import os
import random
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.servers import pouring

CONTENT = random.Random(7).randbytes(700_000)
MOST = 100_000


@pytest.fixture(params=["compiled", "in Python"])
def make(request: pytest.FixtureRequest) -> Any:
    if request.param == "in Python":
        return pouring.Pour
    return pytest.importorskip("pxeforge.servers.pour", reason="no C compiler when pxeforge was installed").Pour


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


class Wire:
    """Connected pairs on an epoll, ours registered for writing, and the bytes the other sides have read."""

    def __init__(self, make: Any, count: int) -> None:
        self.epoll = select.epoll()
        self.pour = make(self.epoll.fileno(), MOST)
        self.pairs = [socket.socketpair() for _ in range(count)]
        self.read = [bytearray() for _ in range(count)]
        for ours, theirs in self.pairs:
            ours.setblocking(False)
            theirs.setblocking(False)
            self.epoll.register(ours.fileno(), select.EPOLLOUT)

    def number(self, index: int) -> int:
        return self.pairs[index][0].fileno()

    def drain(self) -> None:
        for (_, theirs), read in zip(self.pairs, self.read, strict=True):
            try:
                while piece := theirs.recv(1 << 16):
                    read += piece
            except (BlockingIOError, ConnectionResetError):
                pass

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()
        self.epoll.close()


def flow(wire: Wire, ends: set[int]) -> None:
    """Until all these have ended; each is told of once."""
    while ends:
        for number, events in wire.pour.run(0.01):
            assert events == select.EPOLLOUT
            assert wire.pour.take(number)[1] == 0
            wire.epoll.unregister(number)
            ends.remove(number)
        wire.drain()


# The function-scoped file stays the same for all examples.
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.integers(0, 699_999), st.integers(1, 700_000)), min_size=1, max_size=5))
def test_every_socket_gets_its_part_whole(make: Any, file: int, parts: list[tuple[int, int]]) -> None:
    wanted = [CONTENT[offset : offset + length] for offset, length in parts]
    with closing(Wire(make, len(parts))) as wire:
        for index, (offset, _) in enumerate(parts):
            wire.pour.add(wire.number(index), file, offset, len(wanted[index]))
        flow(wire, {wire.number(index) for index in range(len(parts))})
        wire.drain()
        assert wire.read == wanted


def test_what_else_happens_is_returned_and_files_flow_on(make: Any, file: int) -> None:
    with closing(Wire(make, 2)) as wire:
        wire.pour.add(wire.number(0), file, 0, len(CONTENT))
        wire.epoll.modify(wire.number(1), select.EPOLLIN)
        wire.pairs[1][1].send(b"a request")
        assert wire.pour.run(5.0) == [(wire.number(1), select.EPOLLIN)]
        assert wire.pairs[1][0].recv(100) == b"a request"
        flow(wire, {wire.number(0)})
        wire.drain()
        assert wire.read[0] == CONTENT


def test_a_full_socket_is_waited_for_and_what_is_left_is_known(make: Any, file: int) -> None:
    with closing(Wire(make, 1)) as wire:
        wire.pour.add(wire.number(0), file, 0, len(CONTENT))
        assert wire.pour.run(0.05) == []
        offset, length = wire.pour.left(wire.number(0))
        assert 0 < offset < len(CONTENT)
        assert offset + length == len(CONTENT)
        wire.drain()
        assert wire.read[0] == CONTENT[:offset]
        assert wire.pour.take(wire.number(0)) == (offset, length)
        with pytest.raises(KeyError):
            wire.pour.left(wire.number(0))
        assert wire.pour.run(5.0) == [(wire.number(0), select.EPOLLOUT)]  # ours no more


def test_trouble_is_handed_over_with_nothing_lost(make: Any, file: int) -> None:
    with closing(Wire(make, 1)) as wire:
        wire.pour.add(wire.number(0), file, len(CONTENT) - 10, 20)  # the file has become shorter
        assert wire.pour.run(5.0) == [(wire.number(0), select.EPOLLOUT)]
        assert wire.pour.run(5.0) == [(wire.number(0), select.EPOLLOUT)]
        assert wire.pour.left(wire.number(0)) == (len(CONTENT), 10)
        wire.pairs[0][1].close()
        assert wire.pour.run(5.0)[0][1] & select.EPOLLHUP


def test_no_time_is_no_sending(make: Any, file: int) -> None:
    with closing(Wire(make, 1)) as wire:
        wire.pour.add(wire.number(0), file, 0, 10)
        assert wire.pour.run(0.0) == []
        assert wire.pour.left(wire.number(0)) == (0, 10)


@pytest.mark.parametrize("words", [(-1, 1, 0, 1), (1, -1, 0, 1), (1, 1, -1, 1), (1, 1, 0, 0)])
def test_nonsense_is_refused(make: Any, words: tuple[int, ...]) -> None:
    with closing(Wire(make, 0)) as wire, pytest.raises(ValueError, match="no such part of a file, or no such socket"):
        wire.pour.add(*words)
    with pytest.raises(ValueError, match="must be above 0"):
        make(0, 0)


def test_an_unknown_socket_is_a_key_error(make: Any) -> None:
    with closing(Wire(make, 0)) as wire:
        for number in (-1, 5, 100_000):
            with pytest.raises(KeyError):
                wire.pour.take(number)
