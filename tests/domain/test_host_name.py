"""Names of hosts lead to hosts, whoever looks them up."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.host_name import why_no_host_name


@pytest.mark.parametrize("name", ["n1", "1a", "db-01", "x", "0y", "7-7", "localhost-1", "ip6", "x" * 63, "0xg"])
def test_a_plain_name_can_be_had(name: str) -> None:
    assert why_no_host_name(name) is None


@pytest.mark.parametrize(
    "name", ["localhost", "localhost4", "localhost.localdomain", "LOCALHOST", "ip6-localhost", "ip6-allnodes"]
)
def test_what_every_computer_calls_itself_is_no_host(name: str) -> None:
    assert "what every computer calls itself" in str(why_no_host_name(name))


@pytest.mark.parametrize("name", ["0", "42", "0177", "0x", "0x7f", "0xdeadbeef", "2130706433"])
def test_what_a_resolver_takes_for_an_address_is_no_name(name: str) -> None:
    assert "would be taken for an address" in str(why_no_host_name(name))


@given(st.from_regex(r"(0x)?[0-9a-fx-]{1,12}", fullmatch=True))
def test_no_name_that_is_taken_is_an_address_to_the_resolver(name: str) -> None:
    if why_no_host_name(name) is None:
        with pytest.raises(OSError, match="illegal IP address string"):
            socket.inet_aton(name)
