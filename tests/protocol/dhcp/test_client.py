from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import Ignored
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Option

from .packets import INSTALLER_DISCOVER, IPXE_DISCOVER, OVMF_DISCOVER, PXE_ROM_DISCOVER, message


def request_in(found: DhcpMessage) -> BootRequest:
    request = classify(found, interface="br0")
    assert isinstance(request, BootRequest), request
    return request


@pytest.mark.parametrize(
    ("packet", "firmware", "is_ipxe", "uuid"),
    [
        (IPXE_DISCOVER, Firmware.BIOS, True, "564d1ab4-2c53-4c4e-9d6a-0123456789ab"),
        (PXE_ROM_DISCOVER, Firmware.BIOS, False, "00112233-4455-6677-8899-aabbccddeeff"),
        (OVMF_DISCOVER, Firmware.UEFI_X64, False, "564d1ab4-2c53-4c4e-9d6a-0123456789ab"),
    ],
)
def test_real_firmware_is_told_apart(packet: bytes, firmware: Firmware, is_ipxe: bool, uuid: str) -> None:
    request = request_in(DhcpMessage.parse(packet))
    assert (request.firmware, request.is_ipxe, request.uuid) == (firmware, is_ipxe, uuid)
    assert (str(request.mac), request.interface) == ("52:54:00:12:34:56", "br0")


def test_the_installers_own_dhcp_client_is_not_a_netboot_client() -> None:
    assert isinstance(classify(DhcpMessage.parse(INSTALLER_DISCOVER)), Ignored)


@pytest.mark.parametrize("user_class", [b"iPXE", b"\x04iPXE", b"\x03foo\x04iPXE"])
def test_ipxe_is_known_by_both_forms_of_the_user_class(user_class: bytes) -> None:
    assert request_in(message(MessageType.DISCOVER, USER_CLASS=user_class, ARCHITECTURE=b"\0\0")).is_ipxe


def test_ipxe_is_known_by_its_own_option() -> None:
    assert request_in(message(MessageType.DISCOVER, IPXE=b"\x15\x01\x01", ARCHITECTURE=b"\0\x07")).is_ipxe


def test_another_user_class_is_not_ipxe() -> None:
    found = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient", USER_CLASS=b"\x09gPXE/1.0x", ARCHITECTURE=b"\0\0")
    assert not request_in(found).is_ipxe


def test_without_option_93_the_class_tells_the_architecture() -> None:
    found = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient:Arch:00007:UNDI:003016")
    assert request_in(found).firmware is Firmware.UEFI_X64


def test_without_any_architecture_it_is_ignored() -> None:
    assert isinstance(classify(message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient")), Ignored)


def test_neither_option_94_nor_97_is_needed() -> None:
    found = DhcpMessage.parse(PXE_ROM_DISCOVER)
    options = {code: value for code, value in found.options.items() if code not in (94, Option.CLIENT_UUID)}
    assert request_in(replace(found, options=options)).uuid is None


@pytest.mark.parametrize("value", [bytes(17), b"\0" + b"\xff" * 16, b"\1" + bytes(range(16)), b"\0abc"])
def test_a_uuid_that_says_nothing_is_none(value: bytes) -> None:
    found = message(MessageType.DISCOVER, VENDOR_CLASS=b"PXEClient", ARCHITECTURE=b"\0\0", CLIENT_UUID=value)
    assert request_in(found).uuid is None


def test_http_firmware_is_known() -> None:
    found = message(MessageType.DISCOVER, VENDOR_CLASS=b"HTTPClient:Arch:00016", ARCHITECTURE=b"\0\x10")
    assert request_in(found).firmware is Firmware.HTTP_X64


@given(st.binary(max_size=20), st.binary(max_size=9), st.binary(max_size=20), st.binary(max_size=20))
def test_strange_options_never_raise(vendor: bytes, architecture: bytes, user_class: bytes, uuid: bytes) -> None:
    found = message(
        MessageType.DISCOVER,
        VENDOR_CLASS=b"PXEClient" + vendor,
        ARCHITECTURE=architecture,
        USER_CLASS=user_class,
        CLIENT_UUID=uuid,
    )
    assert isinstance(classify(found), BootRequest | Ignored)


@pytest.mark.parametrize(
    ("mac", "architecture", "firmware"),
    [
        ("dca632000001", 0, Firmware.RASPBERRY_PI),  # its ROM, as a Pi 4 and 5 send it
        ("dca632000001", 11, Firmware.UEFI_ARM64),  # UEFI firmware on its card
        ("525400000001", 0, Firmware.BIOS),
    ],
)
def test_the_rom_of_a_raspberry_pi_is_not_taken_for_a_pc(mac: str, architecture: int, firmware: Firmware) -> None:
    packet = message(
        MessageType.DISCOVER,
        mac=bytes.fromhex(mac),
        VENDOR_CLASS=f"PXEClient:Arch:{architecture:05}:UNDI:002001".encode(),
        ARCHITECTURE=architecture.to_bytes(2),
    ).encode()
    assert request_in(DhcpMessage.parse(packet)).firmware is firmware


PXE = {"VENDOR_CLASS": b"PXEClient:Arch:00000", "ARCHITECTURE": bytes(2)}


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (b"\1\6eth1/7\2\6\x52\x54\0\0\0\1", ("eth1/7", "0x525400000001")),
        (b"\1\2\x80\1", ("0x8001", None)),
        (b"", (None, None)),
        (b"\1\x20cut off", (None, None)),
        (b"\1\0", (None, None)),
    ],
)
def test_a_relay_tells_where_the_client_is_plugged_in(agent: bytes, told: tuple[str | None, str | None]) -> None:
    found = request_in(message(MessageType.DISCOVER, giaddr="10.1.0.1", **PXE, RELAY_AGENT=agent))
    assert (found.relay, found.circuit_id, found.remote_id) == ("10.1.0.1", *told)


def test_what_stands_in_option_82_of_an_unrelayed_message_is_nobodys_word() -> None:
    found = request_in(message(MessageType.DISCOVER, **PXE, RELAY_AGENT=b"\1\4eth0"))
    assert (found.relay, found.circuit_id) == (None, None)


def test_a_uuid_that_many_boards_share_is_none() -> None:
    shared = bytes(1) + bytes.fromhex("03000200040005000006000700080009")
    assert request_in(message(MessageType.DISCOVER, **PXE, CLIENT_UUID=shared)).uuid is None


@given(st.binary(max_size=255))
def test_no_option_82_does_harm(agent: bytes) -> None:
    found = request_in(message(MessageType.DISCOVER, giaddr="10.1.0.1", **PXE, RELAY_AGENT=agent))
    for told in (found.circuit_id, found.remote_id):
        assert told is None or (told.isprintable() and len(told) <= 260)
