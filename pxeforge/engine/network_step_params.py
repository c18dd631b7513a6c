"""Parameters of the network step: all interfaces of a host that pxeforge configures, as a whole."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from pxeforge.engine.step_fields import InterfaceAddress, IpAddress, IpNetwork, Mac, NicName, Params, Port

_DEFAULT = ("0.0.0.0/0", "::/0")
Mtu = Annotated[int, Field(ge=576, le=65535)]
Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?$")]


class NetworkRoute(Params):
    """A route behind an interface."""

    to: IpNetwork
    via: IpAddress
    metric: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class _Interface(Params):
    """What every kind of interface can have. Several addresses are what aliases were for."""

    name: NicName
    addresses: tuple[InterfaceAddress, ...] = ()
    dhcp: bool = False
    gateway: IpAddress | None = None
    routes: tuple[NetworkRoute, ...] = ()
    mtu: Mtu | None = None
    optional: bool = False  # the boot does not wait for it


class NetworkNic(_Interface):
    """A NIC, by the kernel's name, or by the MAC it was built with (then `name` is only how the others refer to it)."""

    mac: Mac | None = None


class NetworkBond(_Interface):
    """Several NICs as one."""

    nics: Annotated[tuple[NicName, ...], Field(min_length=1)]
    mode: Literal[
        "balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"
    ] = "active-backup"


class NetworkVlan(_Interface):
    """A VLAN (802.1Q) on another interface."""

    link: NicName
    id: Annotated[int, Field(ge=1, le=4094)]


class NetworkVxlan(_Interface):
    """A network inside UDP between hosts: to one other end (remote), or to all that listen to a multicast group."""

    id: Annotated[int, Field(ge=1, le=16777215)]
    link: NicName | None = None
    remote: IpAddress | None = None
    group: IpAddress | None = None
    local: IpAddress | None = None
    udp_port: Port = 4789

    @model_validator(mode="after")
    def _one_end(self) -> NetworkVxlan:
        if (self.remote is None) == (self.group is None):
            raise ValueError("a VXLAN has either a remote end or a group")
        if self.group is not None and (self.link is None or not ipaddress.ip_address(self.group).is_multicast):
            raise ValueError("a group is a multicast address, like 239.1.1.1, and needs `link`")
        return self


class NetworkBridge(_Interface):
    """A bridge: the kernel's own, or one of Open vSwitch. The host's address belongs to it, not to its ports."""

    ports: tuple[NicName, ...] = ()
    stp: bool = False
    kind: Literal["linux", "ovs"] = "linux"
    datapath: Literal["system", "netdev"] = "system"  # ovs
    controller: tuple[Annotated[str, StringConstraints(pattern=r"^(tcp|ssl|unix):[^\s]+$")], ...] = ()  # ovs

    @model_validator(mode="after")
    def _of_its_kind(self) -> NetworkBridge:
        if self.kind == "linux" and (self.controller or self.datapath != "system"):
            raise ValueError("datapath and controller belong to a bridge of kind ovs")
        return self


class NetworkCheck(Params):
    """A TCP port that must be reached after the change, beside the server's own."""

    host: str
    port: Port


class NetworkParams(Params):
    """All of them are written as files of systemd-networkd (bridges of kind ovs into Open vSwitch too) and applied.

    When the server is not reached within deadline_s after that, all is put back as it was: by a timer of systemd that
    is armed before anything changes, so that it happens whatever becomes of the agent, or of the host.
    """

    nics: tuple[NetworkNic, ...] = ()
    bonds: tuple[NetworkBond, ...] = ()
    vlans: tuple[NetworkVlan, ...] = ()
    vxlans: tuple[NetworkVxlan, ...] = ()
    bridges: tuple[NetworkBridge, ...] = ()
    dns: tuple[IpAddress, ...] = ()
    search: tuple[Domain, ...] = ()
    check: tuple[NetworkCheck, ...] = ()
    deadline_s: Annotated[float, Field(ge=5, le=600)] = 60

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkParams:
        interfaces: list[_Interface] = [*self.nics, *self.bonds, *self.vlans, *self.vxlans, *self.bridges]
        names = [interface.name for interface in interfaces]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two interfaces are called {twice[0]}: rename one")
        self._check_ports(dict(zip(names, interfaces, strict=True)))
        gateways = [one.name for one in interfaces if one.gateway or any(route.to in _DEFAULT for route in one.routes)]
        for version in (4, 6):
            defaults = [name for one in interfaces for name in _default_routes(one, version)]
            if len(defaults) > 1:
                raise ValueError(f"{' and '.join(defaults)} both have a default route: leave one (of {gateways})")
        return self

    def _check_ports(self, known: dict[str, _Interface]) -> None:
        owner: dict[str, str] = {}
        masters = [(bond.name, bond.nics) for bond in self.bonds] + [(one.name, one.ports) for one in self.bridges]
        for master, ports in masters:
            for name in ports:
                port = known.get(name)
                if port is None:
                    raise ValueError(f"{master} has the port {name}, which is not there: add it")
                if isinstance(port, NetworkBridge):
                    raise ValueError(f"{master} has the port {name}, which is a bridge: give it a NIC, bond or VLAN")
                if name in owner:
                    raise ValueError(f"{name} is a port of {owner[name]} and of {master}: choose one")
                if port.addresses or port.dhcp or port.gateway or port.routes:
                    raise ValueError(f"{name} is a port of {master}: give the addresses to {master}")
                owner[name] = master
        uppers: list[NetworkVlan | NetworkVxlan] = [*self.vlans, *self.vxlans]
        for upper in uppers:
            if upper.link is not None and (upper.link not in known or upper.link == upper.name):
                raise ValueError(f"{upper.name} is on {upper.link}, which is not there: add it")


def _default_routes(interface: _Interface, version: int) -> list[str]:
    gateways = [interface.gateway] if interface.gateway else []
    gateways += [route.via for route in interface.routes if route.to in _DEFAULT]
    return [interface.name for gateway in gateways if (":" in gateway) == (version == 6)]
