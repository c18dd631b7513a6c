"""Lists of the API in parts: at most `limit` rows, and a cursor that says after which row the next part begins.

A cursor holds the sort keys of the last row that was shown. So a part stays right when rows come and go meanwhile:
none is shown twice, and none that was there all the time is left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, NotRequired, TypedDict

from pxeforge.webapp.shapes import BadFields, FieldError, Says

USUAL: Final = 100
MOST: Final = 1000
_LONGEST: Final = 2000  # characters of a cursor

Keys = tuple[str | int | float | None, ...]


class PartAsked(TypedDict):
    """Parameters of every list."""

    limit: NotRequired[Annotated[int, Says(text=f"rows of this part; {USUAL} without it", least=1, most=MOST)]]
    cursor: NotRequired[Annotated[str, Says(text="where this part begins: from the header Link of the part before")]]


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked for: `after` are the sort keys of the last row of the part before, None at the beginning."""

    limit: int
    after: Keys | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A part of a list; `next_after`: the sort keys of its last row, None where no more rows follow."""

    rows: list[Any]
    next_after: Keys | None


def part_of(query: Mapping[str, Any], keys: Sequence[tuple[type, ...]]) -> Part:
    """What the checked parameters ask for; `keys`: what each sort key may be. Raises BadFields."""
    text = query.get("cursor")
    return Part(query.get("limit", USUAL), None if text is None else _decoded(text, keys))


def cursor_of(keys: Keys) -> str:
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def _decoded(text: str, keys: Sequence[tuple[type, ...]]) -> Keys:
    try:
        if len(text) > _LONGEST:
            raise ValueError("longer than any of ours")
        value = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not isinstance(value, list) or len(value) != len(keys):
            raise ValueError("not ours")
        if not all(type(one) in kinds for one, kinds in zip(value, keys, strict=True)):
            raise ValueError("not of this list")
        if any(isinstance(one, int) and abs(one) > 2**62 for one in value):
            raise ValueError("greater than any of ours")
    except (ValueError, RecursionError):
        raise BadFields([FieldError("cursor", "take cursor from the header Link of the part before")]) from None
    return tuple(value)


def cut(rows: Sequence[Mapping[str, Any]], names: Sequence[str], part: Part) -> Rows:
    """A part of a whole list in its own order; its rows are told apart by the texts under `names`. Raises BadFields."""

    def keys(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in names)

    if part.after is None:
        return first(rows, part.limit, keys)
    for number, row in enumerate(rows, start=1):
        if keys(row) == part.after:
            return first(rows[number:], part.limit, keys)
    raise BadFields([FieldError("cursor", "what cursor names is gone meanwhile: begin again without it")])


def sorted_part(rows: Sequence[Any], part: Part, keys: Callable[[Any], tuple[Any, ...]]) -> Rows:
    """A part of a whole list that is sorted by `keys`, no two of them equal: the row of the cursor may be gone."""
    return first([row for row in rows if part.after is None or keys(row) > part.after], part.limit, keys)


def first(rows: Sequence[Any], limit: int, keys: Any) -> Rows:
    """The part at the beginning of `rows`, of which there is one more than `limit` where more follow."""
    shown = list(rows[:limit])
    return Rows(shown, keys(shown[-1]) if len(rows) > limit and shown else None)
