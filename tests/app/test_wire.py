"""What the settings make of the wire."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from pxeforge.app.settings import load_settings
from pxeforge.app.tftp_helper import largest_blksize
from pxeforge.app.wire import dhcp_settings
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.subnet import BadSubnet
from pxeforge.servers.interfaces import Interface
from pxeforge.services.context import Context

BR0 = Interface(name="br0", address=IPv4Address("10.77.0.1"), network=IPv4Network("10.77.0.0/24"), mac=None)
SERVER = {"dhcp": "server", "range": "10.77.0.50-10.77.0.90"}


def test_routes_and_mtu_reach_the_hosts() -> None:
    routes = ["10.9.0.0/16 via 10.77.0.254", "10.8.1.0/24 via 10.77.0.253"]
    settings = load_settings({**SERVER, "routes": routes, "mtu": 9000}, environment={})
    (subnet,) = dhcp_settings(settings, [BR0]).subnets
    assert subnet.mtu == 9000
    assert subnet.routes == (
        (IPv4Network("10.9.0.0/16"), IPv4Address("10.77.0.254")),
        (IPv4Network("10.8.1.0/24"), IPv4Address("10.77.0.253")),
    )


def test_a_route_by_a_router_that_no_host_reaches_is_refused() -> None:
    settings = load_settings({**SERVER, "routes": ["10.9.0.0/16 via 10.99.0.1"]}, environment={})
    with pytest.raises(BadSubnet, match=r"router 10\.99\.0\.1 .* is not inside"):
        dhcp_settings(settings, [BR0])


def test_rules_for_tftp_blocks_ask_for_a_mac_only_where_one_is_named(ctx: Context) -> None:
    asked = []

    def neighbour(address: str) -> MacAddress:
        asked.append(address)
        return MacAddress.parse("52:54:00:12:34:56")

    ctx = replace(ctx, neighbour=neighbour)
    by_address = largest_blksize(load_settings({"tftp_blksize": ["1400", "10.77.0.9=1024"]}, environment={}), ctx)
    assert [by_address("10.77.0.9"), by_address("10.77.0.8"), asked] == [1024, 1400, []]
    by_mac = largest_blksize(load_settings({"tftp_blksize": ["52:54:00=1024"]}, environment={}), ctx)
    assert [by_mac("10.77.0.9"), asked] == [1024, ["10.77.0.9"]]


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048));"
        "from pxeforge.app.processes import raise_file_limit; raise_file_limit();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(2048, 2048)\n"
