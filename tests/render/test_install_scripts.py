"""The early and late scripts, executed: they do their work and never fail the install."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pxeforge.render.accounts import Account
from pxeforge.render.answers import render_answers, render_early, render_late
from pxeforge.render.disks import DiskLayout, Disks
from pxeforge.render.network import Network
from pxeforge.render.repositories import Repository
from pxeforge.render.snippets import LateSnippet

AGENT = b"agent bytes"
DIGEST = hashlib.sha256(AGENT).hexdigest()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ it's me"
# Writes what was asked for into the file behind -O.
WGET = (
    """out=; while [ $# -gt 0 ]; do case $1 in -O) out=$2; shift;; esac; shift; done; printf 'agent bytes' >"$out" """
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A small /target."""
    root = tmp_path / "target"
    (root / "etc" / "sudoers.d").mkdir(parents=True)
    (root / "etc" / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\tnode1.rack node1\n127.0.1.10 other\n")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nops:x:1000:1000:,,,:/home/ops:/bin/bash\n")
    return root


@pytest.fixture
def late(run_script, make_context, preseed_dirs, target: Path):
    def run(replies: dict[str, str] | None = None, **fields: object):
        text = render_late(make_context(**{"agent_sha256": DIGEST, **fields}), preseed_dirs)
        env = {"TARGET": str(target), **({"PROC": os.environ["PROC"]} if "PROC" in os.environ else {})}
        return run_script(text, env=env, replies={"wget": WGET, **(replies or {})})

    return run


def log_of(target: Path) -> str:
    return (target / "var/log/pxeforge-late.log").read_text()


def test_every_rendered_script_parses(parses, make_context, preseed_dirs) -> None:
    odd = LateSnippet(name="odd", text="echo \"it's\" `date` $(( 1 )) 'x'\nEOF\n")
    users = (Account(name="ops", ssh_keys=(KEY, KEY), sudo=True),)
    for fields in ({}, {"light": True}, {"late_snippets": (odd,), "users": users, "agent_sha256": DIGEST}):
        context = make_context(**fields)
        assert parses(render_early(context, preseed_dirs))
        assert parses(render_late(context, preseed_dirs))


def test_the_late_script_installs_and_registers_the_agent(late, target: Path) -> None:
    ran = late(register_args=("--insecure-x", "a b"))
    assert ran.code == 0
    agent = target / "usr/local/lib/pxeforge/pxeforge-agent.pyz"
    assert agent.read_bytes() == AGENT
    assert agent.stat().st_mode & 0o777 == 0o755
    assert ran.called("in-target") == [
        "in-target python3 /usr/local/lib/pxeforge/pxeforge-agent.pyz register "
        "--url http://192.0.2.1:8080/installer/t0ken/register --insecure-x a b"
    ]
    assert "registered" in log_of(target)
    assert not [call for call in ran.called("wget") if "failed" in call]


def test_the_line_of_127_0_1_1_is_removed_and_no_other(late, target: Path) -> None:
    late()
    assert (target / "etc/hosts").read_text() == "127.0.0.1\tlocalhost\n127.0.1.10 other\n"


def test_an_agent_with_a_wrong_digest_is_not_installed_and_told(late, target: Path) -> None:
    ran = late(agent_sha256="0" * 64)
    assert ran.code == 0
    assert list((target / "usr/local/lib/pxeforge").iterdir()) == []
    assert not ran.called("in-target")
    (report,) = [call for call in ran.called("wget") if call.endswith("/failed?stage=late")]
    assert "wrong digest" in report
    assert len(ran.called("sleep")) == 5


def test_registering_is_tried_five_times_with_growing_pauses_and_then_told(late) -> None:
    ran = late({"in-target": "return 1"})
    assert ran.code == 0
    assert len(ran.called("in-target")) == 5
    pauses = [int(call.split()[1]) for call in ran.called("sleep")]
    assert pauses == sorted(pauses)
    assert sum(pauses) < 120
    (report,) = [call for call in ran.called("wget") if "failed?stage=late" in call]
    assert "after 5 tries" in report


def test_a_server_that_is_gone_does_not_fail_the_install(late) -> None:
    ran = late({"wget": "return 4", "in-target": "return 1"})
    assert ran.code == 0
    assert not ran.called("in-target")


def test_snippets_run_apart_and_their_ends_are_logged(late, target: Path) -> None:
    snippets = (
        LateSnippet(name="good", text='echo "in $TARGET" >$TARGET/made\nX=1'),
        LateSnippet(name="broken", text="if then fi ("),
        LateSnippet(name="failing", text="exit 7"),
        LateSnippet(name="last", text="echo x${X}x"),
    )
    ran = late(late_snippets=snippets)
    assert ran.code == 0
    assert (target / "made").read_text() == f"in {target}\n"
    log = log_of(target)
    assert "snippet profile/good: rc=0" in log
    assert "snippet profile/failing: rc=7" in log
    assert "xx\nsnippet profile/last: rc=0" in log
    reports = [call for call in ran.called("wget") if "failed?stage=late" in call]
    assert len(reports) == 2
    assert "late snippet profile/broken ended with" in reports[0]
    assert ran.called("in-target")


def test_users_get_their_keys_and_sudo(late, target: Path) -> None:
    ran = late({"chroot": '[ "$2" != id ]'}, users=(Account(name="ops", ssh_keys=(KEY,), sudo=True),))
    assert (target / "home/ops/.ssh/authorized_keys").read_text() == KEY + "\n"
    assert (target / "home/ops/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert ran.called("chroot") == [
        f"chroot {target} id ops",
        f"chroot {target} useradd -m -s /bin/bash -p * ops",
        f"chroot {target} chown -R ops: /home/ops/.ssh",
        f"chroot {target} usermod -a -G sudo ops",
    ]
    assert (target / "etc/sudoers.d/pxeforge-ops").read_text() == "ops ALL=(ALL) NOPASSWD: ALL\n"


def test_without_an_agent_the_late_script_says_so(late) -> None:
    (report,) = [call for call in late(agent_sha256=None).called("wget") if "failed" in call]
    assert "no agent was given" in report


@pytest.mark.parametrize("good", [True, False])
def test_the_early_script_reports_and_never_fails(
    run_script, make_context, preseed_dirs, tmp_path: Path, good: bool
) -> None:
    hooks = [
        tmp_path / "usr/lib/finish-install.d/08hw-detect",
        tmp_path / "usr/lib/post-base-installer.d/50install-firmware",
        tmp_path / "usr/lib/base-installer.d/20console-setup",
    ]
    for hook in hooks:
        hook.parent.mkdir(parents=True)
        hook.write_text("x")
    replies = {"uname": "echo 6.12.1-amd64"}
    if not good:
        replies |= dict.fromkeys(("wget", "anna-install", "umount", "swapoff", "mdadm", "vgchange"), "return 1")
    ran = run_script(render_early(make_context(light=True), preseed_dirs), env={"ROOT": str(tmp_path)}, replies=replies)
    assert ran.code == 0
    assert ran.called("anna-install") == ["anna-install scsi-modules-6.12.1-amd64-di"]
    assert not [hook for hook in hooks if hook.exists()]
    assert ran.called("umount /media")
    assert ran.called("vgchange -a n")
    assert ran.called("wget")[0].endswith(
        "installer started http://192.0.2.1:8080/installer/t0ken/progress?stage=early"
    )
    normal = run_script(render_early(make_context(), preseed_dirs), env={"ROOT": str(tmp_path)})
    assert not normal.called("anna-install")


BOND = {
    "nics": [{"mac": "boot", "name": "a"}, {"mac": "52:54:00:00:00:02", "name": "b"}],
    "bonds": [{"name": "bond0", "nics": ["a", "b"], "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"}],
    "dns": ["192.0.2.1"],
}


@pytest.fixture
def with_networkd(target: Path, tmp_path: Path) -> Path:
    """A new system with systemd-networkd, and a kernel line as PXELINUX writes it."""
    networkd = target / "usr/lib/systemd/systemd-networkd"
    networkd.parent.mkdir(parents=True)
    networkd.write_text("#!/bin/sh\n")
    networkd.chmod(0o755)
    (target / "etc/network").mkdir()
    (target / "etc/network/interfaces").write_text("auto enp0s3\niface enp0s3 inet dhcp\n")
    (tmp_path / "cmdline").write_text("auto=true BOOTIF=01-52-54-00-AA-BB-CC quiet\n")
    return tmp_path


def test_a_bond_is_left_to_systemd_networkd(late, target: Path, with_networkd: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROC", str(with_networkd))
    ran = late(network=Network.parse(BOND))
    folder = target / "etc/systemd/network"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["30-bond0.netdev", "30-bond0.network", "50-a.network", "50-b.network"]
    assert "PermanentMACAddress=52:54:00:aa:bb:cc\n" in (folder / "50-a.network").read_text()
    assert "PermanentMACAddress=52:54:00:00:00:02\n" in (folder / "50-b.network").read_text()
    assert (target / "etc/network/interfaces").read_text() == "auto lo\niface lo inet loopback\n"
    assert "enp0s3" in (target / "etc/network/interfaces.installer").read_text()
    assert (target / "etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    assert ran.called("in-target")[0] == "in-target systemctl enable systemd-networkd"
    assert not [call for call in ran.called("wget") if "failed" in call]


def test_a_system_without_networkd_keeps_its_network_and_says_so(late, target: Path) -> None:
    ran = late(network=Network.parse(BOND))
    (report,) = [call for call in ran.called("wget") if "failed?stage=late" in call]
    assert "no systemd-networkd" in report
    assert not (target / "etc/systemd").exists()
    assert "registered" in log_of(target)


def test_a_network_that_the_installer_writes_is_left_alone(late, target: Path, with_networkd: Path) -> None:
    late(network=Network.parse({"nics": [{"mac": "boot", "addresses": ["192.0.2.5/24"]}]}))
    assert not (target / "etc/systemd").exists()
    assert "enp0s3" in (target / "etc/network/interfaces").read_text()


def test_the_second_disk_of_a_mirror_gets_the_boot_loader_too(
    late, target: Path, tmp_path: Path, monkeypatch
) -> None:  # fmt: skip
    (target / "boot/efi/EFI/BOOT").mkdir(parents=True)
    (target / "boot/efi/EFI/BOOT/BOOTX64.EFI").write_text("grub")
    (tmp_path / "mounts").write_text(f"/dev/vda1 {target}/boot/efi vfat rw 0 0\n")
    monkeypatch.setenv("PROC", str(tmp_path))
    ran = late({"debconf-get": "echo /dev/vda /dev/vdb"}, disks=Disks(layout=DiskLayout.RAID1))
    esp = tmp_path / "scratch/pxeforge-esp"
    assert ran.called("mount") == [f"mount -t vfat /dev/vdb1 {esp}"]
    assert (esp / "EFI/BOOT/BOOTX64.EFI").read_text() == "grub"
    assert "boot loader: copied to /dev/vdb1" in log_of(target)


def test_snippets_are_told_together_with_their_ends(late) -> None:
    snippets = (LateSnippet(name="a", text="true"), LateSnippet(name="b", text="exit 4", source="host"))
    ran = late(late_snippets=snippets)
    (report,) = [call for call in ran.called("wget") if "progress?stage=late" in call]
    assert "late snippets: profile/a rc=0; host/b rc=4" in report


def test_the_early_script_keeps_the_keys_of_repositories_for_apt(
    run_script, make_context, preseed_dirs, tmp_path
) -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    repository = Repository(name="tools", url="http://m/t", suite="stable", components=("main",), key=key)
    context = make_context(repositories=(repository,))
    assert run_script(render_early(context, preseed_dirs)).code == 0
    assert (tmp_path / "scratch/pxeforge-key-tools.asc").read_text() == key
    answers = render_answers("debian.cfg.j2", context, preseed_dirs)
    assert "d-i apt-setup/local0/repository string http://m/t stable main\n" in answers
    assert "d-i apt-setup/local0/key string file:///tmp/pxeforge-key-tools.asc\n" in answers
