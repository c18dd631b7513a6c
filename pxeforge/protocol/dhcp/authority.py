"""The DHCP server's responder (RFC 2131): addresses, network settings and, for a host to install, a boot file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from itertools import pairwise

from pxeforge.domain.boot import BootDecision, BootRequest
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.cursor import Malformed
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file
from pxeforge.protocol.dhcp.exchange import HTTP_CLIENT, Answer, Arrival, BootFields, Ignored, reply_to
from pxeforge.protocol.dhcp.lease import Lease, LeaseBook
from pxeforge.protocol.dhcp.message import (
    ANY,
    DhcpMessage,
    MessageType,
    Op,
    Option,
    encode_sub_options,
    spelled,
    sub_options,
)
from pxeforge.protocol.dhcp.subnet import BadSubnet, HostNetwork, HostNetworks, NoHostNetworks, Subnet, told

_LINK_SELECTION = 5  # sub-option of 82 (RFC 3527)
# iPXE waits for a proxyDHCP server unless the DHCP server tells it not to (175.176).
_IPXE_NO_PROXY = encode_sub_options({176: b"\x01"}, end=False)


class Authority:
    """Answers for its subnets and believes to be the only DHCP server on them: a wrong address is refused by NAK."""

    def __init__(
        self, subnets: Iterable[Subnet], leases: Iterable[Lease] = (), networks: HostNetworks | None = None
    ) -> None:
        """Raises BadSubnet where two subnets overlap."""
        stored = list(leases)
        self._networks = networks or NoHostNetworks()
        ordered = sorted(subnets, key=lambda subnet: subnet.network)
        for one, other in pairwise(ordered):
            if one.network.overlaps(other.network):
                raise BadSubnet(f"the subnets {one.network} and {other.network} overlap: an address must be in one")
        self.books = tuple(LeaseBook(subnet, stored, self._networks) for subnet in ordered)
        self._starts = [int(subnet.network.network_address) for subnet in ordered]
        self._told: dict[tuple[LeaseBook, IPv4Address], dict[int, bytes]] = {}  # what hosts without own settings hear

    def book_for(self, address: IPv4Address) -> LeaseBook | None:
        """The leases of the subnet an address is in."""
        at = bisect_right(self._starts, int(address)) - 1
        if at < 0 or address not in self.books[at].subnet.network:
            return None
        return self.books[at]

    def settings(self, book: LeaseBook, host: HostNetwork | None, ours: IPv4Address) -> dict[int, bytes]:
        """The options that tell a host of its network."""
        if host is not None:
            return told(book.subnet, host, ours)
        if (book, ours) not in self._told:
            self._told[book, ours] = told(book.subnet, None, ours)
        return self._told[book, ours]

    def found_in_use(self, mac: MacAddress, address: IPv4Address, now: float) -> tuple[Lease, ...]:
        """Somebody uses an address that was about to be offered: nobody gets it for a while."""
        book = self.book_for(address)
        return book.decline(mac, address, now) if book is not None else ()

    def answer(
        self,
        message: DhcpMessage,
        arrival: Arrival,
        files: BootFiles,
        request: BootRequest | None = None,
        decision: BootDecision | None = None,
    ) -> Answer | Ignored:
        """What to store and send; `request` and `decision` are given for a netbooting client only."""
        kind, mac = message.message_type, message.mac
        if message.op is not Op.REQUEST or kind not in _HANDLERS:
            return Ignored("not a DHCP request")
        if mac is None:
            return Ignored(f"the hardware address has {len(message.chaddr)} bytes and is no MAC address")
        where = _whereabouts(message, arrival)
        book = self.book_for(where)
        if book is None:
            return Ignored(f"no address range for the network of {where}")
        file = choose_boot_file(request, decision, files, arrival.our_address) if request and decision else None
        boot = BootFields(server=files.server_for(arrival.our_address), file=file) if file else None
        own = self._networks.of(mac)
        talk = _Talk(self, message, arrival, book, mac, boot, request, own)
        return _HANDLERS[kind](talk)


def _whereabouts(message: DhcpMessage, arrival: Arrival) -> IPv4Address:
    """An address of the network the client is on: what the relay says of the link (RFC 3527), what the client asks for
    (RFC 3011), the relay's own address, its own address where it writes to us across routers, else our wire.
    """
    chosen = _link_selection(message) or message.address(Option.SUBNET_SELECTION)
    if chosen is not None:
        return chosen
    if message.giaddr != ANY:
        return message.giaddr
    return message.ciaddr if arrival.unicast and message.ciaddr != ANY else arrival.our_address


def _link_selection(message: DhcpMessage) -> IPv4Address | None:
    if message.giaddr == ANY or Option.RELAY_AGENT not in message.options:
        return None
    try:
        value = sub_options(message.options[Option.RELAY_AGENT]).get(_LINK_SELECTION, b"")
    except Malformed:
        return None
    return IPv4Address(value) if len(value) == 4 else None


class _Talk:
    """One message and all that is needed to answer it."""

    def __init__(
        self,
        authority: Authority,
        message: DhcpMessage,
        arrival: Arrival,
        book: LeaseBook,
        mac: MacAddress,
        boot: BootFields | None,
        who: BootRequest | None,
        own: HostNetwork | None,
    ) -> None:
        self.authority, self.message, self.arrival, self.book = authority, message, arrival, book
        self.mac, self.boot, self.own = mac, boot, own
        address = own.address if own is not None else None
        # A reservation counts in its own subnet only: elsewhere the host is a guest like others.
        self.reserved = address if address is not None and address in book.subnet.network else None
        self.is_ipxe = who is not None and who.is_ipxe
        self.by_http = boot is not None and who is not None and who.firmware.is_http and not who.is_ipxe
        self.client_id = message.options.get(Option.CLIENT_ID, b"")
        self.requested = message.address(Option.REQUESTED_ADDRESS)

    def discover(self) -> Answer | Ignored:
        ours, now = self.arrival.our_address, self.arrival.now
        before = self.book.lease_of(self.mac)
        lease = self.book.offer(self.mac, self.client_id, self.requested, ours, now, self.reserved)
        if lease is None:
            return Ignored("no free address: make the range larger or the lease time shorter")
        is_new = before is None or before.address != lease.address
        # Behind a relay nobody hears us ask.
        check = lease.address if is_new and self.message.giaddr == ANY else None
        return self._reply(MessageType.OFFER, lease.address, settings=self._lease_options(), check=check)

    def request(self) -> Answer | Ignored:
        """RFC 2131 section 4.3.2: selecting (54 and 50), init-reboot (50), renewing and rebinding (ciaddr)."""
        chosen = self.message.address(Option.SERVER_ID)
        if chosen is not None and chosen != self.arrival.our_address:
            self.book.withdraw_offer(self.mac)
            return Ignored(f"the client took the offer of {chosen}")
        address = self.requested if self.message.ciaddr == ANY else self.message.ciaddr
        if address is None:
            return Ignored("a REQUEST that names no address")
        changed = self.book.bind(
            self.mac, self.client_id, address, self.arrival.our_address, self.arrival.now, self.reserved,
            self.own.lease_time_s if self.own is not None else None,
        )  # fmt: skip
        if not changed:
            return self._refuse(address)
        return self._reply(MessageType.ACK, address, settings=self._lease_options(), leases=changed)

    def inform(self) -> Answer | Ignored:
        if self.message.ciaddr == ANY:
            return Ignored("an INFORM that names no address")
        return self._reply(MessageType.ACK, ANY, settings={})

    def release(self) -> Answer | Ignored:
        changed = self.book.release(self.mac, self.message.ciaddr, self.arrival.now)
        if not changed:
            return Ignored(f"RELEASE of {self.message.ciaddr}, which the host does not hold")
        return Answer(leases=changed, what=f"RELEASE of {self.message.ciaddr}")

    def decline(self) -> Answer | Ignored:
        if self.requested is None:
            return Ignored("a DECLINE that names no address")
        changed = self.book.decline(self.mac, self.requested, self.arrival.now)
        if not changed:
            return Ignored(f"DECLINE of {self.requested}, which the host does not hold")
        return Answer(leases=changed, what=f"DECLINE of {self.requested}: somebody else uses it, quarantined")

    def _refuse(self, address: IPv4Address) -> Answer:
        text = f"{address} is not yours here".encode()
        reply = reply_to(self.message, self.arrival, MessageType.NAK, options={Option.MESSAGE: text})
        # A lease that may not go on (the address is another host's by now) ends here: the host starts over.
        ended = self.book.release(self.mac, address, self.arrival.now)
        return Answer(replies=(reply,), leases=ended, what=f"NAK for {address}")

    def _reply(
        self,
        kind: MessageType,
        address: IPv4Address,
        *,
        settings: Mapping[int, bytes],
        leases: tuple[Lease, ...] = (),
        check: IPv4Address | None = None,
    ) -> Answer:
        options = {**settings, **self.authority.settings(self.book, self.own, self.arrival.our_address)}
        if self.is_ipxe:
            options[Option.IPXE] = _IPXE_NO_PROXY
        if self.by_http:
            options[Option.VENDOR_CLASS] = HTTP_CLIENT
        reply = reply_to(self.message, self.arrival, kind, options=options, yiaddr=address, boot=self.boot)
        file = f", boot file {self.boot.file}" if self.boot else ""
        to = address if address != ANY else self.message.ciaddr
        return Answer(replies=(reply,), leases=leases, check=check, what=f"{kind.name} {spelled(to)}{file}")

    def _lease_options(self) -> dict[int, bytes]:
        time_s = (self.own.lease_time_s if self.own is not None else None) or self.book.subnet.lease_time_s
        return {
            Option.LEASE_TIME: time_s.to_bytes(4, "big"),
            Option.RENEWAL_TIME: (time_s // 2).to_bytes(4, "big"),
            Option.REBINDING_TIME: (time_s * 7 // 8).to_bytes(4, "big"),
        }


_HANDLERS: Mapping[MessageType | None, Callable[[_Talk], Answer | Ignored]] = {
    MessageType.DISCOVER: _Talk.discover,
    MessageType.REQUEST: _Talk.request,
    MessageType.INFORM: _Talk.inform,
    MessageType.RELEASE: _Talk.release,
    MessageType.DECLINE: _Talk.decline,
}
