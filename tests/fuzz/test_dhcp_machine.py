"""Hosts and the DHCP server over a wire that loses, doubles and reorders, with restarts: no address is used twice.

The hosts follow RFC 2131: they count a lease from the moment they asked for it, take only what answers their last
message, and stop using an address when its time is over. RELEASE and DECLINE may be lost but come at once or never:
one that is late frees an address that its host uses again, and nothing in DHCP can prevent that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pxeforge.domain.boot import Boot, BootDecision
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.authority import Authority
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import Answer, Arrival, Ignored
from pxeforge.protocol.dhcp.lease import Lease
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Op, Option
from pxeforge.protocol.dhcp.subnet import Subnet

OURS, OTHER = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
FILES = BootFiles(ipxe_menu_url="http://{server}/{mac}")
LEASE_S = 100
SUBNET = Subnet(
    network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.51"),
    lease_time_s=LEASE_S,
)  # fmt: skip
NETBOOT = {Option.VENDOR_CLASS: b"PXEClient:Arch:00000:UNDI:002001", Option.ARCHITECTURE: b"\0\0"}


@dataclass
class Host:
    """One client; `uses` is the address it has configured."""

    mac: bytes
    xid: int = 0
    asked_at: float = 0.0
    asked_for: IPv4Address = ANY  # by the last REQUEST
    offered: IPv4Address = ANY
    uses: IPv4Address = ANY
    until: float = 0.0
    last: IPv4Address = ANY  # to ask for again after a restart
    seen: set[MessageType | None] = field(default_factory=set)

    def message(self, kind: MessageType, now: float, ciaddr: IPv4Address = ANY, **options: bytes) -> bytes:
        if kind in (MessageType.DISCOVER, MessageType.REQUEST):
            self.xid, self.asked_at = self.xid + 1, now
        return DhcpMessage(
            op=Op.REQUEST, xid=self.xid, chaddr=self.mac, ciaddr=ciaddr,
            options={
                Option.MESSAGE_TYPE: bytes((kind,)),
                **{Option[name]: value for name, value in options.items()},
                **NETBOOT,
            },
        ).encode()  # fmt: skip

    def hear(self, reply: DhcpMessage) -> None:
        if reply.xid != self.xid:
            return
        self.seen.add(reply.message_type)
        if reply.message_type is MessageType.OFFER and self.asked_for == ANY:
            self.offered = reply.yiaddr
        elif reply.message_type is MessageType.ACK and reply.yiaddr == self.asked_for != ANY:
            self.uses = self.last = reply.yiaddr
            self.until = self.asked_at + int.from_bytes(reply.options[Option.LEASE_TIME], "big")
        elif reply.message_type is MessageType.NAK and self.asked_for != ANY:
            self.stop()

    def stop(self) -> None:
        self.uses = self.asked_for = self.offered = ANY


hosts = st.integers(0, 2)


class Exchange(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.hosts = [Host(bytes((0x52, 0x54, 0, 0, 0, number)), xid=number << 16) for number in range(3)]
        self.stored: dict[IPv4Address, Lease] = {}
        self.authority = Authority([SUBNET])
        self.to_server: list[bytes] = []
        self.to_hosts: list[DhcpMessage] = []

    def serve(self, datagram: bytes) -> None:
        message = DhcpMessage.parse(datagram)
        arrival = Arrival(our_address=OURS, port=67, peer=("0.0.0.0", 68), now=self.now)
        answer = self.authority.answer(message, arrival, FILES)
        if isinstance(answer, Answer):
            self.stored.update({lease.address: lease for lease in answer.leases})
            self.to_hosts += [DhcpMessage.parse(reply.message.encode(reply.limit)) for reply in answer.replies]
        self.never_a_lease_by_proxy(message, arrival)

    def never_a_lease_by_proxy(self, message: DhcpMessage, arrival: Arrival) -> None:
        """The same datagram at a proxy, for a host that is to install."""
        request = classify(message)
        assert not isinstance(request, Ignored)
        answer = proxy.answer(message, arrival, request, BootDecision(boot=Boot.INSTALL, reason="armed"), FILES)
        if isinstance(answer, Ignored):
            return
        assert message.message_type is MessageType.DISCOVER or message.address(Option.SERVER_ID) == OURS
        for reply in answer.replies:
            assert reply.message.yiaddr == ANY
            assert reply.message.message_type is not MessageType.NAK
            assert Option.LEASE_TIME not in reply.message.options

    def deliver(self, reply: DhcpMessage) -> None:
        for host in self.hosts:
            if host.mac == reply.chaddr:
                host.hear(reply)

    @rule(number=hosts, wanted=st.integers(0, 3))
    def a_host_discovers(self, number: int, wanted: int) -> None:
        host = self.hosts[number]
        host.stop()
        options = {"REQUESTED_ADDRESS": (SUBNET.first + wanted).packed} if wanted else {}
        self.to_server.append(host.message(MessageType.DISCOVER, self.now, **options))

    @rule(number=hosts, theirs=st.booleans())
    def a_host_selects(self, number: int, theirs: bool) -> None:
        host = self.hosts[number]
        if host.offered == ANY or host.uses != ANY:
            return
        host.asked_for = ANY if theirs else host.offered
        server = OTHER if theirs else OURS
        options = {"SERVER_ID": server.packed, "REQUESTED_ADDRESS": host.offered.packed}
        self.to_server.append(host.message(MessageType.REQUEST, self.now, **options))

    @rule(number=hosts, wanted=st.integers(0, 3))
    def a_host_boots_while_the_wire_is_good(self, number: int, wanted: int) -> None:
        self.a_host_discovers(number, wanted)
        self.the_wire_is_good_for_a_moment()
        self.a_host_selects(number, theirs=False)
        self.the_wire_is_good_for_a_moment()

    @rule(number=hosts)
    def a_host_renews(self, number: int) -> None:
        host = self.hosts[number]
        if host.uses != ANY:
            host.asked_for = host.uses
            self.to_server.append(host.message(MessageType.REQUEST, self.now, ciaddr=host.uses))

    @rule(number=hosts)
    def a_host_starts_again_and_asks_for_its_old_address(self, number: int) -> None:
        host = self.hosts[number]
        if host.last != ANY:
            host.stop()
            host.asked_for = host.last
            self.to_server.append(host.message(MessageType.REQUEST, self.now, REQUESTED_ADDRESS=host.last.packed))

    @rule(number=hosts, lost=st.booleans(), found_in_use=st.booleans())
    def a_host_gives_its_address_back(self, number: int, lost: bool, found_in_use: bool) -> None:
        host = self.hosts[number]
        if host.uses == ANY:
            return
        # What it said before is over: a REQUEST that is still under way would bind the address again.
        self.to_server = [each for each in self.to_server if each[28:34] != host.mac]
        if found_in_use:
            datagram = host.message(MessageType.DECLINE, self.now, REQUESTED_ADDRESS=host.uses.packed)
        else:
            datagram = host.message(MessageType.RELEASE, self.now, ciaddr=host.uses)
        host.stop()
        host.last = ANY
        if not lost:
            self.serve(datagram)

    @precondition(lambda self: self.to_server)
    @rule(at=st.integers(0, 50), keep=st.booleans())
    def a_message_reaches_the_server(self, at: int, keep: bool) -> None:
        at %= len(self.to_server)
        self.serve(self.to_server[at] if keep else self.to_server.pop(at))

    @precondition(lambda self: self.to_hosts)
    @rule(at=st.integers(0, 50), keep=st.booleans())
    def a_reply_reaches_its_host(self, at: int, keep: bool) -> None:
        at %= len(self.to_hosts)
        self.deliver(self.to_hosts[at] if keep else self.to_hosts.pop(at))

    @rule()
    def the_wire_is_good_for_a_moment(self) -> None:
        for each in self.to_server:
            self.serve(each)
        for reply in self.to_hosts:
            self.deliver(reply)
        self.to_server, self.to_hosts = [], []

    @rule(to_server=st.integers(0, 3), to_hosts=st.integers(0, 3))
    def messages_are_lost(self, to_server: int, to_hosts: int) -> None:
        del self.to_server[:to_server], self.to_hosts[:to_hosts]

    @rule(seconds=st.sampled_from([1, 30, 51, 99, 101, 130]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        # No network keeps a packet longer than the two minutes of RFC 791's time to live.
        if seconds > 99:
            self.to_server, self.to_hosts = [], []
        for host in self.hosts:
            if host.uses != ANY and host.until <= self.now:
                host.stop()

    @rule()
    def the_server_is_killed_and_started_again(self) -> None:
        self.authority = Authority([SUBNET], self.stored.values())

    @invariant()
    def no_address_is_used_twice(self) -> None:
        used = [host.uses for host in self.hosts if host.uses != ANY and host.until > self.now]
        assert len(used) == len(set(used)), used
        assert all(SUBNET.first <= address <= SUBNET.last for address in used)

    @invariant()
    def nobody_else_was_lent_what_a_host_uses(self) -> None:
        for host in self.hosts:
            if host.uses != ANY and host.until > self.now:
                assert self.stored[host.uses].mac.octets == host.mac
                assert self.stored[host.uses].is_live(self.now)


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
