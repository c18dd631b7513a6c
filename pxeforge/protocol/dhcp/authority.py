"""The DHCP server's responder (RFC 2131): addresses, network settings and, for a host to install, a boot file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address

from pxeforge.domain.boot import BootDecision, BootRequest
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.bootfile import BootFiles, choose_boot_file
from pxeforge.protocol.dhcp.exchange import HTTP_CLIENT, Answer, Arrival, BootFields, Ignored, reply_to
from pxeforge.protocol.dhcp.lease import Lease, LeaseBook, Subnet
from pxeforge.protocol.dhcp.message import ANY, DhcpMessage, MessageType, Op, Option, encode_sub_options

# iPXE waits for a proxyDHCP server unless the DHCP server tells it not to (175.176).
_IPXE_NO_PROXY = encode_sub_options({176: b"\x01"}, end=False)


class Authority:
    """Answers for its subnets and believes to be the only DHCP server on them: a wrong address is refused by NAK."""

    def __init__(
        self,
        subnets: Iterable[Subnet],
        leases: Iterable[Lease] = (),
        reservations: Mapping[MacAddress, IPv4Address] | None = None,
    ) -> None:
        stored = list(leases)
        self.books = tuple(LeaseBook(subnet, stored, reservations) for subnet in subnets)

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
        where = message.giaddr if message.giaddr != ANY else arrival.our_address
        book = next((book for book in self.books if where in book.subnet.network), None)
        if book is None:
            return Ignored(f"no address range for the network of {where}")
        file = choose_boot_file(request, decision, files, arrival.our_address) if request and decision else None
        boot = BootFields(server=files.server_for(arrival.our_address), file=file) if file else None
        talk = _Talk(message, arrival, book, mac, boot, request)
        return _HANDLERS[kind](talk)


class _Talk:
    """One message and all that is needed to answer it."""

    def __init__(
        self,
        message: DhcpMessage,
        arrival: Arrival,
        book: LeaseBook,
        mac: MacAddress,
        boot: BootFields | None,
        who: BootRequest | None,
    ) -> None:
        self.message, self.arrival, self.book, self.mac, self.boot = message, arrival, book, mac, boot
        self.is_ipxe = who is not None and who.is_ipxe
        self.by_http = boot is not None and who is not None and who.firmware.is_http and not who.is_ipxe
        self.client_id = message.options.get(Option.CLIENT_ID, b"")
        self.requested = message.address(Option.REQUESTED_ADDRESS)

    def discover(self) -> Answer | Ignored:
        ours, now = self.arrival.our_address, self.arrival.now
        lease = self.book.offer(self.mac, self.client_id, self.requested, ours, now)
        if lease is None:
            return Ignored("no free address: make the range larger or the lease time shorter")
        return self._reply(MessageType.OFFER, lease.address, settings=self._lease_options())

    def request(self) -> Answer | Ignored:
        """RFC 2131 section 4.3.2: selecting (54 and 50), init-reboot (50), renewing and rebinding (ciaddr)."""
        chosen = self.message.address(Option.SERVER_ID)
        if chosen is not None and chosen != self.arrival.our_address:
            self.book.withdraw_offer(self.mac)
            return Ignored(f"the client took the offer of {chosen}")
        address = self.requested if self.message.ciaddr == ANY else self.message.ciaddr
        if address is None:
            return Ignored("a REQUEST that names no address")
        changed = self.book.bind(self.mac, self.client_id, address, self.arrival.our_address, self.arrival.now)
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
        return Answer(replies=(reply,), what=f"NAK for {address}")

    def _reply(
        self,
        kind: MessageType,
        address: IPv4Address,
        *,
        settings: Mapping[int, bytes],
        leases: tuple[Lease, ...] = (),
    ) -> Answer:
        options = {**settings, **self._network_options()}
        if self.is_ipxe:
            options[Option.IPXE] = _IPXE_NO_PROXY
        if self.by_http:
            options[Option.VENDOR_CLASS] = HTTP_CLIENT
        reply = reply_to(self.message, self.arrival, kind, options=options, yiaddr=address, boot=self.boot)
        file = f", boot file {self.boot.file}" if self.boot else ""
        to = address if address != ANY else self.message.ciaddr
        return Answer(replies=(reply,), leases=leases, what=f"{kind.name} {to}{file}")

    def _lease_options(self) -> dict[int, bytes]:
        time_s = self.book.subnet.lease_time_s
        return {
            Option.LEASE_TIME: time_s.to_bytes(4, "big"),
            Option.RENEWAL_TIME: (time_s // 2).to_bytes(4, "big"),
            Option.REBINDING_TIME: (time_s * 7 // 8).to_bytes(4, "big"),
        }

    def _network_options(self) -> dict[int, bytes]:
        """Sent whether asked for or not: installers stop and ask a person where router or DNS is missing."""
        subnet = self.book.subnet
        options: dict[int, bytes] = {
            Option.SUBNET_MASK: subnet.network.netmask.packed,
            Option.ROUTER: subnet.router.packed if subnet.router else b"",
            Option.DNS: b"".join(server.packed for server in subnet.dns),
            Option.DOMAIN: subnet.domain_bytes(),
            Option.BROADCAST: subnet.network.broadcast_address.packed,
            Option.NTP: b"".join(server.packed for server in subnet.ntp),
            Option.MTU: subnet.mtu.to_bytes(2, "big") if subnet.mtu else b"",
            Option.ROUTES: subnet.routes_bytes(),
        }
        return {code: value for code, value in options.items() if value}


_HANDLERS: Mapping[MessageType | None, Callable[[_Talk], Answer | Ignored]] = {
    MessageType.DISCOVER: _Talk.discover,
    MessageType.REQUEST: _Talk.request,
    MessageType.INFORM: _Talk.inform,
    MessageType.RELEASE: _Talk.release,
    MessageType.DECLINE: _Talk.decline,
}
