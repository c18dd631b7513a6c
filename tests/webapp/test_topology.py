"""Hosts on their networks: whoever shares a network hangs on the same bar."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.webapp.pages.topology import MOST_HOSTS, picture_of


def host(name: str, *addresses: str) -> dict[str, Any]:
    return {"id": name, "name": name, "state": "ready", "roles": ["base"], "addresses": list(addresses)}


def test_hosts_of_one_network_hang_on_one_bar() -> None:
    picture = picture_of([host("n1", "10.0.0.1/24", "10.1.0.1/16"), host("n2", "10.0.0.2/24")])
    assert [bar.name for bar in picture.bars] == ["10.0.0.0/24", "10.1.0.0/16"]
    assert [[drop.address for drop in box.drops] for box in picture.boxes] == [["10.0.0.1", "10.1.0.1"], ["10.0.0.2"]]


def test_an_address_without_its_length_and_nonsense_are_taken_as_they_are() -> None:
    told = host("n1", "10.0.0.5", "fe80::1/64", "127.0.0.1/8", "nonsense", "2001:db8::5")
    picture = picture_of([told])
    assert [bar.name for bar in picture.bars] == ["10.0.0.0/24", "2001:db8::/64"]


def test_beyond_what_can_be_seen_hosts_are_counted() -> None:
    assert picture_of([host(f"n{n}") for n in range(MOST_HOSTS + 3)]).left_out == 3
    assert picture_of([]).boxes == ()


@given(st.lists(st.lists(st.ip_addresses().map(str), max_size=3), max_size=8))
def test_no_box_leaves_the_picture(addresses: list[list[str]]) -> None:
    picture = picture_of([host(f"n{at}", *own) for at, own in enumerate(addresses)])
    assert all(box.x + box.wide <= picture.wide and box.y + box.high <= picture.high for box in picture.boxes)
    assert all(box.x <= drop.x <= box.x + box.wide for box in picture.boxes for drop in box.drops)
