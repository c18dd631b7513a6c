"""Names, time and every form of network on real Debian systems, with the way back that a lost server asks for.

They share this computer's kernel: it has no VLANs and no Open vSwitch of its own (that has its userspace datapath
then), and its clock is not set (chronyd -x).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pxeforge.engine.step_types import checked_params
from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import skip_without_mirror
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
    pytest.mark.timeout(1800),
]
HOSTS = ("c1", "n1")
AGENT = "python3 /usr/local/lib/pxeforge/pxeforge-agent.pyz step"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("host-steps")
    with Cloud(folder, cache=CACHE, suite="bookworm", names=HOSTS, name="steps") as cloud:
        yield cloud


def on(cloud: Cloud, host: str, command: str, *, timeout_s: float = 120.0) -> str:
    return cloud.system(host).run(["sh", "-c", command], timeout_s=timeout_s).stdout


def address(cloud: Cloud, host: str) -> str:
    return str(cloud.system(host).site.address)


def run_of(cloud: Cloud, *words: str) -> dict[str, list[str]]:
    """The tasks of a run by how they ended."""
    ended: dict[str, list[str]] = {"ok": [], "changed": [], "failed": []}
    for task in json.loads(cloud.pxeforge(*words, "--json", check=False))["tasks"]:
        ended.setdefault(task["state"], []).append(task["planned_id"])
    return ended


def step(cloud: Cloud, host: str, kind: str, **params: Any) -> dict[str, Any]:
    """One step, by the agent on the host."""
    given = {key: value for key, value in checked_params(kind, params).items() if value is not None}
    text = json.dumps({"type": kind, "id": "a.b.c", "name": "c", "params": given})
    done = cloud.system(host).run(["sh", "-c", AGENT], words=text, check=False, timeout_s=180)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def eth0(cloud: Cloud, host: str, *more: str) -> dict[str, Any]:
    return {"name": "eth0", "addresses": [f"{address(cloud, host)}/24", *more], "gateway": str(cloud.rack.address)}


def routes(cloud: Cloud, host: str) -> str:
    return on(cloud, host, "ip -4 -br address show eth0; ip -4 route show default")


def test_hosts_know_each_other_and_follow_their_time_server(cloud: Cloud) -> None:
    """A-07 and A-08, the gates before any service, and that a second deploy changes nothing."""
    cloud.pxeforge("host", "assign", "c1", "base", "time-server")
    cloud.pxeforge("host", "assign", "n1", "base", "time-client")
    assert run_of(cloud, "deploy")["failed"] == []
    assert run_of(cloud, "verify")["failed"] == []
    assert f"^* {address(cloud, 'c1')}" in on(cloud, "n1", "chronyc -n sources")
    assert run_of(cloud, "deploy")["changed"] == []


def test_what_stands_in_the_way_of_services_is_found(cloud: Cloud) -> None:
    on(cloud, "n1", "echo 127.0.1.1 n1 >> /etc/hosts; ip route add default via 10.88.0.1 dev eth1 onlink metric 9")
    assert set(run_of(cloud, "verify")["failed"]) == {"base.check-names@n1", "base.check-gates@n1"}
    on(cloud, "n1", "ip route del default dev eth1")
    on(cloud, "n1", "sed -i 's/^10.* c1$/10.77.0.250 c1/' /etc/hosts")
    assert run_of(cloud, "verify")["failed"] == ["base.check-names@n1", "base.check-gates@n1"]
    assert run_of(cloud, "deploy")["changed"] == ["base.names@n1"]
    assert run_of(cloud, "verify")["failed"] == []


def test_a_network_that_loses_the_server_is_put_back(cloud: Cloud) -> None:
    before = routes(cloud, "n1")
    result = step(cloud, "n1", "network", nics=[{"name": "eth0", "addresses": ["203.0.113.5/24"]}], deadline_s=5)
    assert result["status"] == "failed"
    assert result["message"].endswith("for 5 s: the former network is back")
    assert routes(cloud, "n1") == before


def test_the_former_network_comes_back_although_the_agent_is_killed(cloud: Cloud) -> None:
    before = routes(cloud, "n1")
    nics = [{"name": "eth0", "addresses": ["203.0.113.5/24"]}]
    text = json.dumps(
        {"type": "network", "id": "a.b.c", "params": checked_params("network", {"nics": nics, "deadline_s": 5})}
    )
    on(cloud, "n1", f"echo '{text}' > /root/step; setsid {AGENT} < /root/step > /root/out 2>&1 & echo $! > /root/pid")
    _until(lambda: "203.0.113.5" in routes(cloud, "n1"))
    on(cloud, "n1", "kill -9 $(cat /root/pid)")
    assert "203.0.113.5" in routes(cloud, "n1")
    _until(lambda: routes(cloud, "n1") == before)
    assert "pxeforge-network-rollback" not in on(cloud, "n1", "systemctl list-timers --all; ls /etc/systemd/system")


def test_aliases_and_a_vxlan_reach_the_other_host(cloud: Cloud) -> None:
    """A-11, but for the VLANs on top of it, which this kernel lacks: a second address stands for them."""
    for host, other, number in (("c1", "n1", 14), ("n1", "c1", 15)):
        vxlan: dict[str, Any] = {"name": "vxlan42", "id": 42, "remote": address(cloud, other)}
        vxlan["addresses"] = [f"192.168.201.{number}/24", f"172.31.201.{number}/24"]
        nics = [eth0(cloud, host, f"10.77.0.{100 + number}/24")]
        first = step(cloud, host, "network", nics=nics, vxlans=[vxlan])
        assert first["status"] == "changed", first
        assert step(cloud, host, "network", nics=nics, vxlans=[vxlan])["status"] == "ok"
    for there in ("192.168.201.15", "172.31.201.15", "10.77.0.115"):
        assert " 0% packet loss" in on(cloud, "c1", f"ping -c 3 -i 0.2 -W 3 {there}")


def test_a_namespace_reaches_the_outside_through_a_bridge(cloud: Cloud) -> None:
    """A-12."""
    bridge = {"name": "br1", "ports": ["eth1"], "addresses": ["10.88.0.20/24"]}
    assert (
        step(cloud, "c1", "network", nics=[eth0(cloud, "c1"), {"name": "eth1"}], bridges=[bridge])["status"]
        == "changed"
    )
    assert "vxlan42" not in on(cloud, "c1", "ip -br link")
    made = (
        "ip netns add inner",
        "ip link add outer type veth peer name inside netns inner",
        "ip link set outer master br1 up",
        "ip -n inner address add 10.88.0.50/24 dev inside",
        "ip -n inner link set inside up",
    )
    on(cloud, "c1", " && ".join(made))
    _until(lambda: " 0% packet loss" in on(cloud, "c1", "ip netns exec inner ping -c 1 -W 2 10.88.0.1; true"))
    on(cloud, "c1", "ip link del outer; ip netns del inner")


def test_a_bridge_of_open_vswitch_keeps_the_hosts_address_through_a_reboot(cloud: Cloud) -> None:
    """A-13."""
    packages = ["openvswitch-switch", "openvswitch-testcontroller"]
    assert step(cloud, "c1", "packages", names=packages)["status"] == "changed"
    on(cloud, "c1", "ovs-testcontroller --detach --pidfile=/run/own.pid ptcp:6699:127.0.0.1")
    port = {**eth0(cloud, "c1"), "name": "br-ex", "kind": "ovs", "datapath": "netdev", "ports": ["eth0"]}
    wanted: dict[str, Any] = {"nics": [{"name": "eth0"}], "bridges": [{**port, "controller": ["tcp:127.0.0.1:6699"]}]}
    result = step(cloud, "c1", "network", **wanted)
    assert result["status"] == "changed", result
    assert step(cloud, "c1", "network", **wanted)["status"] == "ok"
    _until(lambda: "true" in on(cloud, "c1", "ovs-vsctl get controller br-ex is_connected"))
    wanted["bridges"] = [port]  # nobody starts that controller again
    assert step(cloud, "c1", "network", **wanted)["status"] == "changed"
    cloud.system("c1").stop()
    cloud.system("c1").start()
    _until(lambda: address(cloud, "c1") in on(cloud, "c1", "ip -4 -br address show br-ex; true"))
    assert cloud.rack.run(["ssh-keyscan", "-T", "5", address(cloud, "c1")]).stdout
    assert step(cloud, "c1", "network", **wanted)["status"] == "ok"


def _until(condition: Any, limit_s: float = 90.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)


def test_roles_that_go_leave_the_host_with_its_name_its_clock_and_its_network(cloud: Cloud) -> None:
    roles = ("cloud", "net", "time-server")
    cloud.pxeforge("host", "assign", "c1", *roles)
    assert run_of(cloud, "deploy")["failed"] == []
    assert run_of(cloud, "deploy")["changed"] == []
    before = routes(cloud, "c1")
    cloud.pxeforge("host", "unassign", "c1", "base", *roles)
    assert run_of(cloud, "deploy", "--remove-unassigned")["failed"] == []
    assert json.loads(cloud.pxeforge("plan", "--remove-unassigned", "--json"))["leftover"] == []
    assert routes(cloud, "c1") == before
    assert "127.0.1.1\tc1" in on(cloud, "c1", "cat /etc/hosts")
    assert "pxeforge hosts" not in on(cloud, "c1", "cat /etc/hosts")
    on(cloud, "c1", "cmp /usr/share/chrony/chrony.conf /etc/chrony/chrony.conf && systemctl is-active chrony")
    assert ":123 " not in on(cloud, "c1", "ss -Hlnu")
    assert on(cloud, "c1", "ls /usr/local/lib/pxeforge").split() == ["pxeforge-agent.pyz"]
    cloud.pxeforge("host", "assign", "c1", *roles)
    assert run_of(cloud, "deploy")["failed"] == []
    assert run_of(cloud, "verify")["failed"] == []
    assert run_of(cloud, "deploy")["changed"] == []
