"""What templates see of hosts, networks and releases: the namespaces `host`, `groups`, `at`, `release` and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pxeforge.engine.layout import Attachment, Layout, Vip
from pxeforge.engine.release import Release
from pxeforge.engine.secrets import SecretRef
from pxeforge.engine.templates import Namespace

if TYPE_CHECKING:
    from pxeforge.engine.plan import PlanHost


def host_view(
    host: PlanHost,
    roles: tuple[str, ...],
    attached: Mapping[str, Attachment],
    disks: Mapping[str, str],
    zone: str,
    positions: Mapping[str, int],
) -> Namespace:
    values: dict[str, Any] = {
        "id": host.host_id,
        "name": host.name,
        "short_name": host.name.partition(".")[0],
        "addresses": list(host.addresses),
        "facts": host.facts,
        "roles": list(roles),
        "zone": zone,
        "position": Namespace(f"host {host.name}: position", positions),
        "net": Namespace(
            f"host {host.name}: net", {purpose: _attachment_view(host.name, one) for purpose, one in attached.items()}
        ),
        "disks": Namespace(f"host {host.name}: disks", disks, lambda purpose: no_disk(host.name, purpose)),
    }
    if host.addresses:  # without one, `host.address` is an error that names the host
        values["address"] = host.addresses[0]
    return Namespace(f"host {host.name}", values)


def no_disk(host_name: str, purpose: str) -> str:
    return f"nobody said which disk of host {host_name} is for {purpose}: name it under `disks` in the blueprint"


def _attachment_view(host_name: str, one: Attachment) -> Namespace:
    network = one.network
    values: dict[str, Any] = {
        "nic": one.nic,
        "cidr": one.cidr,
        "prefix": one.prefix,
        "network": network.name if network else "",
        "vlan": network.vlan if network else None,
        "mtu": network.mtu if network else None,
        "gateway": network.gateway if network else None,
    }
    if one.address is not None:
        values["address"] = one.address
    what = f"host {host_name}: net.{one.purpose}"
    lacking = None if one.problem is None else lambda _: str(one.problem)
    return Namespace(what, values, lacking)


def common_values(
    views: Sequence[Namespace],
    groups: Mapping[str, Sequence[Namespace]],
    layout: Layout,
    secret_names: Iterable[str],
) -> dict[str, Any]:
    """What is the same for every host of a plan."""
    networks = {
        network.name: Namespace(
            f"network {network.name}",
            {
                "name": network.name, "purposes": list(network.purposes), "cidr": str(network.cidr or ""),
                "prefix": network.cidr.prefixlen if network.cidr else None, "vlan": network.vlan, "mtu": network.mtu,
                "gateway": network.gateway, "pool": list(network.pool) if network.pool else None,
            },
        )
        for network in layout.networks
    }  # fmt: skip
    return {
        "hosts": list(views),
        "groups": Namespace("groups", {name: list(members) for name, members in groups.items()}),
        "at": _at(groups, layout),
        "vips": Namespace("vips", {vip.name: _vip_view(vip, layout) for vip in layout.vips}),
        "networks": Namespace("networks", networks),
        "secrets": Namespace("secrets", {name: SecretRef(name) for name in sorted(secret_names)}),
    }


def _vip_view(vip: Vip, layout: Layout) -> Namespace:
    network = next(network for network in layout.networks if network.name == vip.network)
    return Namespace(
        f"vip {vip.name}",
        {
            "name": vip.name, "address": vip.address, "network": vip.network, "roles": list(vip.roles),
            "purpose": network.purposes[0], "prefix": network.cidr.prefixlen if network.cidr else None,
        },
    )  # fmt: skip


def _at(groups: Mapping[str, Sequence[Namespace]], layout: Layout) -> Namespace:
    """The address at which clients reach a role: its VIP, else the API address of its first host."""
    found: dict[str, str] = {}
    for name, members in groups.items():
        if members and "address" in members[0]["net"]["api"]:
            found[name] = members[0]["net"]["api"]["address"]
    found.update({role: vip.address for vip in layout.vips for role in vip.roles})
    return Namespace("at", found, lambda role: f"nobody serves role {role}: give it to a host, or name it under a VIP")


def release_view(release: Release | str, host_name: str) -> Namespace:
    """The chosen pack; where there is none (a sentence says why), whoever asks for anything is told so."""
    if isinstance(release, str):
        return Namespace(f"host {host_name}: release", {}, lambda _: f"host {host_name} has no release: {release}")
    parts: dict[str, Mapping[str, Any]] = {
        "packages": {role: list(names) for role, names in release.packages.items()},
        "units": {role: list(names) for role, names in release.units.items()},
        "options": release.options,
    }
    values = {part: _release_part(release, part, content) for part, content in parts.items()}
    return Namespace(
        f"release {release.name}",
        {"name": release.name, "codename": release.codename, "suite": release.suite, **values},
    )


def _release_part(release: Release, part: str, content: Mapping[str, Any]) -> Namespace:
    def lacking(role: str) -> str:
        return f"release pack {release.name} has no {part} for role {role}: add them to {release.file}"

    return Namespace(f"release.{part}", content, lacking)
