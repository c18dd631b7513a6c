from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pxeforge.protocol.tftp.packet import Ack, Data, Error, ErrorCode, Opcode, OptionAck, Request, encode, parse
from pxeforge.protocol.tftp.transfer import Datagram, Download, Limits, Outcome, Window, negotiate

PEER = ("10.77.0.50", 2070)
STRANGER = ("10.77.0.66", 666)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def download(size: int, options: dict[str, str] | None = None, **limits: float) -> Download:
    data = content(size)
    return Download(
        Request(Opcode.READ, b"x", "octet", options or {}),
        PEER,
        size=size,
        read=lambda offset, length: data[offset : offset + length],
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def blocks(datagrams: list[Datagram]) -> list[int]:
    return [packet.block for packet in (parse(each.payload) for each in datagrams) if isinstance(packet, Data)]


def ack(transfer: Download, block: int, now: float = 0.0) -> list[Datagram]:
    return transfer.received(encode(Ack(block)), PEER, now)


@dataclass
class Client:
    """A receiver as RFC 1350 and 7440 describe it: in order only, ACK at a window's end, at a gap and at the end."""

    windowsize: int = 1
    blksize: int = 512
    got: bytearray = field(default_factory=bytearray)
    expected: int = 1  # without wrapping
    since_ack: int = 0
    done: bool = False

    def receive(self, payload: bytes) -> list[bytes]:
        packet = parse(payload)
        if isinstance(packet, OptionAck):
            self.blksize = int(packet.options.get("blksize", "512"))
            self.windowsize = int(packet.options.get("windowsize", "1"))
            return [encode(Ack(0))] if self.expected == 1 else []
        assert isinstance(packet, Data), packet
        ahead = (packet.block - self.expected) % 65536
        if 0 < ahead < 32768:  # a gap
            self.since_ack = 0
            return [encode(Ack((self.expected - 1) % 65536))]
        if ahead:  # had it: say so again where our ACK may have been lost
            is_latest = ahead == 65535 and self.since_ack == 0
            return [encode(Ack(packet.block))] if is_latest else []
        self.got += packet.payload
        self.expected += 1
        self.since_ack += 1
        self.done = len(packet.payload) < self.blksize
        if self.done or self.since_ack >= self.windowsize:
            self.since_ack = 0
            return [encode(Ack(packet.block))]
        return []

    def silence(self) -> list[bytes]:
        """Nothing came for a while: real clients repeat their last ACK (RFC 7440 section 4)."""
        self.since_ack = 0
        return [encode(Ack((self.expected - 1) % 65536))] if self.expected > 1 else []


def simulate(transfer: Download, client: Client, *, seed: int, loss: float, dup: float, jitter_s: float) -> int:
    """Carries datagrams over a bad wire until the end; returns how many the server sent."""
    chance, now, sent = random.Random(seed), 0.0, 0
    wire: list[tuple[float, int, bool, bytes]] = []  # arrival, order, to the client, bytes

    def put(to_client: bool, payload: bytes) -> None:
        for _ in range(1 + (chance.random() < dup)):
            if chance.random() >= loss:
                wire.append((now + 0.001 + chance.random() * jitter_s, len(wire), to_client, payload))

    outgoing = transfer.start(now)
    for _ in range(200_000):
        sent += len(outgoing)
        for each in outgoing:
            put(True, each.payload)
        if transfer.outcome is not None:
            break
        wire.sort(key=lambda item: item[0])
        assert transfer.deadline is not None
        if wire and wire[0][0] <= transfer.deadline:
            now, _, to_client, payload = wire.pop(0)
            if to_client:
                outgoing = []
                for answer in client.receive(payload):
                    put(False, answer)
            else:
                outgoing = transfer.received(payload, PEER, now)
        else:
            now = transfer.deadline
            outgoing = transfer.expired(now)
            for answer in client.silence():
                put(False, answer)
    return sent


@settings(max_examples=150, deadline=None)
@given(
    size=st.one_of(st.integers(0, 40_000), st.sampled_from([511, 512, 513, 1024, 8 * 512])),
    blksize=st.sampled_from(["8", "512", "1468", "65464"]),
    windowsize=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.05, 0.2]),
    dup=st.sampled_from([0.0, 0.3]),
    jitter_s=st.sampled_from([0.0, 0.01]),
)
@example(size=2450, blksize="8", windowsize=3, seed=1, loss=0.05, dup=0.3, jitter_s=0.01)
def test_every_byte_arrives_over_a_bad_wire(
    size: int, blksize: str, windowsize: int, seed: int, loss: float, dup: float, jitter_s: float
) -> None:
    if blksize == "8":
        size = min(size, 2450)
    transfer = download(size, {"blksize": blksize, "windowsize": str(windowsize)}, retries=40)
    client = Client()
    simulate(transfer, client, seed=seed, loss=loss, dup=dup, jitter_s=jitter_s)
    assert bytes(client.got) == content(size)
    # The client may be gone when the last ACK is lost: the server then gives up, having sent everything.
    assert transfer.outcome is Outcome.COMPLETE or loss > 0


@pytest.mark.parametrize("windowsize", [1, 8])
def test_doubled_packets_do_not_breed(windowsize: int) -> None:
    size = 200 * 512
    plain = simulate(download(size, {"windowsize": str(windowsize)}), Client(), seed=1, loss=0, dup=0, jitter_s=0)
    doubled = simulate(download(size, {"windowsize": str(windowsize)}), Client(), seed=1, loss=0, dup=1.0, jitter_s=0)
    assert plain == 202
    assert doubled <= plain * 1.1


def test_block_numbers_wrap_to_zero() -> None:
    size = 8 * 70_000 + 3
    transfer, client = download(size, {"blksize": "8", "windowsize": "64"}), Client()
    simulate(transfer, client, seed=0, loss=0, dup=0, jitter_s=0)
    assert bytes(client.got) == content(size)
    assert (transfer.outcome, client.expected) == (Outcome.COMPLETE, 70_002)


def test_without_options_the_first_block_answers_the_request() -> None:
    transfer = download(700)
    assert blocks(transfer.start(0)) == [1]
    assert blocks(ack(transfer, 1)) == [2]
    assert ack(transfer, 2) == []
    assert (transfer.outcome, transfer.problem, transfer.deadline) == (Outcome.COMPLETE, None, None)


def test_an_exact_multiple_ends_with_an_empty_block() -> None:
    transfer = download(512)
    transfer.start(0)
    (last,) = ack(transfer, 1)
    assert parse(last.payload) == Data(2, b"")


def test_a_repeated_ack_sends_nothing() -> None:
    transfer = download(5000)
    transfer.start(0)
    ack(transfer, 1)
    assert ack(transfer, 1) == []
    assert ack(transfer, 0) == []


def test_an_ack_of_what_was_never_sent_is_ignored() -> None:
    transfer = download(5000)
    transfer.start(0)
    assert ack(transfer, 9) == []
    assert transfer.outcome is None


def test_a_gap_makes_the_window_start_again_after_the_last_block_that_arrived() -> None:
    transfer = download(20 * 512, {"windowsize": "4"})
    transfer.start(0)
    assert blocks(ack(transfer, 0)) == [1, 2, 3, 4]
    assert blocks(ack(transfer, 2)) == [3, 4, 5, 6]
    assert blocks(ack(transfer, 6)) == [7, 8, 9, 10]


def test_a_stranger_is_turned_away_and_changes_nothing() -> None:
    transfer = download(5000)
    transfer.start(0)
    (answer,) = transfer.received(encode(Ack(1)), STRANGER, 0)
    packet = parse(answer.payload)
    assert answer.to == STRANGER
    assert isinstance(packet, Error)
    assert packet.code == ErrorCode.UNKNOWN_TRANSFER
    assert blocks(ack(transfer, 1)) == [2]


def test_junk_from_the_peer_is_dropped() -> None:
    transfer = download(5000)
    transfer.start(0)
    assert transfer.received(b"\xff\xff", PEER, 0) == []
    assert transfer.outcome is None


def test_a_write_into_the_transfer_ends_it_with_an_error() -> None:
    transfer = download(5000)
    transfer.start(0)
    (answer,) = transfer.received(encode(Data(1, b"x")), PEER, 0)
    packet = parse(answer.payload)
    assert isinstance(packet, Error)
    assert packet.code == ErrorCode.ILLEGAL_OPERATION
    assert transfer.outcome is Outcome.ABORTED


@pytest.mark.parametrize("code", [0, 8])
def test_asking_for_the_size_and_stopping_is_no_problem(code: int) -> None:
    transfer = download(5000, {"tsize": "0"})
    (first,) = transfer.start(0)
    assert parse(first.payload) == OptionAck({"tsize": "5000"})
    transfer.received(encode(Error(code, "TFTP Aborted")), PEER, 0)
    assert (transfer.outcome, transfer.problem) == (Outcome.PROBED, None)


def test_an_abort_in_the_middle_is_a_problem() -> None:
    transfer = download(5000, {"tsize": "0"})
    transfer.start(0)
    ack(transfer, 0)
    ack(transfer, 1)
    transfer.received(encode(Error(3, "disk full")), PEER, 0)
    assert transfer.outcome is Outcome.ABORTED
    assert transfer.problem == "the client aborted: 'disk full' (error 3)"


def test_silence_is_answered_by_repeating_with_growing_pauses_and_then_by_giving_up() -> None:
    transfer = download(5000, first_wait_s=1.0, retries=4)
    transfer.start(0)
    moments = []
    while transfer.deadline is not None:
        moments.append(transfer.deadline)
        again = transfer.expired(transfer.deadline)
        assert blocks(again) in ([1], [])
    assert moments == [1, 3, 7, 15, 23]
    assert transfer.outcome is Outcome.TIMED_OUT
    assert transfer.problem == "the client stopped answering at block 1 of 10"


def test_a_transfer_is_lively_from_each_answer_until_it_is_waited_for_in_vain() -> None:
    transfer = download(5000, first_wait_s=1.0)
    transfer.start(0)
    ack(transfer, 1)
    assert transfer.is_lively(0.9)
    assert not transfer.is_lively(1.0)
    transfer.expired(1.0)
    assert not transfer.is_lively(1.1)


def test_nothing_is_repeated_before_its_time() -> None:
    transfer = download(5000)
    transfer.start(0)
    assert transfer.expired(0.5) == []


def test_a_file_that_became_shorter_is_not_passed_off_as_complete() -> None:
    transfer = Download(Request(Opcode.READ, b"x"), PEER, size=1000, read=lambda offset, length: b"", limits=Limits())
    (answer,) = transfer.start(0)
    assert isinstance(parse(answer.payload), Error)
    assert transfer.outcome is Outcome.FAILED


def test_an_unreadable_file_ends_in_an_error() -> None:
    def read(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    transfer = Download(Request(Opcode.READ, b"x"), PEER, size=1000, read=read)
    (answer,) = transfer.start(0)
    assert parse(answer.payload) == Error(0, "the file could not be read: Input/output error")


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        ({"blksize": "1024"}, {"blksize": "1024"}),
        ({"blksize": "65464"}, {"blksize": "1468"}),
        ({"blksize": "7"}, {}),
        ({"blksize": "65465"}, {}),
        ({"blksize": "x"}, {}),
        ({"blksize": "9" * 5000}, {}),
        ({"windowsize": "4"}, {"windowsize": "4"}),
        ({"windowsize": "65535"}, {"windowsize": "64"}),
        ({"windowsize": "0"}, {}),
        ({"timeout": "3"}, {"timeout": "3"}),
        ({"timeout": "0"}, {}),
        ({"timeout": "256"}, {}),
        ({"tsize": "0"}, {"tsize": "777"}),
        ({"multicast": ""}, {}),
    ],
)
def test_options_are_agreed_to_within_limits(asked: dict[str, str], accepted: dict[str, str]) -> None:
    assert negotiate(asked, 777, Limits()).accepted == accepted


def test_the_clients_timeout_is_used() -> None:
    transfer = download(5000, {"timeout": "3"})
    transfer.start(10)
    assert transfer.deadline == 13


def windowed(**options: str) -> Download:
    """A transfer in windows of 4 blocks whose client answers within 10 ms, at its first window."""
    transfer = download(40 * 512, {"windowsize": "4", **options})
    transfer.start(0.0)
    assert blocks(ack(transfer, 0, 0.01)) == [1, 2, 3, 4]
    return transfer


def test_a_lost_first_block_is_told_by_a_repeated_ack_and_the_window_sent_again_once() -> None:
    transfer = windowed()
    assert blocks(ack(transfer, 4, 0.02)) == [5, 6, 7, 8]
    assert ack(transfer, 4, 0.021) == []  # a copy of the ACK before: it comes too early to know of the window
    assert blocks(ack(transfer, 4, 0.03)) == [5, 6, 7, 8]
    assert ack(transfer, 4, 0.04) == []
    assert blocks(ack(transfer, 8, 0.05)) == [9, 10, 11, 12]


def test_a_lost_last_block_is_sent_again_before_the_ordinary_wait_is_over_but_patience_stays() -> None:
    transfer = windowed()
    assert transfer.deadline == pytest.approx(0.21)
    moments = []
    while transfer.deadline is not None:
        moments.append(round(transfer.deadline, 2))
        transfer.expired(transfer.deadline)
    assert moments == [0.21, 1.21, 3.21, 7.21, 15.21, 23.21, 31.21]
    assert transfer.outcome is Outcome.TIMED_OUT


def test_a_slow_client_is_given_its_time() -> None:
    transfer = download(40 * 512, {"windowsize": "4"})
    transfer.start(0.0)
    ack(transfer, 0, 0.15)
    assert transfer.deadline == pytest.approx(0.15 + 4 * 0.15)


def test_the_clients_own_timeout_is_not_undercut() -> None:
    assert windowed(timeout="2").deadline == pytest.approx(2.01)


def test_a_window_is_read_at_once_and_joined_for_one_send() -> None:
    data, reads = content(5 * 512 + 7), []

    def read(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return data[offset : offset + length]

    transfer = Download(Request(Opcode.READ, b"x", "octet", {"windowsize": "8"}), PEER, size=len(data), read=read)
    transfer.start(0)
    window = ack(transfer, 0)
    assert isinstance(window, Window)
    assert reads == [(0, len(data))]
    assert (len(window), window.block_bytes, window.to) == (6, 516, PEER)
    assert window.joined == b"".join(each.payload for each in window)
    assert [parse(each.payload) for each in window][-1] == Data(6, data[-7:])


def test_a_window_that_passes_the_wrap_counts_on_from_zero() -> None:
    transfer, client = download(8 * 65_540, {"blksize": "8", "windowsize": "64"}), Client()
    assert transfer.window_block_bytes == 12
    simulate(transfer, client, seed=0, loss=0, dup=0, jitter_s=0)
    assert bytes(client.got) == content(8 * 65_540)
