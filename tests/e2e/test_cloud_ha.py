"""Three controllers behind one address, on real Debian systems: tokens and API calls go on without any one of them.

A compute host beside them has VMs on the second wire. Switches work in user space, so that each host has an address on
the bridge to that wire (see test_cloud_two_nodes.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import (
    EMULATED,
    asking,
    engines_share,
    on,
    openstack,
    operator_folder,
    other_than,
    run,
    shipped_blueprint,
    skip_without_mirror,
    states,
    write_blueprint,
)
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand, pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
]  # fmt: skip
NAMES = ("c1", "c2", "c3")
VIP = "10.77.0.250"
ROLES = ("mariadb", "keystone", "placement", "glance", "nova-controller", "horizon", "neutron-server")
HOSTS = (*NAMES, "compute1")
# On the second wire; VMs have addresses from .100 on.
TUNNEL_ENDS = {name: f"10.88.0.{number}" for number, name in enumerate(HOSTS, 11)}
WIRE = {
    "provider_cidr": "10.88.0.0/24", "provider_gateway": "10.88.0.1", "provider_dns": [],
    "provider_pools": ["10.88.0.100-10.88.0.199"],
}  # fmt: skip


def blueprint() -> dict[str, object]:
    """The shipped ha, each host by its name."""
    first, other, computes = shipped_blueprint("ha")["hosts"][:3]
    rules = [
        {
            "match": {"name": name},
            "roles": rule["roles"],
            "nics": rule["nics"],
            "addresses": {"tunnel": TUNNEL_ENDS[name]},
            "variables": {"neutron_provider_address": f"{TUNNEL_ENDS[name]}/24"},
        }
        for name, rule in zip(HOSTS, (first, other, other, computes), strict=True)
    ]
    return {
        "extends": "ha",
        "variables": {"workers": 1, **EMULATED, **WIRE},
        "networks": {"api": {"cidr": "10.77.0.0/24"}, "tunnel": {"cidr": "10.88.0.0/24"}},
        "vips": {"cloud": {"address": VIP, "network": "api", "roles": list(ROLES)}},
        "hosts": rules,
    }


# A token, and with it a list of users and one of images: database, keys and cache behind the address.
QUESTION = """\
import json, urllib.request
user = {{"name": "admin", "domain": {{"id": "default"}}, "password": {password!r}}}
scope = {{"project": {{"name": "admin", "domain": {{"id": "default"}}}}}}
body = {{"auth": {{"identity": {{"methods": ["password"], "password": {{"user": user}}}}, "scope": scope}}}}
sent = urllib.request.Request("http://{vip}:5000/v3/auth/tokens", json.dumps(body).encode(), {{"Content-Type": "application/json"}})
with urllib.request.urlopen(sent, timeout=10) as answer:
    token = answer.headers["X-Subject-Token"]
for path in ("5000/v3/users", "9292/v2/images", "8774/v2.1/flavors", "9696/v2.0/networks"):
    urllib.request.urlopen(urllib.request.Request("http://{vip}:" + path, headers={{"X-Auth-Token": token}}), timeout=10).close()
"""  # noqa: E501


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Three hosts with the whole control plane and one for VMs; how long that took is printed."""
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("ha")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(folder, cache=CACHE, suite="bookworm", names=list(HOSTS), name="ha") as made,
    ):
        write_blueprint(operator, "ha-lab", blueprint())
        began = time.monotonic()
        told = run(made, "deploy", "ha-lab")
        assert {task["state"] for task in told["tasks"]} <= {"ok", "changed"}
        print(
            f"\nthree controllers and a compute host in {time.monotonic() - began:.0f} s; "
            f"in {engines_share(told):.1%} of that the busiest host did nothing"
        )
        yield made


def holder(cloud: Cloud) -> str:
    """The host that has the address; raises StopIteration when none has."""
    running = (name for name in NAMES if cloud.system(name).is_running)
    return next(name for name in running if VIP in on(cloud, name, "ip -4 -o address"))


def question(cloud: Cloud) -> str:
    lines = on(cloud, "c2", "cat /root/admin-openrc").splitlines()
    password = next(line.partition("=")[2].strip("'") for line in lines if "OS_PASSWORD" in line)
    return QUESTION.format(password=password, vip=VIP)


def port_of(cloud: Cloud, name: str) -> str:
    """The rack's end of a host's wire."""
    index = json.loads(cloud.system(name).site.ip("-json", "link", "show", "eth0"))[0]["link_index"]
    return str(next(link["ifname"] for link in json.loads(cloud.rack.ip("-json", "link")) if link["ifindex"] == index))


def cut_power(cloud: Cloud, name: str) -> None:
    """Nothing comes from it any more, not even an end of its connections."""
    cloud.rack.ip("link", "set", port_of(cloud, name), "down")
    cloud.system(name).kill()


def power_on(cloud: Cloud, name: str) -> None:
    cloud.rack.ip("link", "set", port_of(cloud, name), "up")
    cloud.system(name).start()


def test_every_check_of_three_controllers_holds(cloud: Cloud) -> None:
    """A-10, A-14 … A-18, A-23, A-28; an image that came in at one host is served by whoever has the address."""
    found = states(cloud, "verify", "ha-lab")
    assert "nova-compute.vm@compute1" in found
    assert other_than(found, "ok") == {}


def test_a_second_deploy_of_three_controllers_changes_nothing(cloud: Cloud) -> None:
    """A-58."""
    began = time.monotonic()
    assert other_than(states(cloud, "deploy", "ha-lab"), "ok") == {}
    print(f"\na deploy that has nothing to do in {time.monotonic() - began:.0f} s")


def test_the_address_moves_when_haproxy_ends(cloud: Cloud, tmp_path: Path) -> None:
    first = holder(cloud)
    with asking(cloud, tmp_path / "asked", question(cloud)) as client:
        client.wait_for_answers(3, 60)
        on(cloud, first, "systemctl stop haproxy")
        try:
            client.wait_for_answers(20, 120)
            assert holder(cloud) != first
        finally:
            on(cloud, first, "systemctl start haproxy")
        client.wait_for_answers(20, 120)
    print(f"\nhaproxy ended on {first}: nobody answered for {client.longest_gap_s():.1f} s")


def test_all_goes_on_without_a_whole_controller(cloud: Cloud, tmp_path: Path) -> None:
    """The host with the address loses its power; what was there is there, and new things can be made."""
    openstack(cloud, "c2", "network create before")
    on(cloud, "c2", "head -c 3000000 /dev/urandom > /root/some.img")
    openstack(cloud, "c2", "image create --disk-format raw --file /root/some.img some")
    lost = holder(cloud)
    client_host = next(name for name in NAMES if name != lost)
    on(cloud, client_host, "sleep 15")  # within which every host has its copy
    with asking(cloud, tmp_path / "asked", question(cloud)) as client:
        client.wait_for_answers(3, 60)
        cut_power(cloud, lost)
        client.wait_for_answers(20, 180)
        assert {"before"} <= {item["Name"] for item in openstack(cloud, client_host, "network list")}
        openstack(cloud, client_host, "network create after")
        openstack(cloud, client_host, "subnet create --network after --subnet-range 192.168.9.0/24 after")
        openstack(cloud, client_host, "flavor create --ram 64 --disk 0 --vcpus 1 after")
        image = openstack(cloud, client_host, "image show some")
        command = ". /root/admin-openrc && openstack image save some | md5sum"
        assert on(cloud, client_host, command).split()[0] == image["checksum"]
        listed = openstack(cloud, client_host, "compute service list")
        assert len({item["Host"] for item in listed if item["State"] == "up"}) >= 2
    print(f"\n{lost} without power: nobody answered for {client.longest_gap_s():.1f} s")
    power_on(cloud, lost)
    assert other_than(states(cloud, "verify", "ha-lab"), "ok") == {}


def test_all_is_back_after_every_controller_was_rebooted(cloud: Cloud, tmp_path: Path) -> None:
    """A-57; whoever has the address is the last."""
    order = sorted(NAMES, key=lambda name: name == holder(cloud))
    with asking(cloud, tmp_path / "asked", question(cloud)) as client:
        for name in order:
            system = cloud.system(name)
            system.stop()
            system.start()
            wait_until_in_step(cloud)
    print(
        f"\nthree reboots, one after the other: the longest time without an answer was {client.longest_gap_s():.1f} s"
    )
    assert other_than(states(cloud, "verify", "ha-lab"), "ok") == {}


def wait_until_in_step(cloud: Cloud, limit_s: float = 180.0) -> None:
    """All members of the database cluster say that they are: who takes down the next one earlier loses the majority."""
    end = time.monotonic() + limit_s
    while True:
        ports = [
            f"bash -c 'exec 3<>/dev/tcp/{cloud.system(name).site.address}/9200; echo >&3; cat <&3'" for name in NAMES
        ]
        said = [on(cloud, "c1", f"timeout 5 {command} 2>&1 || true") for command in ports]
        if all("Synced" in answer for answer in said):
            return
        assert time.monotonic() < end, f"the database is not whole after {limit_s:.0f} s: {said}"
        time.sleep(2)
