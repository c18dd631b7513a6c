"""Subnets: what is refused, and what hosts are told."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from pxeforge.protocol.dhcp.message import Option
from pxeforge.protocol.dhcp.subnet import BadSubnet, HostNetwork, Subnet, routes_bytes, search_bytes, told

OURS = IPv4Address("10.77.0.1")


def ip(last: int) -> IPv4Address:
    return IPv4Address(f"10.77.0.{last}")


PLAIN = Subnet(network=IPv4Network("10.77.0.0/24"), first=ip(50), last=ip(52), router=ip(1), lease_time_s=600)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"first": IPv4Address("10.78.0.5")}, "not inside"),
        ({"first": ip(90)}, "upside down"),
        ({"router": IPv4Address("10.78.0.1")}, "router"),
        ({"lease_time_s": 5}, "too short"),
        ({"domain": "a..b"}, "not a domain name"),
        ({"domain": "x" * 64 + ".example"}, "not a domain name"),
        ({"search": ("lab.example", "two words")}, "'two words' is not a domain name"),
        ({"search": tuple(f"rack-{number}.lab.example" for number in range(20))}, "20 search domains are too many"),
        ({"options": ((3, b"x"),)}, "option 3 cannot be set freely"),
        ({"options": ((54, b"x"),)}, "option 54 cannot be set freely"),
        ({"options": ((300, b"x"),)}, "option 300 cannot"),
        ({"options": ((150, bytes(256)),)}, "option 150 has 256 bytes"),
    ],
)
def test_a_senseless_subnet_is_refused_with_a_reason(change: dict[str, object], reason: str) -> None:
    good = {"network": IPv4Network("10.77.0.0/24"), "first": ip(50), "last": ip(60)}
    with pytest.raises(BadSubnet, match=reason):
        Subnet(**{**good, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("destination", "descriptor"),
    [
        ("10.0.0.0/8", b"\x08\x0a"), ("10.17.0.0/16", b"\x10\x0a\x11"), ("10.27.129.0/24", b"\x18\x0a\x1b\x81"),
        ("10.229.0.128/25", b"\x19\x0a\xe5\x00\x80"), ("10.198.122.47/32", b"\x20\x0a\xc6\x7a\x2f"),
        ("0.0.0.0/0", b"\x00"),
    ],
)  # fmt: skip
def test_a_route_is_written_as_the_examples_of_rfc_3442(destination: str, descriptor: bytes) -> None:
    assert routes_bytes(((IPv4Network(destination), PLAIN.first),), None) == descriptor + PLAIN.first.packed


def test_the_default_route_is_named_once_and_never_alone() -> None:
    default = (IPv4Network("0.0.0.0/0"), PLAIN.last)
    assert routes_bytes((default,), PLAIN.first) == b"\x00" + PLAIN.last.packed
    assert routes_bytes((), PLAIN.first) == b""


def test_routes_that_make_no_sense_are_refused() -> None:
    away = (IPv4Network("10.9.0.0/16"), IPv4Address("192.0.2.1"))
    twice = ((IPv4Network("10.9.0.0/16"), PLAIN.first), (IPv4Network("10.9.0.0/16"), PLAIN.last))
    many = tuple((IPv4Network(f"10.9.{n}.0/24"), PLAIN.first) for n in range(40))
    for routes, said in (((away,), "is not inside"), (twice, "two routes"), (many, "too many")):
        with pytest.raises(BadSubnet, match=said):
            replace(PLAIN, routes=routes)
    with pytest.raises(BadSubnet, match="MTU"):
        replace(PLAIN, mtu=100)


def test_search_domains_are_written_as_in_the_example_of_rfc_1035() -> None:
    assert search_bytes(("eng.apple.com.", "lab.example")) == b"\3eng\5apple\3com\0\3lab\7example\0"
    assert told(replace(PLAIN, search=("lab.example",)), None, OURS)[Option.SEARCH] == b"\3lab\7example\0"
    assert Option.SEARCH not in told(PLAIN, None, OURS)


def test_our_address_stands_in_for_router_and_dns_on_its_own_network_only() -> None:
    bare = replace(PLAIN, router=None, we_stand_in=True)
    here = told(bare, None, ip(9))
    assert here[Option.ROUTER] == here[Option.DNS] == ip(9).packed
    assert not {Option.ROUTER, Option.DNS} & set(told(bare, None, IPv4Address("10.99.0.1")))
    assert told(replace(bare, router=ip(1), dns=(ip(2),)), None, ip(9))[Option.DNS] == ip(2).packed


def test_further_options_are_told_as_they_are() -> None:
    assert told(replace(PLAIN, options=((43, b"\1\2"), (150, ip(7).packed))), None, OURS)[43] == b"\1\2"


def test_what_a_host_has_of_its_own_lies_over_its_subnet() -> None:
    subnet = replace(PLAIN, dns=(ip(2),), ntp=(ip(3),), domain="lab.example", mtu=1500, search=("lab.example",))
    own = HostNetwork(router=ip(9), dns=(), domain="own.example", mtu=9000, search=("own.example",))
    found = told(subnet, own, OURS)
    assert (found[Option.ROUTER], Option.DNS in found, found[Option.NTP]) == (ip(9).packed, False, ip(3).packed)
    assert (found[Option.DOMAIN], found[Option.MTU]) == (b"own.example", b"\x23\x28")
    assert found[Option.SEARCH] == b"\3own\7example\0"


def test_a_hosts_own_router_counts_only_in_the_subnet_where_it_is() -> None:
    own = HostNetwork(router=IPv4Address("10.99.0.1"))
    assert told(replace(PLAIN, router=ip(254)), own, OURS)[Option.ROUTER] == ip(254).packed


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"domain": "a b"}, "domain name"), ({"mtu": 100}, "MTU"), ({"lease_time_s": 5}, "too short")],
)
def test_senseless_settings_of_a_host_are_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(BadSubnet, match=reason):
        HostNetwork(**wrong)  # type: ignore[arg-type]
