import threading
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from pyroute2 import netns

from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.servers.dhcp import DhcpMode, DhcpServer, DhcpSettings
from pxeforge.servers.dhcp_probe import SeenOffer, probe_for_dhcp_servers

from .conftest import Desk, Network, Store, running

SETTINGS = DhcpSettings(
    interfaces=("br0",),
    mode=DhcpMode.SERVER,
    files=BootFiles(ipxe_menu_url="http://{server}/"),
    subnets=(
        Subnet(network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.50")),
    ),
    force=True,
    address_check_s=0.0,
)


def probe(namespace: str, interface: str) -> list[SeenOffer]:
    found: list[SeenOffer] = []

    def work() -> None:
        netns.setns(namespace)
        found.extend(probe_for_dhcp_servers(interface, 0.4))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


@pytest.mark.needs_root
def test_an_empty_network_has_no_server(network: Network) -> None:
    assert probe(network.server, "br0") == []


@pytest.mark.needs_root
def test_a_server_is_found_once_and_a_proxy_is_no_rival(network: Network, desk: Desk, store: Store) -> None:
    host = network.host("52:54:00:00:00:07", "10.77.0.7/24")
    with running(DhcpServer(replace(SETTINGS, mode=DhcpMode.PROXY), desk, None, time.time), network.server):
        assert probe(host, "eth0") == []
    with running(DhcpServer(SETTINGS, desk, store, time.time), network.server):
        assert probe(host, "eth0") == [SeenOffer(IPv4Address("10.77.0.1"), IPv4Address("10.77.0.50"))]
