"""Late snippets: pieces of shell from several sources, merged into one list that runs at the end of an install."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pxeforge.render.values import NAME, AnswersProblem, check, check_unique, known_keys

# In the order in which they run: what is nearer to the host comes later and finds what the others made.
SOURCES: Final = ("server", "profile", "role", "host")
MAX_SNIPPET_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSnippet:
    """A piece of shell run at the end of the install, with the new system's root in $TARGET; may fail without harm.

    In debian-installer it is busybox sh. `source` is one of SOURCES, `origin` names the profile, role, host or file.
    """

    name: str
    text: str
    source: str = "profile"
    origin: str = ""

    def __post_init__(self) -> None:
        check(NAME, "late snippet name", self.name, "letters, digits, _ . -")
        if self.origin:
            check(NAME, f"origin of late snippet {self.name}", self.origin, "letters, digits, _ . -")
        if self.source not in SOURCES:
            raise AnswersProblem(f"late snippet {self.name}: unknown source {self.source!r}")
        if not isinstance(self.text, str) or "\0" in self.text:
            raise AnswersProblem(f"late snippet {self.name} must be a text without NUL")
        if len(self.text.encode(errors="surrogatepass")) > MAX_SNIPPET_BYTES:
            raise AnswersProblem(
                f"late snippet {self.name} has more than {MAX_SNIPPET_BYTES} bytes: let it fetch what it needs"
            )

    @property
    def label(self) -> str:
        """How logs and reports call it, like `role/mariadb/tune`; it is unique in a merged list."""
        return "/".join(part for part in (self.source, self.origin, self.name) if part)

    @classmethod
    def parse(cls, entry: object, source: str = "profile", origin: str = "") -> LateSnippet:
        """From `{name, text}`."""
        values = known_keys("late_snippets", entry, ("name", "text"), ["name"])
        text = values.get("text", "")
        if not isinstance(text, str):
            raise AnswersProblem(f"late snippet {values['name']!r}: its text must be shell")
        return cls(name=str(values["name"]), text=text, source=source, origin=origin)


def merge_snippets(snippets: Iterable[LateSnippet]) -> tuple[LateSnippet, ...]:
    """All of them in the order in which they run; those of one source keep theirs. Raises AnswersProblem.

    Every one is kept: none is replaced by another of the same name (R-33: the last late_command used to win).
    """
    merged = tuple(sorted(snippets, key=lambda snippet: SOURCES.index(snippet.source)))
    check_unique("late snippet", [snippet.label for snippet in merged])
    return merged


def from_source(snippets: Iterable[LateSnippet], source: str, origin: str = "") -> tuple[LateSnippet, ...]:
    """The same snippets as of another source."""
    return tuple(replace(snippet, source=source, origin=origin) for snippet in snippets)
