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
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.dhcp.message import (
    ANY,
    BROADCAST_FLAG,
    DhcpMessage,
    MessageType,
    Op,
    Option,
    TooLong,
    sub_options,
)
from pxeforge.protocol.dhcp.subnet import BadSubnet, HostNetwork, Subnet

from .packets import (
    INSTALLER_DISCOVER,
    IPXE_DISCOVER,
    MAC,
    OTHERS,
    OURS,
    OVMF_HTTP_DISCOVER,
    PXE_ROM_DISCOVER,
    Networks,
    arrival,
    message,
    reserving,
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
    return Authority([SUBNET], networks=reserving(m525400123456="10.77.0.55"))


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


# ---- several subnets, and hosts with settings of their own

FAR = Subnet(
    network=IPv4Network("10.88.0.0/24"), first=IPv4Address("10.88.0.50"), last=IPv4Address("10.88.0.60"),
    router=IPv4Address("10.88.0.1"), lease_time_s=1200,
)  # fmt: skip


def test_the_relay_tells_which_of_its_links_is_meant() -> None:
    """RFC 3527: the relay's own address is on another network than its client."""
    relayed = message(MessageType.DISCOVER, giaddr="10.99.0.1", RELAY_AGENT=b"\x01\x01x\x05\x04\x0a\x58\x00\x00")
    answer = ask(Authority([SUBNET, FAR]), relayed)
    sent = reply(answer)
    assert sent.yiaddr in FAR.network
    assert isinstance(answer, Answer)
    assert answer.replies[0].destination == ("10.99.0.1", 67)
    assert sent.options[Option.RELAY_AGENT] == relayed.options[Option.RELAY_AGENT]


def test_link_selection_counts_from_relays_only_and_damage_is_passed_over() -> None:
    direct = message(MessageType.DISCOVER, RELAY_AGENT=b"\x05\x04\x0a\x58\x00\x00")
    assert reply(ask(Authority([SUBNET, FAR]), direct)).yiaddr in SUBNET.network
    damaged = message(MessageType.DISCOVER, giaddr="10.88.0.1", RELAY_AGENT=b"\x05\x09\x0a")
    assert reply(ask(Authority([SUBNET, FAR]), damaged)).yiaddr in FAR.network


def test_a_client_may_choose_its_subnet_and_hears_its_choice_again() -> None:
    """RFC 3011."""
    chosen = message(MessageType.DISCOVER, SUBNET_SELECTION=IPv4Address("10.88.0.0").packed)
    sent = reply(ask(Authority([SUBNET, FAR]), chosen))
    assert sent.yiaddr in FAR.network
    assert sent.options[Option.SUBNET_SELECTION] == IPv4Address("10.88.0.0").packed


def test_a_host_behind_a_relay_renews_by_unicast_and_is_not_refused() -> None:
    server = Authority([SUBNET, FAR])
    renewing = message(MessageType.REQUEST, ciaddr="10.88.0.55")
    came = replace(arrival(peer=("10.88.0.55", 68)), unicast=True)
    answer = server.answer(renewing, came, FILES)
    assert isinstance(answer, Answer)
    assert (reply(answer).message_type, answer.leases[0].address) == (MessageType.ACK, IPv4Address("10.88.0.55"))
    # The same by broadcast on our own wire comes from a host that was moved here.
    assert reply(server.answer(renewing, arrival(), FILES)).message_type is MessageType.NAK


def test_subnets_that_overlap_are_refused() -> None:
    wide = replace(FAR, network=IPv4Network("10.76.0.0/15"), first=IPv4Address("10.77.0.5"),
                   last=IPv4Address("10.77.0.6"), router=None)  # fmt: skip
    with pytest.raises(BadSubnet, match="overlap"):
        Authority([SUBNET, wide])


def test_a_host_hears_its_own_settings_in_offer_and_ack() -> None:
    own = HostNetwork(router=OTHERS, mtu=9000, lease_time_s=7200)
    server = Authority([SUBNET], networks=Networks({HOST: own}))
    offer = reply(ask(server, DhcpMessage.parse(INSTALLER_DISCOVER)))
    answer = ask(server, select(str(offer.yiaddr)))
    assert isinstance(answer, Answer)
    for sent in (offer, reply(answer)):
        assert (sent.options[Option.ROUTER], sent.options[Option.MTU]) == (OTHERS.packed, b"\x23\x28")
        assert sent.options[Option.LEASE_TIME] == (7200).to_bytes(4, "big")
        assert sent.options[Option.DNS] == OURS.packed + OTHERS.packed
    assert answer.leases[0].expires_at == 8200
    stranger = replace(DhcpMessage.parse(INSTALLER_DISCOVER), chaddr=b"\x52\x54\0\0\0\1")
    assert Option.MTU not in reply(ask(server, stranger)).options


def test_a_reservation_counts_in_its_own_subnet_only() -> None:
    server = Authority([SUBNET, FAR], networks=reserving(m525400123456="10.77.0.55"))
    assert reply(ask(server, message(MessageType.DISCOVER, giaddr="10.88.0.1"))).yiaddr in FAR.network
    assert reply(ask(server, message(MessageType.DISCOVER))).yiaddr == IPv4Address("10.77.0.55")


def test_a_lease_on_an_address_that_was_reserved_for_another_since_ends_at_its_renewal() -> None:
    networks = Networks()
    server = Authority([SUBNET], networks=networks)
    ask(server, select("10.77.0.55"))
    other = MacAddress(b"\x52\x54\0\0\0\1")
    networks.hosts[other] = HostNetwork(address=IPv4Address("10.77.0.55"))
    answer = ask(server, message(MessageType.REQUEST, ciaddr="10.77.0.55"), now=1400)
    assert isinstance(answer, Answer)
    assert reply(answer).message_type is MessageType.NAK
    assert [lease.state for lease in answer.leases] == [LeaseState.RELEASED]
    discover = replace(message(MessageType.DISCOVER), chaddr=other.octets)
    assert reply(ask(server, discover, now=1401)).yiaddr == IPv4Address("10.77.0.55")


# ---- what is checked before it is offered


def checked(answer: Answer | Ignored) -> IPv4Address | None:
    assert isinstance(answer, Answer)
    return answer.check


def test_an_address_the_host_never_had_is_to_be_checked_its_own_one_is_not() -> None:
    server = Authority([SUBNET])
    first = ask(server, message(MessageType.DISCOVER))
    assert checked(first) == reply(first).yiaddr
    acked = ask(server, select(str(reply(first).yiaddr)))
    assert checked(acked) is None
    assert checked(ask(server, message(MessageType.DISCOVER), now=1010)) is None
    ask(server, message(MessageType.RELEASE, ciaddr=str(reply(first).yiaddr)), now=1020)
    assert checked(ask(server, message(MessageType.DISCOVER), now=1030)) is None
    elsewhere = message(MessageType.DISCOVER, REQUESTED_ADDRESS=IPv4Address("10.77.0.60").packed)
    assert checked(ask(Authority([SUBNET]), elsewhere)) == IPv4Address("10.77.0.60")


def test_behind_a_relay_nothing_is_checked() -> None:
    assert checked(ask(Authority([SUBNET, FAR]), message(MessageType.DISCOVER, giaddr="10.88.0.1"))) is None


def test_an_address_found_in_use_is_quarantined_and_another_one_offered() -> None:
    server = Authority([SUBNET])
    taken = reply(ask(server, message(MessageType.DISCOVER))).yiaddr
    [lease] = server.found_in_use(HOST, taken, 1000)
    assert (lease.address, lease.state) == (taken, LeaseState.DECLINED)
    assert reply(ask(server, message(MessageType.DISCOVER), now=1001)).yiaddr != taken
    assert server.found_in_use(HOST, IPv4Address("192.0.2.1"), 1000) == ()


# ---- a GUID in place of the hardware address


def test_who_is_known_by_a_guid_gets_the_address_of_its_mac_and_its_guid_back() -> None:
    guid = bytes(range(16))
    found = replace(message(MessageType.DISCOVER, mac=guid), known_as=HOST)
    answer = ask(authority(), found)
    sent = reply(answer)
    assert (str(sent.yiaddr), sent.chaddr, found.guid) == ("10.77.0.55", guid, guid)
    assert isinstance(answer, Answer)
    assert answer.replies[0].destination == ("255.255.255.255", 68)
    assert DhcpMessage.parse(sent.encode()).chaddr == guid


@pytest.mark.parametrize("hardware", [bytes(16), b"\xff" * 16, MAC, b"", bytes(range(8))])
def test_what_is_no_guid_is_taken_for_none(hardware: bytes) -> None:
    assert message(MessageType.DISCOVER, mac=hardware).guid == b""


# ---- a reply that does not fit


def test_options_nobody_asked_for_make_room() -> None:
    many = replace(SUBNET, options=tuple((code, bytes(100)) for code in (150, 151, 152, 153)))
    asked = message(MessageType.DISCOVER, PARAMETERS=bytes((1, 3, 151)))
    answer = ask(Authority([many]), asked)
    assert isinstance(answer, Answer)
    sent = DhcpMessage.parse(answer.replies[0].datagram())
    assert {150, 151, 152, 153} & set(sent.options) == {151}
    assert sent.options[Option.ROUTER] == OURS.packed
    roomy = ask(Authority([many]), message(MessageType.DISCOVER, MAX_SIZE=b"\x05\xdc"))
    assert isinstance(roomy, Answer)
    assert {150, 151, 152, 153} <= set(DhcpMessage.parse(roomy.replies[0].datagram()).options)


def test_what_the_client_asks_for_and_cannot_take_is_told() -> None:
    many = replace(SUBNET, options=tuple((code, bytes(100)) for code in (150, 151, 152, 153)))
    answer = ask(Authority([many]), message(MessageType.DISCOVER, PARAMETERS=bytes((150, 151, 152, 153))))
    assert isinstance(answer, Answer)
    with pytest.raises(TooLong):
        answer.replies[0].datagram()
