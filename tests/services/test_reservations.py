"""Network settings of single hosts: kept with the host, refused where they make no sense, read live by the wire."""

from __future__ import annotations

import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.subnet import HostNetwork, Subnet
from pxeforge.services import events, hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.services.reservations import StoredNetworks
from tests.database_views import whole_scans

pytestmark = pytest.mark.both_databases
ONE, TWO = MacAddress.parse("52:54:00:00:00:01"), MacAddress.parse("52:54:00:00:00:02")
SECOND = MacAddress.parse("52:54:00:00:01:01")  # another NIC of host one
LAN = Subnet(
    network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.60"),
    router=IPv4Address("10.77.0.254"),
)  # fmt: skip


@pytest.fixture
def lan(ctx: Context) -> Context:
    """A server that lends addresses, and two hosts."""
    ctx = replace(ctx, dhcp="server", subnets=lambda: (LAN,))
    hosts.add(ctx, macs=[str(ONE), str(SECOND)], name="one", who="ada")
    hosts.add(ctx, macs=[str(TWO)], name="two", who="ada")
    return ctx


def set_network(ctx: Context, host: str, **network: Any) -> dict[str, Any]:
    return hosts.change(ctx, host, settings={"network": network}, who="ada")


def reserve(ctx: Context, host: str, **addresses: Any) -> dict[str, Any]:
    """`first`, `second`: the addresses of its NICs; `only`: of the only one, or of all."""
    macs = {"first": str(ONE), "second": str(SECOND), "only": ""}
    wanted = {macs[which]: address for which, address in addresses.items()}
    return hosts.change(ctx, host, reserve=wanted, who="ada")


def kept(ctx: Context, address: str) -> bool:
    return StoredNetworks(ctx).is_kept_from(TWO, IPv4Address(address))


def test_what_is_set_is_what_the_wire_reads_at_once(lan: Context) -> None:
    networks = StoredNetworks(lan)
    assert networks.of(ONE) is None
    reserve(lan, "one", first="10.77.0.99")
    assert networks.of(ONE) == HostNetwork(address=IPv4Address("10.77.0.99"))
    assert networks.of(SECOND) is None
    set_network(lan, "one", dns=["10.77.0.7"], mtu=9000, domain="own.example", lease_time_s=7200)
    others = HostNetwork(dns=(IPv4Address("10.77.0.7"),), mtu=9000, domain="own.example", lease_time_s=7200)
    assert networks.of(ONE) == replace(others, address=IPv4Address("10.77.0.99"))
    assert networks.of(SECOND) == others
    assert networks.of(TWO) is None
    assert kept(lan, "10.77.0.99")
    assert networks.is_kept_from(SECOND, IPv4Address("10.77.0.99"))
    assert not networks.is_kept_from(ONE, IPv4Address("10.77.0.99"))
    assert not kept(lan, "10.77.0.98")


def test_each_nic_has_an_address_of_its_own(lan: Context) -> None:
    reserve(lan, "one", first="10.77.0.98", second="10.77.0.99")
    networks = StoredNetworks(lan)
    assert [networks.of(mac) for mac in (ONE, SECOND)] == [
        HostNetwork(address=IPv4Address("10.77.0.98")), HostNetwork(address=IPv4Address("10.77.0.99")),
    ]  # fmt: skip
    reserve(lan, "one", first="10.77.0.99", second="10.77.0.98")  # they exchange them
    found = hosts.show(lan, "one")["nics"]
    assert {nic["mac"]: nic["reserved_address"] for nic in found} == {
        str(ONE): "10.77.0.99", str(SECOND): "10.77.0.98",
    }  # fmt: skip
    reserve(lan, "one", second=None)
    assert (kept(lan, "10.77.0.99"), kept(lan, "10.77.0.98")) == (True, False)
    reserve(lan, "one", only=None)
    assert not kept(lan, "10.77.0.99")


def test_of_several_nics_one_has_to_be_named(lan: Context) -> None:
    with pytest.raises(Problem, match=r"the host has 2 NICs \(.*\): say for which one, MAC=ADDRESS"):
        reserve(lan, "one", only="10.77.0.99")
    reserve(lan, "two", only="10.77.0.99")
    assert StoredNetworks(lan).of(TWO) == HostNetwork(address=IPv4Address("10.77.0.99"))
    with pytest.raises(Problem, match=f"{ONE} is no NIC of this host: it has {TWO}"):
        reserve(lan, "two", first="10.77.0.98")
    with pytest.raises(Problem, match="MAC address"):
        hosts.change(lan, "two", reserve={"eth0": "10.77.0.98"}, who="ada")


def test_a_change_of_settings_leaves_what_it_does_not_name_and_none_takes_away(lan: Context) -> None:
    set_network(lan, "one", domain="own.example", mtu=9000)
    assert set_network(lan, "one", domain="x.example")["settings"]["network"] == {"domain": "x.example", "mtu": 9000}
    assert set_network(lan, "one", domain=None)["settings"]["network"] == {"mtu": 9000}
    assert "network" not in hosts.change(lan, "one", settings={"network": None}, who="ada")["settings"]


def test_another_change_of_the_host_keeps_its_reservation(lan: Context) -> None:
    reserve(lan, "one", first="10.77.0.99")
    without_server_mode = replace(lan, dhcp="proxy", subnets=tuple)
    hosts.change(without_server_mode, "one", settings={"disk": "first"}, who="ada")
    assert kept(lan, "10.77.0.99")


def test_a_reservation_is_told_in_the_timeline_and_only_when_it_changed(lan: Context) -> None:
    found = reserve(lan, "one", first="10.77.0.99")
    reserve(lan, "one", first="10.77.0.99")
    told = [event for event in events.timeline(lan, found["id"]) if event["kind"] == "changed"]
    assert [event["data"] for event in told][-1:] == [
        {"before": {"reserved addresses": {}}, "after": {"reserved addresses": {str(ONE): "10.77.0.99"}}}
    ]
    assert sum("reserved" in event["message"] for event in told) == 1


def test_a_forgotten_host_gives_its_address_back(lan: Context) -> None:
    reserve(lan, "one", first="10.77.0.99")
    hosts.forget(lan, "one", who="ada")
    assert not kept(lan, "10.77.0.99")
    reserve(lan, "two", only="10.77.0.99")


def test_one_address_is_not_for_two(lan: Context) -> None:
    reserve(lan, "one", first="10.77.0.99")
    for host, which in (("two", "only"), ("one", "second")):
        with pytest.raises(Conflict, match=r"10\.77\.0\.99 is reserved for host one: choose another"):
            reserve(lan, host, **{which: "10.77.0.99"})
    assert StoredNetworks(lan).of(ONE) == HostNetwork(address=IPv4Address("10.77.0.99"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.78.0.5", r"10\.78\.0\.5 is in no subnet of this server: choose .* of 10\.77\.0\.0/24"),
        ("10.77.0.255", "choose another address"),
        ("10.77.0.254", "choose another address"),
        ("here", "reserved address: 'here' is not an IPv4 address"),
        (7, "reserved address: 7 is not"),
    ],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_refused(lan: Context, address: object, said: str) -> None:
    with pytest.raises(Problem, match=said):
        reserve(lan, "one", first=address)
    assert StoredNetworks(lan).of(ONE) is None


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"router": "10.78.0.1"}, "router 10.78.0.1 is not inside 10.77.0.0/24"),
        ({"dns": "10.77.0.1"}, "network setting dns: '10.77.0.1' is not a list"),
        ({"search": [1]}, "network setting search"),
        ({"domain": "two words"}, "is not a domain name"),
        ({"mtu": True}, "network setting mtu: True is not a number"),
        ({"mtu": 5}, "MTU of 5"),
        ({"lease_time_s": 5}, "too short"),
        ({"gateway": "10.77.0.1"}, "unknown network setting 'gateway': known are router, dns"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(lan: Context, network: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem, match=said):
        set_network(lan, "one", **network)
    assert StoredNetworks(lan).of(ONE) is None


def test_without_server_mode_nothing_can_be_reserved(lan: Context) -> None:
    with pytest.raises(Problem, match="addresses are lent in server mode only"):
        reserve(replace(lan, dhcp="proxy", subnets=tuple), "one", first="10.77.0.99")
    with pytest.raises(Problem, match="must be an object"):
        hosts.change(lan, "one", settings={"network": "10.77.0.99"}, who="ada")


def test_a_guid_names_its_host_unless_two_boards_share_it(lan: Context) -> None:
    guid = uuid.UUID("564d1ab4-2c53-4c4e-9d6a-0123456789ab")
    networks = StoredNetworks(lan)
    assert networks.mac_of(guid.bytes) is None
    with lan.database.write() as session:
        hosts.find(session, "one").uuid = str(guid)
    assert networks.mac_of(guid.bytes) == ONE
    with lan.database.write() as session:
        hosts.find(session, "two").uuid = str(guid)
    assert networks.mac_of(guid.bytes) is None


def test_every_look_up_of_the_wire_uses_an_index(lan: Context) -> None:
    from pxeforge.services import reservations

    values = {"mac": str(ONE), "address": "10.77.0.99", "uuid": "x"}
    for statement in (reservations._OF, reservations._KEPT, reservations._BY_GUID):
        asked = {key: value for key, value in values.items() if f":{key}" in statement}
        assert whole_scans(lan.database, statement, asked) == []
