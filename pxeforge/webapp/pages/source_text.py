"""Texts for hosts as a page shows them: numbered lines in colour, each with what the linter says about it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pxeforge.services.answer_findings import FileFinding

if TYPE_CHECKING:
    from pygments.lexer import Lexer

_MOST_COLOURED: Final = 200_000  # characters; larger texts are shown without colours
# The classes of web/static/pxeforge.css, by the beginning of the token's name.
_CLASSES: Final = (
    ("Token.Comment", "c"), ("Token.Keyword", "k"), ("Token.Literal.String", "s"), ("Token.String", "s"),
    ("Token.Literal.Number", "m"), ("Token.Name.Tag", "t"), ("Token.Name.Attribute", "t"), ("Token.Name.Label", "t"),
    ("Token.Name.Builtin", "b"), ("Token.Name.Variable", "v"), ("Token.Name.Function", "b"),
)  # fmt: skip

Piece = tuple[str, str]  # class (may be empty) and text


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; `number` counts from 1."""

    number: int
    pieces: tuple[Piece, ...]
    findings: tuple[FileFinding, ...] = ()


def lines_of(what: str, text: str, findings: Sequence[FileFinding] = ()) -> list[Line]:
    """`what` as in services/answer_preview.py; findings beyond the last line stand at the last one."""
    rows = (_coloured(what, text) if len(text) <= _MOST_COLOURED else _plain(text)) or [()]
    at: dict[int, list[FileFinding]] = {}
    for one in findings:
        at.setdefault(max(1, min(one.line, len(rows))), []).append(one)
    return [Line(number=n, pieces=row, findings=tuple(at.get(n, ()))) for n, row in enumerate(rows, start=1)]


def _plain(text: str) -> list[tuple[Piece, ...]]:
    return [(("", line),) for line in text.split("\n")]


def _coloured(what: str, text: str) -> list[tuple[Piece, ...]]:
    rows: list[list[Piece]] = [[]]
    for kind, value in _lexer(_language(what, text)).get_tokens(text):
        css = _css(str(kind))
        for index, part in enumerate(value.split("\n")):
            if index:
                rows.append([])
            if part:
                _add(rows[-1], css, part)
    while rows and not rows[-1]:
        rows.pop()
    return [tuple(row) for row in rows]


def _add(row: list[Piece], css: str, text: str) -> None:
    if row and row[-1][0] == css:
        row[-1] = (css, row[-1][1] + text)
    else:
        row.append((css, text))


@functools.lru_cache(maxsize=128)
def _css(kind: str) -> str:
    return next((css for prefix, css in _CLASSES if kind.startswith(prefix)), "")


def _language(what: str, text: str) -> str:
    """What the text is written in; answers tell it by how they look."""
    if what == "kernel-args":
        return "kernel"
    if what.startswith("menu"):
        return "bash" if what == "menu.grub" else "menu"
    if what in ("early", "disks", "late"):
        return "bash"
    if text.lstrip().startswith(("<?xml", "<!DOCTYPE")):
        return "xml"
    if text.startswith("#cloud-config") or what in ("user-data", "meta-data", "vendor-data"):
        return "yaml"
    return "preseed" if _has(text, "d-i ") else "kickstart"


def _has(text: str, beginning: str) -> bool:
    return text.startswith(beginning) or f"\n{beginning}" in text


@functools.lru_cache(maxsize=16)
def _lexer(language: str) -> Lexer:
    # Only the process in which somebody looks at a text pays for these.
    from pygments.lexers import BashLexer, XmlLexer, YamlLexer

    from pxeforge.webapp.pages import source_lexers

    options: dict[str, bool] = {"stripnl": False, "ensurenl": True}
    known: dict[str, type[Lexer]] = {
        "bash": BashLexer, "xml": XmlLexer, "yaml": YamlLexer, "preseed": source_lexers.PreseedLexer,
        "kickstart": source_lexers.KickstartLexer, "menu": source_lexers.MenuLexer,
        "kernel": source_lexers.KernelArgsLexer,
    }  # fmt: skip
    return known[language](**options)


def counts(findings: Iterable[FileFinding]) -> dict[str, int]:
    """How many errors and warnings."""
    found = {"error": 0, "warning": 0}
    for one in findings:
        found[one.severity.value] += 1
    return found
