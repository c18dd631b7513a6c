"""Floods are held back, the rest is not."""

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol import flood
from pxeforge.protocol.flood import BURST, RATE_PER_S, FloodGate, sender_of

from .dhcp.packets import IPXE_DISCOVER, MAC

OTHER = b"\x52\x54\0\0\0\1"


def test_a_flood_is_cut_to_its_rate_and_others_are_not_hurt() -> None:
    gate = FloodGate()
    passed = sum(gate.admits(MAC, 1000 + number / 1000) for number in range(10_000))
    assert passed == BURST + 10 * RATE_PER_S or abs(passed - BURST - 10 * RATE_PER_S) <= 1
    assert all(gate.admits(OTHER, 1010 + number) for number in range(100))


def test_who_calms_down_is_heard_again() -> None:
    gate = FloodGate()
    while gate.admits(MAC, 5):
        pass
    assert not gate.admits(MAC, 5.05)
    assert gate.admits(MAC, 6)


def test_a_flood_is_told_once_a_minute() -> None:
    gate = FloodGate()
    gate.admits(MAC, 1000)
    assert [gate.is_news(MAC, now) for now in (1000, 1001, 1059, 1061)] == [True, False, False, True]
    assert not gate.is_news(OTHER, 1000)


def test_invented_senders_do_not_fill_the_memory() -> None:
    gate = FloodGate()
    for number in range(flood._MOST + 500):
        assert gate.admits(number.to_bytes(6, "big"), 1.0)
    assert len(gate._buckets) == flood._MOST


@given(st.lists(st.floats(0, 1e10), max_size=100))
def test_no_clock_gives_more_than_the_burst_at_once(times: list[float]) -> None:
    gate = FloodGate()
    for now in times:
        gate.admits(MAC, now)
    now = max(times, default=0) + 1e6
    assert sum(gate.admits(MAC, now) for _ in range(1000)) == BURST


@given(st.binary(max_size=300))
def test_the_sender_of_any_bytes_is_at_most_16_bytes(datagram: bytes) -> None:
    assert len(sender_of(datagram)) <= 16


def test_the_sender_is_the_hardware_address() -> None:
    assert sender_of(IPXE_DISCOVER) == MAC
