"""Which subnets the DHCP server lends addresses in: the simple flags and `[[subnets]]` of the settings, made whole."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from pxeforge.app.setting_values import parse_option, parse_range, parse_route
from pxeforge.protocol.dhcp.subnet import BadSubnet, Subnet
from pxeforge.servers.interfaces import Interface

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings, SubnetSettings


def lent_subnets(settings: Settings, interfaces: Sequence[Interface]) -> tuple[Subnet, ...]:
    """Empty but in server mode. Raises BadSubnet.

    On our own wire our own address is router and DNS server unless others are named: debian-installer asks when either
    is missing, even in a closed network.
    """
    if settings.dhcp != "server" or not interfaces:
        return ()
    flags = [_of_the_flags(settings, interfaces)] if settings.range is not None else []
    subnets = (*flags, *(_of_a_table(table, settings, interfaces) for table in settings.subnets))
    for interface in interfaces:
        here = [str(subnet.network) for subnet in subnets if subnet.network in _networks(interface)]
        if len(here) > 1:
            raise BadSubnet(
                f"{' and '.join(here)} are both on {interface.name}: hosts on one wire cannot be told apart; "
                "lend addresses in one of them, or give the other an interface of its own (a VLAN)"
            )
    return subnets


def _of_the_flags(settings: Settings, interfaces: Sequence[Interface]) -> Subnet:
    first, last = parse_range(settings.range or "")
    homes = [network for interface in interfaces for network in _networks(interface) if first in network]
    return _subnet(
        settings, homes[0] if homes else interfaces[0].network, first, last, router=settings.router,
        routes=settings.routes, options=settings.options, mtu=settings.mtu,
    )  # fmt: skip


def _of_a_table(table: SubnetSettings, settings: Settings, interfaces: Sequence[Interface]) -> Subnet:
    """What the table leaves out comes from the settings of the same name, but for what is true in one network only."""
    first, last = parse_range(table.range)
    touching = [network for each in interfaces for network in _networks(each) if network.overlaps(table.network)]
    if touching and table.network not in touching:
        raise BadSubnet(
            f"the subnet {table.network} lies across the network {touching[0]} of an interface: "
            f"write it as {touching[0]}, or give the interface the mask of the subnet"
        )
    if not touching and table.router is None:
        raise BadSubnet(
            f'the subnet {table.network} is behind a relay (no interface is in it): name its router, router = "…"'
        )
    dns = settings.dns if table.dns is None else table.dns
    return _subnet(
        settings, table.network, first, last, router=table.router, routes=table.routes,
        dns=dns if touching or dns else (interfaces[0].address,), ntp=table.ntp, domain=table.domain,
        search=table.search, lease_time_s=table.lease_time_s, mtu=table.mtu or settings.mtu,
        options=settings.options | table.options,
    )  # fmt: skip


def _subnet(
    settings: Settings,
    network: IPv4Network,
    first: IPv4Address,
    last: IPv4Address,
    *,
    router: IPv4Address | None,
    routes: Sequence[str],
    options: dict[str, str],
    mtu: int | None,
    dns: tuple[IPv4Address, ...] | None = None,
    ntp: tuple[IPv4Address, ...] | None = None,
    domain: str | None = None,
    search: tuple[str, ...] | None = None,
    lease_time_s: int | None = None,
) -> Subnet:
    return Subnet(
        network=network, first=first, last=last, router=router, we_stand_in=True, mtu=mtu,
        dns=settings.dns if dns is None else dns, ntp=settings.ntp if ntp is None else ntp,
        domain=(settings.domain if domain is None else domain) or "",
        search=settings.search if search is None else search,
        lease_time_s=lease_time_s or settings.lease_time_s,
        routes=tuple(parse_route(route) for route in routes),
        options=tuple(parse_option(code, text) for code, text in options.items()),
    )  # fmt: skip


def _networks(interface: Interface) -> tuple[IPv4Network, ...]:
    return interface.networks or (interface.network,)
