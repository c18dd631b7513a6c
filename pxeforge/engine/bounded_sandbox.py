"""A sandbox of templates with an end: no expression, loop or text can take the server's memory or hours."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.compiler import Frame as CompilerFrame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_CHARACTERS: Final = 8_000_000  # of one rendered text, and of each text on the way to it
MOST_ITEMS: Final = 100_000  # of a list that a template makes; also what Jinja's sandbox has for range
_MOST_TURNS: Final = 2_000_000  # of all ranges of one text together
_MOST_BITS: Final = 4096  # of a number
# In a format: padding of a million and more, or by a width that is itself a value.
_WIDTH = re.compile(r"[0-9]{7,}|%[^a-zA-Z%]*\*|\{[^{}]*:[^{}]*\{")
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})


class TooMuch(Exception):
    """A template wants more than it may have."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: make it smaller")


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: CompilerFrame) -> None:  # noqa: N802 (named by Jinja)
        """`a ~ b`, which no sandbox sees otherwise."""
        self.write("environment.joined((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class _Turns(threading.local):
    """Of the text that this thread renders."""

    done = 0


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Several threads may use it at a time, each for one text."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%", "<<"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._turns = _Turns()
        self.globals["range"] = self._range
        for name, check in _FILTERS.items():
            self.filters[name] = _checked(self.filters[name], check)

    def begin(self) -> None:
        """Before each text."""
        self._turns.done = 0

    def concat(self, parts: Iterable[str]) -> str:  # Jinja's own joins without an end
        if isinstance(parts, list):  # what a macro or a block gathered, mostly
            if sum(map(len, parts)) > MOST_CHARACTERS:
                raise TooMuch(f"the text has more than {MOST_CHARACTERS} characters")
            return "".join(parts)
        found, size = [], 0
        for part in parts:
            size += len(part)
            if size > MOST_CHARACTERS:
                raise TooMuch(f"the text has more than {MOST_CHARACTERS} characters")
            found.append(part)
        return "".join(found)

    def joined(self, parts: Iterable[Any]) -> str:
        return self.concat(map(str, parts))

    def _range(self, *bounds: int) -> range:
        found = range(*bounds)
        if len(found) > MOST_ITEMS:
            raise TooMuch(f"a range of {len(found)} numbers, where {MOST_ITEMS} are allowed")
        self._turns.done += len(found)
        if self._turns.done > _MOST_TURNS:
            raise TooMuch(f"loops over ranges of more than {_MOST_TURNS} numbers together")
        return found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "+":
            _check_size(_length(left) + _length(right), left)
        elif operator in ("**", "<<") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right
            if bits > _MOST_BITS:
                raise TooMuch(f"a number of {bits} bits")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(called, "__wrapped__", called)  # the sandbox wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in _PADDING:
                _check_numbers([*args, *kwargs.values()])
            elif name in ("format", "format_map"):
                _check_format(owner)
            elif name == "replace" and len(args) > 1:
                _check_replaced(owner, str(args[0]), str(args[1]))
            elif name == "join" and args:
                args = (_checked_items(owner, args[0]), *args[1:])
        return super().call(context, called, *args, **kwargs)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | bytes) else 0


def _check_size(size: int, kind: Any) -> None:
    most = MOST_CHARACTERS if isinstance(kind, str | bytes) else MOST_ITEMS
    if size > most:
        raise TooMuch(f"a text or list of {size}, where {most} are allowed")


def _check_product(left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(value, str | list | tuple | bytes):
            _check_size(len(value) * times, value)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise TooMuch(f"a number of {left.bit_length() + right.bit_length()} bits")


def _check_numbers(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and value > MOST_ITEMS:
            raise TooMuch(f"a text padded to {value} characters, where {MOST_ITEMS} are allowed")


def _check_format(text: str) -> None:
    if _WIDTH.search(text):
        raise TooMuch("a format that pads to a million characters or more, or by a width from elsewhere")


def _check_replaced(text: str, old: str, new: str) -> None:
    _check_size(len(text) + text.count(old) * len(new), text)


def _checked_items(between: str, items: Any) -> list[Any]:
    found = list(items)
    _check_size(sum(len(one) if isinstance(one, str) else 20 for one in found) + len(between) * len(found), between)
    return found


def _checked(filter_: Callable[..., Any], check: Callable[..., Any]) -> Callable[..., Any]:
    """The filter after a look at its value and arguments; `check` may give another value."""

    @functools.wraps(filter_)  # also copies what Jinja is to pass first
    def bounded(*args: Any, **kwargs: Any) -> Any:
        first = 1 if hasattr(filter_, "jinja_pass_arg") else 0
        value = check(args[first], *args[first + 1 :], **kwargs)
        return filter_(*args[:first], args[first] if value is None else value, *args[first + 1 :], **kwargs)

    return bounded


def _small(_value: Any, *args: Any, **kwargs: Any) -> None:
    _check_numbers([*args, *kwargs.values()])


def _indent(value: Any, width: Any = 4, *_args: Any, **_kwargs: Any) -> None:
    text = str(value)
    _check_size(len(text) + (text.count("\n") + 1) * (width if isinstance(width, int) else len(str(width))), text)


def _wrapped(value: Any, width: Any = 79, _long: Any = True, between: Any = None, *_args: Any, **_kwargs: Any) -> None:
    pieces = len(str(value)) // max(1, width if isinstance(width, int) else 1) + str(value).count(" ") + 1
    _check_size(len(str(value)) + pieces * len(str(between or "\n")), "")


def _format(value: Any, *_args: Any, **_kwargs: Any) -> None:
    _check_format(str(value))


def _replace(value: Any, old: Any, new: Any, *_args: Any, **_kwargs: Any) -> None:
    _check_replaced(str(value), str(old), str(new))


def _join(value: Any, between: Any = "", *_args: Any, **_kwargs: Any) -> list[Any]:
    return _checked_items(str(between), value)


def _to_json(_value: Any, indent: Any = None, *_args: Any) -> None:
    if isinstance(indent, int) and indent > 16:
        raise TooMuch(f"JSON indented by {indent}, where 16 are allowed")


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "batch": _small, "center": _small, "slice": _small, "indent": _indent, "wordwrap": _wrapped, "format": _format,
    "replace": _replace, "join": _join, "tojson": _to_json,
}  # fmt: skip
