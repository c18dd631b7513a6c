"""Finds what a boot loader, the kernel or the installer would make of kernel arguments that nobody meant."""

from __future__ import annotations

import re
from typing import Final

from pxeforge.domain.installer import Installer
from pxeforge.render.environment import SEED_WORD
from pxeforge.render.kernel_args import KernelArgsProblem, check_limits
from pxeforge.render.lint_finding import Finding, error, warning

_REPEATABLE: Final = ("console", "initrd", "ip", "nameserver", "inst.addrepo", "rd.driver.blacklist")
# Without one of these the installer asks its questions at the console.
_ANSWERS: Final = {
    Installer.DEBIAN: ("url", "preseed/url", "file", "preseed/file"),
    Installer.ANACONDA: ("inst.ks", "ks"),
    Installer.SUBIQUITY: ("ds", "cloud-config-url"),
}
# What only the boot of Red Hat's releases up to 6 read.
_OLD: Final = ("devfs", "ramdisk_size", "nofb")


def lint_kernel_args(text: str, installer: Installer | None = Installer.DEBIAN) -> list[Finding]:
    """All findings of a kernel command line (line is always 1). `installer` None: what every kernel line must hold."""
    if re.search(r"[\x00-\x1f\x7f\u0085\u2028\u2029]", text):
        return [error(1, "kernel arguments must be one line without control characters")]
    findings = [*_characters(text)]
    words = text.split()
    findings += [
        error(1, f"{word!r} glues dashes to a word: the separator is a word of its own, '---'")
        for word in words
        if word.startswith("--") and word not in ("--", "---")
    ]
    separators = [index for index, word in enumerate(words) if word in ("--", "---")]
    if len(separators) > 1:
        findings.append(error(1, "the separator '---' is there more than once"))
    for_installer = words[: separators[0]] if separators else words
    names = [word.partition("=")[0] for word in for_installer]
    if installer in _ANSWERS:
        findings += _of_installer(installer, names, for_installer)
    findings += [
        warning(1, f"{name}= is there more than once; the last one wins")
        for name in sorted({name for name in names if names.count(name) > 1 and name not in _REPEATABLE})
    ]
    try:
        check_limits(text)
    except KernelArgsProblem as problem:
        findings.append(error(1, str(problem)))
    return findings


def _characters(text: str) -> list[Finding]:
    # The one word with a semicolon is quoted where a boot loader would read it.
    rest = " ".join(word for word in text.split() if not SEED_WORD.fullmatch(word))
    return [
        error(1, f"the character {char!r} would be read by the boot loader or a shell, not by the kernel")
        for char in sorted(set(re.findall(r"[\"'`$;{}|&<>()\\#!]", rest)))
    ]


def _of_installer(installer: Installer, names: list[str], words: list[str]) -> list[Finding]:
    found: list[Finding] = []
    wanted = _ANSWERS[installer]
    if not set(wanted) & set(names):
        found.append(warning(1, f"no {wanted[0]}= in front of '---': the installer will ask its questions"))
    if installer is Installer.SUBIQUITY and "ds" in names and "autoinstall" not in words:
        found.append(warning(1, "no 'autoinstall': the installer asks before it writes to a disk"))
    if installer is Installer.ANACONDA and "inst.ks" in names:
        found += [
            warning(1, f"{name} is for releases up to 6: this installer does not know it")
            for name in _OLD
            if name in names
        ]
    return found
