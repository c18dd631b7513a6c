"""The scripts of Red Hat's and Ubuntu's installers, executed: the guard names the right disk, the rest never fails."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.installer import Installer
from pxeforge.render.lint_answers import TextKind, lint_text
from pxeforge.render.lint_kickstart import scripts_of
from tests.render.families import KICKSTART, UBUNTU, context_of, source_of, texts_of, variants_of
from tests.render.test_disks_script import FakeDisks, put_ceph, put_ext4
from tests.render.variants import HASH

needs_blkid = pytest.mark.skipif(shutil.which("blkid") is None, reason="needs blkid")
HEAD = f"lang en_US.UTF-8\nkeyboard us\nrootpw --iscrypted {HASH}\nurl --url=http://192.0.2.1/\nreboot\n"
WGET = (
    """out=; while [ $# -gt 0 ]; do case $1 in -O) out=$2; shift;; esac; shift; done; printf 'agent bytes' >"$out" """
)
DIGEST = hashlib.sha256(b"agent bytes").hexdigest()
ABSENT = ("list-devices", "in-target", "debconf-set")  # what only debian-installer has
NICS = {"52:54:00:00:00:01": "ens3", "52:54:00:00:00:02": "ens4"}


class Machine(FakeDisks):
    """Two disks, two NICs and what the kernel was started with."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root, self.proc, self.target = root, root / "proc", root / "target"
        self.proc.mkdir()
        (self.proc / "cmdline").write_text("inst.ks=x BOOTIF=01-52-54-00-00-00-01\n")
        (self.proc / "meminfo").write_text("MemTotal:        2048000 kB\n")
        for mac, name in NICS.items():
            (self.sys / "class" / "net" / name).mkdir(parents=True)
            (self.sys / "class" / "net" / name / "address").write_text(f"{mac}\n")
        for folder in ("etc/ssh", "etc/sudoers.d", "etc/yum.repos.d", "etc/pki/rpm-gpg", "root", "etc/NetworkManager"):
            (self.target / folder).mkdir(parents=True)
        (self.target / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 node1\n")
        (self.target / "etc/passwd").write_text("ops:x:1000:1000::/home/ops:/bin/bash\n")

    def add_large(self, name: str, serial: str = "") -> Path:
        """A disk of 40 GB, of which nothing takes room."""
        node = self.add(name, serial=serial)
        with node.open("r+b") as disk:
            disk.truncate(40_000_000_000)
        (self.sys / "class" / "block" / name / "size").write_text(f"{40_000_000_000 // 512}\n")
        return node

    def set_uefi(self) -> None:
        (self.sys / "firmware" / "efi").mkdir(parents=True)

    @property
    def env(self) -> dict[str, str]:
        return {
            "SYS": str(self.sys), "DEV": str(self.dev), "PROC": str(self.proc), "RUN": str(self.root),
            "TARGET": str(self.target), "OUT": str(self.root / "out"),
        }  # fmt: skip

    @property
    def out(self) -> str | None:
        file = self.root / "out"
        return file.read_text() if file.exists() else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def guard(run_script, machine: Machine):
    def run(system: str, **parameters: Any):
        return run_script(texts_of(system, parameters)["disks.sh"], env=machine.env, without=ABSENT)

    return run


def kickstart_findings(system: str, text: str) -> list[Any]:
    return lint_text(TextKind.KICKSTART, f"{HEAD}{text}%packages\n%end\n", source_of(system))


@needs_blkid
@pytest.mark.parametrize("system", KICKSTART)
def test_the_guard_tells_the_installer_the_chosen_disk_and_no_other(guard, machine: Machine, system: str) -> None:
    """R-53, by the script itself: what is included names one disk, and the installer reads it."""
    machine.add("vda", serial="CEPH1")
    machine.add("vdb", serial="OS1")
    ran = guard(system, disk="serial=OS1")
    assert ran.code == 0, ran.output
    assert machine.out is not None
    assert machine.out.splitlines()[0] == "ignoredisk --only-use=vdb"
    assert "vda" not in machine.out
    assert "@" not in machine.out
    assert kickstart_findings(system, machine.out) == []
    assert [call for call in ran.called("wget") if "install disk is" in call]


@needs_blkid
def test_what_carries_data_is_refused_and_nothing_is_written(guard, machine: Machine) -> None:
    put_ceph(machine.add("vda"))
    before = machine.state()
    ran = guard("rocky-9", wipe=True)
    assert ran.code == 1
    assert machine.out is None
    assert ran.called("poweroff")
    assert [call for call in ran.called("wget") if "failed?stage=disks" in call]
    assert machine.state() == before


@needs_blkid
def test_two_disks_are_mirrored_by_name(guard, machine: Machine) -> None:
    for name in ("sda", "sdb", "sdc"):
        machine.add_large(name)
    guard("rocky-9", layout="raid1")
    assert machine.out is not None
    assert machine.out.startswith("ignoredisk --only-use=sda,sdb\n")
    assert machine.out.count("--ondisk=sda") == machine.out.count("--ondisk=sdb") > 0
    assert "sdc" not in machine.out
    assert (machine.root.parent / "scratch" / "pxeforge-install-disks").read_text().split() == [
        f"{machine.dev}/sda", f"{machine.dev}/sdb",
    ]  # fmt: skip


@needs_blkid
def test_by_uefi_the_layout_is_another(guard, machine: Machine) -> None:
    machine.add_large("sda")
    machine.add_large("sdb")
    machine.set_uefi()
    guard("rocky-9", layout="raid1")
    assert machine.out is not None
    assert "raid /boot/efi --level=RAID1" in machine.out
    assert "biosboot" not in machine.out
    assert guard("centos-6", layout="raid1").code == 1


@needs_blkid
@pytest.mark.parametrize("system", ["rocky-9", "ubuntu-24.04"])
def test_the_passphrase_is_where_the_installer_needs_it_and_nobody_else_reads_it(
    guard, machine: Machine, system: str
) -> None:
    machine.add("vda")
    ran = guard(system, layout="luks")
    assert ran.code == 0, ran.output
    kept = machine.root / ("out" if system == "rocky-9" else "pxeforge-disk-key")
    assert "correct-horse-battery" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert "correct-horse-battery" not in ran.output
    assert not [call for call in ran.calls if "correct-horse-battery" in call]
    assert "correct-horse-battery" not in str(texts_of(system, {"layout": "luks"})["late.sh"])


@needs_blkid
@pytest.mark.parametrize("system", UBUNTU)
@pytest.mark.parametrize("is_efi", [False, True], ids=["bios", "uefi"])
@pytest.mark.parametrize("variant", ["plain", "lvm-with-space-left", "partitions", "raid1", "luks", "bond"])
def test_ubuntu_reads_its_answers_again_with_the_disk_in_them(
    run_script, machine: Machine, system: str, variant: str, is_efi: bool
) -> None:
    """R-56: new releases of Ubuntu have autoinstall; storage by rule, its NIC by its MAC."""
    for name in ("vda", "vdb"):
        machine.add_large(name, serial="S 1" if name == "vda" else "")
    if is_efi:
        machine.set_uefi()
    parameters = {**variants_of(system)[variant]}
    if variant in ("raid1", "partitions"):
        parameters |= {"disk": "name=/dev/vda"} | ({"mirror_disk": "name=/dev/vdb"} if variant == "raid1" else {})
    ran = run_script(texts_of(system, parameters)["disks.sh"], env=machine.env, without=ABSENT)
    assert ran.code == 0, ran.output
    assert machine.out is not None
    assert "by-pxeforge" not in machine.out
    assert "@" not in re.sub(r"\w@\w", "", machine.out)
    text = "#cloud-config\nautoinstall:\n" + "".join(f"  {line}\n" for line in machine.out.splitlines())
    assert lint_text(TextKind.USER_DATA, text, source_of(system)) == []
    assert f'"path": "{machine.dev}/vda"' in machine.out
    assert ("/vdb" in machine.out) == (variant == "raid1")
    assert ('"bios_grub"' in machine.out, '"/boot/efi"' in machine.out) == (not is_efi, is_efi)
    assert "52:54:00:00:00:01" in machine.out
    if variant == "lvm-with-space-left":
        found = re.search(r'"name": "root", "volgroup": "group", "size": (\d+)', machine.out)
        assert found is not None
        assert 0.5 < int(found[1]) / 38e9 < 0.6  # 40 % of the group stay free
        assert int(found[1]) % (4 << 20) == 0


@needs_blkid
def test_a_disk_that_is_too_small_for_what_is_to_stay_free_is_refused(guard, machine: Machine) -> None:
    machine.add("vda")
    for system in ("ubuntu-24.04", "rocky-9"):
        ran = guard(system, layout="lvm", reserve="100G")
        assert ran.code == 1
        assert machine.out is None
        assert "too small" in ran.output


@needs_blkid
def test_the_disks_of_a_machine_are_found_without_the_tools_of_debian_installer(guard, machine: Machine) -> None:
    for name in ("loop0", "sr0", "dm-0", "md0", "zram0", "nvme0n1"):
        machine.add(name)
    put_ext4(machine.dev / "loop0")
    guard("rocky-9")
    assert machine.out is not None
    assert machine.out.startswith("ignoredisk --only-use=nvme0n1\n")


# ------------------------------------------------------------------------------------------ the end of the install


@pytest.fixture
def late(run_script, machine: Machine):
    def run(system: str, replies: dict[str, str] | None = None, **parameters: Any):
        context_of(system, parameters)
        text = texts_of(system, parameters)["late.sh"].replace("a" * 64, DIGEST)
        return run_script(text, env=machine.env, without=ABSENT, replies={"wget": WGET, **(replies or {})})

    return run


def test_rocky_9_gets_the_agent_and_everything_in_order(late, machine: Machine) -> None:
    """R-54: accounts, snippets of all sources, labels for SELinux, then the registration."""
    ran = late(
        "rocky-9",
        late_snippets=[{"name": "good", "text": "echo done >$TARGET/made"}, {"name": "bad", "text": "exit 3"}],
    )
    assert ran.code == 0
    assert (machine.target / "made").read_text() == "done\n"
    joined = [call for call in ran.called("chroot") if "wheel" in call]
    assert joined == [f"chroot {machine.target} usermod -a -G wheel ops"]
    assert (machine.target / "etc/sudoers.d/pxeforge-ops").read_text() == "ops ALL=(ALL) NOPASSWD: ALL\n"
    assert [call for call in ran.called("wget") if "late snippet profile/bad ended with 3" in call]
    assert "snippet profile/good: rc=0" in ran.output
    assert [call for call in ran.called("wget") if "late snippets: profile/good rc=0; profile/bad rc=3" in call]
    assert any("pxeforge-agent.pyz register" in call for call in ran.called("chroot"))


def test_an_old_system_is_registered_by_its_shell(late, machine: Machine) -> None:
    """R-54: without a Python for the agent the host is told all the same: name, NICs, disks, SSH host keys."""
    (machine.target / "etc/ssh/ssh_host_rsa_key").write_text("")
    (machine.target / "etc/ssh/ssh_host_rsa_key.pub").write_text("ssh-rsa AAAA+/= root@node1\n")
    machine.add("sda", serial='odd "serial" \\x')
    machine.add("loop0")
    for system in ("centos-6", "centos-7", "rocky-8"):
        ran = late(system)
        assert ran.code == 0
        assert "registered without an agent" in ran.output
        told = json.loads((machine.root.parent / "scratch" / "pxeforge-facts").read_text())
        assert told["hostname"] == "node1"
        assert {nic["mac"]: nic["name"] for nic in told["nics"]} == NICS
        assert [disk["name"] for disk in told["disks"]] == ["sda"]
        assert told["ram_bytes"] == 2048000 * 1024
        assert told["ssh_host_keys"] == [{"type": "ssh-rsa", "public_key": "ssh-rsa AAAA+/="}]
        assert told["os"]["version"] == source_of(system).release
        assert [call for call in ran.called("wget") if call.endswith("/register") and "--post-file" in call]


def test_a_server_that_is_gone_does_not_fail_the_install(late) -> None:
    for system in ("centos-6", "rocky-9", "ubuntu-24.04"):
        ran = late(system, {"wget": "return 4"})
        assert ran.code == 0
        assert len(ran.called("sleep")) == 5


def test_a_network_of_more_than_one_nic_becomes_files_of_networkmanager(late, machine: Machine) -> None:
    old = machine.target / "etc/sysconfig/network-scripts"
    old.mkdir(parents=True)
    (old / "ifcfg-ens3").write_text("DEVICE=ens3\n")
    (old / "ifcfg-lo").write_text("DEVICE=lo\n")
    late("rocky-9", network=variants_of("rocky-9")["bond"]["network"])
    folder = machine.target / "etc/NetworkManager/system-connections"
    files = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(files) == {f"{name}.nmconnection" for name in ("lan1", "lan2", "bond0", "mgmt", "storage", "br-storage")}
    assert "mac-address=52:54:00:00:00:01" in files["lan1.nmconnection"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert [path.name for path in old.iterdir()] == ["ifcfg-lo"]
    assert (machine.target / "root/network-of-the-installer/ifcfg-ens3").exists()


def test_repositories_come_with_their_keys(late, machine: Machine) -> None:
    """R-25 for RPM: gpgcheck with the key of the repository."""
    late("rocky-9", repositories=variants_of("rocky-9")["repositories"]["repositories"])
    text = (machine.target / "etc/yum.repos.d/tools.repo").read_text()
    assert "gpgcheck=1" in text
    assert "gpgkey=http://192.0.2.1/tools.asc" in text


def test_the_boot_loader_is_put_on_the_second_disk_too(late, machine: Machine) -> None:
    scratch = machine.root.parent / "scratch"
    scratch.mkdir()
    (scratch / "pxeforge-install-disks").write_text("/dev/sda /dev/sdb\n")
    assert f"chroot {machine.target} grub2-install /dev/sdb" in late("rocky-9", layout="raid1").calls
    assert f"chroot {machine.target} grub --batch" in late("centos-6", layout="raid1").calls
    machine.set_uefi()
    assert not [call for call in late("rocky-9", layout="raid1").calls if "grub2-install" in call]


def test_ubuntu_gets_its_name_its_time_and_the_agent(late, machine: Machine) -> None:
    """R-56."""
    ran = late("ubuntu-24.04", ntp_server="192.0.2.1", root_password_hash=HASH)
    assert ran.code == 0
    assert (machine.target / "etc/hostname").read_text() == "node1\n"
    assert "127.0.1.1" not in (machine.target / "etc/hosts").read_text()
    assert "NTP=192.0.2.1" in (machine.target / "etc/systemd/timesyncd.conf.d/pxeforge.conf").read_text()
    assert any("pxeforge-agent.pyz register" in call for call in ran.called("chroot"))
    assert HASH not in (machine.target / "var/log/pxeforge-late.log").read_text()


# ------------------------------------------------------------------------------------------ %pre and %post


def section(system: str, name: str) -> str:
    [found] = [one for one in scripts_of(texts_of(system, {})["answers.ks"]) if one.section == name]
    return found.text.replace("/tmp/pxeforge", "$TMP/pxeforge")


def test_before_the_install_the_guard_is_fetched_and_run(run_script) -> None:
    ran = run_script(
        section("rocky-9", "%pre"),
        replies={"curl": 'case $* in *--data*) ;; *) echo "exit 0" >"$6" ;; esac'},
    )
    assert ran.code == 0
    fetched = [call.split()[-1].rpartition("/")[2] for call in ran.called("curl")]
    assert fetched == ["early", "disks"]
    assert not ran.called("poweroff")


def test_without_its_guard_the_machine_is_switched_off(run_script) -> None:
    for reply in ("return 7", 'case $* in *--data*) ;; *) echo "exit 1" >"$6" ;; esac'):
        ran = run_script(section("rocky-9", "%pre"), replies={"curl": reply, "wget": "return 4"})
        assert ran.called("poweroff")
        assert [call for call in ran.calls if "failed?stage=disks" in call]


def test_the_end_of_the_install_is_told_when_its_script_cannot_be_had(run_script) -> None:
    ran = run_script(section("centos-6", "%post"), replies={"curl": "return 7", "wget": "return 4"})
    assert ran.code == 0
    assert [call for call in ran.called("wget") if "failed?stage=late" in call]


def test_every_system_has_an_installer_family() -> None:
    assert {source_of(system).installer for system in (*KICKSTART, *UBUNTU)} == {
        Installer.ANACONDA, Installer.SUBIQUITY,
    }  # fmt: skip
