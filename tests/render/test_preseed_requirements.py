"""R-30 to R-45: what the requirements say of preseed files, one test each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pxeforge.render.accounts import Account
from pxeforge.render.answers import render_answers, render_disks, render_early, render_late
from pxeforge.render.disks import DiskLayout, DiskRule, Disks, ReservedDisk
from pxeforge.render.lint import errors_of, lint_preseed
from pxeforge.render.snippets import LateSnippet, merge_snippets
from pxeforge.render.values import AnswersProblem
from pxeforge.services.answers import effective, kernel_args
from pxeforge.services.context import Addresses

HASH = "$6$saltsalt$" + "x" * 86
ADDRESSES = Addresses(boot_address="192.0.2.1")


@pytest.fixture
def seed(make_context, preseed_dirs):
    """The preseed file as {question: value}."""

    def render(template: str = "debian.cfg.j2", **fields: object) -> dict[str, str]:
        text = render_answers(template, make_context(**fields), preseed_dirs)
        rows = [line.split(" ", 3) for line in text.splitlines() if line]
        assert len({(row[0], row[1]) for row in rows}) == len(rows), "a question is answered twice"
        return {row[1]: row[3] if len(row) > 3 else "" for row in rows}

    return render


def line_of(**parameters: object) -> list[str]:
    """The words of the kernel's command line."""
    return kernel_args(effective(parameters), hostname="n1", addresses=ADDRESSES, token="0" * 32).split()


def test_r30_the_nic_that_netbooted_is_taken_and_no_name_of_a_nic_is_written(
    seed, make_context, preseed_dirs, menu_dirs
) -> None:
    """R-30."""
    assert seed()["netcfg/choose_interface"] == "auto"
    assert "interface=auto" in line_of()
    menus = {path.name: path.read_text() for path in menu_dirs[0].glob("*.j2")}
    assert re.search(r"(?i)(sys|ip)append 2|BOOTIF", menus["pxelinux.cfg.j2"])
    assert "BOOTIF" in menus["menu.ipxe.j2"]
    assert "BOOTIF" in menus["grub.cfg.j2"]
    for template in preseed_dirs[0].glob("*.j2"):
        assert not re.search(r"\beth[0-9]", template.read_text()), template


def test_r31_what_is_asked_before_the_file_is_read_stands_on_the_command_line() -> None:
    """R-31."""
    words = line_of(locale="en_US.UTF-8", language="en", keymap="de", domain="rack.example")
    for word in ("auto=true", "priority=critical", "locale=en_US.UTF-8", "keymap=de", "hostname=n1"):
        assert word in words
    assert "domain=rack.example" in words
    assert f"url=http://192.0.2.1:8080/answers/{'0' * 32}" in words


def test_r32_only_words_behind_the_separator_reach_the_installed_system() -> None:
    """R-32."""
    words = line_of(kernel_args="mitigations=off", installed_kernel_args="quiet", console="ttyS0,115200n8")
    assert words.count("---") == 1
    before, after = words[: words.index("---")], words[words.index("---") + 1 :]
    assert after == ["console=ttyS0,115200n8", "quiet"]
    assert {"mitigations=off", "console=ttyS0,115200n8"} <= set(before)


def test_r33_late_snippets_of_all_sources_become_one_command_and_a_second_one_is_an_error(
    seed, make_context, preseed_dirs
) -> None:
    """R-33."""
    snippets = merge_snippets(
        [LateSnippet(name="df", text="df -h"), LateSnippet(name="df", text="touch /x", source="host")]
    )
    script = render_late(make_context(late_snippets=snippets), preseed_dirs)
    assert script.index("snippet profile/df 'df -h'") < script.index("snippet host/df 'touch /x'")
    assert "preseed/late_command" in seed()
    twice = "d-i preseed/late_command string a; true\nd-i preseed/late_command string b; true\n"
    assert any("merge both commands" in found.message for found in errors_of(lint_preseed(twice)))


def test_r34_the_late_command_cannot_fail(seed, run_script, make_context, preseed_dirs, tmp_path: Path) -> None:
    """R-34."""
    assert seed()["preseed/late_command"].endswith("; true")
    (tmp_path / "target" / "etc").mkdir(parents=True)
    snippets = (LateSnippet(name="bad", text="exit 3"), LateSnippet(name="worse", text="if ("))
    context = make_context(late_snippets=snippets, agent_sha256="a" * 64)
    everything_fails = dict.fromkeys(("wget", "chroot", "in-target", "logger"), "return 1")
    env = {"TARGET": str(tmp_path / "target")}
    assert run_script(render_late(context, preseed_dirs), env=env, replies=everything_fails).code == 0


def test_r35_traps_of_continued_lines_are_named() -> None:
    """R-35."""
    text = "d-i preseed/late_command string one \\\n# gone\n two; \\\n true\n"
    said = " ".join(found.message for found in lint_preseed(text))
    assert "end this one with ';' or '&&'" in said
    assert "a comment inside a continued line is dropped" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("d-ilocalechooser/translation/warn-light boolean true", "words are glued"),
        ("d-i partman/confirm booleantrue", "a blank is missing"),
        ("d-i clock-setup/ntp-server 210.72.145.44", "no debconf type"),
        ("d-i partman-lvm/confirm boolean true\nd-i partman-lvm/confirm boolean true", "is already in line 1"),
        ("d-i passwd/user-password password password", "password"),
    ],
)
def test_r36_the_faults_of_the_printed_sample_are_errors(line: str, said: str) -> None:
    """R-36."""
    assert said in " ".join(found.message for found in errors_of(lint_preseed(line + "\n")))


@pytest.mark.parametrize("layout", list(DiskLayout))
def test_r37_the_disk_is_always_chosen_by_rule_and_nothing_is_asked(
    seed, make_context, preseed_dirs, layout: DiskLayout
) -> None:
    """R-37."""
    answers = seed(disks=Disks(layout=layout), luks_passphrase="correct-horse-battery")
    assert answers["partman-auto/disk"] == "/dev/chosen-by-pxeforge"
    assert "/disks' && sh /tmp/pxeforge-disks" in answers["partman/early_command"]
    for question in (
        "partman-auto/method", "partman-lvm/device_remove_lvm", "partman-md/device_remove_md", "partman-md/confirm",
        "partman-partitioning/confirm_write_new_label", "partman-efi/non_efi_system", "partman/confirm",
        "partman/confirm_nooverwrite", "partman/choose_partition",
    ):  # fmt: skip
        assert answers[question], question
    script = render_disks(
        make_context(disks=Disks(layout=layout), luks_passphrase="correct-horse-battery"), preseed_dirs
    )
    assert "tell partman-auto/disk" in script
    assert "ceph" in script


def test_r38_space_is_left_for_later_in_the_volume_group_or_on_disks(seed, make_context, preseed_dirs) -> None:
    """R-38. (That roles get the disks they declare: tests/engine/test_disk_needs.py.)"""
    assert seed(disks=Disks(layout=DiskLayout.LVM))["partman-auto-lvm/guided_size"] == "max"
    script = render_disks(make_context(disks=Disks(layout=DiskLayout.LVM, reserve_percent=40)), preseed_dirs)
    assert "system_mb=$(((group_mb - 0) * 60 / 100))\n" in script
    kept = Disks(reserved=(ReservedDisk(name="ceph", rule=DiskRule.parse("size=1T..")),))
    script = render_disks(make_context(disks=kept), preseed_dirs)
    assert "if rule_matches \"$1\" size '' 1000000000000 0; then echo ceph; return; fi" in script


def test_r39_the_boot_loader_goes_to_the_chosen_disks_and_is_asked_nothing(seed, make_context, preseed_dirs) -> None:
    """R-39."""
    answers = seed()
    assert answers["grub-installer/only_debian"] == "true"
    assert answers["grub-installer/bootdev"] == "default"
    assert answers["grub-installer/force-efi-extra-removable"] == "true"
    raid = render_disks(make_context(disks=Disks(layout=DiskLayout.RAID1)), preseed_dirs)
    assert 'disk="$first $second"' in raid
    assert 'tell grub-installer/bootdev "$disk"' in raid
    assert "second_esp" in render_late(make_context(disks=Disks(layout=DiskLayout.RAID1)), preseed_dirs)


def test_r40_accounts_have_hashes_and_keys_and_never_plain_passwords(seed) -> None:
    """R-40."""
    with pytest.raises(AnswersProblem, match="must be a hash"):
        Account(name="ops", password_hash="password")
    answers = seed(users=(Account(name="ops", password_hash=HASH),))
    assert answers["passwd/user-password-crypted"] == HASH
    assert "passwd/user-password" not in answers
    plain = "d-i passwd/user-password password password\n"
    assert errors_of(lint_preseed(plain))


def test_r41_little_is_installed_and_the_agents_python_always(seed) -> None:
    """R-41."""
    answers = seed()
    assert answers["tasksel/first"] == "standard, ssh-server"
    assert answers["pkgsel/include"].split() == ["openssh-server", "python3"]
    assert answers["pkgsel/upgrade"] == "none"
    assert seed("ubuntu.cfg.j2")["tasksel/first"] == "standard"


def test_r42_the_early_hook_frees_media_arrays_and_volumes_and_reports(run_script, make_context, preseed_dirs) -> None:
    """R-42."""
    ran = run_script(render_early(make_context(), preseed_dirs))
    assert ran.code == 0
    assert ran.called("umount /media")
    assert ran.called("mdadm --stop --scan")
    assert ran.called("vgchange -a n")
    assert "installer started" in ran.called("wget")[0]


def test_r43_every_host_has_its_own_name(seed) -> None:
    """R-43."""
    answers = seed(hostname="n7")
    assert answers["netcfg/hostname"] == answers["netcfg/get_hostname"] == "n7"
    assert "netcfg/hostname=n1" in line_of()


def test_r44_the_clock_is_utc_and_asks_the_time_server_there_is(seed) -> None:
    """R-44."""
    answers = seed(ntp_server="192.0.2.1", timezone="Asia/Shanghai")
    assert answers["clock-setup/utc"] == "true"
    assert answers["time/zone"] == "Asia/Shanghai"
    assert (answers["clock-setup/ntp"], answers["clock-setup/ntp-server"]) == ("true", "192.0.2.1")
    assert seed()["clock-setup/ntp"] == "false"


def test_r45_the_end_asks_nothing(seed) -> None:
    """R-45. (That the netboot after it goes to the disk: tests/services/test_wire_answers.py.)"""
    answers = seed()
    assert "finish-install/reboot_in_progress" in answers
    assert answers["cdrom-detect/eject"] == "false"
