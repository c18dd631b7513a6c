"""The files of systemd-networkd for the network that a step asks for; pure text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FOLDER = "/etc/systemd/network"
_NUMBER = {"bridges": 20, "bonds": 30, "vlans": 40, "vxlans": 45, "nics": 50}
KINDS = tuple(_NUMBER)
_Sections = Iterator[tuple[str, list[str]]]


def interfaces(params: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """All interfaces with what they are (nics, bonds, vlans, vxlans, bridges)."""
    return [(kind, one) for kind in KINDS for one in params.get(kind) or []]


def is_ovs(kind: str, one: Mapping[str, Any]) -> bool:
    return kind == "bridges" and one.get("kind", "linux") == "ovs"


def is_configured(one: Mapping[str, Any]) -> bool:
    return bool(one.get("dhcp") or one.get("addresses"))


def networkd_files(params: Mapping[str, Any], macs: Mapping[str, str]) -> dict[str, str]:
    """Text by file name. `macs` by NIC: a bridge takes that of its first port, as the host is known by it."""
    files: dict[str, str] = {}
    for kind, one in interfaces(params):
        base = f"{_NUMBER[kind]}-{one['name']}"
        if kind != "nics" and not is_ovs(kind, one):
            files[f"{base}.netdev"] = _text(_netdev(kind, one, macs))
        files[f"{base}.network"] = _text(_network(params, kind, one))
    return files


def resolv_conf(params: Mapping[str, Any]) -> str | None:
    """The file where name servers are given; networkd does not write it. None: it stays as it is."""
    if not params.get("dns"):
        return None
    lines = [f"nameserver {server}" for server in params["dns"]]
    if params.get("search"):
        lines.append(f"search {' '.join(params['search'])}")
    return "".join(f"{line}\n" for line in lines)


def ovs_port_of(params: Mapping[str, Any], name: str) -> str | None:
    """The bridge of Open vSwitch that has this interface as a port."""
    for one in params.get("bridges") or []:
        if one.get("kind", "linux") == "ovs" and name in (one.get("ports") or []):
            return str(one["name"])
    return None


def _netdev(kind: str, one: Mapping[str, Any], macs: Mapping[str, str]) -> _Sections:
    head = [f"Name={one['name']}", f"Kind={kind[:-1]}"]
    first = next(iter(one.get("ports") or []), "")
    if kind == "bridges" and first in macs:
        head.append(f"MACAddress={macs[first]}")
    if one.get("mtu"):
        head.append(f"MTUBytes={one['mtu']}")
    yield "NetDev", head
    if kind == "bonds":
        rest = [f"Mode={one.get('mode', 'active-backup')}", "MIIMonitorSec=100ms"]
        if one.get("mode") == "802.3ad":
            rest += ["LACPTransmitRate=fast", "TransmitHashPolicy=layer3+4"]
        yield "Bond", rest
    elif kind == "vlans":
        yield "VLAN", [f"Id={one['id']}"]
    elif kind == "vxlans":
        ends = [f"{key.capitalize()}={one[key]}" for key in ("remote", "group", "local") if one.get(key)]
        alone = [] if one.get("link") else ["Independent=yes"]
        yield "VXLAN", [f"VNI={one['id']}", *ends, f"DestinationPort={one.get('udp_port', 4789)}", *alone]
    else:
        stp = bool(one.get("stp"))
        yield "Bridge", [f"STP={'yes' if stp else 'no'}", *([] if stp else ["ForwardDelaySec=0"])]


def _network(params: Mapping[str, Any], kind: str, one: Mapping[str, Any]) -> _Sections:
    by_mac = kind == "nics" and one.get("mac")
    yield "Match", [f"PermanentMACAddress={one['mac']}" if by_mac else f"Name={one['name']}"]
    link = [f"MTUBytes={one['mtu']}"] if one.get("mtu") else []
    master = _master_of(params, one["name"])
    in_ovs = ovs_port_of(params, one["name"]) is not None
    uppers = [
        f"{word}={upper['name']}"
        for upper_kind, word in (("vlans", "VLAN"), ("vxlans", "VXLAN"))
        for upper in params.get(upper_kind) or []
        if upper.get("link") == one["name"]
    ]
    if one.get("optional") or not (is_configured(one) or master or in_ovs or uppers):
        link.append("RequiredForOnline=no")
    elif not is_configured(one):
        link.append(f"RequiredForOnline={'enslaved' if master else 'carrier'}")
    if link:
        yield "Link", link
    yield "Network", _addresses(one, master, uppers)
    for route in one.get("routes") or []:
        metric = [f"Metric={route['metric']}"] if route.get("metric") else []
        yield "Route", [f"Destination={route['to']}", f"Gateway={route['via']}", *metric]


def _addresses(one: Mapping[str, Any], master: str | None, uppers: Sequence[str]) -> list[str]:
    lines = [master] if master else []
    lines += uppers
    if not is_configured(one):
        return [*lines, "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines.append(f"DHCP={'ipv4' if one.get('dhcp') else 'no'}")
    lines += [f"Address={address}" for address in one.get("addresses") or []]
    if one.get("gateway"):
        lines.append(f"Gateway={one['gateway']}")
    # Router advertisements give addresses nobody asked for where all are static.
    lines.append(f"IPv6AcceptRA={'yes' if one.get('dhcp') else 'no'}")
    return lines


def _master_of(params: Mapping[str, Any], name: str) -> str | None:
    """The line that makes it a port; Open vSwitch keeps its ports by itself."""
    for bond in params.get("bonds") or []:
        if name in bond["nics"]:
            return f"Bond={bond['name']}"
    for bridge in params.get("bridges") or []:
        if name in (bridge.get("ports") or []) and bridge.get("kind", "linux") == "linux":
            return f"Bridge={bridge['name']}"
    return None


def _text(sections: _Sections) -> str:
    body = "\n".join("\n".join([f"[{name}]", *lines]) + "\n" for name, lines in sections)
    return f"# Written by pxeforge; changes are lost at the next run.\n{body}"
