"""To which addresses we connect for a BMC, and to which never."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from pxeforge.services import bmc_address
from pxeforge.services.power_driver import PowerFault
from pxeforge.services.problems import Problem

MANAGEMENT = (ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_network("fd00:9::/64"))


@pytest.mark.parametrize("text", ["10.9.0.17", "192.168.7.1", "203.0.113.9", "fd00:9::17"])
def test_an_address_of_a_network_may_be_a_bmc(text: str) -> None:
    assert bmc_address.check(text, None) == text
    assert bmc_address.resolve(text, None) == text


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "255.255.255.255", "169.254.169.254", "224.0.0.1", "::1", "::", "fe80::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::1", "64:ff9b::7f00:1", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_the_server_itself_its_link_and_everybody_are_refused(text: str) -> None:
    with pytest.raises(Problem):
        bmc_address.check(text, None)
    with pytest.raises(Problem):
        bmc_address.resolve(text, None)


@pytest.mark.parametrize(
    "text", ["", "https://10.9.0.1", "10.9.0.1:443", "127.1", "0x7f.1", "2130706433", "0x7f000001", "a b", "-x", "a..b",
             "user@host", "fe80::1%eth0", "x" * 300, "10.9.0.01", "a/b"]
)  # fmt: skip
def test_what_is_neither_an_address_nor_a_name_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="neither an IP address nor a name"):
        bmc_address.check(text, None)


def test_names_are_kept_in_one_spelling() -> None:
    assert bmc_address.check("BMC-7.Rack_1.Example.", None) == "bmc-7.rack_1.example"


def test_the_networks_of_the_operator_are_the_only_ones() -> None:
    assert bmc_address.check("10.9.0.17", MANAGEMENT) == "10.9.0.17"
    assert bmc_address.check("fd00:9::1", MANAGEMENT) == "fd00:9::1"
    for text in ("10.9.1.17", "127.0.0.1", "fd00:8::1"):
        with pytest.raises(Problem, match=r"in none of the networks of power\.toml"):
            bmc_address.check(text, MANAGEMENT)
    assert bmc_address.check("127.0.0.1", (ipaddress.ip_network("127.0.0.0/8"),)) == "127.0.0.1"


def test_a_name_counts_by_what_it_stands_for_at_the_moment() -> None:
    with pytest.raises(Problem, match="cannot be a BMC"):
        bmc_address.resolve("localhost", None)
    assert bmc_address.resolve("localhost", (ipaddress.ip_network("127.0.0.0/8"),)) == "127.0.0.1"
    with pytest.raises(PowerFault, match=r"the BMC's name nobody\.invalid is not known"):
        bmc_address.resolve("nobody.invalid", None)


def test_our_own_address_on_another_network_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this computer has no address but the loopback's")
        ours = probe.getsockname()[0]
    if ipaddress.ip_address(ours).is_loopback:
        pytest.skip("this computer has no address but the loopback's")
    with pytest.raises(Problem, match="this server itself"):
        bmc_address.check(ours, None)
