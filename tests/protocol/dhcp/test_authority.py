from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import Answer, Ignored
from pxeforge.protocol.dhcp.lease import LeaseState, Subnet
from pxeforge.protocol.dhcp.message import ANY, BROADCAST_FLAG, DhcpMessage, MessageType, Op, Option, sub_options

from .packets import (
    INSTALLER_DISCOVER,
    IPXE_DISCOVER,
    MAC,
    OTHERS,
    OURS,
    OVMF_HTTP_DISCOVER,
    PXE_ROM_DISCOVER,
    arrival,
    message,
)

INSTALL = BootDecision(boot=Boot.INSTALL, reason="host is armed")
LOCAL = BootDecision(boot=Boot.LOCAL, reason="not armed")
FILES = BootFiles(ipxe_menu_url="http://{server}/boot/{mac}/menu.ipxe")
SUBNET = Subnet(
    network=IPv4Network("10.77.0.0/24"),
    first=IPv4Address("10.77.0.50"),
    last=IPv4Address("10.77.0.60"),
    router=OURS,
    dns=(OURS, OTHERS),
    ntp=(OURS,),
    domain="lab.example",
    lease_time_s=800,
)
HOST = MacAddress(MAC)


def authority() -> Authority:
    return Authority([SUBNET], reservations={HOST: IPv4Address("10.77.0.55")})


def ask(server: Authority, found: DhcpMessage, decision: BootDecision = LOCAL, now: float = 1000.0) -> Answer | Ignored:
    request = classify(found)
    if isinstance(request, BootRequest):
        return server.answer(found, arrival(now=now), FILES, request, decision)
    return server.answer(found, arrival(now=now), FILES)


def reply(answer: Answer | Ignored) -> DhcpMessage:
    assert isinstance(answer, Answer), answer
    (only,) = answer.replies
    return only.message


def select(address: str, **more: bytes) -> DhcpMessage:
    return message(MessageType.REQUEST, SERVER_ID=OURS.packed, REQUESTED_ADDRESS=IPv4Address(address).packed, **more)


def test_an_installer_is_offered_router_and_dns_and_no_boot_file() -> None:
    sent = reply(ask(authority(), DhcpMessage.parse(INSTALLER_DISCOVER)))
    assert (sent.message_type, str(sent.yiaddr)) == (MessageType.OFFER, "10.77.0.55")
    assert sent.options[Option.ROUTER] == sent.options[Option.NTP] == OURS.packed
    assert sent.options[Option.DNS] == OURS.packed + OTHERS.packed
    assert sent.options[Option.DOMAIN] == b"lab.example"
    assert sent.options[Option.SUBNET_MASK] == bytes((255, 255, 255, 0))
    assert sent.options[Option.BROADCAST] == bytes((10, 77, 0, 255))
    times = [int.from_bytes(sent.options[code], "big") for code in (51, 58, 59)]
    assert times == [800, 400, 700]
    assert (sent.file, sent.siaddr, Option.BOOT_FILE in sent.options) == (b"", ANY, False)


def test_an_armed_host_gets_its_boot_file_in_offer_and_ack() -> None:
    server = authority()
    discover = DhcpMessage.parse(IPXE_DISCOVER)
    offer = reply(ask(server, discover, INSTALL))
    wanted = {Option.MESSAGE_TYPE: b"\3", Option.SERVER_ID: OURS.packed, Option.REQUESTED_ADDRESS: offer.yiaddr.packed}
    ack = reply(ask(server, replace(discover, options={**discover.options, **wanted}), INSTALL))
    assert (offer.message_type, ack.message_type) == (MessageType.OFFER, MessageType.ACK)
    for sent in (offer, ack):
        assert sent.file == sent.options[Option.BOOT_FILE] == b"http://10.77.0.1/boot/52:54:00:12:34:56/menu.ipxe"
        assert sent.siaddr == OURS
        assert sub_options(sent.options[Option.IPXE]) == {176: b"\x01"}
        assert Option.VENDOR_CLASS not in sent.options  # it would send ROMs on to port 4011
        assert sent.options[Option.CLIENT_ID] == discover.options[Option.CLIENT_ID]


@pytest.mark.parametrize("packet", [IPXE_DISCOVER, PXE_ROM_DISCOVER])
def test_a_host_that_is_not_armed_gets_a_lease_and_no_boot_file(packet: bytes) -> None:
    sent = reply(ask(authority(), DhcpMessage.parse(packet), LOCAL))
    assert str(sent.yiaddr) == "10.77.0.55"
    assert (sent.file, sent.sname, sent.siaddr) == (b"", b"", ANY)
    assert not {Option.BOOT_FILE, Option.SERVER_NAME, Option.VENDOR} & set(sent.options)


def test_the_ack_comes_with_the_lease_to_store() -> None:
    answer = ask(authority(), select("10.77.0.55", CLIENT_ID=b"\1" + MAC))
    assert isinstance(answer, Answer)
    (lease,) = answer.leases
    assert (lease.mac, str(lease.address), lease.state) == (HOST, "10.77.0.55", LeaseState.BOUND)
    assert (lease.expires_at, lease.client_id) == (1800.0, b"\1" + MAC)
    assert answer.replies[0].message.message_type is MessageType.ACK


def test_a_request_for_another_server_is_left_alone_and_frees_our_offer() -> None:
    server = authority()
    ask(server, DhcpMessage.parse(INSTALLER_DISCOVER))
    chosen = message(MessageType.REQUEST, SERVER_ID=OTHERS.packed, REQUESTED_ADDRESS=OTHERS.packed)
    assert isinstance(ask(server, chosen), Ignored)
    assert list(server.books[0]) == []


@pytest.mark.parametrize(
    "asked",
    [
        select("192.168.1.5"),
        message(MessageType.REQUEST, REQUESTED_ADDRESS=bytes((192, 168, 1, 5))),  # init-reboot, from elsewhere
        message(MessageType.REQUEST, REQUESTED_ADDRESS=bytes((10, 77, 0, 56))),  # reserved: another one
        message(MessageType.REQUEST, ciaddr="10.77.0.200"),  # renewing what is not ours to lend
    ],
)
def test_a_wrong_address_is_refused_by_broadcast(asked: DhcpMessage) -> None:
    answer = ask(authority(), asked)
    sent = reply(answer)
    assert (sent.message_type, sent.yiaddr, sent.ciaddr) == (MessageType.NAK, ANY, ANY)
    assert isinstance(answer, Answer)
    assert answer.replies[0].destination == ("255.255.255.255", 68)
    assert sent.flags & BROADCAST_FLAG
    assert answer.leases == ()


def test_an_address_of_another_host_is_refused() -> None:
    server = Authority([SUBNET])
    ask(server, replace(select("10.77.0.50"), chaddr=b"\x52\x54\0\0\0\1"))
    assert reply(ask(server, select("10.77.0.50"))).message_type is MessageType.NAK


def test_init_reboot_renews_the_lease() -> None:
    server = authority()
    ask(server, select("10.77.0.55"))
    again = message(MessageType.REQUEST, REQUESTED_ADDRESS=bytes((10, 77, 0, 55)))
    answer = ask(server, again, now=1500)
    assert isinstance(answer, Answer)
    assert answer.leases[0].expires_at == 2300


def test_renewing_is_answered_by_unicast() -> None:
    server = authority()
    ask(server, select("10.77.0.55"))
    answer = ask(server, message(MessageType.REQUEST, ciaddr="10.77.0.55"), now=1400)
    assert isinstance(answer, Answer)
    assert answer.replies[0].destination == ("10.77.0.55", 68)
    assert (answer.leases[0].expires_at, answer.replies[0].message.message_type) == (2200, MessageType.ACK)


def test_inform_is_answered_with_settings_and_without_a_lease() -> None:
    answer = ask(authority(), message(MessageType.INFORM, ciaddr="10.77.0.9"))
    sent = reply(answer)
    assert (sent.message_type, sent.yiaddr, Option.LEASE_TIME in sent.options) == (MessageType.ACK, ANY, False)
    assert sent.options[Option.ROUTER] == OURS.packed
    assert isinstance(answer, Answer)
    assert answer.leases == ()


def test_release_and_decline_are_stored_and_not_answered() -> None:
    server = authority()
    ask(server, select("10.77.0.55"))
    declined = ask(server, message(MessageType.DECLINE, REQUESTED_ADDRESS=bytes((10, 77, 0, 55))))
    assert isinstance(declined, Answer)
    assert (declined.replies, declined.leases[0].state) == ((), LeaseState.DECLINED)
    server = authority()
    ask(server, select("10.77.0.55"))
    released = ask(server, message(MessageType.RELEASE, ciaddr="10.77.0.55"))
    assert isinstance(released, Answer)
    assert (released.replies, released.leases[0].state) == ((), LeaseState.RELEASED)


def test_a_full_range_is_silence_with_a_reason() -> None:
    server = Authority([replace(SUBNET, last=SUBNET.first)])
    ask(server, replace(select("10.77.0.50"), chaddr=b"\x52\x54\0\0\0\1"))
    assert ask(server, DhcpMessage.parse(INSTALLER_DISCOVER)) == Ignored(
        "no free address: make the range larger or the lease time shorter"
    )


def test_a_relay_from_an_unknown_network_is_ignored() -> None:
    found = message(MessageType.DISCOVER, giaddr="10.88.0.1")
    assert ask(authority(), found) == Ignored("no address range for the network of 10.88.0.1")


def test_a_relayed_host_gets_an_address_of_its_own_network() -> None:
    far = Subnet(network=IPv4Network("10.88.0.0/24"), first=IPv4Address("10.88.0.50"), last=IPv4Address("10.88.0.60"))
    answer = ask(Authority([SUBNET, far]), message(MessageType.DISCOVER, giaddr="10.88.0.1", RELAY_AGENT=b"\1\1x"))
    sent = reply(answer)
    assert sent.yiaddr in far.network
    assert list(sent.options)[-1] == Option.RELAY_AGENT
    assert isinstance(answer, Answer)
    assert answer.replies[0].destination == ("10.88.0.1", 67)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (message(MessageType.OFFER), "not a DHCP request"),
        (replace(message(MessageType.DISCOVER), op=Op.REPLY), "not a DHCP request"),
        (replace(message(MessageType.DISCOVER), options={}), "not a DHCP request"),
        (
            message(MessageType.DISCOVER, mac=bytes(range(16))),
            "the hardware address has 16 bytes and is no MAC address",
        ),
        (message(MessageType.REQUEST, SERVER_ID=OURS.packed), "a REQUEST that names no address"),
        (message(MessageType.INFORM), "an INFORM that names no address"),
        (message(MessageType.DECLINE), "a DECLINE that names no address"),
        (
            message(MessageType.DECLINE, REQUESTED_ADDRESS=bytes((10, 77, 0, 51))),
            "DECLINE of 10.77.0.51, which the host does not hold",
        ),
        (message(MessageType.RELEASE, ciaddr="10.77.0.51"), "RELEASE of 10.77.0.51, which the host does not hold"),
    ],
)
def test_what_makes_no_sense_is_ignored_with_a_reason(found: DhcpMessage, reason: str) -> None:
    assert ask(authority(), found) == Ignored(reason)


def test_http_boot_gets_its_url_and_hears_its_own_class() -> None:
    files = BootFiles(ipxe_menu_url="http://x/", ipxe_files={Firmware.HTTP_X64: "http://{server}/boot/{mac}/ipxe.efi"})
    discover = DhcpMessage.parse(OVMF_HTTP_DISCOVER)
    request = classify(discover)
    assert isinstance(request, BootRequest)
    sent = reply(authority().answer(discover, arrival(), files, request, INSTALL))
    assert sent.options[Option.BOOT_FILE] == sent.file == b"http://10.77.0.1/boot/52:54:00:12:34:56/ipxe.efi"
    assert sent.options[Option.VENDOR_CLASS] == b"HTTPClient"
    silent = reply(authority().answer(discover, arrival(), files, request, LOCAL))
    assert Option.VENDOR_CLASS not in silent.options
    assert Option.BOOT_FILE not in silent.options


def test_mtu_and_routes_are_told_and_the_default_route_with_them() -> None:
    route = (IPv4Network("10.9.0.0/16"), OTHERS)
    server = Authority([replace(SUBNET, mtu=9000, routes=(route,))])
    sent = reply(ask(server, DhcpMessage.parse(INSTALLER_DISCOVER)))
    assert sent.options[Option.MTU] == b"\x23\x28"
    assert sent.options[Option.ROUTES] == b"\x10\x0a\x09" + OTHERS.packed + b"\x00" + OURS.packed
    plain = reply(ask(authority(), DhcpMessage.parse(INSTALLER_DISCOVER)))
    assert not {Option.MTU, Option.ROUTES} & set(plain.options)


def test_the_relays_option_is_the_last_one_of_the_datagram() -> None:
    far = replace(SUBNET, network=IPv4Network("10.88.0.0/24"), first=IPv4Address("10.88.0.50"),
                  last=IPv4Address("10.88.0.60"), router=None)  # fmt: skip
    said = b"\x01\x04eth1\x02\x06\xff\x00\x01\x02\x03\x04"
    relayed = replace(DhcpMessage.parse(IPXE_DISCOVER), giaddr=IPv4Address("10.88.0.1"))
    relayed = replace(relayed, options={Option.RELAY_AGENT: said, **relayed.options})
    answer = ask(Authority([SUBNET, far]), relayed, INSTALL)
    assert isinstance(answer, Answer)
    (only,) = answer.replies
    assert only.message.yiaddr in far.network
    assert only.message.encode(only.limit).rstrip(b"\0").endswith(bytes((82, len(said))) + said + b"\xff")
