"""What Ansible and SSH are told of the hosts; nothing that a host made up gets through."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.services import hosts, role_catalogue
from pxeforge.services.context import Context
from pxeforge.services.inventory import _KOLLA_GROUPS, Form, ansible_inventory, host_variables, known_hosts
from pxeforge.services.problems import NotFound
from tests.conftest import KEY, PEER

REPORTED = " ".join(KEY.split()[:2])


def discovered(ctx: Context, mac: str) -> str:
    return ctx.database.change(lambda change: hosts.discover(change, MacAddress.parse(mac), ctx.clock()))


def report(ctx: Context, *keys: Any, address: str | None = None) -> None:
    with ctx.database.write() as session:
        host = hosts.find(session, "n1")
        host.facts = {**host.facts, "ssh_host_keys": [{"type": "x", "public_key": key} for key in keys]}
        host.address = address or host.address


def test_hosts_are_grouped_by_role_tag_and_state(ctx: Context, registered: dict[str, Any]) -> None:
    report(ctx, REPORTED)
    hosts.change(ctx, "n1", tags=["rack-a", "ssd"], who="test")
    hosts.assign(ctx, ["n1"], ["base"], who="test", known_roles=["base"])
    hosts.add(ctx, macs=["52:54:00:00:00:01"], who="test")
    discovered(ctx, "52:54:00:00:00:02")
    found = ansible_inventory(ctx)
    assert found["role_base"] == {"hosts": ["n1"]}
    assert found["tag_rack_a"] == {"hosts": ["n1"]}
    assert found["state_registered"] == {"hosts": ["n1"]}
    assert "state_discovered" not in found
    assert len(found["all"]["hosts"]) == 2
    assert found["all"]["children"] == ["role_base", "state_known", "state_registered", "tag_rack_a", "tag_ssd"]
    variables = found["_meta"]["hostvars"]["n1"]
    assert variables == host_variables(ctx, "n1")
    assert variables["ansible_host"] == PEER
    assert variables["ansible_user"] == "ops"
    assert variables["pxeforge_ssh_host_keys"] == [REPORTED]
    assert "ansible_ssh_common_args" not in variables


def test_known_hosts_is_what_ssh_looks_up(ctx: Context, registered: dict[str, Any], tmp_path: Path) -> None:
    report(ctx, REPORTED)
    text = known_hosts(ctx)
    assert text == f"n1,{PEER} {REPORTED}\n"
    file = tmp_path / "known_hosts"
    file.write_text(text)
    for name in ("n1", PEER):
        done = subprocess.run(["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert REPORTED in done.stdout


@pytest.mark.parametrize(
    "key",
    [
        "ssh-ed25519 {{ lookup('pipe', 'touch /tmp/x') }}",
        f"{REPORTED}\nevil ssh-rsa AAAA",
        f"{REPORTED}\n",
        "@cert-authority * " + REPORTED,
        "ssh-ed25519 AAAA",
        "ssh-ed25519 " + base64.b64encode(b"x" * 9000).decode(),
        None,
        {"a": 1},
    ],
)
def test_a_host_cannot_smuggle_templates_or_lines_in(ctx: Context, registered: dict[str, Any], key: Any) -> None:
    report(ctx, key, address="{{ 7*7 }}")
    variables = host_variables(ctx, "n1")
    assert variables["pxeforge_ssh_host_keys"] == []
    assert "ansible_host" not in variables
    assert known_hosts(ctx) == ""


def test_a_stranger_on_the_wire_is_not_in_the_inventory(ctx: Context) -> None:
    host_id = discovered(ctx, "52:54:00:00:00:02")
    with pytest.raises(NotFound, match="nobody vouched"):
        host_variables(ctx, host_id)
    with pytest.raises(NotFound):
        host_variables(ctx, "ghost")
    assert ansible_inventory(ctx)["all"] == {"hosts": [], "children": []}


def test_kolla_ansible_gets_its_own_groups_by_tag_and_by_role(ctx: Context, registered: dict[str, Any]) -> None:
    hosts.change(ctx, "n1", tags=["network", "rack-a"], who="test")
    hosts.assign(ctx, ["n1"], ["keystone"], who="test", known_roles=["keystone"])
    hosts.add(ctx, macs=["52:54:00:00:00:01"], name="n2", tags=["monitoring"], who="test")
    found = ansible_inventory(ctx, Form.KOLLA)
    members = {name: group.get("hosts") for name, group in found.items() if name not in ("_meta", "all", "baremetal")}
    assert members == {
        "control": ["n1"], "network": ["n1"], "compute": [], "storage": [], "monitoring": ["n2"],
    }  # fmt: skip
    assert found["baremetal"] == {"children": ["control", "network", "compute", "storage", "monitoring"]}
    assert found["_meta"] == ansible_inventory(ctx)["_meta"]


def test_the_roles_that_stand_for_kollas_groups_are_roles_that_there_are(ctx: Context) -> None:
    named = {role for roles in _KOLLA_GROUPS.values() for role in roles}
    assert named <= {role["name"] for role in role_catalogue.known_roles(ctx)}
