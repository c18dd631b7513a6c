from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.engine.layout import (
    DiskChoice,
    Layout,
    Network,
    Place,
    Tolerance,
    attachments,
    chosen_disks,
    disk_problem,
    unknown_nics,
)

FACTS: dict[str, Any] = {
    "nics": [
        {"name": "eth0", "mac": "52:54:00:00:00:01", "addresses": ["10.42.0.11/24", "fd00::11/64"]},
        {"name": "eth1", "mac": "52:54:00:00:00:02", "addresses": []},
        {"name": "eth2", "mac": "52:54:00:00:00:03", "addresses": ["10.42.1.11/24", "10.42.2.11/24"]},
    ],
    "disks": [
        {"name": "sda", "serial": "SYS", "size_bytes": 10**12, "system": True},
        {"name": "sdb", "serial": "BIG", "size_bytes": 10**12, "system": False},
        {"name": "sdc", "serial": "SMALL", "size_bytes": 20 * 10**9, "system": False},
        {"name": "sdd", "serial": "", "size_bytes": 30 * 10**9, "system": False},
        {"name": "sde", "serial": "STICK", "size_bytes": 10**12, "system": False, "removable": True},
    ],
}


def network(name: str, cidr: str | None, **more: Any) -> Network:
    values = {"purposes": (name,), "cidr": ipaddress.ip_network(cidr) if cidr else None, **more}
    return Network(name=name, **values)


def attached(layout: Layout, place: Place | None = None, facts: Any = None) -> dict[str, tuple[str | None, str, str]]:
    found = attachments(layout, place or Place(), "h1", ("10.42.0.11",), FACTS if facts is None else facts)
    return {purpose: (one.address, one.nic, one.cidr) for purpose, one in found.items()}


def test_without_a_blueprint_all_is_served_by_the_hosts_own_address_and_its_nic() -> None:
    own = ("10.42.0.11", "eth0", "10.42.0.0/24")
    without_nic = ("10.42.0.11", "", "10.42.0.0/24")
    assert attached(Layout()) == {
        "api": own, "tunnel": own, "storage": own, "provider": without_nic, "external": without_nic,
    }  # fmt: skip


def test_a_host_that_told_nothing_of_its_nics_still_has_its_address() -> None:
    assert attached(Layout(), facts={})["tunnel"] == ("10.42.0.11", "", "")


def test_addresses_and_nics_come_from_the_facts_by_the_network() -> None:
    layout = Layout(
        networks=(
            network("data", "10.42.1.0/24", purposes=("tunnel", "storage")), network("api", "10.42.0.0/24"),
            network("provider", None),
        )
    )  # fmt: skip
    found = attached(layout, Place(nics={"provider": "52:54:00:00:00:02"}))
    assert found["api"] == ("10.42.0.11", "eth0", "10.42.0.0/24")
    assert found["tunnel"] == found["storage"] == ("10.42.1.11", "eth2", "10.42.1.0/24")
    assert found["provider"] == (None, "eth1", "")
    assert found["external"] == ("10.42.0.11", "", "10.42.0.0/24")  # the blueprint does not know it


def test_what_the_blueprint_gives_wins() -> None:
    layout = Layout(networks=(network("tunnel", "10.42.9.0/24"),))
    place = Place(addresses={"tunnel": "10.42.9.5"}, nics={"tunnel": "eth1"})
    assert attached(layout, place)["tunnel"] == ("10.42.9.5", "eth1", "10.42.9.0/24")
    assert attached(Layout(), Place(addresses={"storage": "10.42.2.11"}))["storage"][:2] == ("10.42.2.11", "eth2")


def test_a_nic_that_is_named_decides_between_two_addresses() -> None:
    facts = {"nics": [{"name": name, "addresses": [f"10.0.0.{number}/24"]} for number, name in enumerate("ab", 1)]}
    layout = Layout(networks=(network("api", "10.0.0.0/24"),))
    assert attached(layout, Place(nics={"api": "b"}), facts)["api"] == ("10.0.0.2", "b", "10.0.0.0/24")


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (network("tunnel", "10.99.0.0/24"), "host h1 has no address in network tunnel (10.99.0.0/24): give it one"),
        (network("provider", None), "nobody knows which nic of host h1 is on network provider: name it (`nics: {"),
    ],
)
def test_what_is_not_known_is_a_sentence_with_the_remedy(net: Network, expected: str) -> None:
    found = attachments(Layout(networks=(net,)), Place(), "h1", ("10.42.0.11",), FACTS)
    assert expected in str(found[net.name].problem)


_KEYS = ["nics", "name", "mac", "addresses", "disks", "serial", "size_bytes", "system"]
told_facts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda each: st.lists(each) | st.dictionaries(st.sampled_from(_KEYS), each),
    max_leaves=12,
)


@settings(deadline=None)  # a busy machine is no failure
@given(told_facts)
def test_facts_that_make_no_sense_hurt_nobody(told: Any) -> None:
    facts = told if isinstance(told, dict) else {"nics": told, "disks": told}
    layout = Layout(networks=(network("api", "10.0.0.0/24"), network("six", "fd00::/64"), network("provider", None)))
    assert set(attachments(layout, Place(nics={"api": "aa:bb:cc:dd:ee:ff"}), "h", (), facts)) >= {"api", "provider"}
    found, problems = chosen_disks(Place(disks={"v": DiskChoice(min_bytes=1)}), facts)
    assert len(found) + len(problems) == 1


def test_disks_are_chosen_by_serial_or_the_smallest_that_fits() -> None:
    place = Place(disks={"volumes": DiskChoice(min_bytes=10**9), "objects": DiskChoice(min_bytes=10**9)})
    assert chosen_disks(place, FACTS) == ({"volumes": "serial=SMALL", "objects": "serial=BIG"}, {})
    place = Place(disks={"volumes": DiskChoice(min_bytes=10**9), "objects": DiskChoice(serial="SMALL")})
    assert chosen_disks(place, FACTS) == ({"volumes": "serial=BIG", "objects": "serial=SMALL"}, {})


def test_disks_that_are_not_there_are_told() -> None:
    place = Place(disks={"a": DiskChoice(serial="X"), "b": DiskChoice(min_bytes=2 * 10**12)})
    first, second = chosen_disks(place, FACTS)[1].items()
    assert first[0] == "a"
    assert first[1].startswith("no disk has the serial X, it has ")
    assert "correct it, or start its agent again" in first[1]
    assert second[0] == "b"
    assert second[1].startswith("no disk with a serial is left for b (2000 GB or more), it has ")
    assert "lower min_gb, name another host, or add a disk" in second[1]


def test_a_disk_that_is_named_has_to_be_there_as_far_as_hosts_tell() -> None:
    facts = {"disks": [{"name": "sda", "serial": "S0", "system": True}, {"name": "sdb", "serial": ""}]}
    for known in ("serial=S0", "path=/dev/sdb", "path=/dev/sdb1", "path=/dev/disk/by-id/x", "path=/dev/loop7"):
        assert disk_problem(known, facts) is None
    told = "it has sda (the system), sdb (no serial): correct it, or start its agent again"
    assert str(disk_problem("path=/dev/nosuch", facts)).startswith(f"there is no disk /dev/nosuch, {told}")
    assert str(disk_problem("serial=S9", facts)).startswith(f"no disk has the serial S9, {told}")
    assert disk_problem("path=/dev/nosuch", {}) is None  # nothing is known yet


def test_a_nic_that_a_host_does_not_have_is_told_unless_it_is_made_first() -> None:
    place = Place(nics={"api": "eth0", "tunnel": "52:54:00:00:00:02", "storage": "bond0", "external": "eth1.7"})
    assert unknown_nics(place, FACTS) == {}
    wrong = Place(nics={"api": "eth9", "tunnel": "52:54:00:00:00:99"})
    assert unknown_nics(wrong, {}) == {}  # nothing is known yet
    found = unknown_nics(wrong, FACTS)
    assert found["api"].startswith("it has no nic eth9, but eth0 (52:54:00:00:00:01), eth1 (52:54:00:00:00:02),")
    assert found["tunnel"].startswith("it has no nic 52:54:00:00:00:99, but ")
    assert found["tunnel"].endswith("(tunnel)")
    bonded = {"nics": [{"name": name, "mac": "52:54:00:00:00:01"} for name in ("bond0", "eth0", "eth1")]}
    assert unknown_nics(wrong, bonded).keys() == {"api"}  # a bond hides the MACs of its nics


def test_a_tolerance_is_a_number_or_a_share_rounded_down() -> None:
    assert [Tolerance.parse("10%").of(count) for count in (5, 10, 19, 1000)] == [0, 1, 1, 100]
    assert Tolerance.parse(3).of(100) == Tolerance.parse("3").of(5) == 3
    for bad in ("10 %%", "-1", "many", "101%", True, 1.5, None):
        with pytest.raises(ValueError, match="a tolerance is a number of hosts or"):
            Tolerance.parse(bad)
