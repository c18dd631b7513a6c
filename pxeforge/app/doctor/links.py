"""Facts of this computer's network links, from the kernel's route netlink: one dump of links, one of addresses."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any, Final

from pyroute2 import IPRoute

_PERMANENT: Final = 0x80  # IFA_F_PERMANENT: the address has no lifetime, so nobody leased it
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAddress:
    """An IPv4 address; one that is not permanent was leased and can change."""

    address: IPv4Interface
    is_permanent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link. `kind` is the kernel's word (bridge, vlan, bond, veth …; empty for hardware), `master` the bridge or
    bond it is a port of, `parent` and `vlan` belong to VLAN links.
    """

    name: str
    index: int = 0
    kind: str = ""
    is_up: bool = True
    has_carrier: bool = True
    mtu: int = 1500
    master: str | None = None
    parent: str | None = None
    vlan: int | None = None
    stp: bool = False
    forward_delay_s: float = 0.0
    addresses: tuple[LinkAddress, ...] = ()


def read_links() -> tuple[Link, ...]:
    """All links of the network namespace we are in, loopback included."""
    with IPRoute() as route:
        links, addresses = list(route.get_links()), list(route.get_addr(family=socket.AF_INET))
    names = {int(link["index"]): str(link.get_attr("IFLA_IFNAME")) for link in links}
    return tuple(link_of(link, names, [a for a in addresses if a["index"] == link["index"]]) for link in links)


def link_of(link: Any, names: dict[int, str], addresses: list[Any]) -> Link:
    """One link from its netlink message (rtnetlink(7)) and those of its addresses."""
    info = link.get_attr("IFLA_LINKINFO")
    kind = str((info.get_attr("IFLA_INFO_KIND") if info else None) or "")
    details: Any = info.get_attr("IFLA_INFO_DATA") if info and kind in ("bridge", "vlan") else None
    bridge, vlan = (details if kind == wanted else None for wanted in ("bridge", "vlan"))
    return Link(
        name=str(link.get_attr("IFLA_IFNAME")),
        index=int(link["index"]),
        kind=kind,
        is_up=bool(link["flags"] & _IFF_UP),
        has_carrier=bool(link.get_attr("IFLA_CARRIER")),
        mtu=int(link.get_attr("IFLA_MTU") or 0),
        master=names.get(link.get_attr("IFLA_MASTER")),
        parent=names.get(link.get_attr("IFLA_LINK")) if vlan else None,
        vlan=int(vlan.get_attr("IFLA_VLAN_ID")) if vlan else None,
        stp=bool(bridge and bridge.get_attr("IFLA_BR_STP_STATE")),
        forward_delay_s=(bridge.get_attr("IFLA_BR_FORWARD_DELAY") or 0) / 100 if bridge else 0.0,
        addresses=tuple(_address(entry) for entry in addresses),
    )


def _address(entry: Any) -> LinkAddress:
    # On a point-to-point link IFA_ADDRESS is the peer; IFA_LOCAL is always ours.
    text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
    flags = int(entry.get_attr("IFA_FLAGS") or entry["flags"])
    return LinkAddress(
        address=IPv4Interface(f"{text}/{entry['prefixlen']}"), is_permanent=bool(flags & _PERMANENT)
    )  # fmt: skip
