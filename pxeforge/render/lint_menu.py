"""Finds what PXELINUX, GRUB and iPXE would make of a boot menu that nobody meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pxeforge.render.lint_finding import Finding, Severity, by_line, error, warning
from pxeforge.render.lint_kernel_args import lint_kernel_args

MAX_LINE_BYTES: Final = 2046  # PXELINUX cuts a longer line
_TEMPLATE_REST = re.compile(r"\{\{|\{%|%\}")
# asciidoc/syslinux.txt and menu.txt of Syslinux 6.
_KEYWORD_WORDS: Final = (
    "default ui label kernel linux boot bss pxe fdimage comboot com32 config localboot initrd append ipappend sysappend"
    " include timeout totaltimeout ontimeout onerror serial console font kbdmap display say prompt noescape nocomplete"
    " allowoptions implicit sendcookies menu text endtext f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12"
)
_KEYWORDS: Final = frozenset(_KEYWORD_WORDS.split())
_LOCALBOOT: Final = ("0", "-1", "4", "5")  # what PXELINUX defines; 0x80 and its like are ISOLINUX's
_STARTS: Final = ("kernel", "linux", "boot", "bss", "pxe", "fdimage", "comboot", "com32", "config", "localboot")
_IPXE_WORDS: Final = (
    "autoboot boot chain choose clear colour config console cpair cpuid dhcp echo exit fcels form fdhcp goto help"
    " ibstat ifclose ifconf ifopen iflinkwait ifstat image imgargs imgdecrypt imgexec imgextract imgfetch imgfree"
    " imgload imgmem imgselect imgstat imgtrust imgverify inc initrd iseq isset item kernel login lotest md5sum menu"
    " module nslookup nstat ntp param params pciscan ping poweroff present profstat prompt read reboot route sanboot"
    " sanhook sanunhook set sha1sum sha256sum shell shim show sleep startpxe stoppxe sync time usbscan vcreate"
    " vdestroy"
)
_IPXE_COMMANDS: Final = frozenset(_IPXE_WORDS.split())


def lint_pxelinux(text: str) -> list[Finding]:
    """All findings of a PXELINUX configuration."""
    findings = [*_common(text), *_entries(text)]
    in_text = False
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        keyword = words[0].lower() if words else ""
        if not words or words[0].startswith("#"):
            continue
        if in_text:
            in_text = keyword != "endtext"
            continue
        in_text = keyword == "text"
        rest = line.strip()[len(keyword) :].strip()
        if len(line.encode()) > MAX_LINE_BYTES:
            findings.append(error(number, f"{len(line.encode())} bytes: PXELINUX reads {MAX_LINE_BYTES} of a line"))
        if keyword not in _KEYWORDS:
            hint = ": a line is not continued by the next one, write it in one" if line[:1].isspace() else ""
            findings.append(error(number, f"{words[0]!r} is no keyword of PXELINUX{hint}"))
        elif keyword == "localboot" and rest not in _LOCALBOOT:
            findings.append(error(number, f"localboot {rest} is not defined for PXELINUX: use 0"))
        elif keyword in ("timeout", "totaltimeout") and not re.fullmatch(r"[0-9]{1,7}", rest, re.ASCII):
            findings.append(error(number, f"{keyword} is a number of tenths of a second"))
        elif keyword == "timeout" and int(rest) > 35996:
            findings.append(error(number, "timeout is in tenths of a second, 35996 at most"))
        elif keyword == "append":
            findings += _args(number, rest)
    return by_line(findings)


def _entries(text: str) -> Iterator[Finding]:
    """Labels: each once, each starting something; the default among them."""
    label, labels, starts = "", dict[str, int](), set[str]()
    defaults: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        keyword = words[0].lower() if words else ""
        value = words[1] if len(words) > 1 else ""
        if keyword == "label":
            if value in labels:
                yield error(number, f"the label {value} is already in line {labels[value]}")
            label = value
            labels.setdefault(value, number)
        elif keyword in _STARTS:
            starts.add(label)
        elif keyword in ("default", "ontimeout"):
            defaults.append((number, value))
    for name, number in labels.items():
        if name not in starts:
            yield error(number, f"the label {name} starts nothing (linux, kernel or localboot)")
    for number, value in defaults:
        # `DEFAULT menu.c32` starts a module.
        if labels and value not in labels and not value.endswith((".c32", ".0")):
            yield error(number, f"there is no label {value}: known are {', '.join(labels)}")


def lint_ipxe(text: str) -> list[Finding]:
    """All findings of an iPXE script."""
    findings = [*_common(text)]
    lines = text.split("\n")
    if not lines[0].startswith("#!ipxe"):
        findings.append(error(1, "the first line must be #!ipxe: iPXE takes the file for something else"))
    labels = {line.split()[0][1:] for line in lines if line.startswith(":") and len(line.split()[0]) > 1}
    is_continued = False
    for number, line in enumerate(lines, start=1):
        was_continued, is_continued = is_continued, line.endswith("\\")
        if was_continued or not line.strip() or line.lstrip().startswith(("#", ":")):
            continue
        for command in re.split(r"\s(?:\|\||&&)(?:\s|$)", line.strip()):
            findings += _ipxe_command(number, command.split(), labels)
    return by_line(findings)


def _ipxe_command(number: int, words: list[str], labels: set[str]) -> Iterator[Finding]:
    if not words:
        return
    if words[0] not in _IPXE_COMMANDS and "${" not in words[0]:
        yield warning(number, f"{words[0]!r} is no command of iPXE")
    if words[0] == "goto" and len(words) > 1 and "${" not in words[1] and words[1] not in labels:
        yield error(number, f"there is no label :{words[1]}")
    if words[0] in ("kernel", "imgargs") and len(words) > 2:
        known = [word for word in words[2:] if "${" not in word and not word.startswith("initrd=")]
        yield from _args(number, " ".join(known))


def lint_grub(text: str) -> list[Finding]:
    """All findings of a GRUB configuration; what `grub-script-check` says comes on top, where it is installed."""
    findings = [*_common(text)]
    ids = re.findall(r"--id[ =]([A-Za-z0-9_-]+)", text)
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        default = re.fullmatch(r"\s*set default=['\"]?([A-Za-z0-9_-]+)['\"]?\s*", line)
        if default and ids and default[1] not in ids and not default[1].isdigit():
            findings.append(error(number, f"there is no menu entry with --id {default[1]}: known are {', '.join(ids)}"))
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
        if bare.count("'") or bare.count('"'):
            findings.append(error(number, "quotes are not closed"))
        if {"linux", "linuxefi", "linux16"} & set(words[:2]) and re.search(r"[;&|<>]\S", bare):
            findings.append(error(number, "a character that GRUB reads itself stands bare: quote the word ('…')"))
    return by_line(findings)


def _common(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), start=1):
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            yield error(number, "control character (a carriage return?): write plain lines")
        elif not line.isascii():
            yield warning(number, "not ASCII: a boot loader cannot show it")
        if _TEMPLATE_REST.search(line):
            yield error(number, "a template expression was not rendered")


def _args(number: int, text: str) -> Iterator[Finding]:
    words = [word for word in text.split() if not word.startswith("initrd=")]
    for one in lint_kernel_args(" ".join(words), None):
        yield Finding(number, Severity(one.severity), one.message)
