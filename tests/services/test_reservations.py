"""Network settings of single hosts: kept with the host, refused where they make no sense, read live by the wire."""

from __future__ import annotations

import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.subnet import HostNetwork, Subnet
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from pxeforge.services.reservations import StoredNetworks
from pxeforge.store.tables import Host

ONE, TWO = MacAddress.parse("52:54:00:00:00:01"), MacAddress.parse("52:54:00:00:00:02")
LAN = Subnet(
    network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.60"),
    router=IPv4Address("10.77.0.254"),
)  # fmt: skip


@pytest.fixture
def lan(ctx: Context) -> Context:
    """A server that lends addresses, and two hosts."""
    ctx = replace(ctx, dhcp="server", subnets=lambda: (LAN,))
    hosts.add(ctx, macs=[str(ONE), "52:54:00:00:01:01"], name="one", who="ada")
    hosts.add(ctx, macs=[str(TWO)], name="two", who="ada")
    return ctx


def set_network(ctx: Context, host: str, **network: Any) -> dict[str, Any]:
    return hosts.change(ctx, host, settings={"network": network}, who="ada")


def test_what_is_set_is_what_the_wire_reads_at_once(lan: Context) -> None:
    networks = StoredNetworks(lan)
    assert networks.of(ONE) is None
    set_network(lan, "one", address="10.77.0.99", dns=["10.77.0.7"], mtu=9000, domain="own.example", lease_time_s=7200)
    assert networks.of(ONE) == networks.of(MacAddress.parse("52:54:00:00:01:01")) == HostNetwork(
        address=IPv4Address("10.77.0.99"), dns=(IPv4Address("10.77.0.7"),), mtu=9000, domain="own.example",
        lease_time_s=7200,
    )  # fmt: skip
    assert networks.of(TWO) is None
    assert networks.is_kept_from(TWO, IPv4Address("10.77.0.99"))
    assert not networks.is_kept_from(ONE, IPv4Address("10.77.0.99"))
    assert not networks.is_kept_from(TWO, IPv4Address("10.77.0.98"))


def test_a_change_leaves_what_it_does_not_name_and_none_takes_away(lan: Context) -> None:
    set_network(lan, "one", address="10.77.0.99", mtu=9000)
    assert set_network(lan, "one", address="10.77.0.98")["settings"]["network"] == {
        "address": "10.77.0.98", "mtu": 9000,
    }  # fmt: skip
    assert set_network(lan, "one", address=None)["settings"]["network"] == {"mtu": 9000}
    assert not StoredNetworks(lan).is_kept_from(TWO, IPv4Address("10.77.0.98"))
    set_network(lan, "one", address="10.77.0.98")
    found = hosts.change(lan, "one", settings={"network": None}, who="ada")
    assert "network" not in found["settings"]
    assert not StoredNetworks(lan).is_kept_from(TWO, IPv4Address("10.77.0.98"))
    with lan.database.read() as session:
        assert session.get_one(Host, found["id"]).reserved_address is None


def test_another_change_of_the_host_keeps_its_reservation(lan: Context) -> None:
    set_network(lan, "one", address="10.77.0.99")
    without_server_mode = replace(lan, dhcp="proxy", subnets=tuple)
    hosts.change(without_server_mode, "one", settings={"disk": "first"}, who="ada")
    assert StoredNetworks(lan).is_kept_from(TWO, IPv4Address("10.77.0.99"))


def test_a_forgotten_host_gives_its_address_back(lan: Context) -> None:
    set_network(lan, "one", address="10.77.0.99")
    hosts.forget(lan, "one", who="ada")
    assert not StoredNetworks(lan).is_kept_from(TWO, IPv4Address("10.77.0.99"))
    set_network(lan, "two", address="10.77.0.99")


def test_one_address_is_not_for_two_hosts(lan: Context) -> None:
    set_network(lan, "one", address="10.77.0.99")
    set_network(lan, "one", address="10.77.0.99")
    with pytest.raises(Conflict, match=r"10\.77\.0\.99 is reserved for host one: choose another"):
        set_network(lan, "two", address="10.77.0.99")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"address": "10.78.0.5"}, r"10\.78\.0\.5 is in no subnet of this server: choose .* of 10\.77\.0\.0/24"),
        ({"address": "10.77.0.255"}, "choose another address"),
        ({"address": "10.77.0.254"}, "choose another address"),
        ({"address": "10.77.0.5", "router": "10.78.0.1"}, "router 10.78.0.1 is not inside"),
        ({"address": "here"}, "network setting address: 'here' is not an IPv4 address"),
        ({"address": 7}, "network setting address: 7 is not"),
        ({"dns": "10.77.0.1"}, "network setting dns: '10.77.0.1' is not a list"),
        ({"search": [1]}, "network setting search"),
        ({"domain": "two words"}, "is not a domain name"),
        ({"mtu": True}, "network setting mtu: True is not a number"),
        ({"mtu": 5}, "MTU of 5"),
        ({"lease_time_s": 5}, "too short"),
        ({"gateway": "10.77.0.1"}, "unknown network setting 'gateway': known are address, router"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(lan: Context, network: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem, match=said):
        set_network(lan, "one", **network)
    assert StoredNetworks(lan).of(ONE) is None


def test_without_server_mode_nothing_can_be_reserved(lan: Context) -> None:
    with pytest.raises(Problem, match="addresses are lent in server mode only"):
        set_network(replace(lan, dhcp="proxy", subnets=tuple), "one", address="10.77.0.99")
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
        plan = [row[3] for row in lan.database.look_up(f"EXPLAIN QUERY PLAN {statement}", **asked)]
        assert not any(line.startswith("SCAN") for line in plan), plan
