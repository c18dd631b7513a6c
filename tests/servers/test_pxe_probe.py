"""The probe of the wire, in networks of namespaces, beside dnsmasq in three roles and our own DHCP server."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import netns

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.servers.pxe_probe import Guise, SeenAnswer, answer_in, datagram_of, probe_wire, question_of, rival_servers

from .conftest import Desk, Network, Store, running

T = TypeVar("T")
MAC = MacAddress.parse("52:54:00:00:00:07")
US = IPv4Address("10.77.0.1")
OURS = DhcpSettings(
    interfaces=("br0",),
    mode=DhcpMode.SERVER,
    files=BootFiles(ipxe_menu_url="http://{server}/"),
    subnets=(
        Subnet(network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.50")),
    ),
    force=True,
)
needs_dnsmasq = pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")


@contextmanager
def dnsmasq(namespace: str, interface: str, folder: Path, *words: str) -> Iterator[None]:
    """A dnsmasq of its own; ready when it holds port 67."""
    command = [
        "ip", "netns", "exec", namespace, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-ping",
        f"--interface={interface}", f"--dhcp-leasefile={folder}/{namespace}.leases", "--log-facility=-", *words,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        end = time.monotonic() + 10
        while "DHCP" not in (line := process.stderr.readline()) or "sockets bound" in line:
            assert line, "dnsmasq ended"
            assert time.monotonic() < end
        time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(10)


def probe(namespace: str, interface: str = "eth0", timeout_s: float = 1.2) -> list[SeenAnswer]:
    return inside(namespace, lambda: probe_wire(interface, timeout_s))


def inside(namespace: str, ask: Callable[[], list[T]]) -> list[T]:
    found: list[T] = []

    def work() -> None:
        netns.setns(namespace)
        found.extend(ask())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def seen(answers: list[SeenAnswer]) -> set[tuple[str, int, str, bool]]:
    """(server, port, guise, whether an address was offered)."""
    return {(str(a.server), a.port, a.guise.value, a.address is not None) for a in answers}


def test_every_firmware_says_what_it_is() -> None:
    for guise, arch in ((Guise.BIOS, 0), (Guise.UEFI, 7), (Guise.HTTP, 16)):
        message = DhcpMessage.parse(question_of(guise, 1, MAC).encode())
        assert message.options[Option.ARCHITECTURE] == arch.to_bytes(2, "big")
        assert f"Arch:{arch:05}".encode() in message.options[Option.VENDOR_CLASS]
        assert len(message.options[94]) == 3
        assert len(message.options[Option.CLIENT_UUID]) == 17
        assert message.options[Option.CLIENT_UUID][0] == 0
    plain = DhcpMessage.parse(question_of(Guise.PLAIN, 1, MAC).encode())
    assert not {60, 93, 94, 97} & set(plain.options)


def test_port_4011_is_asked_with_a_request_that_names_our_address() -> None:
    message = DhcpMessage.parse(question_of(Guise.UEFI, 1, MAC, ciaddr=US).encode())
    assert message.message_type is MessageType.REQUEST
    assert message.ciaddr == US


def reply(kind: MessageType = MessageType.OFFER, **fields: object) -> DhcpMessage:
    options = {Option.MESSAGE_TYPE: bytes((kind,)), **fields.pop("options", {})}  # type: ignore[dict-item]
    return DhcpMessage(op=Op.REPLY, xid=7, chaddr=MAC.octets, options=options, **fields)  # type: ignore[arg-type]


def test_an_answer_is_read_with_all_its_boot_fields() -> None:
    options = {54: US.packed, 60: b"PXEClient", 43: b"\x06\x01\x08\xff", 66: b"boot", 67: b"a.efi"}
    message = reply(siaddr=US, file=b"pxelinux.0", options=options)
    answer = answer_in(message.encode(), IPv4Address("10.9.9.9"), 67, {7: Guise.BIOS})
    assert answer == SeenAnswer(
        guise=Guise.BIOS, port=67, server=US, source=IPv4Address("10.9.9.9"), address=None, next_server=US,
        file="pxelinux.0", boot_file="a.efi", server_name="boot", vendor_class="PXEClient",
        vendor=b"\x06\x01\x08\xff", control=8,
    )  # fmt: skip
    assert answer.is_boot_service
    assert answer.boots == "a.efi"


def test_answers_to_others_and_of_other_kinds_are_no_answers() -> None:
    assert answer_in(reply().encode(), US, 67, {8: Guise.BIOS}) is None
    assert answer_in(reply(MessageType.NAK).encode(), US, 67, {7: Guise.BIOS}) is None
    assert answer_in(reply(MessageType.ACK).encode(), US, 67, {7: Guise.BIOS}) is None
    assert answer_in(reply(MessageType.ACK).encode(), US, 4011, {7: Guise.BIOS}) is not None


@given(st.binary(max_size=400))
def test_no_packet_and_no_datagram_breaks_the_probe(data: bytes) -> None:
    answer_in(data, US, 67, {0: Guise.PLAIN})
    found = datagram_of(data)
    assert found is None or len(found[0]) < len(data)


@given(st.binary(max_size=600), st.integers(0, 65535))
def test_a_datagram_comes_out_of_its_packet(payload: bytes, port: int) -> None:
    udp = struct.pack("!HHHH", port, 68, 8 + len(payload), 0) + payload
    header = bytes((0x45, 0)) + struct.pack("!HHHBBH", 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    packet = header + US.packed + b"\xff" * 4 + udp
    assert datagram_of(packet + b"padding") == (payload, US, port)
    assert datagram_of(packet[:-1]) is None


@pytest.mark.needs_root
def test_an_empty_network_gives_no_answer(network: Network) -> None:
    assert probe(network.server, "br0", 0.4) == []


@pytest.mark.needs_root
@needs_dnsmasq
def test_a_plain_dhcp_server_offers_every_guise_an_address_and_no_file(network: Network, tmp_path: Path) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    with dnsmasq(network.server, "br0", tmp_path, "--dhcp-range=10.77.0.50,10.77.0.60,1h"):
        answers = probe(host)
    assert seen(answers) == {("10.77.0.1", 67, guise.value, True) for guise in Guise}
    assert not any(answer.boots or answer.is_boot_service for answer in answers)


@pytest.mark.needs_root
@needs_dnsmasq
def test_a_dhcp_server_on_this_very_computer_is_heard_as_well(network: Network, tmp_path: Path) -> None:
    with dnsmasq(network.server, "br0", tmp_path, "--dhcp-range=10.77.0.50,10.77.0.60,1h"):
        assert seen(probe(network.server, "br0")) == {("10.77.0.1", 67, guise.value, True) for guise in Guise}


@pytest.mark.needs_root
@needs_dnsmasq
def test_a_dhcp_server_and_a_pxe_service_are_both_listed_and_told_apart(network: Network, tmp_path: Path) -> None:
    asking = network.host(str(MAC), "10.77.0.7/24")
    pxe = network.host("52:54:00:00:00:08", "10.77.0.8/24")
    proxy = (
        "--dhcp-range=10.77.0.0,proxy", "--pxe-service=x86PC,Install,pxelinux",
        "--pxe-service=X86-64_EFI,Install,boot.efi", "--enable-tftp", f"--tftp-root={tmp_path}",
    )  # fmt: skip
    with (
        dnsmasq(network.server, "br0", tmp_path, "--dhcp-range=10.77.0.50,10.77.0.60,1h"),
        dnsmasq(pxe, "eth0", tmp_path, *proxy),
    ):
        answers = probe(asking)
    assert {a.server for a in answers if a.address is not None} == {US}
    services = [a for a in answers if a.is_boot_service]
    assert {a.server for a in services} == {IPv4Address("10.77.0.8")}
    assert {(a.port, a.guise) for a in services} >= {(67, Guise.BIOS), (67, Guise.UEFI)}
    menu = next(a.menu for a in services if a.guise is Guise.BIOS and a.port == 67)
    assert [text for _, text in menu] == ["Install"]
    assert [a.boots for a in services if a.guise is Guise.BIOS and a.port == 4011] == ["pxelinux.0"]


@pytest.mark.needs_root
@needs_dnsmasq
def test_a_dhcp_server_that_names_a_boot_file_itself_is_seen_to_do_so(network: Network, tmp_path: Path) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    words = ("--dhcp-range=10.77.0.50,10.77.0.60,1h", "--dhcp-boot=undionly.kpxe,,10.77.0.99")
    with dnsmasq(network.server, "br0", tmp_path, *words):
        bios = next(answer for answer in probe(host) if answer.guise is Guise.BIOS)
    assert (bios.boots, bios.next_server) == ("undionly.kpxe", IPv4Address("10.77.0.99"))
    assert not bios.is_boot_service


@pytest.mark.needs_root
def test_our_own_server_offers_an_address_and_our_proxy_is_silent_to_hosts_that_are_not_armed(
    network: Network, desk: Desk, store: Store
) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    with running(DhcpServer(OURS, desk, store, time.time), network.server):
        answers = probe(host, timeout_s=0.8)
    assert seen(answers) == {("10.77.0.1", 67, guise.value, True) for guise in Guise}
    assert not any(answer.boots for answer in answers)
    with running(DhcpServer(replace(OURS, mode=DhcpMode.PROXY), desk, None, time.time), network.server):
        assert probe(host, timeout_s=0.8) == []


@pytest.mark.needs_root
def test_our_proxy_gives_an_armed_host_its_file_on_67_and_on_4011(network: Network, desk: Desk) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    desk.armed.add(str(MAC))
    with running(DhcpServer(replace(OURS, mode=DhcpMode.PROXY), desk, None, time.time), network.server):
        answers = probe(host, timeout_s=0.8)
    files = {(a.port, a.boots) for a in answers if a.guise is Guise.BIOS}
    assert files == {(67, "pxelinux.0"), (4011, "pxelinux.0")}
    assert all(a.is_boot_service for a in answers)


@pytest.mark.needs_root
def test_who_offers_addresses_is_a_rival_once_and_a_proxy_is_none(network: Network, desk: Desk, store: Store) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    desk.armed.add(str(MAC))
    with running(DhcpServer(OURS, desk, store, time.time), network.server):
        assert inside(host, lambda: rival_servers("eth0", 0.8)) == [US]
    with running(DhcpServer(replace(OURS, mode=DhcpMode.PROXY), desk, None, time.time), network.server):
        assert inside(host, lambda: rival_servers("eth0", 0.8)) == []


@pytest.mark.needs_root
def test_a_dhcp_client_on_port_68_is_no_obstacle(network: Network, desk: Desk, store: Store) -> None:
    host = network.host(str(MAC), "10.77.0.7/24")
    script = "import socket,time; s=socket.socket(type=2); s.bind(('',68)); print('x', flush=True); time.sleep(60)"
    holder = subprocess.Popen(["ip", "netns", "exec", host, "python3", "-c", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with running(DhcpServer(OURS, desk, store, time.time), network.server):
            assert len(probe(host, timeout_s=0.8)) == len(Guise)
    finally:
        holder.kill()
        holder.wait()
