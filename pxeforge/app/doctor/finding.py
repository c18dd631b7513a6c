"""What a check says: how bad it is, what was seen, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Level(enum.Enum):
    """ERROR: serving would fail or harm. WARNING: some hosts may fail. NOTE: good to know. OK: as it should be."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is filled in by the table of checks; `data` holds the facts behind the sentence, for scripts."""

    level: Level
    seen: str
    advice: str = ""
    interface: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    check: str = ""

    def row(self) -> dict[str, Any]:
        """The stable keys of `--json`."""
        return {
            "check": self.check, "level": self.level.value, "interface": self.interface, "seen": self.seen,
            "advice": self.advice, "data": dict(self.data),
        }  # fmt: skip


def ok(seen: str, *, on: str | None = None, **data: Any) -> Finding:
    return Finding(Level.OK, seen, "", on, data)


def note(seen: str, advice: str, *, on: str | None = None, **data: Any) -> Finding:
    return Finding(Level.NOTE, seen, advice, on, data)


def warning(seen: str, advice: str, *, on: str | None = None, **data: Any) -> Finding:
    return Finding(Level.WARNING, seen, advice, on, data)


def error(seen: str, advice: str, *, on: str | None = None, **data: Any) -> Finding:
    return Finding(Level.ERROR, seen, advice, on, data)
