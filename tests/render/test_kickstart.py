"""Kickstart by release: what is said about disks, the network and the clock is what its installer understands."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.render.disks import DiskLayout, Disks, Partition
from pxeforge.render.kickstart import DISK, SECOND_DISK, Release, disk_lines, network_line, yum_file
from pxeforge.render.lint_kickstart import lint_kickstart, syntax_of
from pxeforge.render.network import Network
from pxeforge.render.repositories import Repository
from pxeforge.render.values import AnswersProblem
from pxeforge.services.problems import Problem
from tests.render.families import KICKSTART, context_of, texts_of

RELEASES = [(distribution, release) for _, distribution, release, _ in KICKSTART.values()]
HEAD = (
    "lang en_US.UTF-8\nkeyboard us\nrootpw --iscrypted $6$saltsalt$abcdefghijkl\nurl --url=http://192.0.2.1/\nreboot\n"
)
GIB = 1 << 30


def answers_of(system: str, **parameters: Any) -> str:
    return texts_of(system, parameters)["answers.ks"]


def lines_for(disks: Disks, system: str = "rocky-9", *, is_efi: bool = False, args: str = "") -> list[str]:
    _, distribution, release, _ = KICKSTART[system]
    return list(disk_lines(disks, Release.of(distribution, release), args, is_efi=is_efi))


def test_each_release_gets_the_words_its_installer_knows() -> None:
    """R-51: `install` and authconfig for the old ones, timesource for the new ones, %end for all."""
    old, seven, nine = answers_of("centos-6"), answers_of("centos-7"), answers_of("rocky-9", ntp_server="192.0.2.1")
    assert "\ninstall\n" in old
    assert "\ninstall\n" in seven
    assert "\ninstall\n" not in nine
    assert "authconfig --enableshadow" in old
    assert "authconfig" not in nine
    assert "\nkeyboard us\n" in old
    assert "keyboard --vckeymap=us" in seven
    assert "timesource --ntp-server=192.0.2.1" in nine
    assert "timezone UTC --utc --ntpservers=192.0.2.1" in answers_of("centos-7", ntp_server="192.0.2.1")
    for system in KICKSTART:
        text = answers_of(system)
        assert "firstboot --disable" in text
        assert "logging --level" not in text
        sections = [line for line in text.splitlines() if line.startswith("%") and not line.startswith("%include")]
        assert [line == "%end" for line in sections] == [False, True] * (len(sections) // 2)


def test_the_shipped_variants_are_those_of_the_books_and_a_current_one() -> None:
    """R-50: minimal, a desktop with virtualization, CentOS 7, and Enterprise Linux of today."""
    assert "%packages --nobase\n@core\n" in answers_of("centos-6")
    desktop = answers_of("centos-6-desktop-kvm")
    assert {"@basic-desktop", "@virtualization-platform", "virt-v2v", "qemu-kvm-tools"} <= set(desktop.split())
    assert "xconfig --startxonboot" in desktop
    assert "@gnome-desktop" in answers_of("centos-7-desktop-kvm")
    assert all("%packages\n@core\n" in answers_of(system) for system in ("centos-7", "rocky-9", "fedora-42"))


def test_the_nic_is_the_one_that_netbooted_and_never_eth0() -> None:
    """R-52: `--device=bootif`, which BOOTIF= of the boot loader explains."""
    for system in KICKSTART:
        [line] = [line for line in answers_of(system).splitlines() if line.startswith("network ")]
        assert "--device=bootif" in line
        assert "--bootproto=dhcp" in line
        assert "--hostname=node1" in line
    static = Network.parse(
        {"nics": [{"mac": "boot", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"}], "dns": ["192.0.2.53"]}
    )
    line = network_line(static, Release.of("rocky", "9.4"), "n1")
    assert "--bootproto=static --ip=192.0.2.5 --netmask=255.255.255.0 --gateway=192.0.2.1" in line
    assert "--nameserver=192.0.2.53" in line


def test_no_disk_but_the_chosen_one_is_named_or_cleared() -> None:
    """R-53: the guard names the disk, `ignoredisk` hides the others, and nothing is said about disks elsewhere."""
    for system in KICKSTART:
        answers = answers_of(system)
        assert "%include /tmp/pxeforge-disks.ks" in answers
        assert not {"clearpart", "ignoredisk", "part", "zerombr", "autopart"} & set(answers.split())
        for layout in (DiskLayout.PLAIN, DiskLayout.LVM, DiskLayout.RAID1):
            lines = lines_for(Disks(layout=layout), system)
            chosen = f"{DISK},{SECOND_DISK}" if layout is DiskLayout.RAID1 else DISK
            assert lines[0] == f"ignoredisk --only-use={chosen}"
            [clear] = [line for line in lines if line.startswith("clearpart")]
            assert clear.endswith(f"--drives={chosen}")
            assert all("--ondisk=" in line for line in lines if line.startswith("part ") and "biosboot" not in line)


def test_after_the_install_the_late_script_runs_and_cannot_fail_it() -> None:
    """R-54: %post without --erroronfail, its log in /root/ks-post.log, and the registration in it."""
    for system in KICKSTART:
        texts = texts_of(system, {})
        [header] = [line for line in texts["answers.ks"].splitlines() if line.startswith("%post")]
        assert header == "%post --nochroot --log=/mnt/sysimage/root/ks-post.log"
        assert "/register" in texts["late.sh"]
        assert texts["late.sh"].endswith("exit 0\n")


def test_kernel_arguments_are_those_of_the_release() -> None:
    """R-55: nothing of the ramdisk age; `ks=` up to release 6, `inst.ks=` and `inst.repo=` from 7 on."""
    tree = "http://192.0.2.1:8080/images/{}/1/tree/"
    old = texts_of("centos-6", {})["kernel-args.txt"].split()
    assert f"repo={tree.format('centos-6')}" in old
    assert {"ksdevice=bootif", "ip=dhcp", "syslog=192.0.2.1:514"} <= set(old)
    assert old[0].startswith("ks=http://192.0.2.1:8080/answers/")
    for system in ("centos-7", "rocky-9", "almalinux-10", "fedora-42"):
        new = texts_of(system, {"console": "ttyS0,115200n8"})["kernel-args.txt"].split()
        assert new[0].startswith("inst.ks=http://192.0.2.1:8080/answers/")
        assert f"inst.repo={tree.format(system)}" in new
        assert f"inst.stage2={tree.format(system)}" in new
        assert "console=ttyS0,115200n8" in new
        assert not [word for word in new if word.startswith(("ks=", "devfs", "ramdisk_size", "nofb"))]


def test_packages_of_other_folders_of_the_tree_are_named() -> None:
    assert "repo --name=AppStream --baseurl=http://192.0.2.1:8080/images/rocky-9/1/tree/AppStream/" in answers_of(
        "rocky-9"
    )
    assert "AppStream" not in answers_of("centos-7")


def test_the_agent_needs_python_that_old_releases_do_not_have() -> None:
    assert "python3" in answers_of("rocky-9").split()
    assert "python3" not in answers_of("centos-7").split()
    assert "register_by_shell" in texts_of("rocky-8", {})["late.sh"]
    assert "register_by_shell" not in texts_of("rocky-9", {})["late.sh"]


@pytest.mark.parametrize(
    ("distribution", "release"), [("debian", "13"), ("centos", "5"), ("rocky", ""), ("rocky", "x")]
)
def test_a_release_without_kickstart_is_refused(distribution: str, release: str) -> None:
    with pytest.raises(AnswersProblem):
        Release.of(distribution, release)


def test_what_an_installer_cannot_do_is_refused_with_a_reason() -> None:
    bond = {
        "nics": [{"mac": "boot", "name": "a"}, {"mac": "52:54:00:00:00:02", "name": "b"}],
        "bonds": [{"name": "bond0", "nics": ["a", "b"], "dhcp": True}],
    }
    with pytest.raises(Problem, match="CentOS 6 is given one NIC"):
        context_of("centos-6", {"network": bond})
    deb = {"name": "x", "url": "http://192.0.2.1/x", "suite": "s", "components": ["main"], "key_url": "http://h/k"}
    with pytest.raises(Problem, match="has a suite, as in Debian"):
        context_of("rocky-9", {"repositories": [deb]})
    context = context_of("rocky-9", {})
    with pytest.raises(AnswersProblem, match="no installation tree"):
        dataclasses.replace(context, source=dataclasses.replace(context.source, tree_url=None))


def test_packages_and_groups_have_the_names_of_rpm() -> None:
    answers = answers_of("rocky-9", packages=["NetworkManager-team", "@development", "@^minimal-environment", "x_y"])
    assert {"NetworkManager-team", "@development", "@^minimal-environment", "x_y"} <= set(answers.split())
    with pytest.raises(Problem, match="packages"):
        context_of("ubuntu-24.04", {"packages": ["NetworkManager"]})
    with pytest.raises(Problem, match="packages"):
        context_of("rocky-9", {"packages": ["a b"]})


def test_a_repository_is_checked_by_its_key() -> None:
    text = yum_file(Repository(name="tools", url="http://192.0.2.1/t", key_url="http://192.0.2.1/t.asc"))
    assert text.splitlines()[0] == "[tools]"
    assert {"gpgcheck=1", "gpgkey=http://192.0.2.1/t.asc", "baseurl=http://192.0.2.1/t"} <= set(text.split())


# ------------------------------------------------------------------------------------------ every layout, every release

MOUNTS = st.lists(
    st.sampled_from(["/boot", "/var", "/home", "/var/log", "swap", "/srv"]), unique=True, max_size=4
)  # fmt: skip


@st.composite
def disk_models(draw: st.DrawFn) -> Disks:
    layout = draw(st.sampled_from(list(DiskLayout)))
    mounts = draw(MOUNTS)
    rest = draw(st.sampled_from(["/", *(one for one in mounts if one not in ("swap", "/boot"))]))
    parts = tuple(
        Partition(mount=one, size_bytes=None if one == rest else draw(st.integers(2 * GIB, 900 * GIB)))
        for one in ["/", *mounts]
    )
    has_parts = draw(st.booleans())
    reserve: dict[str, Any] = {}
    if layout in (DiskLayout.LVM, DiskLayout.LUKS) and draw(st.booleans()):
        reserve = draw(st.sampled_from([{"reserve_bytes": 50 * GIB}, {"reserve_percent": 30}]))
    return Disks(
        layout=layout, filesystem=draw(st.sampled_from(["ext4", "xfs"])), partitions=parts if has_parts else (),
        volume_group=draw(st.sampled_from(["vg0", "system"])), **reserve,
    )  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(disk_models(), st.sampled_from(RELEASES), st.booleans(), st.sampled_from(["", "console=ttyS0 quiet"]))
def test_whatever_the_layout_its_installer_reads_it_and_no_other_disk_is_touched(
    disks: Disks, system: tuple[str, str], is_efi: bool, args: str
) -> None:
    release = Release.of(*system)
    lines = list(disk_lines(disks, release, args, is_efi=is_efi))
    text = "\n".join(lines).replace(SECOND_DISK, "vdb").replace(DISK, "vda")
    findings = lint_kickstart(f"{HEAD}{text}\n%packages\n%end\n", syntax_of(*system))
    assert findings == [], text
    named = {word.partition("=")[2] for line in text.splitlines() for word in line.split() if "--ondisk=" in word}
    assert named <= ({"vda", "vdb"} if disks.layout is DiskLayout.RAID1 else {"vda"})
    mounts = [line.split()[1] for line in lines if line.split()[0] in ("part", "logvol", "raid")]
    assert {"/", "/boot"} <= set(mounts)
    own = [one for one in mounts if one.startswith("/")]
    assert len(own) == len(set(own))
