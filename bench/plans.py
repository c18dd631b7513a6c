"""`python -m bench.plans`: what it costs to compile the plan of a large cloud from the shipped roles. Needs nothing."""

from __future__ import annotations

import argparse
import ipaddress
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pxeforge.assets import asset_dirs
from pxeforge.engine.layout import Layout, Network, Tolerance
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan, role_order
from pxeforge.engine.release import load_releases
from pxeforge.engine.roles import Role, load_roles

CONTROLLERS: Final = 3
_FIRST: Final = int(ipaddress.ip_address("10.0.0.10"))
_COMPUTE: Final = ("nova-compute", "neutron-openvswitch")
_SERVICES: Final = (
    "mariadb", "rabbitmq", "memcached", "keystone", "placement", "glance", "nova-controller", "neutron-server",
    "horizon",
)  # fmt: skip
# Whatever else a host of a large cloud may have, until it has as many tasks as were asked for. Not what a cloud has on
# a few hosts that each know all others (glance).
_MORE: Final = (
    "memcached", "time-client", "openrc", "neutron-dhcp", "neutron-metadata", "neutron-l3", "net", "placement",
    "nova-controller", "horizon", "neutron-server",
)  # fmt: skip
_SERVER: Final = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")
_LAYOUT: Final = Layout(
    networks=(Network(name="api", purposes=("api", "tunnel", "storage"), cidr=ipaddress.ip_network("10.0.0.0/8")),),
    tolerance={_COMPUTE[0]: Tolerance.parse("10%")},
)


def shipped_roles() -> dict[str, Role]:
    return load_roles(asset_dirs("roles", Path("/nonexistent")))


def large_cloud(roles: Mapping[str, Role], hosts: int, tasks: int = 0) -> list[PlanHost]:
    """Three controllers with all services; every other host is a compute node, with at least `tasks` tasks."""
    services = tuple(name for name in _SERVICES if name in roles)
    computes = tuple(name for name in _COMPUTE if name in roles) or ("base",)
    for name in _MORE:
        if name in roles and _tasks_of(computes, roles) < tasks:
            computes = (*computes, name)
    return [_host(number, services if number < CONTROLLERS else computes) for number in range(hosts)]


def _tasks_of(names: tuple[str, ...], roles: Mapping[str, Role]) -> int:
    return sum(task.kind != "remove" for name in role_order(names, roles) for task in roles[name].tasks)


def _host(number: int, roles: tuple[str, ...]) -> PlanHost:
    address = str(ipaddress.ip_address(_FIRST + number))
    nics = [{"name": "eth0", "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}", "addresses": [f"{address}/8"]}]
    facts: dict[str, Any] = {"os": {"id": "debian", "version": "12"}, "nics": nics}
    return PlanHost(host_id=str(number), name=f"n{number:05}", roles=roles, addresses=(address,), facts=facts)


def compiled(roles: Mapping[str, Role], hosts: int, tasks: int = 0) -> Plan:
    releases = load_releases(asset_dirs("releases", Path("/nonexistent")))
    layout = _LAYOUT if _COMPUTE[0] in roles else Layout(networks=_LAYOUT.networks)
    return compile_plan(large_cloud(roles, hosts, tasks), roles, server=_SERVER, releases=releases, layout=layout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plans", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=60, help="tasks of each compute node, at least (default 60)")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    hosts, roles = options.hosts, shipped_roles()
    before, began, cpu = _memory_mb(), time.perf_counter(), time.process_time()
    plan = compiled(roles, hosts, options.tasks)
    took, used, more = time.perf_counter() - began, time.process_time() - cpu, _memory_mb() - before
    edges = sum(len(task.after) + len(task.opens) for task in plan.tasks)
    steps = sum(len(task.steps) for task in plan.tasks)
    if options.json:
        told = {"hosts": hosts, "tasks": len(plan.tasks), "steps": steps, "time_s": took, "memory_mb": more}
        sys.stdout.write(f"{json.dumps(told)}\n")
        return
    head = ("hosts", "tasks", "steps", "edges", "time", "processor time", "memory")
    sys.stdout.write(
        f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|\n"
        f"| {hosts} | {len(plan.tasks)} | {steps} | {edges} | {took:.2f} s | {used:.2f} s | {more:.0f} MB |\n"
    )


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
