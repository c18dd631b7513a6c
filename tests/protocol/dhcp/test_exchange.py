from ipaddress import IPv4Address

import pytest

from pxeforge.protocol.dhcp.exchange import BINL_PORT, DHCP_PORT, BootFields, reply_to
from pxeforge.protocol.dhcp.message import ANY, BROADCAST_FLAG, DhcpMessage, MessageType, Option

from .packets import OURS, arrival, message

DISCOVER, REQUEST = message(MessageType.DISCOVER), message(MessageType.REQUEST, ciaddr="10.77.0.50")
RELAYED = message(MessageType.REQUEST, ciaddr="10.77.0.50", giaddr="10.88.0.1")


@pytest.mark.parametrize(
    ("found", "port", "peer", "kind", "destination"),
    [
        (DISCOVER, DHCP_PORT, ("0.0.0.0", 68), MessageType.OFFER, ("255.255.255.255", 68)),
        (REQUEST, DHCP_PORT, ("10.77.0.50", 68), MessageType.ACK, ("10.77.0.50", 68)),
        (REQUEST, DHCP_PORT, ("10.77.0.50", 68), MessageType.NAK, ("255.255.255.255", 68)),
        (RELAYED, DHCP_PORT, ("10.88.0.1", 67), MessageType.ACK, ("10.88.0.1", 67)),
        (REQUEST, BINL_PORT, ("10.77.0.50", 4011), MessageType.ACK, ("10.77.0.50", 4011)),
        (RELAYED, BINL_PORT, ("10.77.0.50", 68), MessageType.ACK, ("10.77.0.50", 68)),
        (DISCOVER, BINL_PORT, ("0.0.0.0", 68), MessageType.ACK, ("255.255.255.255", 68)),
    ],
)
def test_a_reply_goes_where_its_client_can_hear_it(
    found: DhcpMessage, port: int, peer: tuple[str, int], kind: MessageType, destination: tuple[str, int]
) -> None:
    reply = reply_to(found, arrival(port, peer=peer), kind, options={})
    assert (reply.destination, reply.source_port) == (destination, port)


def test_only_a_refusal_asks_for_broadcast_by_itself() -> None:
    flags = {kind: reply_to(DISCOVER, arrival(), kind, options={}).message.flags for kind in MessageType}
    assert [kind for kind, value in flags.items() if value & BROADCAST_FLAG] == [MessageType.NAK]


def test_boot_fields_stand_in_header_and_options() -> None:
    boot = BootFields(server=IPv4Address("10.77.0.9"), file="pxelinux.0")
    sent = reply_to(DISCOVER, arrival(), MessageType.OFFER, options={}, boot=boot).message
    assert (str(sent.siaddr), sent.sname, sent.file) == ("10.77.0.9", b"10.77.0.9", b"pxelinux.0")
    assert (sent.options[Option.SERVER_NAME], sent.options[Option.BOOT_FILE]) == (b"10.77.0.9", b"pxelinux.0")


def test_a_reply_names_us_and_says_what_it_is_first() -> None:
    sent = reply_to(DISCOVER, arrival(), MessageType.OFFER, options={Option.DOMAIN: b"x"}).message
    assert list(sent.options)[:2] == [Option.MESSAGE_TYPE, Option.SERVER_ID]
    assert (sent.address(Option.SERVER_ID), sent.siaddr, sent.ciaddr) == (OURS, ANY, ANY)
