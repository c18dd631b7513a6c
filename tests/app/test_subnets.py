"""What the settings make of subnets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from pxeforge.app.settings import load_settings
from pxeforge.app.subnets import lent_subnets
from pxeforge.protocol.dhcp.subnet import BadSubnet, Subnet
from pxeforge.servers.interfaces import Interface

LAN, RACK = IPv4Network("10.77.0.0/24"), IPv4Network("10.88.0.0/24")
BR0 = Interface(name="br0", address=IPv4Address("10.77.0.1"), network=LAN, mac=None, networks=(LAN,))
VLAN = Interface(name="br0.88", address=IPv4Address("10.88.0.1"), network=RACK, mac=None, networks=(RACK,))
SERVER = {"dhcp": "server", "range": "10.77.0.50-10.77.0.90"}
RACK_TABLE = {"network": "10.88.0.0/24", "range": "10.88.0.50-10.88.0.90"}


def lent(*interfaces: Interface, **flags: Any) -> tuple[Subnet, ...]:
    return lent_subnets(load_settings(flags, environment={}), interfaces)


def test_the_simple_flags_lend_in_the_network_of_their_interface() -> None:
    [subnet] = lent(VLAN, BR0, **SERVER, domain="lab.example", search=["lab.example"], options={"150": "ip:10.77.0.9"})
    assert (subnet.network, subnet.domain, subnet.search) == (LAN, "lab.example", ("lab.example",))
    assert (subnet.router, subnet.dns, subnet.we_stand_in) == (None, (), True)
    assert subnet.options == ((150, IPv4Address("10.77.0.9").packed),)


def test_each_interface_has_its_own_subnet() -> None:
    first, second = lent(BR0, VLAN, **SERVER, subnets=[{**RACK_TABLE, "lease_time_s": 600}], ntp=["10.77.0.7"])
    assert (first.network, second.network) == (LAN, RACK)
    assert (first.lease_time_s, second.lease_time_s) == (3600, 600)
    assert first.ntp == second.ntp == (IPv4Address("10.77.0.7"),)


def test_a_table_alone_is_enough_for_server_mode() -> None:
    [subnet] = lent(VLAN, dhcp="server", subnets=[RACK_TABLE])
    assert subnet.network == RACK


def test_a_table_has_the_last_word_on_its_subnet() -> None:
    table = {**RACK_TABLE, "ntp": [], "domain": "rack.example", "mtu": 9000, "options": {"43": "hex:01:02"}}
    settings = {"domain": "lab.example", "ntp": ["10.77.0.7"], "options": {"43": "x", "150": "y"}, "mtu": 1500}
    [subnet] = lent(VLAN, dhcp="server", subnets=[table], **settings)
    assert (subnet.ntp, subnet.domain, subnet.mtu) == ((), "rack.example", 9000)
    assert dict(subnet.options) == {43: b"\1\2", 150: b"y"}


def test_behind_a_relay_the_router_must_be_named_and_dns_is_our_address() -> None:
    with pytest.raises(BadSubnet, match=r"10\.88\.0\.0/24 is behind a relay .* name its router"):
        lent(BR0, **SERVER, subnets=[RACK_TABLE])
    _, far = lent(BR0, **SERVER, subnets=[{**RACK_TABLE, "router": "10.88.0.1"}])
    assert (far.router, far.dns) == (IPv4Address("10.88.0.1"), (IPv4Address("10.77.0.1"),))


def test_two_subnets_on_one_wire_are_refused() -> None:
    both = Interface(name="br0", address=BR0.address, network=LAN, mac=None, networks=(LAN, RACK))
    with pytest.raises(BadSubnet, match=r"10\.77\.0\.0/24 and 10\.88\.0\.0/24 are both on br0"):
        lent(both, **SERVER, subnets=[RACK_TABLE])


def test_a_subnet_that_is_not_the_interfaces_network_is_refused() -> None:
    with pytest.raises(BadSubnet, match=r"10\.88\.0\.0/16 lies across the network 10\.88\.0\.0/24 .* write it as"):
        lent(VLAN, dhcp="server", subnets=[{**RACK_TABLE, "network": "10.88.0.0/16"}])


def test_in_proxy_mode_nothing_is_lent() -> None:
    assert lent(BR0, subnets=[RACK_TABLE]) == ()
