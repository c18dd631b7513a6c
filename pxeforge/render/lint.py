"""Finds what debian-installer would swallow in silence: mistakes in preseed files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pxeforge.render.accounts import is_crypt_hash
from pxeforge.render.lint_finding import Finding, Severity, by_line, error, errors_of, warning
from pxeforge.render.lint_kernel_args import lint_kernel_args

__all__ = ["NO_QUESTIONS", "Finding", "Questions", "Severity", "errors_of", "lint_kernel_args", "lint_preseed"]

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


@dataclass(frozen=True, slots=True)
class Questions:
    """What may be answered. `asked` are all questions of the parts that ask any of them; `others` some of other parts,
    which come from the mirror while the installer runs.
    """

    asked: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()

    def __contains__(self, question: str) -> bool:
        return question in self.asked or question in self.others


NO_QUESTIONS: Final = Questions()


def lint_preseed(text: str, questions: Questions = NO_QUESTIONS) -> list[Finding]:
    """All findings of a rendered preseed file, by line. Passwords are never repeated in a message.

    `questions`: what the installer asks; without it nothing is said about unknown ones.
    """
    lines = text.split("\n")
    findings = [*_raw_findings(lines)]
    first_line: dict[tuple[str, str], int] = {}
    for number, line in _joined(lines):
        if _TEMPLATE_REST.search(line):
            findings.append(error(number, "a template expression was not rendered"))
            continue
        findings.extend(_entry_findings(number, line, first_line))
        findings.extend(_unknown_question(number, line, questions))
    return by_line(findings)


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
    if " ".join(pieces).strip():
        yield start, " ".join(pieces)


def _raw_findings(lines: list[str]) -> Iterator[Finding]:
    """Traps of continuation lines, and characters that do not belong into the file."""
    in_entry = in_command = False
    for number, line in enumerate(lines, start=1):
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            yield error(number, "control character (a carriage return?): write plain lines")
        elif not line.isascii() and not line.lstrip().startswith("#"):
            yield warning(number, "not ASCII: the installer's console may not show or match it")
        if line.lstrip().startswith("#"):
            if in_entry:
                yield warning(number, "a comment inside a continued line is dropped in silence")
            continue
        if re.search(r"\\[ \t]+$", line):
            yield error(number, "blanks behind the backslash: the line is not continued")
        continued = line.endswith("\\")
        if continued:
            in_command = in_command if in_entry else "_command" in line
            body = line[:-1].rstrip()
            if in_command and not body.endswith(_COMMAND_END):
                yield warning(number, "the next line is joined by a blank: end this one with ';' or '&&'")
        in_entry = continued
    if in_entry:
        yield error(len(lines), "the last line ends with a backslash: there is nothing to join")


def _entry_findings(number: int, line: str, first_line: dict[tuple[str, str], int]) -> Iterator[Finding]:
    """Findings of one entry `owner question type value`."""
    words = line.split(None, 3)
    owner = words[0]
    if "/" in owner or not _OWNER.fullmatch(owner) or (owner.startswith("d-i") and owner != "d-i"):
        yield error(number, f"{owner!r} is no owner: words are glued or missing (write 'd-i question type value')")
        return
    if len(words) < 3:
        yield error(number, "an entry is 'owner question type value'; this one has too few words")
        return
    question, kind = words[1], words[2]
    value = words[3].strip() if len(words) > 3 else ""
    if not _QUESTION.fullmatch(question):
        yield error(number, f"{question!r} is no question name (like netcfg/get_hostname)")
    if kind not in DEBCONF_TYPES:
        glued = next((known for known in DEBCONF_TYPES if kind.startswith(known)), None)
        hint = f": a blank is missing behind {glued!r}" if glued else f": use one of {', '.join(DEBCONF_TYPES)}"
        shown = "the type" if "password" in question or (glued == "password") else repr(kind)
        yield error(number, f"{shown} of {question} is no debconf type{hint}")
        return
    if kind == "boolean" and value not in ("true", "false"):
        yield error(number, f"{question} is a boolean: its value must be true or false")
    yield from _duplicate(number, owner, question, kind, first_line)
    yield from _password(number, question, kind, value)
    yield from _fixed_interface(number, question, value)
    if question in ("preseed/late_command", "preseed/early_command") and value and not _cannot_fail(value):
        message = f"{question} may fail, and then the installer waits for a key: end it with '; true'"
        yield warning(number, message)


def _unknown_question(number: int, line: str, questions: Questions) -> Iterator[Finding]:
    """Debconf takes any name in silence; one that nobody asks for is mostly a slip of the pen."""
    owner, question = (*line.split(None, 2), "", "")[:2]
    if not questions.asked or owner != "d-i" or question in questions or not _QUESTION.fullmatch(question):
        return
    package = question.partition("/")[0]
    # Titles of progress bars are there for parts that come later, too.
    is_complete = any(one.startswith(f"{package}/") and "/progress/" not in one for one in questions.asked)
    known = questions.asked | questions.others
    near = difflib.get_close_matches(question, known, n=1, cutoff=0.8 if is_complete else 0.9)
    if is_complete or near:
        hint = f": did you mean {near[0]}?" if near else ""
        yield warning(number, f"this installer asks no question {question}{hint}")


def _fixed_interface(number: int, question: str, value: str) -> Iterator[Finding]:
    if question == "netcfg/choose_interface" and value not in ("", "auto"):
        yield warning(number, f"{question} names {value!r}: the name differs per machine, 'auto' takes the right NIC")


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
        yield error(number, f"{owner} {question} is already in line {earlier}; only the last one counts{extra}")


def _password(number: int, question: str, kind: str, value: str) -> Iterator[Finding]:
    """A password must be a hash; the value is not shown."""
    if kind == "seen" or value in _LOCKED:
        return
    if question.endswith("-crypted"):
        if not is_crypt_hash(value):
            yield error(number, f"{question} is no crypt hash of a good method ($6$…, $y$…)")
    elif kind == "password" or re.search(r"passw(or)?d(-again)?$", question):
        yield error(number, f"{question} is a password in plain text: use {_crypted_name(question)}")


def _crypted_name(question: str) -> str:
    base = question.removesuffix("-again")
    return f"{base}-crypted with a hash"
