"""Debconf questions of debian-installer that are answered on the kernel command line: the network comes first."""

from __future__ import annotations

from pxeforge.render.network import StaticAddress


def static_network_preset(static: StaticAddress) -> tuple[str, ...]:
    """Words that give the NIC that netboots its address without DHCP (netcfg(8)).

    A word can hold one name server; the installed system gets all of them.
    """
    return (
        "netcfg/disable_autoconfig=true",
        f"netcfg/get_ipaddress={static.address}",
        f"netcfg/get_netmask={static.netmask}",
        f"netcfg/get_gateway={static.gateway or 'none'}",
        f"netcfg/get_nameservers={static.nameservers[0] if static.nameservers else ''}",
        "netcfg/confirm_static=true",
    )
