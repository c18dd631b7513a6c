"""Files of systemd-networkd: each interface by what it is, physical NICs by the MAC they were built with."""

from __future__ import annotations

from pxeforge.render.network import Network
from pxeforge.render.networkd import BOOT_MAC, networkd_files, resolv_conf

OTHER = "52:54:00:00:00:02"


def files(value: object) -> dict[str, str]:
    return {file.name: file.text for file in networkd_files(Network.parse(value))}


def test_what_installers_write_by_themselves_needs_no_files() -> None:
    assert files({}) == {}
    assert files({"nics": [{"mac": "boot", "addresses": ["192.0.2.5/24"]}]}) == {}


def test_a_bond_with_a_vlan_and_a_bridge() -> None:
    found = files(
        {
            "nics": [{"mac": "boot", "name": "a"}, {"mac": OTHER, "name": "b"}],
            "bonds": [{"name": "bond0", "nics": ["a", "b"], "mode": "802.3ad", "dhcp": True}],
            "vlans": [{"name": "san", "link": "bond0", "id": 20, "mtu": 9000}],
            "bridges": [{"name": "br0", "ports": ["san"], "addresses": ["10.0.0.5/24"], "optional": True}],
            "dns": ["10.0.0.1"],
        }
    )
    assert list(found) == [
        "50-a.network", "50-b.network", "30-bond0.netdev", "30-bond0.network", "40-san.netdev", "40-san.network",
        "20-br0.netdev", "20-br0.network",
    ]  # fmt: skip
    assert f"PermanentMACAddress={BOOT_MAC}\n" in found["50-a.network"]
    assert f"PermanentMACAddress={OTHER}\n" in found["50-b.network"]
    assert "Bond=bond0\nLinkLocalAddressing=no" in found["50-b.network"]
    assert "RequiredForOnline=enslaved" in found["50-a.network"]
    assert "Kind=bond\n" in found["30-bond0.netdev"]
    assert "Mode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast" in found["30-bond0.netdev"]
    assert "VLAN=san\nDHCP=ipv4\n" in found["30-bond0.network"]
    assert "[VLAN]\nId=20\n" in found["40-san.netdev"]
    assert "MTUBytes=9000\n" in found["40-san.network"]
    assert "Bridge=br0\n" in found["40-san.network"]
    assert "[Bridge]\nSTP=no\nForwardDelaySec=0\n" in found["20-br0.netdev"]
    assert "RequiredForOnline=no\n" in found["20-br0.network"]
    assert "DHCP=no\nAddress=10.0.0.5/24\nDNS=10.0.0.1\nIPv6AcceptRA=no\n" in found["20-br0.network"]


def test_routes_and_mtu_of_the_nic_that_netboots() -> None:
    nic = {
        "mac": "boot", "name": "nic0", "addresses": ["192.0.2.5/24", "2001:db8::5/64"], "gateway": "192.0.2.1",
        "gateway6": "2001:db8::1", "mtu": 9000,
        "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.254", "metric": 50}],
    }  # fmt: skip
    [text] = files({"nics": [nic], "search": ["rack.example"]}).values()
    assert text == (
        f"[Match]\nPermanentMACAddress={BOOT_MAC}\n\n[Link]\nMTUBytes=9000\n\n[Network]\nDHCP=no\n"
        "Address=192.0.2.5/24\nAddress=2001:db8::5/64\nGateway=192.0.2.1\nGateway=2001:db8::1\n"
        "Domains=rack.example\nIPv6AcceptRA=no\n\n"
        "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.254\nMetric=50\n"
    )


def test_name_servers_are_written_where_nobody_else_does() -> None:
    network = Network.parse({"dns": ["192.0.2.1", "2001:db8::1"], "search": ["a.example", "b.example"]})
    assert resolv_conf(network) == "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\n"
    assert resolv_conf(Network()) == ""
