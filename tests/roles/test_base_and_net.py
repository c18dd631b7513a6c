"""What the roles base, net, time-server and time-client make of their variables; their checks are run as programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pxeforge.agent.networkd_files import networkd_files
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.roles import Role, load_roles

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")


@pytest.fixture(scope="module")
def roles() -> dict[str, Role]:
    return load_roles([TOP / "roles"])


def plan_of(roles: dict[str, Role], given: dict[str, tuple[str, ...]], **variables: object) -> Plan:
    hosts = [
        PlanHost(host_id=name, name=name, roles=names, addresses=(f"10.1.0.{number}",))
        for number, (name, names) in enumerate(given.items(), 1)
    ]
    return compile_plan(hosts, roles, server=SERVER, variables=variables)


def params(plan: Plan, task_id: str, step: str) -> Any:
    task = next(task for task in plan.tasks if task.id == task_id)
    return next(item["params"] for item in task.steps if item["name"] == step)


def test_hosts_follow_the_time_servers_of_the_plan_and_these_the_server(roles: dict[str, Role]) -> None:
    plan = plan_of(roles, {"t": ("time-server",), "a": ("time-client",), "b": ("base",)})
    served = params(plan, "base.time@t", "config")["content"]
    assert "server 10.0.0.1 iburst\n" in served
    assert "allow 10.0.0.0/8\n" in served
    assert "local stratum 10 orphan\n" in served
    for host in ("a", "b"):
        config = params(plan, f"base.time@{host}", "config")["content"]
        assert "server 10.1.0.1 iburst\n" in config
        assert "allow" not in config
    assert params(plan, "time-client.follows@a", "selected")["input"]["servers"] == ["10.1.0.1"]


def test_what_nobody_asks_for_is_not_there(roles: dict[str, Role]) -> None:
    plan = plan_of(roles, {"a": ("base",)})
    assert params(plan, "base.sources@a", "list")["state"] == "absent"
    assert params(plan, "base.system@a", "user")["accounts"] == []
    assert params(plan, "base.system@a", "sysctl")["settings"] == {}


def test_what_every_host_shall_have_gets_there(roles: dict[str, Role]) -> None:
    plan = plan_of(
        roles,
        {"a": ("base",)},
        repositories=["deb http://mirror/cloud bookworm main"],
        repository_key="-----BEGIN PGP PUBLIC KEY BLOCK-----",
        sysctl={"net.ipv4.ip_forward": 1},
        modules=["br_netfilter"],
        users=[{"name": "ops", "sudo": True}],
        ssh_options={"PasswordAuthentication": "no"},
    )
    assert params(plan, "base.sources@a", "list")["content"] == "deb http://mirror/cloud bookworm main\n"
    assert params(plan, "base.sources@a", "key")["content"].startswith("-----BEGIN PGP")
    assert params(plan, "base.system@a", "sysctl")["settings"] == {"net.ipv4.ip_forward": "1"}
    assert params(plan, "base.system@a", "user")["accounts"][0]["name"] == "ops"
    assert params(plan, "base.system@a", "ssh-options")["content"].endswith("\nPasswordAuthentication no\n")


def test_open_vswitch_is_installed_where_a_bridge_needs_it(roles: dict[str, Role]) -> None:
    nics = [{"name": "eth0"}]
    bridge = {"name": "br-ex", "ports": ["eth0"], "addresses": ["192.0.2.5/24"]}
    plan = plan_of(roles, {"a": ("net",)}, nics=nics, bridges=[{**bridge, "kind": "ovs"}])
    assert params(plan, "net.packages@a", "packages")["names"] == ["iproute2", "openvswitch-switch"]
    assert params(plan, "net.interfaces@a", "network")["bridges"][0]["kind"] == "ovs"
    plan = plan_of(roles, {"a": ("net",)}, nics=nics, bridges=[bridge])
    assert params(plan, "net.packages@a", "packages")["names"] == ["iproute2"]


def test_interfaces_that_do_not_fit_together_are_refused_before_any_host_sees_them(roles: dict[str, Role]) -> None:
    with pytest.raises(PlanProblem, match="br-ex has the port eth0, which is not there"):
        plan_of(roles, {"a": ("net",)}, bridges=[{"name": "br-ex", "ports": ["eth0"]}])


# --- the checks, as programs ---


def check(place: str, given: dict[str, Any], path: Path | None = None) -> tuple[int, str]:
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    ran = subprocess.run(
        [sys.executable, str(TOP / "roles" / place)], input=json.dumps(given), capture_output=True, text=True, env=env
    )
    return ran.returncode, (ran.stdout.strip().splitlines() or [ran.stderr])[-1]


def says(folder: Path, name: str, text: str, code: int = 0) -> Path:
    """A program of this name that prints the text."""
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    (folder / name).chmod(0o755)
    return folder


def test_two_default_routes_are_told(tmp_path: Path) -> None:
    one = "default via 192.0.2.1 dev eth0"
    assert check("base/checks/default_route.py", {}, says(tmp_path, "ip", one)) == (0, one)
    code, words = check("base/checks/default_route.py", {}, says(tmp_path, "ip", f"{one}\ndefault via 10.0.0.1 dev b"))
    assert (code, "there are 2 default routes" in words) == (1, True)
    assert check("base/checks/default_route.py", {}, says(tmp_path, "ip", ""))[0] == 1


def test_a_name_that_does_not_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "ping").write_text('#!/bin/sh\nfor name in "$@"; do :; done\ntest "$name" != gone\n')
    (tmp_path / "ping").chmod(0o755)
    assert check("base/checks/names.py", {"hosts": ["a", "b"]}, tmp_path)[1] == "2 of 2 hosts answer by their names"
    code, words = check("base/checks/names.py", {"hosts": ["a", "gone"]}, tmp_path)
    assert (code, words) == (1, "gone does not answer (no reply)")


def test_another_release_is_told() -> None:
    own = dict(line.strip().split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    system, version = own["ID"].strip('"'), own.get("VERSION_ID", "").strip('"')
    assert check("base/checks/release.py", {"systems": [system, ""], "versions": [version]})[0] == 0
    code, words = check("base/checks/release.py", {"systems": [system], "versions": [version, "0.1"]})
    assert (code, "others run 0.1" in words) == (1, True)


@pytest.fixture
def clock() -> Iterator[Any]:
    """A server whose clock is `ahead_s` ahead of ours."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        ahead_s = 0.0

        def do_HEAD(self) -> None:
            self.send_response_only(404)
            self.send_header("Date", format_datetime(datetime.now(UTC) + timedelta(seconds=self.ahead_s), usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        Handler.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
        yield Handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("ahead_s", "code"), [(0.0, 0), (2.0, 1), (-2.0, 1)], ids=["right", "behind", "ahead"])
def test_a_clock_that_is_off_is_told(clock: Any, ahead_s: float, code: int) -> None:
    clock.ahead_s = ahead_s
    assert check("base/checks/clock.py", {"url": clock.url, "most_s": 0.5})[0] == code


def test_a_server_that_is_away_tells_no_time() -> None:
    assert check("base/checks/clock.py", {"url": "http://127.0.0.1:9", "most_s": 0.5})[0] == 1


@pytest.fixture
def gated(tmp_path: Path, clock: Any) -> tuple[dict[str, Any], Path]:
    """What the gates of a host of one are given, and programs that say what such a host says."""
    own = dict(line.strip().split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    held = json.dumps([{"addr_info": [{"local": "192.0.2.1"}]}])
    (tmp_path / "ip").write_text(f"#!/bin/sh\ncase \"$*\" in *route*) echo '[]';; *) echo '{held}';; esac\n")
    (tmp_path / "ip").chmod(0o755)
    given = {
        "distribution": own.get("VERSION_CODENAME", "").strip('"'), "own_name": "192.0.2.1", "own_address": "192.0.2.1",
        "names": ["192.0.2.1"], "max_clock_offset_ms": 500, "server_url": clock.url, "max_server_offset_s": 2,
    }  # fmt: skip
    return given, tmp_path


TRACKING = "{source},192.0.2.9,3,1.0,{offset},0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal"


@pytest.mark.parametrize("source", ["00000000", "7F7F0101", "C0000209"], ids=["no source", "own clock", "a source"])
def test_a_gate_stops_a_host_whose_clock_is_not_the_servers_whatever_it_follows(
    gated: tuple[dict[str, Any], Path], clock: Any, source: str
) -> None:
    given, programs = gated
    says(programs, "chronyc", TRACKING.format(source=source, offset="0.000001"))
    assert check("cloud/checks/gates.py", given, programs) == (0, "release, names, routes and clock are right")
    for ahead_s, way in ((3600.0, "behind"), (-3600.0, "ahead of")):
        clock.ahead_s = ahead_s
        code, words = check("cloud/checks/gates.py", given, programs)
        assert code == 1
        assert re.match(rf"the clock is (3599|360[01]) s {way} the server's: set it", words), words


def test_a_gate_stops_a_host_that_is_off_its_source_or_cannot_ask_the_server(
    gated: tuple[dict[str, Any], Path],
) -> None:
    given, programs = gated
    says(programs, "chronyc", TRACKING.format(source="C0000209", offset="-0.9"))
    assert check("cloud/checks/gates.py", given, programs) == (1, "the clock is 900 ms off (at most 500 ms)")
    says(programs, "chronyc", TRACKING.format(source="00000000", offset="0.0"))
    code, words = check("cloud/checks/gates.py", {**given, "server_url": "http://127.0.0.1:9"}, programs)
    assert (code, "http://127.0.0.1:9 does not tell its time" in words) == (1, True)


def test_time_servers_without_a_source_agree_among_themselves(roles: dict[str, Role]) -> None:
    plan = plan_of(roles, {"a": ("time-server",), "b": ("time-server",), "c": ("time-client",)})
    first = params(plan, "base.time@a", "config")["content"]
    assert "server 10.1.0.2 iburst\n" in first
    assert "server 10.1.0.1 iburst\n" not in first
    assert "server 10.0.0.1 iburst\n" in first


SOURCES = "^,{state},10.1.0.1,3,6,377,12,-0.000012,-0.000015,0.000041"


def test_the_time_server_must_be_the_one_that_is_followed(tmp_path: Path) -> None:
    given = {"servers": ["10.1.0.1"], "most_ms": 500}
    followed = says(tmp_path, "chronyc", SOURCES.format(state="*"))
    assert check("time-client/checks/selected.py", given, followed) == (0, "^* 10.1.0.1, stratum 3, 0.012 ms away")
    assert check("time-client/checks/selected.py", {**given, "servers": ["10.1.0.2"]}, followed)[0] == 1
    code, words = check("time-client/checks/selected.py", given, says(tmp_path, "chronyc", SOURCES.format(state="?")))
    assert (code, "is followed yet" in words) == (1, True)
    assert check("time-client/checks/selected.py", given, says(tmp_path, "chronyc", "506 Cannot talk", 1))[0] == 1


def test_vlans_lie_on_a_vxlan_and_on_the_bridge_that_it_is_a_port_of(roles: dict[str, Role]) -> None:
    """A-11, as far as files go: two gateways, both VLANs on both of them."""
    made = {}
    for number in (14, 15):
        host = PlanHost(
            host_id=f"g{number}", name=f"g{number}", roles=("net",), addresses=(f"10.7.1.{number}",),
            variables={
                "nics": [{"name": "eth0", "addresses": [f"10.7.1.{number}/24"]}],
                "vxlans": [{"name": "vxlan0", "id": 42, "group": "239.1.1.1", "link": "eth0"}],
                "bridges": [{"name": "br0", "ports": ["vxlan0"]}],
                "vlans": [
                    {"name": "vxlan0.100", "link": "vxlan0", "id": 100, "addresses": [f"172.16.1.{number}/24"]},
                    {"name": "br0.101", "link": "br0", "id": 101, "addresses": [f"192.192.1.{number}/24"]},
                ],
            },
        )  # fmt: skip
        plan = compile_plan([host], roles, server=SERVER)
        made[number] = networkd_files(params(plan, f"net.interfaces@g{number}", "network"), {})
        asked = params(plan, f"net.check-interfaces@g{number}", "interfaces")["input"]
        assert [one["name"] for one in asked["vlans"]] == ["vxlan0.100", "br0.101"]
    one, other = made[14], made[15]
    assert "VNI=42\nGroup=239.1.1.1\n" in one["45-vxlan0.netdev"]
    assert "VXLAN=vxlan0\n" in one["50-eth0.network"]
    assert {"VLAN=vxlan0.100", "Bridge=br0"} <= set(one["45-vxlan0.network"].split())
    [bridge] = [text for name, text in one.items() if name.endswith("-br0.network")]
    assert "VLAN=br0.101" in bridge.split()
    assert ("Id=100" in one["40-vxlan0.100.netdev"], "Id=101" in one["40-br0.101.netdev"]) == (True, True)
    assert "Address=172.16.1.14/24" in one["40-vxlan0.100.network"]
    assert "Address=192.192.1.15/24" in other["40-br0.101.network"]
    assert {name for name in one if one[name] != other[name]} == {
        "40-br0.101.network", "40-vxlan0.100.network", "50-eth0.network",
    }  # fmt: skip
