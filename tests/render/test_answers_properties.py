"""Whatever disks, networks and accounts the model takes: the answers lint clean and every script is shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.render.answers import render_answers, render_disks, render_early, render_late
from pxeforge.render.lint import lint_preseed
from pxeforge.render.lint_kernel_args import lint_kernel_args
from pxeforge.services.answers import answers_context, check_parameters, effective, kernel_args
from pxeforge.services.answers_check import debconf_complaints
from pxeforge.services.context import Addresses
from tests.render.variants import HASH, KEY

DIRS = (Path(__file__).parents[2] / "preseed",)
SHELLS = [["sh"]] + ([["busybox", "sh"]] if shutil.which("busybox") else [])
ADDRESSES = Addresses(boot_address="192.0.2.1")
MTU = st.sampled_from([None, 1500, 9000])


def without_none(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """Some NICs, perhaps bonded, VLANs on what is there, perhaps a bridge; each with DHCP or a subnet of its own."""
    count = draw(st.integers(1, 4))
    subnets = iter(range(1, 100))
    gateway_left = True

    def addressed() -> dict[str, Any]:
        nonlocal gateway_left
        number = next(subnets)
        if draw(st.booleans()):
            return {"dhcp": True}
        found: dict[str, Any] = {"addresses": [f"10.{number}.0.{draw(st.integers(2, 250))}/24"]}
        if draw(st.booleans()):
            found["addresses"].append(f"2001:db8:{number}::5/64")
        if gateway_left and draw(st.booleans()):
            gateway_left, found["gateway"] = False, f"10.{number}.0.1"
        if draw(st.booleans()):
            found["routes"] = [{"to": f"172.16.{number}.0/24", "via": f"10.{number}.0.1", "metric": number}]
        return found

    macs = ["boot", *(f"52:54:00:00:00:{number:02x}" for number in range(1, count))]
    nics = [{"mac": mac, "name": f"nic{number}", "mtu": draw(MTU)} for number, mac in enumerate(macs)]
    bonded = draw(st.integers(0, count))
    network: dict[str, Any] = {"nics": nics}
    tops = [f"nic{number}" for number in range(bonded, count)]
    for nic in nics[bonded:]:
        nic.update(addressed())
    if bonded:
        mode = draw(st.sampled_from(["802.3ad", "active-backup", "balance-rr"]))
        ports = [f"nic{number}" for number in range(bonded)]
        network["bonds"] = [{"name": "bond0", "nics": ports, "mode": mode, **addressed()}]
        tops.append("bond0")
    ids = draw(st.lists(st.integers(1, 4094), max_size=3, unique=True))
    vlans = [{"name": f"v{number}", "link": draw(st.sampled_from(tops)), "id": number} for number in ids]
    bridge = bool(vlans) and draw(st.booleans())
    for vlan in vlans[bridge:]:
        vlan.update(addressed())
    network["vlans"] = vlans
    if bridge:
        network["bridges"] = [{"name": "br0", "ports": [vlans[0]["name"]], "stp": draw(st.booleans()), **addressed()}]
    network["dns"] = draw(st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1"]), unique=True))
    network["search"] = draw(st.lists(st.sampled_from(["a.example", "b.example"]), unique=True))
    network["nics"] = [without_none(nic) for nic in nics]
    return network


RULES = st.sampled_from(
    ["first", "serial=S 1", "by-path=pci-0000:00:1f.2-ata-1", "name=/dev/vdb", "size=20G..500G", "size=1T.."]
)


@st.composite
def disks(draw: st.DrawFn) -> dict[str, Any]:
    """Any layout with what it can have."""
    layout = draw(st.sampled_from(["plain", "lvm", "raid1", "luks"]))
    found: dict[str, Any] = {
        "layout": layout,
        "disk": draw(RULES),
        "filesystem": draw(st.sampled_from(["ext4", "xfs"])),
    }
    found["wipe"] = draw(st.sampled_from([True, False, ["S 1", "S"]]))
    found["keep_labels"] = draw(st.lists(st.sampled_from(["ceph", "keep.me", "x-1"]), unique=True))
    kept = draw(st.lists(st.sampled_from(["serial=K 1", "size=5T..", "name=/dev/sdz"]), unique=True))
    found["reserved_disks"] = [{"name": f"role{number}", "disk": rule} for number, rule in enumerate(kept)]
    if draw(st.booleans()):
        mounts = draw(st.lists(st.sampled_from(["/var", "/srv/data", "/boot", "swap"]), unique=True))
        rest = draw(st.sampled_from(["/", None]))
        found["partitions"] = [
            {"mount": mount, "size": "rest" if mount == rest else f"{draw(st.integers(1, 900))}G"}
            for mount in ["/", *mounts]
        ]
    fixed = all(one["size"] != "rest" for one in found.get("partitions", [])) and "partitions" in found
    if layout in ("lvm", "luks") and not fixed:
        found["reserve"] = draw(st.sampled_from([None, "40%", "200G"]))
    if layout == "raid1" and found["disk"] == "serial=S 1":
        found["mirror_disk"] = draw(st.sampled_from(["serial=S 2", "first"]))
    return without_none(found)


ACCOUNTS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "root"),
            "password_hash": st.sampled_from([None, HASH]),
            "ssh_keys": st.lists(st.sampled_from([KEY, KEY + ' it\'s me; $(x) `y` "z"']), unique=True),
            "sudo": st.booleans(),
            "groups": st.lists(st.sampled_from(["adm", "libvirt"]), unique=True),
        }
    ),
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)
SNIPPETS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True),
            "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
        }
    ),
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)


def is_shell(text: str) -> bool:
    return all(
        subprocess.run([*shell, "-n", "/dev/stdin"], input=text.encode(), check=False).returncode == 0
        for shell in SHELLS
    )  # fmt: skip


@settings(max_examples=30)
@given(networks(), disks(), ACCOUNTS, SNIPPETS, st.booleans(), st.sampled_from(["debian.cfg.j2", "ubuntu.cfg.j2"]))
def test_whatever_the_model_takes_renders_to_clean_answers_and_good_shell(
    network: dict[str, Any], disk: dict[str, Any], accounts: list[Any], snippets: list[Any], light: bool, template: str
) -> None:
    own = {"network": network, "accounts": accounts, "late_snippets": snippets, "light": light, **disk}
    check_parameters(own)
    parameters = effective(own)
    context = answers_context(
        parameters, hostname="n1", suite="trixie", addresses=ADDRESSES, token="0" * 32, agent_sha256="a" * 64,
        luks_passphrase="correct-horse-battery",
    )  # fmt: skip
    answers = render_answers(template, context, DIRS)
    assert lint_preseed(answers) == []
    assert not debconf_complaints(answers)
    for script in (render_early(context, DIRS), render_disks(context, DIRS), render_late(context, DIRS)):
        assert is_shell(script), script
    args = kernel_args(parameters, hostname="n1", addresses=ADDRESSES, token="0" * 32, boot_mac="52:54:00:00:00:99")
    assert lint_kernel_args(args) == []
