"""Who is behind an address on our own wire: the kernel's neighbour table (ARP), asked over netlink."""

from __future__ import annotations

import socket

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pxeforge.domain.mac import MacAddress, NotAMac


def neighbour_mac(address: str) -> MacAddress | None:
    """The MAC address that answers for an IPv4 address; None for ourselves, for routed peers and when unknown."""
    try:
        with IPRoute() as netlink:
            for entry in netlink.get_neighbours(family=socket.AF_INET, dst=address):
                if (found := entry.get_attr("NDA_LLADDR")) is not None:
                    return MacAddress.parse(found)
    except (NetlinkError, OSError, NotAMac) as problem:
        structlog.get_logger().warning("the neighbour table cannot be read", reason=str(problem))
    return None
