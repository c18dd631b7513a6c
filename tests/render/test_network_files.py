"""One model of a network becomes key files of NetworkManager and netplan, and nothing of it is lost."""

from __future__ import annotations

import configparser
from typing import Any

from pxeforge.render.netplan import netplan
from pxeforge.render.network import Network
from pxeforge.render.networkmanager import networkmanager_files
from tests.render.variants import BOND, STATIC


def keyfiles(value: dict[str, Any]) -> dict[str, configparser.ConfigParser]:
    found = {}
    for file in networkmanager_files(Network.parse(value), "n1"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(file.text)
        found[file.name.removesuffix(".nmconnection")] = parser
    return found


def test_ports_of_a_bond_are_named_by_their_mac_and_their_master() -> None:
    files = keyfiles(BOND)
    assert set(files) == {"lan1", "lan2", "bond0", "mgmt", "storage", "br-storage"}
    assert files["lan1"]["ethernet"]["mac-address"] == "@BOOT_MAC@"
    assert files["lan2"]["ethernet"]["mac-address"] == "52:54:00:00:00:02"
    assert files["lan1"]["connection"]["master"] == files["bond0"]["connection"]["uuid"]
    assert files["lan1"]["connection"]["slave-type"] == "bond"
    assert "interface-name" not in files["lan1"]["connection"]
    assert "ipv4" not in files["lan1"]
    assert dict(files["bond0"]["bond"]) == {
        "mode": "802.3ad", "miimon": "100", "lacp_rate": "fast", "xmit_hash_policy": "layer3+4",
    }  # fmt: skip
    assert files["bond0"]["ipv4"]["method"] == "disabled"


def test_addresses_routes_and_names_are_where_they_belong() -> None:
    files = keyfiles(BOND)
    assert dict(files["mgmt"]["vlan"]) == {"id": "10", "parent": "bond0"}
    ipv4 = dict(files["mgmt"]["ipv4"])
    assert ipv4 == {
        "method": "manual", "address1": "192.0.2.5/24", "gateway": "192.0.2.1",
        "route1": "198.51.100.0/24,192.0.2.254", "dns": "192.0.2.1;192.0.2.2;", "dns-search": "rack.example.org;",
    }  # fmt: skip
    assert files["storage"]["ethernet"]["mtu"] == "9000"
    assert files["br-storage"]["bridge"]["stp"] == "false"
    six = {"nics": [{"mac": "boot", "addresses": ["2001:db8::5/64"], "gateway6": "2001:db8::1"}]}
    assert dict(keyfiles(six)["nic-boot"]["ipv6"]) == {
        "method": "manual", "address1": "2001:db8::5/64", "gateway": "2001:db8::1",
    }  # fmt: skip
    assert keyfiles(six)["nic-boot"]["ipv4"]["method"] == "disabled"


def test_identities_are_the_same_at_each_rendering_and_differ_per_host() -> None:
    first, again = keyfiles(BOND), keyfiles(BOND)
    assert first["bond0"]["connection"]["uuid"] == again["bond0"]["connection"]["uuid"]
    [other, *_] = networkmanager_files(Network.parse(BOND), "n2")
    assert first["lan1"]["connection"]["uuid"] not in other.text


def test_a_network_that_the_installer_writes_has_no_files() -> None:
    assert networkmanager_files(Network(), "n1") == ()
    assert networkmanager_files(Network.parse(STATIC), "n1") == ()


def test_netplan_tells_the_same() -> None:
    found = netplan(Network.parse(BOND))
    assert found["ethernets"]["lan2"]["match"] == {"macaddress": "52:54:00:00:00:02"}
    assert found["bonds"]["bond0"]["interfaces"] == ["lan1", "lan2"]
    assert found["vlans"]["mgmt"]["link"] == "bond0"
    assert found["vlans"]["mgmt"]["routes"] == [
        {"to": "default", "via": "192.0.2.1"}, {"to": "198.51.100.0/24", "via": "192.0.2.254"},
    ]  # fmt: skip
    assert found["vlans"]["mgmt"]["nameservers"] == {
        "addresses": ["192.0.2.1", "192.0.2.2"], "search": ["rack.example.org"],
    }  # fmt: skip
    assert found["bridges"]["br-storage"]["addresses"] == ["203.0.113.5/24"]
    assert netplan(Network())["ethernets"]["nic-boot"]["dhcp4"] is True
