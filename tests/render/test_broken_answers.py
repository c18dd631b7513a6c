"""Answers as people really wrote them: every fault is named, with its line, and no password is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.render.install_source import InstallSource
from pxeforge.render.kickstart import Release
from pxeforge.render.lint_answers import TextKind, kind_of, lint_text

FOLDER = Path(__file__).parent / "broken"

# File, the release it is for, and each fault: line, severity, a part of the sentence.
CORPUS = {
    "glued.preseed": (None, [
        (2, "error", "'d-ilocalechooser/translation/warn-light' is no owner"),
        (3, "error", "of console-setup/ask_detectboolean is no debconf type"),
        (4, "error", "no debconf type"),
        (6, "error", "already in line 5"),
        (7, "error", "of partman/confirm_nooverwriteboolean"),
        (8, "warning", "the name differs per machine"),
        (9, "error", "is no owner"),
        (10, "error", "password in plain text"),
        (12, "error", "preseed/late_command is already in line 11; only the last one counts: merge both commands"),
        (11, "warning", "may fail"),
        (14, "warning", "a comment inside a continued line is dropped"),
    ]),
    "desktop.ks": ("6.2", [
        (4, "error", "rootpw is no crypt hash of a good method"),
        (5, "error", "the password of `user` is in plain text"),
        (7, "error", "unknown command: langen_US"),
        (8, "warning", "--device=eth0`: the name differs per machine"),
        (11, "error", "-initlabel"),
        (11, "error", "`clearpart` takes every disk it finds"),
        (13, "error", "unknown command: volgroupmyvg"),
        (14, "error", "the section %packages has no %end"),
        (16, "error", "the section %post has no %end"),
        (18, "warning", "no reboot or poweroff"),
    ]),
    "server.ks": ("9.4", [
        (2, "error", "install has been removed"),
        (4, "error", "rootpw is no crypt hash"),
        (6, "error", "'?--' glues a question mark"),
        (7, "error", "a no-break space"),
        (8, "error", "asks its questions at the first start"),
        (10, "error", "`autopart` takes every disk"),
        (11, "error", "`clearpart` takes every disk"),
        (15, "error", "--erroronfail stops the whole install"),
        (18, "warning", "no installation source"),
    ]),
    "menu.pxelinux": (None, [
        (5, "error", "localboot 0x80 is not defined for PXELINUX: use 0"),
        (9, "error", "a line is not continued by the next one"),
        (10, "error", "the label 0 is already in line 6"),
        (12, "error", "'--quiet' glues dashes to a word"),
        (13, "error", "the label 7 starts nothing"),
    ]),
    "user-data": (None, [
        (1, "error", "the first line must be #cloud-config"),
        (2, "error", "autoinstall.version: must be 1"),
        (3, "error", "identity.password is no crypt hash"),
        (4, "error", "unknown key 'sssh'"),
        (8, "warning", "the name 'eth0' differs per machine"),
        (10, "error", "storage.layout takes the largest disk"),
        (12, "error", "the disk disk1 is named by nothing"),
        (13, "error", "no action above it makes device 'disk9'"),
        (14, "error", "'fstype' is a required property"),
        (17, "error", "'late-commands' is already in line 15"),
        (18, "warning", "a command that fails stops the install"),
        (20, "error", "plain_text_passwd is in plain text"),
        (21, "error", "autoinstall.user-data.runcmd: must be of type array"),
    ]),
}  # fmt: skip
FAULTS = [(name, *fault) for name, (_, faults) in CORPUS.items() for fault in faults]


def found_in(name: str) -> list[str]:
    text, release = (FOLDER / name).read_text(), CORPUS[name][0]
    source = InstallSource(distribution="centos" if release == "6.2" else "rocky", release=release) if release else None
    return [str(finding) for finding in lint_text(kind_of(name, text), text, source)]


@pytest.mark.parametrize(("name", "line", "severity", "said"), FAULTS, ids=lambda value: str(value)[:40])
def test_every_fault_of_the_corpus_is_named(name: str, line: int, severity: str, said: str) -> None:
    """R-33, R-35, R-36, R-51: what the installers would swallow in silence."""
    found = found_in(name)
    assert any(one.startswith(f"line {line}: {severity}: ") and said in one for one in found), "\n".join(found)


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_no_password_is_repeated(name: str) -> None:
    assert not [one for one in found_in(name) if "secret" in one]


def test_a_kickstart_file_is_held_against_its_own_release() -> None:
    """R-51: `install` was right once."""
    text = "install\nreboot\n"
    old = lint_text(TextKind.KICKSTART, text, InstallSource(distribution="centos", release="7"))
    new = lint_text(TextKind.KICKSTART, text, InstallSource(distribution="rocky", release="9"))
    assert not [one for one in old if "removed" in one.message]
    assert [one for one in new if "install has been removed" in one.message]
    assert Release.of("fedora", "41").level == 9
