"""A place in a file that an operator wrote, so that whoever finds fault with a value later can still name its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """A value in a document; `lines` holds the line of every location of the document."""

    file: str
    at: Location
    lines: Mapping[Location, int] = field(repr=False, compare=False)

    def has(self, *deeper: str | int) -> bool:
        return (*self.at, *deeper) in self.lines

    def number(self, *deeper: str | int) -> int:
        """The line of what is deeper there, or of the nearest thing around it."""
        parts = (*self.at, *deeper)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)

    def line(self, *deeper: str | int) -> str:
        """`file:line` of it."""
        return f"{self.file}:{self.number(*deeper)}"
