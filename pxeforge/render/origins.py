"""Tells from which line of which template each line of a rendered text came: for messages, not for speed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from pxeforge.render.environment import FolderLoader, make_environment, render_template

# Private characters around the number of a place. They are put into a copy of the templates only.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_MARK: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a template; `template` reads `preseed/debian.cfg.j2`."""

    template: str
    line: int

    def __str__(self) -> str:
        return f"{self.template}:{self.line}"


class _Marks(Extension):
    """Marks each line of a template's own text with its place."""

    places: list[Origin]

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        shown = self._shown(stream.name or "")
        for token in stream:
            if token.type != "data":
                yield token
                continue
            pieces = token.value.split("\n")
            marked = [self._mark(shown, token.lineno + index) + piece for index, piece in enumerate(pieces[:-1])]
            # Behind the last line end stands the next token, which has a mark of its own.
            marked.append(self._mark(shown, token.lineno + len(pieces) - 1) + pieces[-1] if pieces[-1] else "")
            yield Token(token.lineno, "data", "\n".join(marked))

    def _mark(self, template: str, line: int) -> str:
        self.places.append(Origin(template, line))
        return f"{_OPEN}{len(self.places) - 1}{_CLOSE}"

    def _shown(self, name: str) -> str:
        loader = self.environment.loader
        if not isinstance(loader, FolderLoader):
            return name
        _, filename, _ = loader.get_source(self.environment, name)
        return filename or name


def origins_of(template: str, context: Mapping[str, object], dirs: Sequence[Path]) -> tuple[Origin | None, ...]:
    """For each line of the rendered text where it comes from; None where nobody can tell.

    Empty when the marked text is not the same as the rendered one (a template that looks at its own text).
    """
    places: list[Origin] = []
    try:
        plain = render_template(template, context, dirs)
        marked = _marking_environment(tuple(dirs), places).get_template(template).render(context)
    except Exception:  # whoever asks has a finding to show, with or without its origin
        return ()
    if _MARK.sub("", marked) != plain:
        return ()
    return tuple(_origins(marked, places))


def _origins(marked: str, places: Sequence[Origin]) -> Iterator[Origin | None]:
    last: Origin | None = None
    for line in marked.split("\n"):
        found = _MARK.findall(line)
        # The first mark of a line is that of its first piece of text; what stands before it came from an expression
        # in the same line of the template, or from a line of an included one, which has its own mark.
        yield places[int(found[0])] if found else last
        last = places[int(found[-1])] if found else last


def _marking_environment(dirs: tuple[Path, ...], places: list[Origin]) -> Environment:
    marks = type("_MarksHere", (_Marks,), {"places": places})
    environment = make_environment(dirs).overlay(extensions=[marks])
    environment.cache = None  # a template edited meanwhile is marked anew
    return environment
