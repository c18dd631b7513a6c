"""Roles of volumes: what plans make of them, and their checks, run against a cloud in which something is wrong."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.engine.layout import Layout
from pxeforge.engine.plan import Plan, PlanHost, PlanProblem, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

from .fake_volume_cloud import FakeVolumeCloud
from .test_network_roles import plan_of as plan_of_blueprint

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
CONTROL = ("mariadb", "rabbitmq", "memcached", "keystone", "glance", "nova-controller", "placement", "neutron-server")
LVM: dict[str, Any] = {"cinder_disk": "serial=D1"}


def plan_of(
    roles: dict[str, Role], releases: dict[str, Release], *given: tuple[str, ...], version: str = "12", **more: object
) -> Plan:
    """A plan of hosts c1, c2 … with these roles each."""
    hosts = []
    for number, names in enumerate(given, 1):
        nics = [{"name": "eth0", "mac": f"02:00:00:00:00:{number:02x}", "addresses": [f"10.0.0.{number}/24"]}]
        facts: dict[str, Any] = {"os": {"id": "debian", "version": version}, "nics": nics}
        address = (f"10.0.0.{number}",)
        hosts.append(PlanHost(host_id=str(number), name=f"c{number}", roles=names, addresses=address, facts=facts))
    return compile_plan(hosts, roles, server=SERVER, releases=releases, layout=Layout(), variables=more)


def params(plan: Plan, task_id: str, step: str) -> dict[str, Any]:
    task = next(task for task in plan.tasks if task.id == task_id)
    return dict(next(item for item in task.steps if item["name"] == step)["params"])


def config(plan: Plan, host: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(str(params(plan, f"cinder-settings.configure@{host}", "config")["content"]))
    return parser


def before(plan: Plan, task_id: str) -> set[str]:
    graph = plan.graph()
    return {task.id for task in plan.tasks if task_id in graph.descendants(task.id)}


# ------------------------------------------------------------------ plans


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_host_has_the_back_ends_of_its_roles_only(
    roles: dict[str, Role], releases: dict[str, Release], version: str
) -> None:
    given = ((*CONTROL, "cinder"), ("cinder-lvm",), ("cinder-lvm", "cinder-nfs"), ("nfs-server",))
    plan = plan_of(roles, releases, *given, version=version, **LVM)
    assert not {"lvm", "nfs"} & set(config(plan, "c1").sections())
    assert "enabled_backends" not in config(plan, "c1")["DEFAULT"]
    assert config(plan, "c2")["DEFAULT"]["enabled_backends"] == "lvm"
    assert config(plan, "c2")["lvm"]["target_ip_address"] == "10.0.0.2"
    both = config(plan, "c3")
    assert both["DEFAULT"]["enabled_backends"] == "lvm,nfs"
    assert (both["nfs"]["nas_host"], both["nfs"]["nas_share_path"]) == ("10.0.0.4", "/srv/nfs")


def test_the_blueprint_of_two_back_ends_keeps_volumes_on_the_storage_network(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    hosts = ["controller", "network", "compute1", "block1", "share"]
    for version in ("12", "13"):
        plan = plan_of_blueprint(roles, releases, "two-back-ends", hosts, version)
        found = config(plan, "block1")
        assert found["DEFAULT"]["enabled_backends"] == "lvm,nfs"
        assert (found["lvm"]["target_ip_address"], found["nfs"]["nas_host"]) == ("10.0.1.4", "10.0.1.5")
        exports = str(params(plan, "nfs-server.start@share", "exports")["content"]).splitlines()[1:]
        assert [line.split("(")[0] for line in exports] == [f"/srv/nfs 10.0.1.{number}" for number in range(1, 6)]
        assert "nfs-common" in params(plan, "volume-client.install@compute1", "packages")["names"]
        tried = params(plan, "cinder-volume.volumes@block1", "made")["input"]
        assert tried["back_ends"] == ["lvm", "nfs"]


def test_back_ends_of_the_operators_own_are_sections_of_their_names(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    more = {"san": {"volume_driver": "cinder.volume.drivers.netapp.common.NetAppDriver", "netapp_login": "me"}}
    plan = plan_of(roles, releases, (*CONTROL, "cinder", "cinder-volume"), cinder_other_back_ends=more)
    found = config(plan, "c1")
    assert found["DEFAULT"]["enabled_backends"] == "san"
    assert dict(found["san"]) == {**dict(found["DEFAULT"]), "volume_backend_name": "san", **more["san"]}


def test_a_share_that_nobody_serves_is_told_before_anything_runs(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    with pytest.raises(PlanProblem, match="nobody serves role nfs-server"):
        plan_of(roles, releases, (*CONTROL, "cinder", "cinder-nfs"))
    plan = plan_of(roles, releases, (*CONTROL, "cinder", "cinder-nfs"), cinder_nfs_share="nas:/v")
    assert config(plan, "c1")["nfs"]["nas_host"] == "nas"


def test_a_disk_that_nobody_chose_is_told_before_anything_runs(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    with pytest.raises(PlanProblem, match="which disk of host c1 is for volumes"):
        plan_of(roles, releases, (*CONTROL, "cinder", "cinder-lvm"))


def test_the_service_starts_when_its_stores_and_the_api_are_there(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, (*CONTROL, "cinder"), ("cinder-lvm", "cinder-nfs"), ("nfs-server",), **LVM)
    waits = before(plan, "cinder-volume.start@c2")
    assert {"cinder-lvm.store@c2", "nfs-server.start@c3", "cinder.start@c1", "rabbitmq.users@c1"} <= waits
    tried = before(plan, "cinder-volume.volumes@c2")
    assert {"cinder-lvm.type@c2", "cinder-nfs.type@c2", "cinder-volume.start@c2"} <= tried
    assert params(plan, "cinder-lvm.store@c2", "group")["disk"] == "serial=D1"


def test_one_host_makes_the_schema_and_the_catalog_has_both_names(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    plan = plan_of(roles, releases, (*CONTROL, "cinder"), ("cinder",))
    assert {"cinder.database@c1", "cinder.register@c1"} <= before(plan, "cinder.database@c2") | before(
        plan, "cinder.register@c2"
    )
    services = params(plan, "cinder.register@c1", "keystone")["services"]
    at = "http://10.0.0.1:8776/v3/%(project_id)s"
    assert {item["type"]: item["internal"] for item in services} == {"volumev3": at, "block-storage": at}


def test_nova_asks_for_volumes_only_where_there_are_some(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    for more, there in (((), False), (("cinder",), True)):
        plan = plan_of(roles, releases, (*CONTROL, *more), ("nova-compute",))
        for host in ("c1", "c2"):
            text = str(params(plan, f"nova.configure@{host}", "config")["content"])
            assert ("catalog_info = volumev3" in text) is there


def test_a_client_of_nfs_is_put_where_volumes_lie_on_nfs(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    for names, there in ((("cinder", "cinder-lvm"), False), (("cinder", "cinder-nfs", "nfs-server"), True)):
        plan = plan_of(roles, releases, (*CONTROL, *names), ("nova-compute",), **LVM)
        assert ("nfs-common" in params(plan, "volume-client.install@c2", "packages")["names"]) is there


def rejects(text: str, *names: str) -> bool:
    """What LVM makes of a device that is known by these names: a name that a rule with `r` finds rejects it."""
    patterns = re.findall(r'"r\|(.*)\|"', text)
    assert patterns
    assert '"a|' not in text  # a rule that accepts would take in a device by any other of its names
    return any(re.search(pattern, name) for pattern in patterns for name in names)


def test_lvm_looks_on_no_disk_of_a_tenant_and_on_all_others(
    roles: dict[str, Role], releases: dict[str, Release]
) -> None:
    """G-40."""
    plan = plan_of(roles, releases, (*CONTROL, "cinder", "cinder-lvm"), ("nova-compute",), **LVM)
    block, compute = (
        str(params(plan, f"volume-client.configure@{host}", "lvm-filter")["content"]) for host in ("c1", "c2")
    )
    iscsi = ("/dev/sdb", "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2010-10.org.openstack:volume-1-lun-1")
    for text in (block, compute):
        assert rejects(text, *iscsi)
        assert not rejects(text, "/dev/vda2", "/dev/disk/by-id/virtio-D1")
        assert text.count("[") == text.count("]") == 1
    assert rejects(block, "/dev/dm-3", "/dev/mapper/cinder--volumes-volume--1")
    assert rejects(block, "/dev/cinder-volumes/volume-1")
    assert not rejects(block, "/dev/mapper/system-root", "/dev/cinder-other/x")


# ------------------------------------------------------------------ checks


@pytest.fixture
def cloud() -> Iterator[FakeVolumeCloud]:
    with FakeVolumeCloud() as made:
        yield made


def run(cloud: FakeVolumeCloud, script: str, **more: Any) -> tuple[int, str]:
    """A check as a host runs it; exit code and what it said."""
    auth = {"url": f"{cloud.url}/v3", "user": "admin", "password": "secret", "project": "admin"}
    given = {"auth": auth, "region": "R", "host": "b1", "back_ends": ["lvm", "nfs"], **more}
    folders = [TOP / "roles/cloud/templates", TOP / "roles/cinder-settings/templates"]
    done = subprocess.run(
        [sys.executable, "-B", str(TOP / "roles" / script)], input=json.dumps(given), capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, "PYTHONPATH": ":".join(map(str, folders))},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


GUEST = {"image": "pxeforge-guest", "flavor": "pxeforge-guest"}


def test_volumes_are_tried_on_each_back_end_and_nothing_is_left(cloud: FakeVolumeCloud) -> None:
    code, said = run(cloud, "cinder-volume/checks/volumes.py")
    assert (code, "b1@lvm#pool made" in said, "b1@nfs#pool made" in said) == (0, True, True), said
    assert cloud.left() == {}
    assert sum(line == "POST /volume/snapshots" for line in cloud.requests) == 2


def test_a_type_that_leads_to_another_back_end_is_noticed(cloud: FakeVolumeCloud) -> None:
    """A-33."""
    cloud.places["nfs"] = "lvm"
    code, said = run(cloud, "cinder-volume/checks/volumes.py")
    assert (code, "a volume of type nfs is on b1@lvm#pool" in said) == (1, True), said
    assert cloud.left() == {}


def test_cinders_own_reason_is_told(cloud: FakeVolumeCloud) -> None:
    cloud.fails.add("snapshot")
    code, said = run(cloud, "cinder-volume/checks/volumes.py")
    assert code == 1
    assert "the snapshot is error" in said
    assert "no room is left" in said
    assert cloud.left() == {}


def test_a_vm_writes_loses_and_finds_its_disk_on_each_back_end(cloud: FakeVolumeCloud) -> None:
    """A-32, A-34."""
    code, said = run(cloud, "cinder-volume/checks/vm.py", **GUEST)
    assert (code, "/dev/vdb of lvm, nfs kept its data" in said) == (0, True), said
    attached = [line for line in cloud.requests if line.startswith("POST") and line.endswith("os-volume_attachments")]
    assert len(attached) == 4
    assert cloud.left() == {}


def test_data_that_comes_back_otherwise_is_noticed(cloud: FakeVolumeCloud) -> None:
    cloud.loses_data = True
    code, said = run(cloud, "cinder-volume/checks/vm.py", **GUEST)
    assert (code, "came back as" in said) == (1, True), said
    assert cloud.left() == {}


def test_what_a_trial_left_that_was_cut_off_is_removed_first(cloud: FakeVolumeCloud) -> None:
    for kind in ("volumes", "snapshots", "backups", "networks"):
        cloud._make(kind, {"name": "pxeforge-verify-backup-b1", "status": "available"})
    server = cloud._make("servers", {"name": "pxeforge-verify-backup-b1"})
    held = cloud._make("volumes", {"name": "pxeforge-verify-backup-b1"})
    held.update(status="in-use", server=server["id"])
    cloud._make("volumes", {"name": "somebody's"})
    code, said = run(cloud, "cinder-backup/checks/restore.py", **GUEST)
    assert (code, "a VM booted from it" in said) == (0, True), said
    assert cloud.left() == {"volumes": ["somebody's"]}


def test_a_backup_without_a_guest_says_what_was_not_tried(cloud: FakeVolumeCloud) -> None:
    cloud.lacks = {"compute", "network"}
    code, said = run(cloud, "cinder-backup/checks/restore.py", image="", flavor="")
    assert (code, "no VM was booted" in said) == (0, True), said
    assert not any("servers" in line for line in cloud.requests if line.startswith("POST"))


def service(binary: str, host: str, state: str = "up") -> dict[str, str]:
    return {"binary": binary, "host": host, "state": state, "status": "enabled"}


EXPECTED = {"cinder-scheduler": ["c1"], "cinder-volume": ["b1"], "cinder-backup": []}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ([service("cinder-scheduler", "c1"), service("cinder-volume", "b1@lvm")], "report"),
        ([service("cinder-volume", "b1@lvm")], "cinder-scheduler on c1 is not there"),
        (
            [service("cinder-scheduler", "c1"), *(service("cinder-volume", f"b1@{at}", at) for at in ("up", "down"))],
            "cinder-volume on b1 is down",
        ),
        (
            [service("cinder-scheduler", "c1"), service("cinder-volume", "b1@lvm"), service("cinder-backup", "old")],
            "not in the plan: cinder-backup on old",
        ),
    ],
)  # fmt: skip
def test_services_of_the_plan_report_and_no_others(
    cloud: FakeVolumeCloud, seen: list[dict[str, str]], words: str
) -> None:
    """A-31."""
    cloud.services = seen
    code, said = run(cloud, "cinder/checks/services.py", own_url=f"{cloud.url}/volume", expected=EXPECTED)
    assert words in said
    assert code == (0 if words == "report" else 1)


def test_a_back_end_that_cinder_does_not_hear_is_named(cloud: FakeVolumeCloud) -> None:
    cloud.services = [service("cinder-volume", "b1@lvm")]
    assert run(cloud, "cinder-volume/checks/service.py", back_ends=["lvm"]) == (0, "lvm up on b1\n")
    code, said = run(cloud, "cinder-volume/checks/service.py")
    assert (code, "back end nfs of b1 is unknown to cinder" in said) == (1, True)
    code, said = run(cloud, "cinder-volume/checks/service.py", back_ends=[])
    assert (code, "give it the role cinder-lvm or cinder-nfs" in said) == (1, True)
