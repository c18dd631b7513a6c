"""Two texts compared line by line, for a screen: what is the same, what went, what came, and where within a line."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CONTEXT_LINES: Final = 3
_LONGEST_LINE: Final = 2000  # longer ones are not compared word by word
_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")
_ALIKE: Final = 0.4  # lines less alike than this are shown as one gone and one come


class Change(enum.StrEnum):
    """How a line of one text stands to the other."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    COME = "come"


Part = tuple[bool, str]  # whether this piece of the line differs, and the piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A line of one text; `number` counts from 1."""

    number: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the left text beside its like in the right one."""

    change: Change
    left: Side | None = None
    right: Side | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows that stand together; `is_folded`: the same in both texts and far from any change."""

    rows: tuple[Row, ...]
    is_folded: bool = False


def compare(left: str, right: str) -> list[Row]:
    """All lines of both texts, in order."""
    before, after = left.splitlines(), right.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=len(before) + len(after) > 2000)
    rows: list[Row] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            rows += [_same(i + 1, i - i1 + j1 + 1, before[i]) for i in range(i1, i2)]
        else:
            rows += _changed(before[i1:i2], after[j1:j2], i1, j1)
    return rows


def blocks(rows: Sequence[Row], context: int = CONTEXT_LINES) -> list[Block]:
    """The rows, with long runs of equal lines set apart so that they can be folded."""
    near = _near_changes(rows, context)
    found: list[Block] = []
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or near[at] != near[start]:
            found.append(Block(rows=tuple(rows[start:at]), is_folded=not near[start]))
            start = at
    return found


def unified(left: str, right: str, left_title: str, right_title: str) -> str:
    """The same as `diff -u` would show; empty where both are alike."""
    lines = difflib.unified_diff(
        left.splitlines(), right.splitlines(), left_title, right_title, n=CONTEXT_LINES, lineterm=""
    )
    return "\n".join(lines)


def _near_changes(rows: Sequence[Row], context: int) -> list[bool]:
    """For each row whether a change is at most `context` rows away; a single line is not worth folding."""
    changed = [index for index, row in enumerate(rows) if row.change is not Change.SAME]
    near = [False] * len(rows)
    for index in changed:
        for at in range(max(0, index - context), min(len(rows), index + context + 1)):
            near[at] = True
    for at in range(1, len(rows) - 1):
        near[at] = near[at] or (near[at - 1] and near[at + 1])
    return near


def _changed(before: Sequence[str], after: Sequence[str], i1: int, j1: int) -> Iterator[Row]:
    for offset in range(max(len(before), len(after))):
        old = before[offset] if offset < len(before) else None
        new = after[offset] if offset < len(after) else None
        if old is not None and new is not None and (parts := _within(old, new)) is not None:
            left, right = Side(number=i1 + offset + 1, parts=parts[0]), Side(number=j1 + offset + 1, parts=parts[1])
            yield Row(change=Change.CHANGED, left=left, right=right)
            continue
        if old is not None:
            yield Row(change=Change.GONE, left=Side(number=i1 + offset + 1, parts=((True, old),)))
        if new is not None:
            yield Row(change=Change.COME, right=Side(number=j1 + offset + 1, parts=((True, new),)))


def _within(old: str, new: str) -> tuple[tuple[Part, ...], tuple[Part, ...]] | None:
    """The pieces of two lines that are alike; None where they are not, or too long to look."""
    if max(len(old), len(new)) > _LONGEST_LINE:
        return None
    before, after = _WORD.findall(old), _WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return None
    left: list[Part] = []
    right: list[Part] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        left += [(kind != "equal", "".join(before[i1:i2]))] if i2 > i1 else []
        right += [(kind != "equal", "".join(after[j1:j2]))] if j2 > j1 else []
    return tuple(left), tuple(right)


def _same(left: int, right: int, text: str) -> Row:
    parts = ((False, text),)
    return Row(change=Change.SAME, left=Side(number=left, parts=parts), right=Side(number=right, parts=parts))
