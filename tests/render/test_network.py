"""The network of a host: what is refused, and what installers are told."""

from __future__ import annotations

import pytest

from pxeforge.render.network import Network
from pxeforge.render.values import AnswersProblem

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
BOOT = {"mac": "boot", "name": "nic0", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"}


def test_nothing_said_is_dhcp_on_the_nic_that_netboots() -> None:
    for value in (None, {}):
        network = Network.parse(value)
        assert network.is_simple
        assert network.static_address() is None
        assert network.booted_from(MAC) == network


def test_one_static_address_is_what_every_installer_can_do_by_itself() -> None:
    network = Network.parse({"nics": [BOOT], "dns": ["192.0.2.1", "2001:db8::1"]})
    assert network.is_simple
    static = network.static_address()
    assert static is not None
    assert (static.address, static.netmask, static.prefix_length) == ("192.0.2.5", "255.255.255.0", 24)
    assert (static.gateway, static.nameservers) == ("192.0.2.1", ("192.0.2.1",))


def test_the_nic_that_netboots_may_be_named_by_its_mac() -> None:
    network = Network.parse({"nics": [{**BOOT, "mac": "52-54-00-00-00-01"}, {"mac": OTHER, "dhcp": True}]})
    assert network.static_address(OTHER) is None
    static = network.static_address(MAC)
    assert static is not None
    assert static.address == "192.0.2.5"
    assert not network.is_simple


def test_a_mac_takes_the_place_of_the_nic_that_netboots() -> None:
    network = Network.parse({"nics": [BOOT]}).booted_from(MAC)
    assert [one.mac for one in network.interfaces] == [MAC]
    twice = Network.parse({"nics": [BOOT, {"mac": MAC, "dhcp": True}]})
    with pytest.raises(AnswersProblem, match="is there twice"):
        twice.booted_from(MAC)


def test_a_bond_carries_vlans_and_a_bridge() -> None:
    network = Network.parse(
        {
            "nics": [{"mac": "boot", "name": "a"}, {"mac": OTHER, "name": "b"}],
            "bonds": [{"name": "bond0", "nics": ["a", "b"], "mode": "802.3ad", "mtu": 9000}],
            "vlans": [{"name": "mgmt", "link": "bond0", "id": 10}, {"name": "san", "link": "bond0", "id": 20}],
            "bridges": [{"name": "br-mgmt", "ports": ["mgmt"], "addresses": ["10.0.0.5/24"], "gateway": "10.0.0.1"}],
        }
    )
    assert [one.name for one in network.vlans_on("bond0")] == ["mgmt", "san"]
    assert [one.name for one in network.ports_of("bond0")] == ["a", "b"]
    master = network.master_of("mgmt")
    assert master is not None
    assert master.name == "br-mgmt"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "is not a mapping"),
        ({"cards": []}, "unknown key 'cards'"),
        ({"nics": {}}, "nics must be a list"),
        ({"nics": [{"name": "a", "dhcp": True}]}, "mac is missing"),
        ({"nics": [{"mac": 190302, "dhcp": True}]}, "put it in quotes"),
        ({"nics": [{"mac": "eth0", "dhcp": True}]}, "is not the MAC of a NIC"),
        ({"nics": [{"mac": "boot"}]}, "no interface has an address or dhcp"),
        ({"nics": [{"mac": "boot", "dhcp": "yes"}]}, "dhcp must be true or false"),
        ({"nics": [{**BOOT, "dhcp": True}]}, "choose one"),
        ({"nics": [{**BOOT, "gateway": "198.51.100.1"}]}, "in none of its networks"),
        ({"nics": [{**BOOT, "gateway": "192.0.2.5"}]}, "its own address"),
        ({"nics": [{**BOOT, "addresses": ["192.0.2.5"]}]}, "no prefix length"),
        ({"nics": [{**BOOT, "addresses": ["192.0.2.0/24"]}]}, "names a whole network"),
        ({"nics": [{**BOOT, "addresses": ["192.0.2.255/24"]}]}, "names a whole network"),
        ({"nics": [{**BOOT, "addresses": ["192.0.2.5/24", "192.0.2.5/25"]}]}, "is there twice"),
        ({"nics": [{**BOOT, "addresses": ["224.0.0.5/24"]}]}, "no address of a single host"),
        ({"nics": [{**BOOT, "mtu": 100}]}, "use 576 to 9216"),
        ({"nics": [{**BOOT, "routes": [{"to": "10.0.0.1/8", "via": "192.0.2.1"}]}]}, "is not a network"),
        ({"nics": [{**BOOT, "routes": [{"to": "10.0.0.0/8", "via": "198.51.100.1"}]}]}, "in none of its networks"),
        ({"nics": [{**BOOT, "routes": [{"to": "10.0.0.0/8", "via": "2001:db8::1"}]}]}, "both must be IPv4"),
        ({"nics": [{**BOOT, "name": "a name"}]}, "a name of at most 15"),
        ({"nics": [{**BOOT, "name": "lo"}]}, "means something else"),
        ({"nics": [BOOT, {**BOOT, "name": "b"}]}, "MAC of a NIC is there twice"),
        ({"nics": [BOOT, {"mac": OTHER, "name": "nic0"}]}, "network interface is there twice"),
        ({"nics": [BOOT, {"mac": OTHER, "addresses": ["192.0.2.5/26"]}]}, "address is there twice"),
        (
            {"nics": [BOOT, {"mac": OTHER, "addresses": ["10.0.0.5/8"], "gateway": "10.0.0.1"}]},
            "more than one default gateway of IPv4",
        ),
        ({"nics": [BOOT], "bonds": [{"name": "bond0", "nics": ["nic0"]}]}, "must have no addresses"),
        ({"nics": [BOOT], "bonds": [{"name": "bond0", "nics": ["x"]}]}, "there is no 'x'"),
        ({"nics": [BOOT], "bonds": [{"name": "bond0", "nics": []}]}, "needs nics"),
        ({"nics": [BOOT], "bonds": [{"name": "eth0", "nics": ["nic0"]}]}, "a name the kernel gives"),
        ({"nics": [BOOT], "bonds": [{"name": "b", "nics": ["nic0"], "mode": "fast"}]}, "unknown bond mode"),
        ({"nics": [BOOT], "vlans": [{"name": "v", "link": "nic0", "id": 4095}]}, "use 1 to 4094"),
        ({"nics": [BOOT], "vlans": [{"name": "v", "link": "nic0"}]}, "id is missing"),
        ({"nics": [BOOT], "vlans": [{"name": "v", "link": "v", "id": 5}]}, "would carry itself"),
        (
            {"nics": [BOOT], "vlans": [{"name": "v", "link": "w", "id": 5}, {"name": "w", "link": "v", "id": 6}]},
            "would carry itself",
        ),
        (
            {"nics": [BOOT], "vlans": [{"name": "v", "link": "nic0", "id": 5}, {"name": "w", "link": "nic0", "id": 5}]},
            "VLAN is there twice",
        ),
        (
            {
                "nics": [BOOT, {"mac": OTHER, "name": "b"}],
                "bridges": [{"name": "x", "ports": ["b"]}, {"name": "y", "ports": ["b"]}],
            },
            "is a port of x already",
        ),
        ({"nics": [BOOT], "dns": "192.0.2.1"}, "must be a list of texts"),
        ({"nics": [BOOT], "dns": ["ns.example"]}, "is not an address"),
        ({"nics": [BOOT], "search": ["Not A Domain"]}, "is not a domain"),
    ],
)
def test_a_network_that_could_not_work_is_refused_with_what_is_wrong(value: object, said: str) -> None:
    with pytest.raises(AnswersProblem, match=said):
        Network.parse(value)


def test_an_ipv6_gateway_may_be_link_local() -> None:
    nic = {"mac": "boot", "addresses": ["2001:db8::5/64"], "gateway6": "fe80::1"}
    assert not Network.parse({"nics": [nic]}).is_simple
