"""Chooses the linter of a text by what it is for: an installer's answers, a boot menu, a kernel command line."""

from __future__ import annotations

import enum
import re
from typing import Final

from pxeforge.domain.installer import Installer
from pxeforge.render.install_source import InstallSource
from pxeforge.render.lint import NO_QUESTIONS, Questions, lint_preseed
from pxeforge.render.lint_finding import Finding
from pxeforge.render.lint_kernel_args import lint_kernel_args
from pxeforge.render.lint_kickstart import lint_kickstart, syntax_of
from pxeforge.render.lint_menu import lint_grub, lint_ipxe, lint_pxelinux
from pxeforge.render.lint_user_data import HEADER, lint_user_data


class TextKind(enum.StrEnum):
    """What a text is."""

    PRESEED = "preseed"
    KICKSTART = "kickstart"
    USER_DATA = "user-data"
    IPXE = "ipxe"
    PXELINUX = "pxelinux"
    GRUB = "grub"
    KERNEL_ARGS = "kernel-args"
    UNKNOWN = "unknown"  # answers of an installer that has no linter


ANSWERS: Final = {
    Installer.DEBIAN: TextKind.PRESEED,
    Installer.ANACONDA: TextKind.KICKSTART,
    Installer.SUBIQUITY: TextKind.USER_DATA,
    Installer.AUTOYAST: TextKind.UNKNOWN,
}
_KICKSTART = re.compile(r"^(%packages|%post|%pre|rootpw|bootloader|clearpart|autopart|url --url)\b", re.MULTILINE)
_PXELINUX = re.compile(r"^\s*(label|append|localboot|prompt)\b", re.MULTILINE | re.IGNORECASE)
_GRUB = re.compile(r"^\s*(menuentry|set default|linux(efi)? |insmod)\b", re.MULTILINE)
_PRESEED = re.compile(r"^(d-i|tasksel)\b", re.MULTILINE)


def kind_of(name: str, text: str) -> TextKind:
    """What a file is, by its beginning, its name and what stands in it; a preseed file where nothing tells."""
    if text.startswith("#!ipxe") or name.endswith(".ipxe"):
        return TextKind.IPXE
    if text.startswith(HEADER) or re.match(r"autoinstall:", text) or name.endswith("user-data"):
        return TextKind.USER_DATA
    if name.endswith(".ks"):
        return TextKind.KICKSTART
    patterns = (
        (_PRESEED, TextKind.PRESEED), (_KICKSTART, TextKind.KICKSTART), (_GRUB, TextKind.GRUB),
        (_PXELINUX, TextKind.PXELINUX),
    )  # fmt: skip
    return next((kind for pattern, kind in patterns if pattern.search(text)), TextKind.PRESEED)


def lint_text(
    kind: TextKind, text: str, source: InstallSource | None = None, questions: Questions = NO_QUESTIONS
) -> list[Finding]:
    """All findings of a text, by line. `source` None: for the newest release that the linter knows."""
    if kind is TextKind.PRESEED:
        return lint_preseed(text, questions)
    if kind is TextKind.KICKSTART:
        distribution, release = (source.distribution, source.release) if source else (None, None)
        return lint_kickstart(text, syntax_of(distribution, release))
    if kind is TextKind.KERNEL_ARGS:
        return lint_kernel_args(text, source.installer if source else None)
    simple = {
        TextKind.USER_DATA: lint_user_data, TextKind.IPXE: lint_ipxe, TextKind.PXELINUX: lint_pxelinux,
        TextKind.GRUB: lint_grub,
    }  # fmt: skip
    linter = simple.get(kind)
    return linter(text) if linter is not None else []
