"""Leases are stored together, in a thread of their own, and an answer comes back only when its lease is stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.servers import lease_writer
from pxeforge.servers.lease_writer import LeaseWriter

from .conftest import wait_until


def lease(number: int, expires_at: float = 0) -> Lease:
    return Lease(
        mac=MacAddress(number.to_bytes(6, "big")), client_id=b"", address=IPv4Address(f"10.0.0.{number}"),
        expires_at=expires_at, state=LeaseState.BOUND,
    )  # fmt: skip


class Disk:
    """Saves when it is let, fails when it is told to."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.may_go.set()
        self.failing = False
        self.saved: list[list[Lease]] = []

    def save(self, leases: Sequence[Lease]) -> None:
        assert self.may_go.wait(5)
        if self.failing:
            raise OSError("disk full")
        self.saved.append(list(leases))


@contextmanager
def writer_on(disk: Disk) -> Iterator[LeaseWriter[str]]:
    writer = LeaseWriter[str](disk.save)
    try:
        yield writer
    finally:
        disk.may_go.set()
        writer.close()


def collected(writer: LeaseWriter[str], count: int) -> list[tuple[list[str], Exception | None]]:
    found: list[tuple[list[str], Exception | None]] = []

    def enough() -> bool:
        found.extend(writer.collect())
        return sum(len(answers) for answers, _ in found) >= count

    wait_until(enough)
    return found


def test_an_answer_comes_back_when_its_lease_is_on_disk_and_not_before() -> None:
    disk = Disk()
    disk.may_go.clear()
    with writer_on(disk) as writer:
        writer.put("ack", (lease(1),))
        assert writer.collect() == []
        disk.may_go.set()
        assert collected(writer, 1) == [(["ack"], None)]
    assert disk.saved == [[lease(1)]]


def test_what_comes_while_the_disk_works_is_stored_together_the_last_word_on_an_address_counts() -> None:
    disk = Disk()
    disk.may_go.clear()
    with writer_on(disk) as writer:
        writer.put("first", (lease(1),))
        wait_until(lambda: not writer._waiting)
        for number in range(2, 12):
            writer.put(f"ack {number}", (lease(number),))
        writer.put("again", (lease(2, expires_at=99),))
        disk.may_go.set()
        collected(writer, 12)
    assert [len(batch) for batch in disk.saved] == [1, 10]
    assert lease(2, expires_at=99) in disk.saved[1]


def test_a_lease_that_could_not_be_stored_keeps_its_answer_back_and_goes_with_the_next() -> None:
    disk = Disk()
    disk.failing = True
    with writer_on(disk) as writer:
        writer.put("kept back", (lease(1),))
        [(answers, problem)] = collected(writer, 1)
        assert (answers, str(problem)) == (["kept back"], "disk full")
        disk.failing = False
        writer.put("ack", (lease(2),))
        assert collected(writer, 1) == [(["ack"], None)]
    assert disk.saved == [[lease(1), lease(2)]]


def test_what_waits_at_the_end_is_stored() -> None:
    disk = Disk()
    with writer_on(disk) as writer:
        writer.put("ack", (lease(1),))
    assert disk.saved == [[lease(1)]]


def test_a_store_that_stands_still_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_writer, "MOST_WAITING", 3)
    disk = Disk()
    disk.may_go.clear()
    with writer_on(disk) as writer:
        writer.put("under way", (lease(1),))
        wait_until(lambda: not writer._waiting)
        assert [writer.put("waits", (lease(2),)) for _ in range(4)] == [True, True, True, False]
