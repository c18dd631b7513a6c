"""Promises that all linters keep: nothing makes them fall over, what we make passes, secrets are not shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pxeforge.domain.installer import Installer
from pxeforge.domain.mac import MacAddress
from pxeforge.render.install_source import InstallSource
from pxeforge.render.kernel_args import subiquity_args
from pxeforge.render.lint import Questions, lint_preseed
from pxeforge.render.lint_answers import TextKind, kind_of, lint_text
from pxeforge.render.lint_finding import Severity, shown_line
from pxeforge.render.lint_kernel_args import lint_kernel_args
from pxeforge.render.lint_kickstart import lint_kickstart, scripts_of, syntax_of
from pxeforge.render.lint_menu import lint_grub, lint_ipxe, lint_pxelinux
from pxeforge.render.lint_user_data import lint_user_data
from pxeforge.render.menus import EntryKind, Menu, MenuEntry, MenuKind, local_menu, render_menu

MAC = MacAddress.parse("52:54:00:00:00:01")
WORDS = st.sampled_from(
    [
        "%packages", "%end", "%post", "%include", "install", "part", "/", "--size=1", "--fstype=ext4", "network",
        "--device=eth0", "rootpw", "'", '"', "\\", "#", "autoinstall:", "version: 1", "- ", "{", "}", "&a", "*a", "[",
        "label", "append", "goto", ":x", "||", "menuentry", "linux", "d-i", "a/b", "string", "\n", "\n", "\n  ", "\t",
        "\r", "\0", "\u00a0", "é", "{{ x }}", "clearpart --all", "!!python/object:os.system", "? ", "---", "1e999",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map(" ".join))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, st.sampled_from([kind for kind in TextKind if kind is not TextKind.KICKSTART]))
@example("\\", TextKind.PRESEED)
def test_no_text_makes_a_linter_fall_over(text: str, kind: TextKind) -> None:
    last = text.count("\n") + 1
    for finding in lint_text(kind, text, InstallSource(installer=Installer.SUBIQUITY, distribution="ubuntu")):
        assert 1 <= finding.line <= last
        assert finding.message
        assert "\n" not in finding.message


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, st.sampled_from(["6", "7", "9"]))
def test_no_text_makes_the_linter_of_kickstart_fall_over(text: str, release: str) -> None:
    for finding in lint_text(TextKind.KICKSTART, text, InstallSource(distribution="centos", release=release)):
        assert 1 <= finding.line <= text.count("\n") + 1
        assert "\n" not in finding.message
    scripts_of(text)


def menus() -> list[Menu]:
    args = subiquity_args(
        answers_url="http://192.0.2.1:8080/answers/" + "ab" * 16, release=24, console="ttyS0,115200n8",
        live_image_url="http://192.0.2.1:8080/images/ubuntu-24.04/1/live.iso",
    )  # fmt: skip
    entries = tuple(
        MenuEntry(
            id=str(number), title=f"Install {number}", kind=EntryKind.INSTALL, kernel_path="images/u/1/linux",
            initrd_paths=("images/u/1/initrd.gz",), kernel_args=args,
        )
        for number in (1, 2)
    )  # fmt: skip
    memtest = MenuEntry(
        id="99", title="Test the memory", kind=EntryKind.PROGRAM, kernel_path="m/a.bin", efi_path="m/a.efi"
    )
    return [
        local_menu("n1", MAC),
        Menu(host_name="n1", mac=MAC, entries=entries, default_id="1"),
        Menu(host_name="n1", mac=MAC, entries=(*entries, memtest), prompt=True, timeout_s=90),
    ]


def test_every_menu_of_ours_passes(menu_dirs: tuple[Path, ...]) -> None:
    linters = {
        MenuKind.IPXE: lint_ipxe, MenuKind.PXELINUX: lint_pxelinux, MenuKind.LPXELINUX: lint_pxelinux,
        MenuKind.GRUB: lint_grub,
    }  # fmt: skip
    for menu in menus():
        for kind, linter in linters.items():
            text = render_menu(kind, menu, boot_url="http://192.0.2.1:8080", dirs=menu_dirs)
            assert linter(text) == [], text


def test_the_one_word_with_a_semicolon_is_quoted_for_grub(menu_dirs: tuple[Path, ...]) -> None:
    text = render_menu(MenuKind.GRUB, menus()[1], boot_url="http://192.0.2.1:8080", dirs=menu_dirs)
    word = f"ds=nocloud;s=http://192.0.2.1:8080/answers/{'ab' * 16}/"
    assert f"'{word}'" in text
    bare = text.replace(f"'{word}'", word)
    assert [one for one in lint_grub(bare) if "quote the word" in one.message]


@pytest.mark.parametrize(
    ("linter", "text", "said"),
    [
        (lint_ipxe, "kernel x", "must be #!ipxe"),
        (lint_ipxe, "#!ipxe\ngoto nowhere\n", "there is no label :nowhere"),
        (lint_ipxe, "#!ipxe\nfrobnicate\n", "no command of iPXE"),
        (lint_ipxe, "#!ipxe\nkernel http://x/linux a;b\n", "the character ';'"),
        (lint_grub, "menuentry 'a {\n", "quotes are not closed"),
        (lint_grub, "set default=b\nmenuentry 'a' --id a {\n}\n", "there is no menu entry with --id b"),
        (lint_pxelinux, "default 5\nlabel 1\nkernel x\n", "there is no label 5"),
        (lint_pxelinux, "timeout 9s\n", "tenths of a second"),
        (lint_pxelinux, "timeout 90000\n", "35996 at most"),
        (lint_pxelinux, "label 1\nkernel x\nappend " + "x " * 1100 + "\n", "PXELINUX reads 2046"),
        (lint_pxelinux, "say caf\u00e9\n", "not ASCII"),
        (lint_pxelinux, "say {{ host }}\n", "not rendered"),
    ],
)
def test_each_mistake_in_a_menu_is_named(linter, text: str, said: str) -> None:
    assert [one for one in linter(text) if said in one.message], linter(text)


@pytest.mark.parametrize(
    ("args", "installer", "said"),
    [
        ("console=ttyS0", Installer.ANACONDA, "no inst.ks="),
        ("ip=dhcp", Installer.SUBIQUITY, "no ds="),
        ("ds=nocloud;s=http://h/a/", Installer.SUBIQUITY, "no 'autoinstall'"),
        ("inst.ks=http://h/a devfs=nomount", Installer.ANACONDA, "for releases up to 6"),
        ("autoinstall ds=nocloud;s=file:///etc/", Installer.SUBIQUITY, "the character ';'"),
        ("autoinstall ds=nocloud;s=http://h/a;reboot/", Installer.SUBIQUITY, "the character ';'"),
    ],
)
def test_each_mistake_in_kernel_arguments_is_named(args: str, installer: Installer, said: str) -> None:
    assert [one for one in lint_kernel_args(args, installer) if said in one.message]


def test_what_a_text_is_its_beginning_and_its_name_tell() -> None:
    assert kind_of("x", "#!ipxe\n") is TextKind.IPXE
    assert kind_of("x", "#cloud-config\n") is TextKind.USER_DATA
    assert kind_of("user-data", "") is TextKind.USER_DATA
    assert kind_of("a.ks", "") is TextKind.KICKSTART
    assert kind_of("-", "lang en_US\n%packages\n") is TextKind.KICKSTART
    assert kind_of("-", "d-i a/b string\n") is TextKind.PRESEED
    assert kind_of("-", "menuentry 'x' {\n}\n") is TextKind.GRUB
    assert kind_of("-", "LABEL 1\n  LOCALBOOT 0\n") is TextKind.PXELINUX
    assert kind_of("-", "nonsense") is TextKind.PRESEED


def test_a_shown_line_ends_where_a_secret_may_begin() -> None:
    lines = [
        "rootpw hallo", "d-i passwd/user-password password hallo", "user --name=a --password=hallo",
        "  password: hallo",
        "inst.ks=http://192.0.2.1/answers/hallo/x", "part pv --passphrase=hallo", "x" * 500, "a\x1bb",
    ]  # fmt: skip
    shown = [shown_line(lines, number) for number in range(1, len(lines) + 1)]
    assert not [line for line in shown if "hallo" in line]
    assert shown[4] == "inst.ks=http://192.0.2.1/answers/…/x"
    assert len(shown[6]) < 200
    assert shown[7] == "a?b"
    assert shown_line(lines, 99) == ""


def test_the_grammar_of_a_release_is_found_by_its_name() -> None:
    assert syntax_of("rocky", "9.4") == "RHEL9"
    assert syntax_of("centos", "6.10") == "RHEL6"
    assert syntax_of("fedora", "42") == "F42"
    newest = syntax_of(None, None)
    assert newest.startswith("F")
    assert syntax_of("fedora", "999") == newest
    assert syntax_of("rocky", "99").startswith("RHEL")
    for syntax in (newest, syntax_of("rocky", "99")):
        assert [one for one in lint_kickstart("install\n", syntax) if "removed" in one.message]


def test_an_unknown_question_is_told_with_the_nearest_known_one() -> None:
    known = Questions(
        frozenset({"netcfg/choose_interface", "netcfg/hostname", "mirror/http/proxy", "grub-installer/progress/title"}),
        frozenset({"partman-auto/choose_recipe", "grub-installer/bootdev"}),
    )
    text = (
        "d-i netcfg/choose_interfce select auto\nd-i partman/confirm boolean true\ntasksel tasksel/first string x\n"
        "d-i mirror/htp/proxy string\nd-i mirrr/http/proxy string\nd-i netcfg/hostname string a\n"
        "d-i partman-auto/choose_recpie select atomic\nd-i partman-auto/something string x\n"
        "d-i grub-installer/force-efi-extra-removable boolean true\n"
    )
    found = lint_preseed(text, known)
    assert {one.severity for one in found} == {Severity.WARNING}
    assert [(one.line, one.message.partition("no question ")[2]) for one in found] == [
        (1, "netcfg/choose_interfce: did you mean netcfg/choose_interface?"),
        (4, "mirror/htp/proxy: did you mean mirror/http/proxy?"),
        (5, "mirrr/http/proxy: did you mean mirror/http/proxy?"),
        (7, "partman-auto/choose_recpie: did you mean partman-auto/choose_recipe?"),
    ]
    assert lint_preseed(text) == []


def test_yaml_that_repeats_itself_without_end_is_refused_at_once() -> None:
    text = "#cloud-config\na: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdef", "bcdefg", strict=True):
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    assert [one for one in lint_user_data(text) if "aliases" in one.message]


def test_network_configuration_of_autoinstall_is_held_against_its_schema() -> None:
    text = (
        "#cloud-config\nautoinstall:\n  version: 1\n  identity: {username: a, hostname: b, password: '*'}\n"
        "  storage: {layout: {name: lvm, match: {serial: x}}}\n  network:\n    version: 2\n    ethernets:\n"
        "      lan: {match: {macaddress: '52:54:00:00:00:01'}, dhcp4: perhaps}\n"
    )
    [found] = lint_user_data(text)
    assert (found.line, "network.ethernets.lan.dhcp4: must be one of" in found.message) == (9, True)
