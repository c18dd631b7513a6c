"""`pxeforge host set HOST --reserve [MAC=]ADDRESS --dhcp KEY=VALUE`."""

from __future__ import annotations

import click
import pytest

from pxeforge.cli.host_networks import network_of, reservations_of


def test_words_become_the_setting_of_the_api() -> None:
    words = ("router=10.0.0.1", "dns=10.0.0.2, 10.0.0.3", "search=a.example,b.example", "mtu=9000", "lease-time=2h",
             "ntp=", "domain=none")  # fmt: skip
    assert network_of(words) == {
        "router": "10.0.0.1", "dns": ["10.0.0.2", "10.0.0.3"],
        "search": ["a.example", "b.example"], "mtu": 9000, "lease_time_s": 7200, "ntp": [], "domain": None,
    }  # fmt: skip
    assert network_of(()) == {}


def test_an_address_is_for_the_nic_that_is_named_or_for_the_only_one() -> None:
    assert reservations_of(["10.0.0.9"]) == {"": "10.0.0.9"}
    assert reservations_of(["52:54:00:00:00:01=10.0.0.9", "52:54:00:00:00:02=none"]) == {
        "52:54:00:00:00:01": "10.0.0.9", "52:54:00:00:00:02": None,
    }  # fmt: skip
    assert reservations_of(["none"]) == {"": None}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gateway=10.0.0.1", "'gateway=10.0.0.1' is not KEY=VALUE with KEY one of router, dns"),
        ("router", "is not KEY=VALUE"),
        ("mtu=big", "'big' is not a number"),
        ("lease-time=long", "'long' is not a duration"),
    ],
)
def test_a_mistake_is_named(word: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        network_of((word,))
