from ipaddress import IPv4Address, IPv4Network

import pytest

from pxeforge.servers.interfaces import NoInterface, interface_named


def test_the_loopback_interface_is_found() -> None:
    found = interface_named("lo")
    assert (found.address, found.network) == (IPv4Address("127.0.0.1"), IPv4Network("127.0.0.0/8"))


def test_a_missing_interface_is_refused_with_those_that_exist() -> None:
    with pytest.raises(NoInterface, match=r"no interface nope0: choose one of .*lo \(127\.0\.0\.1\)"):
        interface_named("nope0")
