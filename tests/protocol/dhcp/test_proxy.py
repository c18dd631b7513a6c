from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.dialect import Dialect
from pxeforge.protocol.dhcp.exchange import Answer, Ignored, Reply
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Op, Option, sub_options

from .packets import (
    IPXE_DISCOVER,
    OTHERS,
    OURS,
    OVMF_DISCOVER,
    OVMF_HTTP_DISCOVER,
    PXE_ROM_DISCOVER,
    arrival,
    message,
)

INSTALL = BootDecision(boot=Boot.INSTALL, reason="host is armed")
URL = "http://{server}:8080/boot/{mac}/boot.efi"
FILES = BootFiles(
    ipxe_menu_url="http://{server}/boot/{mac}/menu.ipxe",
    grub_files={Firmware.UEFI_X64: "boot.efi", Firmware.HTTP_X64: URL},
)
PEER = ("10.77.0.50", 4011)


def respond(
    found: DhcpMessage, port: int = 67, decision: BootDecision = INSTALL, dialect: Dialect | None = None
) -> Answer | Ignored:
    request = classify(found)
    assert isinstance(request, BootRequest)
    peer = PEER if port == 4011 else ("0.0.0.0", 68)
    return proxy.answer(found, arrival(port, peer=peer), request, decision, FILES, dialect)


def only_reply(found: DhcpMessage, port: int = 67, dialect: Dialect | None = None) -> Reply:
    answer = respond(found, port, dialect=dialect)
    assert isinstance(answer, Answer), answer
    (reply,) = answer.replies
    return reply


def as_kind(packet: bytes, kind: MessageType, **options: bytes) -> DhcpMessage:
    found = DhcpMessage.parse(packet)
    named = {Option[name]: value for name, value in options.items()}
    return replace(found, options={**found.options, Option.MESSAGE_TYPE: bytes((kind,)), **named})


def test_a_bios_rom_may_boot_straight_from_the_offer() -> None:
    asked = DhcpMessage.parse(PXE_ROM_DISCOVER)
    reply = only_reply(asked)
    sent = reply.message
    assert (sent.op, sent.message_type, sent.yiaddr, sent.siaddr) == (Op.REPLY, MessageType.OFFER, ANY, OURS)
    assert (sent.xid, sent.flags, sent.chaddr) == (asked.xid, asked.flags, asked.chaddr)
    assert sent.file == sent.options[Option.BOOT_FILE] == b"pxelinux.0"
    assert sent.options[Option.VENDOR_CLASS] == b"PXEClient"
    assert sub_options(sent.options[Option.VENDOR]) == {6: b"\x08"}
    assert sent.options[Option.CLIENT_UUID] == asked.options[Option.CLIENT_UUID]
    assert (reply.destination, reply.source_port) == (("255.255.255.255", 68), 67)


def test_ipxe_gets_its_menu() -> None:
    sent = only_reply(DhcpMessage.parse(IPXE_DISCOVER)).message
    assert sent.options[Option.BOOT_FILE] == sent.file == b"http://10.77.0.1/boot/52:54:00:12:34:56/menu.ipxe"
    assert sent.siaddr == OURS  # iPXE uses a proxy's offer only with both
    assert sub_options(sent.options[Option.IPXE]) == {1: b"\x01"}


def test_uefi_is_sent_to_port_4011_without_option_43() -> None:
    sent = only_reply(DhcpMessage.parse(OVMF_DISCOVER)).message
    assert (sent.message_type, sent.siaddr, sent.file) == (MessageType.OFFER, OURS, b"")
    assert sent.options[Option.VENDOR_CLASS] == b"PXEClient"
    assert Option.VENDOR not in sent.options
    assert Option.BOOT_FILE not in sent.options


def test_uefi_that_fails_on_port_4011_gets_its_file_in_the_offer() -> None:
    sent = only_reply(DhcpMessage.parse(OVMF_DISCOVER), dialect=Dialect.DIRECT).message
    assert (sent.file, sent.siaddr) == (b"boot.efi", OURS)
    assert sub_options(sent.options[Option.VENDOR]) == {6: b"\x08"}


def test_a_bios_rom_that_loses_offers_with_a_file_is_sent_to_port_4011() -> None:
    sent = only_reply(DhcpMessage.parse(PXE_ROM_DISCOVER), dialect=Dialect.BINL).message
    assert (sent.file, sent.siaddr, Option.VENDOR in sent.options) == (b"", OURS, False)


@pytest.mark.parametrize("dialect", [None, *Dialect])
def test_http_boot_gets_its_url_at_once_and_no_word_of_pxe(dialect: Dialect | None) -> None:
    sent = only_reply(DhcpMessage.parse(OVMF_HTTP_DISCOVER), dialect=dialect).message
    assert sent.options[Option.VENDOR_CLASS] == b"HTTPClient"
    # An address, not a name: a name would need a DNS server in the site's offer.
    assert sent.options[Option.BOOT_FILE] == sent.file == b"http://10.77.0.1:8080/boot/52:54:00:12:34:56/boot.efi"
    assert Option.VENDOR not in sent.options
    assert sent.encode()[-1] in (0, 255)


@pytest.mark.parametrize("kind", [MessageType.REQUEST, MessageType.INFORM])
def test_port_4011_is_answered_from_4011_to_the_sender(kind: MessageType) -> None:
    reply = only_reply(as_kind(OVMF_DISCOVER, kind), port=4011)
    assert (reply.destination, reply.source_port) == (PEER, 4011)
    assert (reply.message.message_type, reply.message.file) == (MessageType.ACK, b"boot.efi")


def test_the_boot_item_is_repeated() -> None:
    sent = only_reply(as_kind(PXE_ROM_DISCOVER, MessageType.REQUEST, VENDOR=b"\x47\x04\x80\0\0\0\xff"), 4011).message
    assert sub_options(sent.options[Option.VENDOR]) == {71: b"\x80\0\0\0"}


def test_a_request_to_the_sites_dhcp_server_is_left_alone() -> None:
    assert isinstance(respond(as_kind(IPXE_DISCOVER, MessageType.REQUEST, SERVER_ID=OTHERS.packed)), Ignored)
    assert isinstance(respond(as_kind(IPXE_DISCOVER, MessageType.REQUEST)), Ignored)


def test_a_request_that_names_us_is_answered() -> None:
    sent = only_reply(as_kind(IPXE_DISCOVER, MessageType.REQUEST, SERVER_ID=OURS.packed)).message
    assert (sent.message_type, sent.yiaddr) == (MessageType.ACK, ANY)


@pytest.mark.parametrize("packet", [IPXE_DISCOVER, PXE_ROM_DISCOVER, OVMF_DISCOVER])
def test_a_host_that_is_not_armed_hears_nothing_and_the_reason_is_kept(packet: bytes) -> None:
    decision = BootDecision(boot=Boot.LOCAL, reason="host is known, not armed")
    assert respond(DhcpMessage.parse(packet), decision=decision) == Ignored("host is known, not armed")
    assert isinstance(respond(as_kind(packet, MessageType.REQUEST), 4011, decision), Ignored)


def test_a_firmware_without_a_loader_hears_nothing() -> None:
    found = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient", ARCHITECTURE=b"\0\x0b")
    assert respond(found) == Ignored("no boot loader for uefi-arm64 firmware")


def test_a_relay_is_told_to_broadcast_an_offer_that_has_no_address() -> None:
    asked = replace(DhcpMessage.parse(IPXE_DISCOVER), flags=0)
    assert only_reply(asked).message.flags == 0
    relayed = only_reply(replace(asked, giaddr=IPv4Address("10.78.0.1")))
    assert relayed.message.flags == 0x8000
    assert relayed.message.yiaddr == ANY


def test_a_relayed_discover_is_answered_to_the_relay_with_its_option_last() -> None:
    found = message(
        MessageType.DISCOVER,
        giaddr="10.88.0.1",
        VENDOR_CLASS=b"PXEClient",
        ARCHITECTURE=b"\0\0",
        RELAY_AGENT=b"\1\4eth1",
    )
    reply = only_reply(found)
    assert reply.destination == ("10.88.0.1", 67)
    assert reply.message.giaddr == IPv4Address("10.88.0.1")
    assert list(reply.message.options)[-1] == Option.RELAY_AGENT


@given(
    st.sampled_from([IPXE_DISCOVER, PXE_ROM_DISCOVER, OVMF_DISCOVER, OVMF_HTTP_DISCOVER]),
    st.sampled_from(MessageType),
    st.sampled_from([67, 4011]),
    st.sampled_from([None, OURS, OTHERS]),
)
def test_a_proxy_never_refuses_and_never_gives_an_address(
    packet: bytes, kind: MessageType, port: int, server: IPv4Address | None
) -> None:
    named = {"SERVER_ID": server.packed} if server else {}
    answer = respond(as_kind(packet, kind, **named), port)
    for reply in answer.replies if isinstance(answer, Answer) else ():
        assert reply.message.message_type in (MessageType.OFFER, MessageType.ACK)
        assert reply.message.yiaddr == ANY
        assert Option.LEASE_TIME not in reply.message.options
        assert len(reply.message.encode(reply.limit)) <= reply.limit


def test_a_long_url_goes_into_the_option_only() -> None:
    files = BootFiles(ipxe_menu_url="http://10.77.0.1/" + "x" * 150)
    found = DhcpMessage.parse(IPXE_DISCOVER)
    request = classify(found)
    assert isinstance(request, BootRequest)
    answer = proxy.answer(found, arrival(), request, INSTALL, files)
    assert isinstance(answer, Answer)
    sent = answer.replies[0].message
    assert (sent.file, len(sent.options[Option.BOOT_FILE])) == (b"", 167)
