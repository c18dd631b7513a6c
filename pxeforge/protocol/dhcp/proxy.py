"""The proxyDHCP responder: boot information beside the site's own DHCP server; never an address, never a NAK.

Two dialects (Intel PXE 2.1 section 2.2; EDK2 PxeBcDhcp4.c; iPXE dhcp.c):
- DIRECT, for BIOS and iPXE: option 43 sub-option 6 = 8 ("just use the boot file"), file, siaddr.
- BINL, for UEFI: an offer without option 43, after which it asks port 4011 of siaddr for its boot file.
Who fails with the dialect of its kind is given the other one (dialect.py).
UEFI HTTP Boot knows neither: its offer says HTTPClient and carries the URL.
"""

from __future__ import annotations

from typing import Final

from pxeforge.domain.boot import BootDecision, BootRequest
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file
from pxeforge.protocol.dhcp.dialect import Dialect, first_dialect
from pxeforge.protocol.dhcp.exchange import BINL_PORT, HTTP_CLIENT, Answer, Arrival, BootFields, Ignored, reply_to
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option, encode_sub_options, sub_options

PXE_CLIENT: Final = b"PXEClient"
_DISCOVERY_CONTROL, _BOOT_ITEM = 6, 71  # sub-options of 43
_JUST_USE_THE_FILE = b"\x08"
_IPXE_PRIORITY = encode_sub_options({1: b"\x01"}, end=False)  # 175.1 breaks the tie with another proxy's offer


def silent_about(message: DhcpMessage, arrival: Arrival) -> Ignored | None:
    """Why a message is none of our business whatever the host may be; None where it deserves a decision."""
    kind = message.message_type
    if message.op is not Op.REQUEST or kind is None:
        return Ignored("not a DHCP request")
    if arrival.port == BINL_PORT:
        if kind not in (MessageType.REQUEST, MessageType.INFORM):
            return Ignored(f"{kind.name} on port {BINL_PORT}")
        return None
    if kind is MessageType.DISCOVER:
        return None
    if kind is MessageType.REQUEST and message.address(Option.SERVER_ID) == arrival.our_address:
        return None
    return Ignored(f"{kind.name} is for the DHCP server")


def answer(
    message: DhcpMessage,
    arrival: Arrival,
    request: BootRequest,
    decision: BootDecision,
    files: BootFiles,
    dialect: Dialect | None = None,
) -> Answer | Ignored:
    """The reply for a host that is to install; silence for all others. `dialect` None: the usual one of its kind."""
    if (silence := silent_about(message, arrival)) is not None:
        return silence
    if not decision.boot.sends_file:
        return Ignored(decision.reason)
    file = choose_boot_file(request, decision, files, arrival.our_address)
    if file is None:
        return Ignored(f"no boot loader for {request.firmware.value} firmware")
    boot = BootFields(server=files.server_for(arrival.our_address), file=file)
    if request.firmware.is_http and not request.is_ipxe:
        return _offer_url(message, arrival, boot)
    if message.message_type is not MessageType.DISCOVER:
        return _acknowledge(message, arrival, boot)
    if not request.is_ipxe and (dialect or first_dialect(request.firmware)) is Dialect.BINL:
        return _send_to_4011(message, arrival)
    return _offer_file(message, arrival, request, boot)


def _offer_url(message: DhcpMessage, arrival: Arrival, boot: BootFields) -> Answer:
    kind = MessageType.OFFER if message.message_type is MessageType.DISCOVER else MessageType.ACK
    reply = reply_to(message, arrival, kind, options={Option.VENDOR_CLASS: HTTP_CLIENT}, boot=boot)
    return Answer(replies=(reply,), what=f"proxy {kind.name}, boot URL {boot.file}")


def _offer_file(message: DhcpMessage, arrival: Arrival, request: BootRequest, boot: BootFields) -> Answer:
    options: dict[int, bytes] = {
        Option.VENDOR_CLASS: PXE_CLIENT,
        Option.VENDOR: encode_sub_options({_DISCOVERY_CONTROL: _JUST_USE_THE_FILE}),
    }
    if request.is_ipxe:
        options[Option.IPXE] = _IPXE_PRIORITY
    reply = reply_to(message, arrival, MessageType.OFFER, options=options, boot=boot)
    return Answer(replies=(reply,), what=f"proxy OFFER, boot file {boot.file}")


def _send_to_4011(message: DhcpMessage, arrival: Arrival) -> Answer:
    options: dict[int, bytes] = {Option.VENDOR_CLASS: PXE_CLIENT}
    # siaddr is where the firmware sends its request to: us, wherever the files are.
    reply = reply_to(message, arrival, MessageType.OFFER, options=options, siaddr=arrival.our_address)
    return Answer(replies=(reply,), what=f"proxy OFFER, to be continued on port {BINL_PORT}")


def _acknowledge(message: DhcpMessage, arrival: Arrival, boot: BootFields) -> Answer:
    options: dict[int, bytes] = {Option.VENDOR_CLASS: PXE_CLIENT}
    item = _boot_item(message)
    if item is not None:
        options[Option.VENDOR] = encode_sub_options({_BOOT_ITEM: item})
    reply = reply_to(message, arrival, MessageType.ACK, options=options, boot=boot)
    return Answer(replies=(reply,), what=f"proxy ACK from port {arrival.port}, boot file {boot.file}")


def _boot_item(message: DhcpMessage) -> bytes | None:
    """The boot menu item the client names in 43.71, which it wants to see again."""
    try:
        return sub_options(message.options.get(Option.VENDOR, b"")).get(_BOOT_ITEM)
    except Malformed:
        return None
