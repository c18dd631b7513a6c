"""Finds what debian-installer would swallow in silence: mistakes in preseed files and kernel command lines."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pxeforge.render.answers import is_crypt_hash
from pxeforge.render.kernel_args import KernelArgsProblem, check_limits

# The types of debconf(7) templates, and the flag that preseed files may set (debconf-set-selections(1)).
DEBCONF_TYPES: Final = (
    *("boolean", "error", "multiselect", "note", "password", "select", "string", "text", "title"),
    "seen",
)
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_QUESTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*(/[A-Za-z0-9.+_-]+)+")
_TEMPLATE_REST = re.compile(r"\{\{|\}\}|\{%|%\}|\{#")
_COMMAND_END = (";", "&&", "||", "|", "{", "(", "then", "do", "else")
_LOCKED = ("", "!", "*")


class Severity(enum.Enum):
    """ERROR: the install would go wrong or leak; arming is refused. WARNING: look at it."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `line` counts from 1 and is where the (joined) line starts."""

    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.severity.value}: {self.message}"


def lint_preseed(text: str) -> list[Finding]:
    """All findings of a rendered preseed file, by line. Passwords are never repeated in a message."""
    lines = text.split("\n")
    findings = [*_raw_findings(lines)]
    first_line: dict[tuple[str, str], int] = {}
    for number, line in _joined(lines):
        if _TEMPLATE_REST.search(line):
            findings.append(_error(number, "a template expression was not rendered"))
            continue
        findings.extend(_entry_findings(number, line, first_line))
    return sorted(findings, key=lambda finding: finding.line)


def errors_of(findings: list[Finding]) -> list[Finding]:
    """Only the findings that forbid arming."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def lint_kernel_args(text: str) -> list[Finding]:
    """All findings of a kernel command line for d-i (line is always 1)."""
    if re.search(r"[\x00-\x1f\x7f\u0085\u2028\u2029]", text):
        return [_error(1, "kernel arguments must be one line without control characters")]
    findings = [
        _error(1, f"the character {char!r} would be read by the boot loader or a shell, not by the kernel")
        for char in sorted(set(re.findall(r"[\"'`$;{}|&<>()\\#!]", text)))
    ]
    words = text.split()
    findings.extend(
        _error(1, f"{word!r} glues dashes to a word: the separator is a word of its own, '---'")
        for word in words
        if word.startswith("--") and word not in ("--", "---")
    )
    separators = [index for index, word in enumerate(words) if word in ("--", "---")]
    if len(separators) > 1:
        findings.append(_error(1, "the separator '---' is there more than once"))
    for_installer = words[: separators[0]] if separators else words
    names = [word.partition("=")[0] for word in for_installer]
    if not {"url", "preseed/url", "file", "preseed/file"} & set(names):
        findings.append(Finding(1, Severity.WARNING, "no url= in front of '---': the installer will ask its questions"))
    findings.extend(
        Finding(1, Severity.WARNING, f"{name}= is there more than once; the last one wins")
        for name in sorted({name for name in names if names.count(name) > 1 and name not in ("console", "initrd")})
    )
    try:
        check_limits(text)
    except KernelArgsProblem as error:
        findings.append(_error(1, str(error)))
    return findings


def _error(line: int, message: str) -> Finding:
    return Finding(line, Severity.ERROR, message)


def _joined(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Entries as d-i sees them: comments removed first, then lines that end in a backslash joined by one blank."""
    start, pieces = 0, list[str]()
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("#"):
            continue
        if not pieces:
            start = number
        if line.endswith("\\"):
            pieces.append(line[:-1].strip())
            continue
        pieces.append(line.strip() if pieces else line)
        whole, pieces = " ".join(pieces), []
        if whole.strip():
            yield start, whole
    if pieces:
        yield start, " ".join(pieces)


def _raw_findings(lines: list[str]) -> Iterator[Finding]:
    """Traps of continuation lines, and characters that do not belong into the file."""
    in_entry = in_command = False
    for number, line in enumerate(lines, start=1):
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            yield _error(number, "control character (a carriage return?): write plain lines")
        elif not line.isascii() and not line.lstrip().startswith("#"):
            yield Finding(number, Severity.WARNING, "not ASCII: the installer's console may not show or match it")
        if line.lstrip().startswith("#"):
            if in_entry:
                yield Finding(number, Severity.WARNING, "a comment inside a continued line is dropped in silence")
            continue
        if re.search(r"\\[ \t]+$", line):
            yield _error(number, "blanks behind the backslash: the line is not continued")
        continued = line.endswith("\\")
        if continued:
            in_command = in_command if in_entry else "_command" in line
            body = line[:-1].rstrip()
            if in_command and not body.endswith(_COMMAND_END):
                yield Finding(
                    number, Severity.WARNING, "the next line is joined by a blank: end this one with ';' or '&&'"
                )
        in_entry = continued
    if in_entry:
        yield _error(len(lines), "the last line ends with a backslash: there is nothing to join")


def _entry_findings(number: int, line: str, first_line: dict[tuple[str, str], int]) -> Iterator[Finding]:
    """Findings of one entry `owner question type value`."""
    words = line.split(None, 3)
    owner = words[0]
    if "/" in owner or not _OWNER.fullmatch(owner) or (owner.startswith("d-i") and owner != "d-i"):
        yield _error(number, f"{owner!r} is no owner: words are glued or missing (write 'd-i question type value')")
        return
    if len(words) < 3:
        yield _error(number, "an entry is 'owner question type value'; this one has too few words")
        return
    question, kind = words[1], words[2]
    value = words[3].strip() if len(words) > 3 else ""
    if not _QUESTION.fullmatch(question):
        yield _error(number, f"{question!r} is no question name (like netcfg/get_hostname)")
    if kind not in DEBCONF_TYPES:
        glued = next((known for known in DEBCONF_TYPES if kind.startswith(known)), None)
        hint = f": a blank is missing behind {glued!r}" if glued else f": use one of {', '.join(DEBCONF_TYPES)}"
        shown = "the type" if "password" in question or (glued == "password") else repr(kind)
        yield _error(number, f"{shown} of {question} is no debconf type{hint}")
        return
    if kind == "boolean" and value not in ("true", "false"):
        yield _error(number, f"{question} is a boolean: its value must be true or false")
    yield from _duplicate(number, owner, question, kind, first_line)
    yield from _password(number, question, kind, value)
    if question in ("preseed/late_command", "preseed/early_command") and value and not _cannot_fail(value):
        message = f"{question} may fail, and then the installer waits for a key: end it with '; true'"
        yield Finding(number, Severity.WARNING, message)


def _cannot_fail(command: str) -> bool:
    return re.search(r"(;|\|\|)\s*(true|:|exit 0)\s*$", command) is not None


def _duplicate(
    number: int, owner: str, question: str, kind: str, first_line: dict[tuple[str, str], int]
) -> Iterator[Finding]:
    if kind == "seen":
        return
    earlier = first_line.setdefault((owner, question), number)
    if earlier != number:
        extra = ": merge both commands into one" if question.endswith("_command") else ""
        yield _error(number, f"{owner} {question} is already in line {earlier}; only the last one counts{extra}")


def _password(number: int, question: str, kind: str, value: str) -> Iterator[Finding]:
    """A password must be a hash; the value is not shown."""
    if kind == "seen" or value in _LOCKED:
        return
    if question.endswith("-crypted"):
        if not is_crypt_hash(value):
            yield _error(number, f"{question} is no crypt hash of a good method ($6$…, $y$…)")
    elif kind == "password" or re.search(r"passw(or)?d(-again)?$", question):
        yield _error(number, f"{question} is a password in plain text: use {_crypted_name(question)}")


def _crypted_name(question: str) -> str:
    base = question.removesuffix("-again")
    return f"{base}-crypted with a hash"
