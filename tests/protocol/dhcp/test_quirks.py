"""What firmware of any kind must find in every answer, beside what the modules' own tests prove."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import BINL_PORT, Answer, Ignored
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Op, Option, sub_options
from pxeforge.protocol.dhcp.subnet import Subnet

from .packets import (
    IPXE_DISCOVER,
    MAC,
    OURS,
    OVMF_DISCOVER,
    OVMF_HTTP_DISCOVER,
    PXE_ROM_DISCOVER,
    arrival,
    message,
)

INSTALL = BootDecision(boot=Boot.INSTALL, reason="host is armed")
FILES = BootFiles(
    ipxe_menu_url="http://{server}:8080/boot/{mac}/menu.ipxe",
    grub_files={
        Firmware.UEFI_X64: "boot/{dashed}/bootnetx64.efi",
        Firmware.HTTP_X64: "http://{server}:8080/boot/{mac}/bootnetx64.efi",
    },
)
FIRMWARE = {
    "iPXE": IPXE_DISCOVER,
    "BIOS ROM": PXE_ROM_DISCOVER,
    "OVMF": OVMF_DISCOVER,
    "OVMF by HTTP": OVMF_HTTP_DISCOVER,
}
SUBNET = Subnet(
    network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.60"), router=OURS,
    dns=(OURS,),
)  # fmt: skip


def answered(asked: DhcpMessage, *, server_mode: bool, port: int = 67) -> DhcpMessage:
    """The answer of an armed host as it is on the wire, read back."""
    request = classify(asked)
    assert isinstance(request, BootRequest)
    if server_mode:
        answer = Authority([SUBNET]).answer(asked, arrival(), FILES, request, INSTALL)
    else:
        peer = ("10.77.0.50", 68) if port == BINL_PORT else ("0.0.0.0", 68)
        answer = proxy.answer(asked, arrival(port, peer=peer), request, INSTALL, FILES)
    assert isinstance(answer, Answer), answer
    (reply,) = answer.replies
    return DhcpMessage.parse(reply.message.encode(reply.limit))


@pytest.mark.parametrize("server_mode", [False, True])
@pytest.mark.parametrize("firmware", FIRMWARE)
def test_every_answer_repeats_the_question_and_names_us(firmware: str, server_mode: bool) -> None:
    asked = DhcpMessage.parse(FIRMWARE[firmware])
    reply = answered(asked, server_mode=server_mode)
    assert reply.op is Op.REPLY
    assert (reply.xid, reply.flags, reply.chaddr, reply.giaddr) == (asked.xid, asked.flags, asked.chaddr, asked.giaddr)
    assert reply.message_type is MessageType.OFFER
    assert reply.address(Option.SERVER_ID) == OURS
    assert reply.siaddr == OURS
    assert reply.options.get(Option.CLIENT_UUID) == asked.options.get(Option.CLIENT_UUID)
    assert (reply.yiaddr == ANY) is not server_mode
    assert reply.sname in (b"", str(OURS).encode())


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_no_answer_puts_options_into_the_header_fields(firmware: str) -> None:
    asked = DhcpMessage.parse(FIRMWARE[firmware])
    request = classify(asked)
    assert isinstance(request, BootRequest)
    answer = proxy.answer(asked, arrival(), request, INSTALL, FILES)
    assert isinstance(answer, Answer)
    assert Option.OVERLOAD not in answer.replies[0].message.options


@pytest.mark.parametrize(
    "value", [b"\0" + bytes(range(16)), b"\0" * 17, b"\xff" * 17, b"\1" + bytes(16), b"short", b""]
)
def test_the_clients_guid_comes_back_whatever_it_is(value: bytes) -> None:
    asked = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient:Arch:00000", ARCHITECTURE=b"\0\0", CLIENT_UUID=value)
    for server_mode in (False, True):
        assert answered(asked, server_mode=server_mode).options[Option.CLIENT_UUID] == value


def test_the_client_id_comes_back() -> None:
    asked = message(
        MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient:Arch:00000", ARCHITECTURE=b"\0\0", CLIENT_ID=b"\1" + MAC
    )
    for server_mode in (False, True):
        assert answered(asked, server_mode=server_mode).options[Option.CLIENT_ID] == b"\1" + MAC


def test_the_first_known_number_of_option_93_counts() -> None:
    asked = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient", ARCHITECTURE=b"\x01\x00\x00\x07\x00\x00")
    request = classify(asked)
    assert isinstance(request, BootRequest)
    assert request.firmware is Firmware.UEFI_X64


@pytest.mark.parametrize("number", [0x25, 0x27, 0x1B, 0xFFFF])
def test_a_processor_nobody_knows_is_left_alone(number: int) -> None:
    asked = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient", ARCHITECTURE=number.to_bytes(2, "big"))
    request = classify(asked)
    assert isinstance(request, BootRequest)
    assert isinstance(proxy.answer(asked, arrival(), request, INSTALL, FILES), Ignored)


def test_ipxe_finds_server_and_file_in_the_offer_and_ours_wins_the_tie() -> None:
    reply = answered(DhcpMessage.parse(IPXE_DISCOVER), server_mode=False)
    assert reply.siaddr == OURS
    assert reply.options[Option.BOOT_FILE] == b"http://10.77.0.1:8080/boot/52:54:00:12:34:56/menu.ipxe"
    assert sub_options(reply.options[Option.IPXE])[1] == b"\1"


def test_as_dhcp_server_we_tell_ipxe_not_to_wait_for_a_proxy() -> None:
    reply = answered(DhcpMessage.parse(IPXE_DISCOVER), server_mode=True)
    assert sub_options(reply.options[Option.IPXE])[176] == b"\1"


def test_port_4011_gives_the_file_to_whoever_asks_it_even_by_inform() -> None:
    for kind in (MessageType.REQUEST, MessageType.INFORM):
        asked = message(kind, ciaddr="10.77.0.50", VENDOR_CLASS=b"PXEClient:Arch:00007", ARCHITECTURE=b"\0\7")
        reply = answered(asked, server_mode=False, port=BINL_PORT)
        assert reply.message_type is MessageType.ACK
        assert reply.file == reply.options[Option.BOOT_FILE] == b"boot/52-54-00-12-34-56/bootnetx64.efi"


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_a_boot_file_has_no_backslash_and_no_host_name(firmware: str) -> None:
    """shim derives a folder from `/` only; UEFI HTTP Boot takes a URL with an address without any DNS."""
    request = classify(DhcpMessage.parse(FIRMWARE[firmware]))
    assert isinstance(request, BootRequest)
    file = choose_boot_file(request, INSTALL, FILES, OURS)
    assert file is not None
    assert "\\" not in file
    assert "://" not in file or file.startswith(f"http://{OURS}:8080/")
    assert "//" not in file.replace("://", "", 1)


@given(st.binary(max_size=64))
def test_any_vendor_option_is_answered_on_port_4011(value: bytes) -> None:
    asked = message(
        MessageType.REQUEST, ciaddr="10.77.0.50", VENDOR_CLASS=b"PXEClient", ARCHITECTURE=b"\0\7", VENDOR=value
    )
    assert answered(asked, server_mode=False, port=BINL_PORT).message_type is MessageType.ACK
