"""What a linter says: a line, how bad it is, and a sentence that never repeats a secret."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_MOST_SHOWN: Final = 160
# A line with one of these words is shown up to it: behind it stands a password, a hash or a token.
_SECRET = re.compile(r"passw(or)?d|passwd|passphrase|rootpw|crypted|secret|token|--key\b|hashed", re.IGNORECASE)
_IN_URL = re.compile(r"(/(?:answers|installer)/)[^/\s'\"]+")


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


def error(line: int, message: str) -> Finding:
    return Finding(line, Severity.ERROR, message)


def warning(line: int, message: str) -> Finding:
    return Finding(line, Severity.WARNING, message)


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Only the findings that forbid arming."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def by_line(findings: Iterable[Finding]) -> list[Finding]:
    """In the order of their lines, each said once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.line)


def shown_line(lines: Sequence[str], number: int) -> str:
    """The rendered line as a message may show it: short, printable, cut where a secret may begin."""
    if not 1 <= number <= len(lines):
        return ""
    text = _IN_URL.sub(r"\1…", lines[number - 1].strip())
    secret = _SECRET.search(text)
    if secret is not None:
        text = f"{text[: secret.end()]} …"
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
