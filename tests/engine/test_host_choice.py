from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pxeforge.engine.disk_needs import DiskNeed
from pxeforge.engine.host_choice import InventoryHost, Wants, choose, few
from pxeforge.engine.layout import DiskChoice, Layout, Network, Place
from pxeforge.engine.release import parse_release

PACK = parse_release(
    "name: p\nsummary: s\ncodename: c\nsuite: bookworm\nmatch: {id: debian, version: '12'}\n", "p.yaml", "p"
)
DISK = {"name": "vdb", "serial": "S1", "size_bytes": 30 * 10**9, "system": False}
SYSTEM = {"name": "vda", "serial": "S0", "size_bytes": 30 * 10**9, "system": True}
NEED = DiskNeed(count=1, min_bytes=1)
WANTS = Wants(roles=frozenset({"base", "db"}))


def host(name: str, **more: Any) -> InventoryHost:
    return InventoryHost(host_id=name, name=name, **{"addresses": ("192.0.2.7",), **more})


def chosen(count: int, *hosts: InventoryHost, wants: Wants = WANTS, place: Place | None = None, **more: Any) -> str:
    values = {"layout": Layout(), "release": None, **more}
    return " ".join(one.name for one in choose(count, hosts, wants, place or Place(), **values))


def test_of_hosts_that_are_alike_the_first_names_are_taken() -> None:
    assert chosen(2, host("c"), host("a"), host("b")) == "a b"


def test_a_host_that_is_not_registered_is_not_taken_though_it_sorts_first() -> None:
    assert chosen(2, host("a", ready=False), host("b")) == "b"


def test_a_host_that_has_the_roles_already_stays_whatever_comes_later() -> None:
    there = host("z", has=frozenset({"base", "db"}))
    assert chosen(1, host("a"), there) == "z"
    assert chosen(1, host("a"), host("z", has=frozenset({"base", "db"}), ready=False)) == "z"
    assert chosen(1, host("a"), host("z", has=frozenset({"db"}))) == "z"  # another role came to the rule since


def test_hosts_of_two_rules_do_not_change_places() -> None:
    both, one = host("a", has=frozenset({"base", "db"})), host("b", has=frozenset({"base"}))
    assert chosen(1, both, one, wants=Wants(roles=frozenset({"base"}))) == "b"
    assert chosen(1, both, one) == "a"


def test_a_host_that_serves_something_else_is_taken_last() -> None:
    assert chosen(1, host("a", also_has=frozenset({"web"})), host("b")) == "b"


@pytest.mark.parametrize(
    ("lacks", "has", "more"),
    [
        ({"disks": [SYSTEM]}, {"disks": [SYSTEM, DISK]}, {"place": Place(disks={"v": DiskChoice(min_bytes=1)})}),
        ({"disks": [SYSTEM]}, {"disks": [SYSTEM, DISK]}, {"place": Place(disks={"v": DiskChoice(serial="S1")})}),
        ({"disks": [SYSTEM]}, {"disks": [SYSTEM, DISK]}, {"wants": Wants(disks={"db": NEED})}),
        ({"nics": [{"name": "eth0"}]}, {"nics": [{"name": "eth1"}]}, {"place": Place(nics={"provider": "eth1"})}),
        ({"nics": []}, {"nics": [{"name": "eth0", "addresses": ["10.0.0.5/24"]}]}, {
            "wants": Wants(networks=("api",)),
            "layout": Layout(
                networks=(Network(name="api", purposes=("api",), cidr=ipaddress.ip_network("10.0.0.0/24")),)
            ),
        }),
        ({"os": {"id": "debian", "version": "13"}}, {"os": {"id": "debian", "version": "12"}}, {"release": PACK}),
    ],
)  # fmt: skip
def test_a_host_that_fits_is_taken_before_one_that_does_not(lacks: Any, has: Any, more: dict[str, Any]) -> None:
    bad, good = host("a", facts=lacks), host("b", facts=has)
    assert chosen(1, bad, good, **more) == "b"
    assert chosen(2, bad, good, **more) == "b a"  # the plan says then what it lacks


def test_many_names_are_told_in_a_few_words() -> None:
    assert few(list("bac")) == "a, b, c"
    assert few(list("edbac")) == "a, b, c and 2 more"
