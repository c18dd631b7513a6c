"""What a host's installer said, from its log file without secrets: the end of it, and what came since a place in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide_text

MOST_BYTES: Final = 64 * 1024  # of one answer
_TOKENS: Final = re.compile(
    r"(/(?:answers|installer)/)[^/\s?\"']+"
)  # what opens the attempt; the installer says it aloud


@dataclass(frozen=True, slots=True)
class Line:
    """`at`: unix seconds; None where a line was cut, or its time is not one."""

    at: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of the log; the next one begins at `end`. `skipped`: bytes before it that are not in it."""

    lines: tuple[Line, ...]
    end: int
    size: int
    skipped: int = 0


def piece(ctx: Context, text: str, *, after: int | None = None) -> Piece:
    """From byte `after` on (None: the end of the log), whole lines only. Raises NotFound for a host nobody knows.

    Where more has come than fits in an answer it is the newest, and `skipped` tells of the rest.
    """
    path = log_path(ctx, hosts.show(ctx, text)["id"])
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            wanted = after if after is not None and 0 <= after <= size else 0
            start = max(wanted, size - MOST_BYTES)
            stream.seek(start)
            content = stream.read(size - start)
    except FileNotFoundError:
        return Piece(lines=(), end=0, size=0)
    if start > wanted:  # in the middle of a line
        first = content.find(b"\n") + 1
        start, content = start + first, content[first:]
    whole = content[: content.rfind(b"\n") + 1]
    told = _TOKENS.sub(r"\1[hidden]", hide_text(ctx, whole.decode(errors="replace"), {}))
    lines = tuple(_line(row) for row in told.split("\n")[:-1])
    return Piece(lines=lines, end=start + len(whole), size=size, skipped=start - wanted)


def log_path(ctx: Context, host_id: str) -> Path:
    return ctx.data_dir / "logs" / host_id / "installer.log"


def _line(row: str) -> Line:
    """`1800000000.123 tag: message`, as services/boot_desk.py writes it; control characters would drive a terminal."""
    shown = "".join(char if char.isprintable() or char == "\t" else " " for char in row)
    first, space, rest = shown.partition(" ")
    try:
        at = float(first)
    except ValueError:
        return Line(None, shown)
    return Line(at, rest) if space and 0 < at < 2**40 else Line(None, shown)
