"""What Pygments does not know: preseed files, kickstart files, menus of iPXE and PXELINUX, kernel command lines."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, using
from pygments.lexers import BashLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Text

_KERNEL_WORDS = [
    (r"---(?=\s|$)", Operator),
    (r"([^\s=]+)(=)(\S*)", bygroups(Name.Tag, Operator, String)),
    (r"\S+", Name.Tag),
    (r"\s+", Text),
]


class PreseedLexer(RegexLexer):
    """`owner question type value`; the value of a command is shell."""

    name = "preseed"
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"#.*\n", Comment),
            (
                r"(\S+)([ \t]+)(\S+_command)([ \t]+)(string)([ \t]+)((?:.*\\\n)*.*\n)",
                bygroups(Keyword, Text, Name.Tag, Text, Name.Builtin, Text, using(BashLexer)),
            ),
            (
                r"(\S+)([ \t]+)(\S+)([ \t]+)(\S+)([ \t]*)(.*\n)",
                bygroups(Keyword, Text, Name.Tag, Text, Name.Builtin, Text, String),
            ),
            (r".*\n", Text),
        ]
    }


class KickstartLexer(RegexLexer):
    """Commands with options, and sections between %word and %end."""

    name = "kickstart"
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"#.*\n", Comment),
            (r"(%(?:pre|post|pre-install|onerror|traceback)\b)(.*\n)", bygroups(Keyword, String), "script"),
            (r"(%packages\b)(.*\n)", bygroups(Keyword, String), "packages"),
            (r"%end\b", Keyword),
            (r"([a-z]\w*)(?=[ \t\n])", Name.Tag, "options"),
            (r".*\n", Text),
        ],
        "options": [
            (r"\n", Text, "#pop"),
            (r"(--[\w-]+)(=?)", bygroups(Name.Builtin, Operator)),
            (r'"[^"\n]*"', String),
            (r"[^\s\"-][^\s\"]*", String),
            (r"[ \t]+|.", Text),
        ],
        "script": [(r"%end\b", Keyword, "#pop"), (r"((?:(?!%end\b).*\n)+)", using(BashLexer)), (r".+", Text)],
        "packages": [(r"%end\b", Keyword, "#pop"), (r"#.*\n", Comment), (r"[@^-].*\n", Name.Builtin), (r".*\n", Text)],
    }


class MenuLexer(RegexLexer):
    """iPXE scripts and PXELINUX configurations: a keyword, then its words."""

    name = "menu"
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"[ \t]*#.*\n", Comment),
            (r":\w+", Name.Label),
            (r"([ \t]*)([A-Za-z]+)", bygroups(Text, Keyword), "words"),
            (r"\n|.", Text),
        ],
        "words": [
            (r"\n", Text, "#pop"),
            (r"\$\{[^}\n]*\}", Name.Variable),
            (r"\|\||&&|---", Operator),
            (r"([\w./:-]+)(=)([^\s$]*)", bygroups(Name.Tag, Operator, String)),
            (r"\b\d+\b", Number),
            (r"[ \t]+|[^\s$|&]+|.", Text),
        ],
    }


class KernelArgsLexer(RegexLexer):
    """Words and `key=value`, below a comment that names the menu's entry."""

    name = "kernel arguments"
    tokens: ClassVar[dict[str, list[Any]]] = {"root": [(r"#.*\n", Comment), *_KERNEL_WORDS]}
