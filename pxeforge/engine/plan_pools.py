"""Whether a cloud would give away addresses that hosts have: pools of subnets on the wire of the hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Resources = Sequence[Mapping[str, Any]]  # of the step openstack


def pool_clash(resources: Resources, holders: Mapping[str, str]) -> tuple[int, str] | None:
    """The index of the subnet and a sentence, where one of the `holders` (by address) has an address of its pool.

    Only of networks on a wire outside the cloud: what is inside may use any addresses.
    """
    outside = {
        str(one.get("name")) for one in resources
        if one["kind"] == "network" and "physical_network" in one["properties"]
    }  # fmt: skip
    held = [(ipaddress.ip_address(address), holder) for address, holder in holders.items()]
    for index, one in enumerate(resources):
        if one["kind"] != "subnet" or one["state"] == "absent" or str(one["properties"].get("network")) not in outside:
            continue
        for first, last in _ranges(one["properties"]):
            for address, holder in held:
                if address.version == first.version and first <= address <= last:
                    return index, (
                        f"the subnet {one['name']} would give away {address}, the address of {holder}: give it pools "
                        "without the addresses of hosts"
                    )
    return None


def _ranges(properties: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The pools; without any, all of the network but its gateway's address, which no host has. What is no address is
    left to the cloud to refuse.
    """
    pools = properties.get("pools")
    try:
        if isinstance(pools, list) and pools:
            for text in pools:
                first, last = (ipaddress.ip_address(part.strip()) for part in str(text).split("-"))
                if first.version == last.version:
                    yield first, last
        else:
            network = ipaddress.ip_network(str(properties.get("cidr")))
            yield network[0], network[-1]
    except ValueError:
        return
