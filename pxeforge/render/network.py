"""The network of an installed host: addresses, bonds, VLANs, bridges, DNS and routes, by MAC and never by eth0."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.render.values import DOMAIN, AnswersProblem, check, check_unique, known_keys, optional_text, text_list

BOOT: Final = "boot"  # stands for the NIC that netboots, in every place where a NIC is named
# What Linux takes (15 bytes), without what a shell, a file name or a configuration file would read.
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,14}", re.ASCII)
# Names that the kernel gives in the order of probing: they mean another NIC after the next change of hardware.
_KERNEL_NAME: Final = re.compile(r"(eth|wlan|ib)[0-9]+")
_MTU: Final = range(576, 9217)
_MTU6: Final = 1280
_METRIC: Final = range(1, 1 << 31)
_Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_Net = ipaddress.IPv4Network | ipaddress.IPv6Network


class InterfaceKind(enum.Enum):
    """What an interface is."""

    NIC = "nic"
    BOND = "bond"
    VLAN = "vlan"
    BRIDGE = "bridge"


class BondMode(enum.Enum):
    """The bonding modes of Linux."""

    ROUND_ROBIN = "balance-rr"
    ACTIVE_BACKUP = "active-backup"
    XOR = "balance-xor"
    BROADCAST = "broadcast"
    LACP = "802.3ad"
    TLB = "balance-tlb"
    ALB = "balance-alb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route behind an interface; `to` is a network, `via` a gateway that the interface's own networks hold."""

    to: str
    via: str
    metric: int | None = None

    def __post_init__(self) -> None:
        to, via = _network(f"route to {self.to!r}", self.to), _host(f"route to {self.to}: via", self.via)
        if to.version != via.version:
            raise AnswersProblem(f"route to {self.to} via {self.via}: both must be IPv4, or both IPv6")
        _check_range(f"route to {self.to}: metric", self.metric, _METRIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface. Only the fields of its kind are set: see `Network`.

    `mac` of a NIC: None is the NIC that netboots. `name` of a NIC is how configurations refer to it here, the kernel's
    own name is kept; the others are created under it. `addresses` like `192.0.2.5/24`.
    """

    kind: InterfaceKind
    name: str
    mac: str | None = None  # nic: `52:54:00:12:34:56`
    ports: tuple[str, ...] = ()  # bond, bridge: names of interfaces
    mode: BondMode = BondMode.ACTIVE_BACKUP  # bond
    stp: bool = False  # bridge
    link: str | None = None  # vlan: name of the interface that carries it
    vlan_id: int | None = None  # vlan
    dhcp: bool = False  # IPv4
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()  # at most one of IPv4 and one of IPv6
    routes: tuple[Route, ...] = ()
    mtu: int | None = None
    optional: bool = False  # the boot of the installed system does not wait for it

    def __post_init__(self) -> None:
        what = f"network interface {self.name}"
        check(_NAME, "network interface", self.name, "a name of at most 15 of a-z, 0-9, . _ -")
        if self.kind is not InterfaceKind.NIC and _KERNEL_NAME.fullmatch(self.name):
            raise AnswersProblem(f"{what}: this is a name the kernel gives to NICs: use another")
        if self.name in (BOOT, "lo", "all", "default"):
            raise AnswersProblem(f"{what}: this name means something else: use another")
        if self.mac is not None and (self.kind is not InterfaceKind.NIC or self.mac != _mac(what, self.mac)):
            raise AnswersProblem(f"{what}: {self.mac!r} is not the MAC of a NIC, like 52:54:00:12:34:56")
        if bool(self.ports) and self.kind not in (InterfaceKind.BOND, InterfaceKind.BRIDGE):
            raise AnswersProblem(f"{what}: only bonds and bridges have ports")
        if self.kind is InterfaceKind.BOND and not self.ports:
            raise AnswersProblem(f"{what}: a bond needs nics")
        if (self.kind is InterfaceKind.VLAN) != (self.link is not None and self.vlan_id is not None):
            raise AnswersProblem(f"{what}: a VLAN needs link and id, and only a VLAN has them")
        _check_range(f"{what}: VLAN id", self.vlan_id, range(1, 4095))
        _check_range(f"{what}: mtu", self.mtu, _MTU)
        check_unique(f"port of {self.name}", self.ports)
        self._check_addresses(what)

    def _check_addresses(self, what: str) -> None:
        addresses = [_address(what, text) for text in self.addresses]
        check_unique(f"address of {self.name}", [str(address.ip) for address in addresses])
        if self.dhcp and any(address.version == 4 for address in addresses):
            raise AnswersProblem(f"{what}: it has DHCP and a static IPv4 address: choose one")
        gateways = [_host(f"{what}: gateway", text) for text in self.gateways]
        if len({gateway.version for gateway in gateways}) != len(gateways):
            raise AnswersProblem(f"{what}: more than one gateway of the same kind")
        for via in [*gateways, *(_host(what, route.via) for route in self.routes)]:
            if via.version == 4 and self.dhcp and via not in gateways:
                continue  # a lease will tell the network
            if via.version == 6 and via.is_link_local:
                continue
            own = [address for address in addresses if address.version == via.version]
            if not any(via in address.network for address in own):
                raise AnswersProblem(f"{what}: {via} is in none of its networks: it could never be reached")
            if any(via == address.ip for address in own):
                raise AnswersProblem(f"{what}: {via} is its own address, not a gateway")
        if self.mtu is not None and self.mtu < _MTU6 and any(address.version == 6 for address in addresses):
            raise AnswersProblem(f"{what}: IPv6 needs an mtu of at least {_MTU6}")

    @property
    def is_configured(self) -> bool:
        """Whether it has addresses of its own."""
        return self.dhcp or bool(self.addresses)

    @property
    def ipv4(self) -> tuple[ipaddress.IPv4Interface, ...]:
        found = (ipaddress.ip_interface(text) for text in self.addresses)
        return tuple(one for one in found if isinstance(one, ipaddress.IPv4Interface))

    @property
    def gateway4(self) -> str | None:
        return next((text for text in self.gateways if ":" not in text), None)

    @property
    def gateway6(self) -> str | None:
        return next((text for text in self.gateways if ":" in text), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticAddress:
    """What an installer needs to configure one NIC by itself, without DHCP (IPv4)."""

    address: str
    netmask: str
    prefix_length: int
    gateway: str | None
    nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """All interfaces of a host. Without any: DHCP on the NIC that netboots.

    As a parameter (docs/answers.md):

    nics: [{name, mac: boot|MAC, dhcp, addresses, gateway, routes: [{to, via, metric}], mtu, optional}]
    bonds: [{name, nics: […], mode, …}]   vlans: [{name, link, id, …}]   bridges: [{name, ports: […], stp, …}]
    dns: [addresses]   search: [domains]
    """

    interfaces: tuple[Interface, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        by_name = {interface.name: interface for interface in self.interfaces}
        check_unique("network interface", [interface.name for interface in self.interfaces])
        macs = [interface.mac or BOOT for interface in self.interfaces if interface.kind is InterfaceKind.NIC]
        check_unique("MAC of a NIC", macs)
        for server in self.dns:
            _host("network dns", server)
        check_unique("DNS server", self.dns)
        for domain in self.search:
            check(DOMAIN, "network search", domain, "a domain")
        self._check_masters(by_name)
        for interface in self.interfaces:
            _check_no_loop(interface, by_name)
        self._check_addresses()

    def _check_masters(self, by_name: Mapping[str, Interface]) -> None:
        """Every port exists, is of a kind that can be one, belongs to one master and has no addresses of its own."""
        master_of: dict[str, str] = {}
        for interface in self.interfaces:
            for name in (*interface.ports, *([interface.link] if interface.link else ())):
                if name not in by_name:
                    known = ", ".join(sorted(by_name))
                    raise AnswersProblem(f"network interface {interface.name}: there is no {name!r}, only {known}")
            for name in interface.ports:
                port = by_name[name]
                what = f"network interface {name}, a port of {interface.name},"
                if interface.kind is InterfaceKind.BOND and port.kind is not InterfaceKind.NIC:
                    raise AnswersProblem(f"{what} must be a NIC")
                if port.kind is InterfaceKind.BRIDGE:
                    raise AnswersProblem(f"{what} must not be a bridge")
                if port.is_configured or port.routes or port.gateways:
                    raise AnswersProblem(f"{what} must have no addresses: give them to {interface.name}")
                if name in master_of:
                    raise AnswersProblem(f"{what} is a port of {master_of[name]} already")
                master_of[name] = interface.name
        carried = [(vlan.link, vlan.vlan_id) for vlan in self.interfaces if vlan.kind is InterfaceKind.VLAN]
        check_unique("VLAN", [f"{vlan_id} on {link}" for link, vlan_id in carried])

    def _check_addresses(self) -> None:
        if not self.interfaces:
            return
        if not any(interface.is_configured for interface in self.interfaces):
            raise AnswersProblem("network: no interface has an address or dhcp: the host could never be reached")
        check_unique("address", [address.split("/")[0] for one in self.interfaces for address in one.addresses])
        for version in (4, 6):
            ways = [one.name for one in self.interfaces if (one.gateway4 if version == 4 else one.gateway6) is not None]
            if len(ways) > 1:
                raise AnswersProblem(f"network: more than one default gateway of IPv{version}: {', '.join(ways)}")

    # ------------------------------------------------------------------ reading

    @classmethod
    def parse(cls, value: object) -> Network:
        """From the parameter `network`; None and {} are DHCP on the NIC that netboots. Raises AnswersProblem."""
        if value is None:
            return cls()
        keys = ("nics", "bonds", "vlans", "bridges", "dns", "search")
        values = known_keys("network", value, keys)
        interfaces: list[Interface] = []
        for key, kind in zip(keys, InterfaceKind, strict=False):
            entries = values.get(key)
            if entries is not None and not isinstance(entries, list | tuple):
                raise AnswersProblem(f"network: {key} must be a list")
            interfaces.extend(_interface(kind, f"network: {key}", entry) for entry in entries or ())
        return cls(
            interfaces=tuple(interfaces),
            dns=text_list("network: dns", values.get("dns")),
            search=text_list("network: search", values.get("search")),
        )

    # ------------------------------------------------------------------ what installers ask

    def booted_from(self, mac: str) -> Network:
        """The same with every NIC known by its MAC: `mac` is that of the NIC that netboots."""
        if not any(one.kind is InterfaceKind.NIC and one.mac is None for one in self.interfaces):
            return self
        if any(one.mac == mac for one in self.interfaces):
            raise AnswersProblem(f"network: the NIC {mac} is there twice: once as `boot`, once by its MAC")
        return replace(
            self,
            interfaces=tuple(
                replace(one, mac=mac) if one.kind is InterfaceKind.NIC and one.mac is None else one
                for one in self.interfaces
            ),
        )

    def boot_nic(self, mac: str | None = None) -> Interface | None:
        """The NIC that netboots, as it is configured; None where only the default (DHCP) holds for it."""
        nics = [one for one in self.interfaces if one.kind is InterfaceKind.NIC]
        return next((one for one in nics if one.mac is None or one.mac == mac), None)

    def static_address(self, mac: str | None = None) -> StaticAddress | None:
        """How the NIC that netboots is addressed in the installer; None: by DHCP."""
        nic = self.boot_nic(mac)
        if nic is None or not nic.ipv4:
            return None
        first = nic.ipv4[0]
        return StaticAddress(
            address=str(first.ip),
            netmask=str(first.network.netmask),
            prefix_length=first.network.prefixlen,
            gateway=nic.gateway4,
            nameservers=tuple(server for server in self.dns if ":" not in server),
        )

    @property
    def is_simple(self) -> bool:
        """Whether every installer can write it by itself: one NIC, the one that netboots, with DHCP or one address."""
        if not self.interfaces:
            return True
        one = self.interfaces[0]
        return (
            len(self.interfaces) == 1
            and one.kind is InterfaceKind.NIC
            and one.mac is None
            and not one.routes
            and one.mtu is None
            and not one.gateway6
            and (len(one.ipv4), len(one.addresses)) in ((0, 0), (1, 1))
        )

    def ports_of(self, name: str) -> tuple[Interface, ...]:
        """The ports of a bond or bridge."""
        by_name = {interface.name: interface for interface in self.interfaces}
        return tuple(by_name[port] for port in by_name[name].ports)

    def master_of(self, name: str) -> Interface | None:
        """The bond or bridge that an interface is a port of."""
        return next((one for one in self.interfaces if name in one.ports), None)

    def vlans_on(self, name: str) -> tuple[Interface, ...]:
        return tuple(one for one in self.interfaces if one.link == name)


_COMMON: Final = ("name", "dhcp", "addresses", "gateway", "gateway6", "routes", "mtu", "optional")
_OWN: Final[Mapping[InterfaceKind, tuple[str, ...]]] = {
    InterfaceKind.NIC: ("mac",),
    InterfaceKind.BOND: ("nics", "mode"),
    InterfaceKind.VLAN: ("link", "id"),
    InterfaceKind.BRIDGE: ("ports", "stp"),
}
_REQUIRED: Final[Mapping[InterfaceKind, tuple[str, ...]]] = {
    InterfaceKind.NIC: ("mac",),
    InterfaceKind.BOND: ("name", "nics"),
    InterfaceKind.VLAN: ("name", "link", "id"),
    InterfaceKind.BRIDGE: ("name",),
}


def _interface(kind: InterfaceKind, what: str, entry: object) -> Interface:
    values = known_keys(what, entry, (*_COMMON, *_OWN[kind]), _REQUIRED[kind])
    mac = optional_text(what, values, "mac")
    name = optional_text(what, values, "name") or f"nic-{(mac or '').lower().replace(':', '')[-6:]}"
    gateways = (optional_text(what, values, "gateway"), optional_text(what, values, "gateway6"))
    try:
        mode = BondMode(values.get("mode", BondMode.ACTIVE_BACKUP.value))
    except ValueError:
        modes = ", ".join(mode.value for mode in BondMode)
        raise AnswersProblem(f"{what}: unknown bond mode {values['mode']!r}: use one of {modes}") from None
    return Interface(
        kind=kind,
        name="nic-boot" if mac == BOOT and not values.get("name") else name,
        mac=None if mac is None or mac == BOOT else _mac(what, mac),
        ports=text_list(f"{what}: ports", values.get("nics" if kind is InterfaceKind.BOND else "ports")),
        mode=mode,
        stp=_flag(what, "stp", values.get("stp")),
        link=optional_text(what, values, "link"),
        vlan_id=_number(what, "id", values.get("id")),
        dhcp=_flag(what, "dhcp", values.get("dhcp")),
        addresses=text_list(f"{what}: addresses", values.get("addresses")),
        gateways=tuple(gateway for gateway in gateways if gateway),
        routes=_routes(what, values.get("routes")),
        mtu=_number(what, "mtu", values.get("mtu")),
        optional=_flag(what, "optional", values.get("optional")),
    )


def _routes(what: str, value: object) -> tuple[Route, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise AnswersProblem(f"{what}: routes must be a list")
    found = []
    for entry in value:
        values = known_keys(f"{what}: routes", entry, ("to", "via", "metric"), ("to", "via"))
        metric = _number(what, "metric", values.get("metric"))
        found.append(Route(to=str(values["to"]), via=str(values["via"]), metric=metric))
    return tuple(found)


def _check_no_loop(start: Interface, by_name: Mapping[str, Interface]) -> None:
    seen, ahead = set[str](), [start.name]
    while ahead:
        interface = by_name[ahead.pop()]
        for name in (*interface.ports, *([interface.link] if interface.link else ())):
            if name == start.name:
                raise AnswersProblem(f"network interface {start.name} would carry itself, through {interface.name}")
            if name not in seen:
                seen.add(name)
                ahead.append(name)


def _mac(what: str, text: str) -> str:
    try:
        return str(MacAddress.parse(text))
    except (NotAMac, AttributeError, TypeError) as problem:
        raise AnswersProblem(f"{what}: {text!r} is not the MAC of a NIC, like 52:54:00:12:34:56") from problem


def _address(what: str, text: str) -> _Address:
    if "/" not in text:
        raise AnswersProblem(f"{what}: {text!r} has no prefix length: write it like 192.0.2.5/24")
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise AnswersProblem(f"{what}: {text!r} is not an address with its prefix, like 192.0.2.5/24") from None
    is_wide = found.network.prefixlen < found.max_prefixlen - 1
    is_broadcast = isinstance(found, ipaddress.IPv4Interface) and found.ip == found.network.broadcast_address
    if is_wide and (found.ip == found.network.network_address or is_broadcast):
        raise AnswersProblem(f"{what}: {text} names a whole network, not a host in it")
    _check_usable(what, found.ip)
    return found


def _network(what: str, text: str) -> _Net:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise AnswersProblem(f"{what}: {text!r} is not a network like 198.51.100.0/24") from None


def _host(what: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise AnswersProblem(f"{what}: {text!r} is not an address like 192.0.2.1") from None
    _check_usable(what, found)
    return found


def _check_usable(what: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    zone = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    if address.is_multicast or address.is_unspecified or address.is_loopback or zone:
        raise AnswersProblem(f"{what}: {address} is no address of a single host on a network")


def _check_range(what: str, value: int | None, allowed: range) -> None:
    if value is not None and (isinstance(value, bool) or value not in allowed):
        raise AnswersProblem(f"{what} is {value!r}: use {allowed.start} to {allowed.stop - 1}")


def _number(what: str, key: str, value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise AnswersProblem(f"{what}: {key} must be a number, not {value!r}")
    return value


def _flag(what: str, key: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise AnswersProblem(f"{what}: {key} must be true or false, not {value!r}")
    return bool(value)
