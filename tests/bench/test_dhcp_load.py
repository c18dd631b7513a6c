"""The DHCP load must see what a server does wrong: a fake one that is honest or lies in one way."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from bench.compiled import compiled
from bench.fleet import mac_of
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option

pytestmark = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")
Lie = Callable[[DhcpMessage], DhcpMessage | None]
SERVER = IPv4Address("127.0.0.1")


def honest(reply: DhcpMessage) -> DhcpMessage:
    return reply


def one_address_for_all(reply: DhcpMessage) -> DhcpMessage:
    return replace(reply, yiaddr=IPv4Address("10.0.0.1"))


def another_address_in_the_ack(reply: DhcpMessage) -> DhcpMessage:
    return replace(reply, yiaddr=reply.yiaddr + 1) if reply.message_type is MessageType.ACK else reply


def another_mac(reply: DhcpMessage) -> DhcpMessage:
    return replace(reply, chaddr=bytes(6))


def no_ack(reply: DhcpMessage) -> DhcpMessage | None:
    return None if reply.message_type is MessageType.ACK else reply


class Server:
    """Answers relays on the loopback; every MAC has an address of its own."""

    def __init__(self, lie: Lie, *, is_proxy: bool = False) -> None:
        self._lie, self._is_proxy = lie, is_proxy
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((str(SERVER), 0))
        self.port = int(self._udp.getsockname()[1])
        self.macs: set[str] = set()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._udp.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._udp.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(2000)
            if not data:
                return
            reply = self._lie(self._answer(DhcpMessage.parse(data)))
            if reply is not None:
                self._udp.sendto(reply.encode(), peer)

    def _answer(self, asked: DhcpMessage) -> DhcpMessage:
        self.macs.add(str(asked.mac))
        kind = MessageType.OFFER if asked.message_type is MessageType.DISCOVER else MessageType.ACK
        options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes((kind,)), Option.SERVER_ID: SERVER.packed}
        if self._is_proxy:
            options[Option.VENDOR_CLASS] = b"PXEClient"
        else:
            assert kind is MessageType.OFFER or asked.address(Option.SERVER_ID) == SERVER
        own = IPv4Address(0) if self._is_proxy else IPv4Address("10.1.0.0") + int.from_bytes(asked.chaddr[3:6], "big")
        return DhcpMessage(
            op=Op.REPLY, htype=1, xid=asked.xid, flags=0, ciaddr=IPv4Address(0), yiaddr=own, siaddr=IPv4Address(0),
            giaddr=asked.giaddr, chaddr=asked.chaddr, sname=b"", file=b"pxelinux.0" if self._is_proxy else b"",
            options=options,
        )  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("dhcp_load", tmp_path_factory.mktemp("programs"))


def load(program: Path, server: Server, words: str) -> tuple[int, dict[str, Any], str]:
    command = [str(program), "-a", "127.0.0.1", "-g", "127.0.0.1", "-P", str(server.port), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_every_client_has_its_exchange_once(program: Path) -> None:
    with Server(honest) as server:
        code, found, _ = load(program, server, "-f 100 -n 300 -w 16 -1")
    assert (code, found["exchanges"], found["wrong"], found["dropped"]) == (0, 300, 0, 0)
    assert server.macs == {mac_of(number) for number in range(100, 400)}


def test_an_open_loop_begins_exchanges_at_its_rate(program: Path) -> None:
    with Server(honest) as server:
        code, found, _ = load(program, server, "-n 50 -r 200 -t 0.5")
    assert code == 0
    assert found["exchanges"] + found["dropped"] == pytest.approx(100, abs=2)


def test_a_proxys_offers_are_counted_without_an_exchange(program: Path) -> None:
    with Server(honest, is_proxy=True) as server:
        code, found, _ = load(program, server, "-n 100 -1 -p")
    assert (code, found["exchanges"]) == (0, 100)


@pytest.mark.parametrize(
    ("lie", "words", "complaint"),
    [
        (one_address_for_all, "", "was given another client's address"),
        (another_address_in_the_ack, "", "the ACK's address is not the offered one"),
        (another_mac, "", "the answer has another MAC"),
        (honest, "-p", "a proxy gave an address"),
    ],
)
def test_a_wrong_answer_fails_the_measurement(program: Path, lie: Lie, words: str, complaint: str) -> None:
    with Server(lie) as server:
        code, found, said = load(program, server, f"-n 10 -1 {words}")
    assert code == 1
    assert found["wrong"] > 0
    assert complaint in said


def test_an_exchange_without_its_end_is_dropped(program: Path) -> None:
    with Server(no_ack) as server:
        code, found, _ = load(program, server, "-n 5 -1")
    assert (code, found["exchanges"], found["dropped"]) == (1, 0, 5)
