"""The strict sandbox in which role templates are rendered: an unknown name is an error, attributes are read-only."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, UndefinedError, meta, nodes
from jinja2.utils import missing

from pxeforge.engine.bounded_sandbox import BoundedSandbox

_WHOLE_EXPRESSION = re.compile(r"\A\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*\Z", re.DOTALL)


class TemplateProblem(Exception):
    """A template cannot be rendered; the message says why in one sentence.

    `line`: of the template, where it is known. `lacking`: it asks for what nobody gave, and is not itself to blame.
    """

    def __init__(self, sentence: str, line: int | None = None, *, lacking: bool = False) -> None:
        super().__init__(sentence)
        self.line, self.lacking = line, lacking


class _LackingError(UndefinedError):
    """What is not there is something that hosts or blueprints could have given."""


class Namespace:
    """Named values for templates: `ns.key` and `ns["key"]`, no methods that could hide a key.

    `lacking` gives the sentence for a key that is not there.
    """

    __slots__ = ("_lacking", "_values", "_what")

    def __init__(self, what: str, values: Mapping[str, Any], lacking: Callable[[str], str] | None = None) -> None:
        self._what = what
        self._values = values
        self._lacking = lacking

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _without(self, key: str) -> str:
        """Why there is no such key, as one sentence."""
        if self._lacking is not None:
            return self._lacking(key)
        return f"{self._what} has no attribute {key!r}: known are {', '.join(sorted(self._values)) or 'none'}"

    def __repr__(self) -> str:
        return f"<{self._what}: {', '.join(sorted(self._values)) or 'empty'}>"


class _Missing(StrictUndefined):
    """A value that is not there; says of which of our namespaces."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = None) -> None:
        lacks = isinstance(obj, Namespace) and obj._lacking is not None
        super().__init__(hint, obj, name, _LackingError if lacks else exc or UndefinedError)

    @property
    def _undefined_message(self) -> str:
        if isinstance(self._undefined_obj, Namespace):
            return self._undefined_obj._without(str(self._undefined_name))
        return super()._undefined_message


def is_template(text: str) -> bool:
    """Whether the text has anything to render."""
    return "{{" in text or "{%" in text or "{#" in text


class TemplateEngine:
    """Compiles each source once; not for use by several threads at a time."""

    def __init__(self) -> None:
        self._environment = BoundedSandbox(
            undefined=_Missing,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["refuse"] = _refuse
        self._compiled: dict[str, Any] = {}
        self._asks: dict[str, tuple[frozenset[str], frozenset[str] | None]] = {}

    def names(self, source: str) -> frozenset[str]:
        """The top-level values the source asks for; raises TemplateProblem when it does not parse."""
        return self._read(source)[0]

    def variables(self, source: str) -> frozenset[str] | None:
        """The variables it asks for (`vars.name`), None if that cannot be told; raises TemplateProblem."""
        return self._read(source)[1]

    def _read(self, source: str) -> tuple[frozenset[str], frozenset[str] | None]:
        """Both of one look: parsing takes longer than anything else that is done once."""
        if source not in self._asks:
            try:
                tree = self._environment.parse(source)
            except TemplateError as error:
                raise _problem(error) from None
            self._asks[source] = frozenset(meta.find_undeclared_variables(tree)), _variables_in(tree)
        return self._asks[source]

    def line_of(self, source: str, name: str) -> int:
        """Where a template that parses first asks for a top-level value."""
        lines = [node.lineno for node in self._environment.parse(source).find_all(nodes.Name) if node.name == name]
        return min(lines, default=1)

    def render(self, source: str, values: Mapping[str, Any]) -> str:
        """The text with all values filled in; raises TemplateProblem."""
        try:
            if source not in self._compiled:
                self._compiled[source] = self._from(source)
            self._environment.begin()
            return str(self._compiled[source].render(values))
        except Exception as error:  # a template is foreign code: whatever it does is its problem, not ours
            raise _problem(error) from None

    def _from(self, source: str) -> Template:
        """With its globals in one plain dictionary: they are copied for every host."""
        template = self._environment.from_string(source)
        template.globals = dict(template.globals)
        return template

    def evaluate(self, source: str, values: Mapping[str, Any]) -> Any:
        """Like render, but a source that is one `{{ expression }}` keeps the type of its value."""
        whole = _WHOLE_EXPRESSION.match(source)
        if whole is None:
            return self.render(source, values)
        key = "\0" + source
        try:
            if key not in self._compiled:
                expression = self._environment.compile_expression(whole.group(1).strip(), undefined_to_none=False)
                expression._template.globals = dict(expression._template.globals)
                self._compiled[key] = expression
            self._environment.begin()
            value = self._compiled[key](**values)
            if isinstance(value, StrictUndefined):
                value._fail_with_undefined_error()
        except Exception as error:
            raise _problem(error) from None
        return value


def _refuse(sentence: str) -> str:
    """`{{ 'sentence' | refuse }}`: there is no plan with such values."""
    raise TemplateProblem(sentence)


def _variables_in(tree: nodes.Template) -> frozenset[str] | None:
    found: list[nodes.Getattr | nodes.Getitem]
    found = [*tree.find_all(nodes.Getattr), *tree.find_all(nodes.Getitem)]
    asked = [_key_of(node) for node in found if isinstance(node.node, nodes.Name) and node.node.name == "vars"]
    uses = sum(node.name == "vars" for node in tree.find_all(nodes.Name))
    told = uses == len(asked) and None not in asked
    return frozenset(name for name in asked if name is not None) if told else None


def _key_of(node: nodes.Getattr | nodes.Getitem) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    constant = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return constant if isinstance(constant, str) else None


def _problem(error: BaseException) -> TemplateProblem:
    return TemplateProblem(str(error) or type(error).__name__, _line(error), lacking=isinstance(error, _LackingError))


def _line(error: BaseException) -> int | None:
    """Of the template: a syntax error knows it; else Jinja has put the template's own lines into the traceback."""
    told = getattr(error, "lineno", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == "<template>"]
    return told if isinstance(told, int) else lines[-1] if lines else None
