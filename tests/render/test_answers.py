"""Rendered answers: whole, lint-clean, without a plain password, and with no value that leaves its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.accounts import Account
from pxeforge.render.answers import (
    AnswersContext,
    PowerAction,
    render_answers,
    render_disks,
    render_late,
)
from pxeforge.render.disks import DiskLayout, DiskRule, Disks
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.install_source import InstallSource
from pxeforge.render.lint import lint_preseed
from pxeforge.render.snippets import LateSnippet
from pxeforge.render.values import AnswersProblem

HASH = "$6$saltsalt$" + "x" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ ops"


@pytest.fixture
def answers(make_context, preseed_dirs):
    """The preseed file as {question: value}, after it was linted."""

    def render(**fields: object) -> dict[str, str]:
        text = render_answers("debian.cfg.j2", make_context(**fields), preseed_dirs)
        assert lint_preseed(text) == []
        rows = [line.split(" ", 3) for line in text.splitlines() if line]
        return {row[1]: row[3] if len(row) > 3 else "" for row in rows}

    return render


VARIANTS: list[dict[str, object]] = [
    {},
    {"light": True},
    {"light": True, "disks": Disks(layout=DiskLayout.LVM, filesystem="xfs"), "kernel_package": "linux-image-cloud"},
    {"disks": Disks(layout=DiskLayout.LVM), "ntp_server": "192.0.2.1", "security_host": "192.0.2.1:8080"},
    {"udeb_suite": "trixie-lab", "allow_unauthenticated": True, "power_action": PowerAction.REBOOT},
    {"users": (Account(name="ops", password_hash=HASH, ssh_keys=(KEY,), sudo=True),), "root_password_hash": HASH},
    {"extra_lines": ("d-i clock-setup/foo string bar",), "disks": Disks(wipe=("S1",))},
]


@pytest.mark.parametrize("fields", VARIANTS)
def test_every_variant_lints_clean(answers, fields: dict[str, object]) -> None:
    assert answers(**fields)["mirror/http/hostname"] == "192.0.2.1:8080"


def test_the_commands_only_fetch_scripts_and_the_late_one_cannot_fail(answers) -> None:
    seed = answers()
    url = "http://192.0.2.1:8080/installer/t0ken"
    assert seed["preseed/late_command"] == f"wget -q -O /tmp/pxeforge-late '{url}/late' && sh /tmp/pxeforge-late; true"
    assert (
        seed["preseed/early_command"] == f"wget -q -O /tmp/pxeforge-early '{url}/early' && sh /tmp/pxeforge-early; true"
    )
    assert f"'{url}/disks' && sh /tmp/pxeforge-disks || {{" in seed["partman/early_command"]
    assert seed["partman/early_command"].endswith("poweroff -f; }")


def test_the_commands_are_good_shell(answers, parses) -> None:
    for question, value in answers().items():
        if question.endswith("_command"):
            assert parses(value)


def test_without_the_guards_choice_partman_has_no_disk(answers) -> None:
    assert answers()["partman-auto/disk"] == "/dev/chosen-by-pxeforge"
    assert not Path("/dev/chosen-by-pxeforge").exists()


def test_light_answers_are_those_known_to_work_in_the_lab(answers) -> None:
    seed = answers(light=True, kernel_package="linux-image-cloud-amd64")
    assert seed["anna/standard_modules"] == "false"
    assert seed["anna/choose_modules"].startswith("eatmydata-udeb, disk-detect, partman-base")
    assert "partman-efi, " in seed["anna/choose_modules"]
    assert seed["base-installer/debootstrap_variant"] == "minbase"
    assert "debconf-i18n" in seed["base-installer/includes"]
    assert seed["base-installer/kernel/image"] == "linux-image-cloud-amd64"
    assert seed["apt-setup/services-select"] == ""
    assert seed["pkgsel/include"].split() == ["openssh-server", "python3"]
    assert seed["debian-installer/exit/poweroff"] == "true"
    assert "tasksel/first" not in seed


def test_normal_answers_install_a_normal_debian(answers) -> None:
    seed = answers()
    assert "base-installer/debootstrap_variant" not in seed
    assert seed["tasksel/first"] == "standard, ssh-server"
    assert seed["partman-md/device_remove_md"] == "true"


def test_lvm_is_asked_for_when_wanted(answers) -> None:
    seed = answers(disks=Disks(layout=DiskLayout.LVM), light=True)
    assert seed["partman-auto/method"] == "lvm"
    assert seed["partman-auto-lvm/guided_size"] == "max"
    assert "partman-auto-lvm," in seed["anna/choose_modules"]
    assert answers()["partman-auto/method"] == "regular"


def test_a_root_without_password_is_locked_in_a_way_d_i_does_not_ask_about(answers) -> None:
    seed = answers()
    assert seed["passwd/root-login"] == "true"
    assert seed["passwd/root-password-crypted"] == "*"
    assert seed["passwd/make-user"] == "false"


def test_the_first_user_with_a_password_is_made_by_d_i_and_sudo_is_installed(answers) -> None:
    users = (Account(name="keyonly", ssh_keys=(KEY,)), Account(name="ops", password_hash=HASH, sudo=True))
    seed = answers(users=users)
    assert seed["passwd/username"] == "ops"
    assert seed["passwd/user-password-crypted"] == HASH
    assert seed["pkgsel/include"].split() == ["openssh-server", "python3", "sudo"]


@pytest.mark.parametrize("plain", ["secret", "$1$salt$abcdefghijk", "", "$6$", "*", "$6$salt$x\ny" + "z" * 20])
def test_a_plain_or_weak_password_is_refused_and_not_repeated(make_context, plain: str) -> None:
    for make in (
        lambda: Account(name="ops", password_hash=plain),
        lambda: make_context(root_password_hash=plain),
    ):
        with pytest.raises(AnswersProblem, match="must be a hash") as caught:
            make()
        assert plain == "" or plain not in str(caught.value) or plain in ("$6$", "*")


@pytest.mark.parametrize(
    "fields",
    [
        {"hostname": "Node_1"},
        {"hostname": "a.b"},
        {"hostname": "x\nd-i y string z"},
        {"domain": "a..b"},
        {"mirror_host": "x y"},
        {"mirror_directory": "debian"},
        {"mirror_suite": "a b"},
        {"installer_url": "http://x/installer/'; reboot #"},
        {"boot_url": "https://x"},
        {"packages": ("a b",)},
        {"packages": ("Vim",), "source": InstallSource(release="13")},
        {"timezone": "Europe/Berlin; x"},
        {"extra_lines": ("a\nb",)},
        {"extra_lines": ("a \\",)},
        {"agent_sha256": "abc"},
        {"ntp_server": "x y"},
        {"kernel_package": "x;y"},
        {"users": (Account(name="a"), Account(name="a"))},
    ],
)
def test_a_value_that_would_leave_its_place_is_refused_with_its_field(make_context, fields: dict[str, object]) -> None:
    with pytest.raises(AnswersProblem):
        make_context(**fields)


@pytest.mark.parametrize("name", ["root", "Ops", "a b", "-x", ""])
def test_these_are_no_user_names(name: str) -> None:
    with pytest.raises(AnswersProblem):
        Account(name=name)


@pytest.mark.parametrize("key", ["AAAA", "ssh-rsa short", f"{KEY}\nssh-rsa x", 'command="x" ' + KEY])
def test_these_are_no_ssh_keys(key: str) -> None:
    with pytest.raises(AnswersProblem):
        Account(name="ops", ssh_keys=(key,))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_snippet_text_stays_one_word_of_the_late_script(text: str) -> None:
    context = AnswersContext(
        hostname="n",
        domain="d",
        mirror_host="m",
        boot_url="http://m",
        installer_url="http://m/i",
        late_snippets=(LateSnippet(name="s", text=text),),
    )
    dirs = (Path(__file__).parents[2] / "preseed",)
    rendered = render_late(context, dirs)
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    assert f"    snippet profile/s {quoted}\n" in rendered or f"    snippet profile/s {text}\n" in rendered


def test_an_error_in_an_operators_template_names_file_and_line(make_context, preseed_dirs, tmp_path: Path) -> None:
    own = tmp_path / "preseed"
    own.mkdir()
    shutil.copy(preseed_dirs[0] / "debian.cfg.j2", own / "debian.cfg.j2")
    (own / "mirror.cfg.j2").write_text("d-i mirror/country string {{ nation }}\n")
    with pytest.raises(TemplateProblem, match=r"^preseed/mirror\.cfg\.j2:1: 'nation' is undefined$"):
        render_answers("debian.cfg.j2", make_context(), [own, *preseed_dirs])


def test_a_part_of_the_operators_own_replaces_only_that_part(make_context, preseed_dirs, tmp_path: Path) -> None:
    own = tmp_path / "preseed"
    own.mkdir()
    (own / "clock.cfg.j2").write_text("d-i time/zone string Antarctica/Troll\n")
    shipped = render_answers("debian.cfg.j2", make_context(), preseed_dirs)
    text = render_answers("debian.cfg.j2", make_context(), [own, *preseed_dirs])
    assert "d-i time/zone string Antarctica/Troll\n" in text
    assert "clock-setup" not in text
    lines = set(shipped.splitlines()) - set(text.splitlines())
    assert {line.split()[1] for line in lines} == {"clock-setup/utc", "clock-setup/ntp", "time/zone"}


def test_rules_and_wipes_are_rendered_as_data(make_context, preseed_dirs) -> None:
    text = render_disks(make_context(disks=Disks(rule=DiskRule.parse("serial=A B"), wipe=("C D",))), preseed_dirs)
    assert "\npick serial 'A B' 0 0\n" in text
    assert "\n    printf '%s\\n' 'C D'\n" in text
    assert "\nWIPE_ALL=no\n" in text
    assert "\nWIPE_ALL=yes\n" in render_disks(make_context(disks=Disks(wipe=True)), preseed_dirs)
