"""Offers wait for somebody who uses their address: on a real bridge, and by a clock that is told the time."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest
from pyroute2 import netns

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.dhcp.message import MessageType
from pxeforge.servers import address_check
from pxeforge.servers.address_check import REMEMBERED_S, WAIT_S, AddressCheck, Asker
from pxeforge.servers.dhcp import DhcpServer

from .conftest import Desk, Network, Store, running
from .test_dhcp import MAC, SERVER, SUBNET, pxe_message, replies_to

pytestmark = pytest.mark.needs_root
NARROW = replace(SUBNET, first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.51"))
CHECKING = replace(SERVER, subnets=(NARROW,), address_check_s=0.3)
FIFTY, FIFTY_ONE = IPv4Address("10.77.0.50"), IPv4Address("10.77.0.51")


def discover(address: IPv4Address = FIFTY) -> dict[str, bytes]:
    return {"REQUESTED_ADDRESS": address.packed}


def test_an_address_that_somebody_uses_is_not_offered(network: Network, desk: Desk, store: Store) -> None:
    network.host("52:54:00:00:00:66", "10.77.0.50/24")
    host = network.host(MAC)
    server = DhcpServer(CHECKING, desk, store, time.time)
    with running(server, network.server):
        [offer] = replies_to(pxe_message(MessageType.DISCOVER, **discover()), host, listen_s=1.2, awaited=1).values()
        assert offer.yiaddr == FIFTY_ONE
        assert server.counters["in use"] == 1
    assert [(lease.address, lease.state) for lease in store.leases.values()] == [(FIFTY, LeaseState.DECLINED)]


def test_a_free_address_is_offered_after_the_wait_and_at_once_when_it_is_known_to_be_free(
    network: Network, desk: Desk, store: Store
) -> None:
    host = network.host(MAC)
    with running(DhcpServer(CHECKING, desk, store, time.time), network.server):
        assert replies_to(pxe_message(MessageType.DISCOVER, **discover()), host, listen_s=0.15) == {}
        [offer] = replies_to(pxe_message(MessageType.DISCOVER, **discover()), host, listen_s=0.6, awaited=1).values()
        assert offer.yiaddr == FIFTY
        [again] = replies_to(pxe_message(MessageType.DISCOVER, xid=8, **discover()), host, 0.2, awaited=1).values()
        assert again.yiaddr == FIFTY


def test_who_uses_the_address_himself_is_offered_it(network: Network, desk: Desk, store: Store) -> None:
    host = network.host(MAC, "10.77.0.50/24")
    with running(DhcpServer(CHECKING, desk, store, time.time), network.server):
        [offer] = replies_to(pxe_message(MessageType.DISCOVER, **discover()), host, listen_s=1.0, awaited=1).values()
    assert offer.yiaddr == FIFTY


# ---- by a clock that is told the time


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


ASKER = Asker("br0", MacAddress.parse("52:54:00:00:00:01"), MacAddress.parse(MAC))
Heard = list[tuple[int, MacAddress | None]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def check(network: Network, clock: Clock) -> Iterator[AddressCheck]:
    made: list[AddressCheck] = []

    def open_inside() -> None:
        netns.setns(network.server)
        made.append(AddressCheck(clock))

    thread = threading.Thread(target=open_inside)
    thread.start()
    thread.join()
    yield made[0]
    made[0].close()


def to(heard: Heard, number: int) -> Callable[[MacAddress | None], None]:
    return lambda user: heard.append((number, user))


def test_silence_is_an_answer_after_the_wait_and_remembered_for_a_while(check: AddressCheck, clock: Clock) -> None:
    heard: Heard = []
    assert check.tick() is None
    check.check(FIFTY, ASKER, 1, to(heard, 1))
    pause_s = check.tick()
    assert pause_s is not None
    assert 0 < pause_s < WAIT_S
    clock.now += WAIT_S - 0.01
    check.tick()
    assert (heard, check.is_needed(FIFTY, clock.now)) == ([], True)
    clock.now += 0.02
    assert check.tick() is None
    assert (heard, check.is_needed(FIFTY, clock.now)) == ([(1, None)], False)
    assert check.is_needed(FIFTY, clock.now + REMEMBERED_S)


def test_each_question_of_a_host_is_answered_once_however_often_it_is_repeated(
    check: AddressCheck, clock: Clock
) -> None:
    heard: Heard = []
    for number in (1, 2, 1, 2, 1):
        check.check(FIFTY, ASKER, number, to(heard, number))
        clock.now += 0.05
    clock.now += WAIT_S
    check.tick()
    assert sorted(heard, key=str) == [(1, None), (2, None)]


def test_endless_questions_of_one_host_do_not_fill_the_memory(check: AddressCheck, clock: Clock) -> None:
    heard: Heard = []
    for number in range(1000):
        check.check(FIFTY, ASKER, number, to(heard, number))
    clock.now += WAIT_S
    check.tick()
    assert len(heard) == 8


def test_in_a_storm_further_offers_are_not_held_back(check: AddressCheck, clock: Clock) -> None:
    heard: Heard = []
    for number in range(address_check.MOST_WAITING):
        assert check.is_needed(FIFTY + number, clock.now)
        check.check(FIFTY + number, ASKER, 1, to(heard, number))
    assert not check.is_needed(FIFTY + 9999, clock.now)
    clock.now += WAIT_S
    check.tick()
    assert [number for number, _ in heard] == list(range(address_check.MOST_WAITING))
    assert check.is_needed(FIFTY + 9999, clock.now)


def test_a_router_that_speaks_for_everybody_is_no_longer_believed(
    check: AddressCheck, clock: Clock, network: Network
) -> None:
    """Local proxy ARP: were it believed, every address would be quarantined."""
    router = network.host("52:54:00:00:00:02")
    subprocess.run(["ip", "-n", network.server, "link", "set", "br0", "address", str(ASKER.mac)], check=True)
    for number in range(20):
        subprocess.run(["ip", "-n", router, "addr", "add", f"10.77.0.{100 + number}/24", "dev", "eth0"], check=True)
    heard: Heard = []
    for number in range(20):
        check.check(IPv4Address(f"10.77.0.{100 + number}"), ASKER, 1, to(heard, number))
        end = time.monotonic() + 0.3
        while time.monotonic() < end and len(heard) <= number and number < 8:
            check.readable()
            time.sleep(0.005)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        check.readable()
        time.sleep(0.005)
    assert [user for _, user in heard] == [MacAddress.parse("52:54:00:00:00:02")] * 8
    clock.now += WAIT_S
    check.tick()
    assert [user for _, user in heard[8:]] == [None] * 12
