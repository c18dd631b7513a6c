"""Hosts that lose a role of a cloud that goes on: nobody is left on them, and the cloud knows them no more."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

from .fake_volume_cloud import FakeVolumeCloud

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1:8080")
FACTS = {"os": {"id": "debian", "version": "12"}}
CONTROL = (
    *("mariadb", "rabbitmq", "memcached", "keystone", "placement", "glance", "nova-controller", "neutron-server"),
    "cinder",
)
AGENTS = ("neutron-openvswitch", "neutron-dhcp", "neutron-metadata", "neutron-l3")


def plan_without(
    roles: Mapping[str, Role], releases: Mapping[str, Release], *gone: str, control: tuple[str, ...] = CONTROL
) -> Plan:
    """Host b1 loses these roles; c1 stays as it is."""
    hosts = [PlanHost(host_id="b1", name="b1", roles=("base",), removes=gone, addresses=("10.1.0.2",), facts=FACTS)]
    if control:
        hosts.append(PlanHost(host_id="c1", name="c1", roles=control, addresses=("10.1.0.1",), facts=FACTS))
    return compile_plan(hosts, roles, server=SERVER, releases=releases)


def steps(plan: Plan, task_id: str) -> list[dict[str, Any]]:
    return [dict(step) for task in plan.tasks if task.id == task_id for step in task.steps]


@pytest.mark.parametrize("role", ["nova-compute", *AGENTS])
def test_what_told_of_itself_is_forgotten_once_it_has_stopped(
    roles: dict[str, Role], releases: dict[str, Release], role: str
) -> None:
    plan = plan_without(roles, releases, role)
    [step] = steps(plan, f"{role}.forget@b1")
    [row] = step["params"]["resources"]
    assert (row["name"], row["state"]) == ("b1", "absent")
    units = {step["params"]["name"] for step in steps(plan, f"{role}.stop@b1")}
    assert row["properties"]["binary"] in units
    task = next(task for task in plan.tasks if task.id == f"{role}.forget@b1")
    assert task.after == (f"{role}.stop@b1",)


def test_nobody_is_asked_when_the_cloud_goes_too(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_without(roles, releases, "nova-compute", *AGENTS, "cinder-volume", control=())
    for role in ("nova-compute", *AGENTS):
        [step] = steps(plan, f"{role}.forget@b1")
        assert step["params"]["resources"] == []
    for role in ("nova-compute", "cinder-volume"):
        [probe] = steps(plan, f"{role}.vacated@b1")
        assert probe["params"]["input"]["cloud_goes_on"] is False
    [rows] = steps(plan, "cinder-volume.forget@b1")
    assert rows["params"]["unless"] == "true"


@pytest.mark.parametrize(("role", "binary"), [("cinder-volume", "cinder-volume"), ("cinder-backup", "cinder-backup")])
def test_every_row_of_a_host_without_volumes_goes_and_no_others(
    roles: dict[str, Role], releases: dict[str, Release], tmp_path: Path, role: str, binary: str
) -> None:
    """Its command, run with a cinder-manage that has the rows of several hosts."""
    params = steps(plan_without(roles, releases, role), f"{role}.forget@b1")[0]["params"]
    table = tmp_path / "table"
    rows = [(binary, host) for host in ("b1", "b1@lvm", "b1@nfs", "b10@lvm", "c1@b1")] + [("cinder-other", "b1")]
    table.write_text("".join(f"{name:16} {host:36} nova             enabled    XXX\n" for name, host in rows))
    programs = {
        "runuser": 'shift 3; exec "$@"',
        "cinder-manage": 'case "$2" in list) cat "$TABLE";; remove) echo "$3 $4" >> "$TABLE.removed"; '
        'grep -v "^$3 *$4 " "$TABLE" > "$TABLE.new"; mv "$TABLE.new" "$TABLE";; esac',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    env = {**os.environ, **params["env"], "PATH": f"{tmp_path}:{os.environ['PATH']}", "TABLE": str(table)}
    assert subprocess.run(["sh", "-c", params["unless"]], env=env, check=False).returncode != 0
    subprocess.run(["sh", "-c", params["shell"]], env=env, check=True)
    removed = (tmp_path / "table.removed").read_text().split("\n")[:-1]
    assert removed == [f"{binary} b1", f"{binary} b1@lvm", f"{binary} b1@nfs"]
    assert subprocess.run(["sh", "-c", params["unless"]], env=env, check=False).returncode == 0
    table.unlink()  # a database that does not answer is not one without rows
    assert subprocess.run(["sh", "-c", params["unless"]], env=env, check=False, capture_output=True).returncode != 0
    assert subprocess.run(["sh", "-c", params["shell"]], env=env, check=False, capture_output=True).returncode != 0


# ------------------------------------------------------------------ checks, as programs


@pytest.fixture
def cloud() -> Iterator[FakeVolumeCloud]:
    with FakeVolumeCloud() as made:
        yield made


def said(cloud: FakeVolumeCloud, script: str, **more: Any) -> tuple[int, str]:
    auth = {"url": f"{cloud.url}/v3", "user": "admin", "password": "secret", "project": "admin"}
    done = subprocess.run(
        [sys.executable, "-B", str(TOP / "roles" / script)], capture_output=True, text=True, timeout=60, check=False,
        input=json.dumps({"auth": auth, "region": "R", "host": "b1", **more}),
        env={**os.environ, "PYTHONPATH": str(TOP / "roles/cloud/templates")},
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_compute_host_with_vms_is_not_taken_away_and_they_are_named(cloud: FakeVolumeCloud) -> None:
    script = "nova-compute/checks/no-vms.py"
    cloud.things["servers"]["s0"] = {"id": "s0", "name": "elsewhere", "host": "b2"}
    assert said(cloud, script, cloud_goes_on=True) == (0, "no VM is on b1")
    for number in range(1, 8):
        cloud.things["servers"][f"s{number}"] = {"id": f"s{number}", "name": f"web{number}", "host": "b1"}
    code, words = said(cloud, script, cloud_goes_on=True)
    assert code == 1
    assert words.startswith("VMs are on b1: web1 (s1), web2 (s2),")
    assert " and 2 more: move them" in words
    assert "elsewhere" not in words


def test_a_host_with_volumes_is_not_taken_away_and_they_are_named(cloud: FakeVolumeCloud) -> None:
    script = "cinder-volume/checks/no-volumes.py"
    for number in range(700):  # more than one page
        place = {"os-vol-host-attr:host": "b2@lvm#lvm" if number else None}
        cloud.things["volumes"][f"v{number}"] = {"id": f"v{number}", "name": "elsewhere", **place}
    assert said(cloud, script, cloud_goes_on=True) == (0, "no volume is on b1")
    cloud.things["volumes"]["last"] = {"id": "last", "name": "data", "os-vol-host-attr:host": "b1@nfs#nfs"}
    code, words = said(cloud, script, cloud_goes_on=True)
    assert (code, words.startswith("volumes are on b1: data (last): move them")) == (1, True), words


@pytest.mark.parametrize("script", ["nova-compute/checks/no-vms.py", "cinder-volume/checks/no-volumes.py"])
def test_a_cloud_that_goes_too_is_not_asked_who_is_there(cloud: FakeVolumeCloud, script: str) -> None:
    assert said(cloud, script, cloud_goes_on=False) == (0, "the cloud goes with it")
    assert cloud.requests == []


def test_a_compute_host_that_is_not_in_the_plan_is_named_with_the_command(cloud: FakeVolumeCloud) -> None:
    known = {"binary": "nova-compute", "host": "b1", "state": "up", "id": "u1"}
    cloud.services = [known, {**known, "host": "old", "state": "down", "id": "u2"}]
    code, words = said(cloud, "nova-compute/checks/service.py", address="10.1.0.2", expected=["b1"])
    assert code == 1
    assert "not in the plan: old:" in words
    assert "`pxeforge deploy --remove-unassigned`" in words
    assert "`openstack --os-compute-api-version 2.53 compute service delete u2`" in words
