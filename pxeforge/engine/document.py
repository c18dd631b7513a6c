"""A YAML document that remembers the line of every value, so that an error can name file, line and fix."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from pxeforge.engine.spot import Location, Spot

__all__ = [
    "WITHOUT_VALUE", "Document", "DocumentProblem", "Finding", "Location", "findings_of", "in_words", "parse_document",
    "shortly",
]  # fmt: skip

_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong in a file; `line` counts from 1."""

    file: str
    line: int
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}: {self.fix}"


class DocumentProblem(Exception):
    """A file cannot be used; `findings` holds all that is wrong, in the order of lines."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: (finding.file, finding.line)))
        super().__init__("\n".join(str(finding) for finding in self.findings))


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, scalars) and the line of every location in it."""

    file: str
    data: Any
    lines: Mapping[Location, int] = field(repr=False)

    def line(self, location: Sequence[str | int]) -> int:
        """The line of the location, or of the nearest thing around it that exists."""
        parts = tuple(location)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)

    def finding(self, location: Sequence[str | int], message: str, fix: str) -> Finding:
        return Finding(self.file, self.line(location), message, fix)

    def spot(self, location: Location) -> Spot:
        return Spot(self.file, location, self.lines)


def parse_document(text: str, file: str) -> Document:
    """Reads one YAML mapping; raises DocumentProblem (bad YAML, a key given twice, no mapping at the top)."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        data = None if node is None else _build(loader, node, (), lines, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise DocumentProblem([Finding(file, line, f"not YAML ({error.problem})", "correct the line")]) from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DocumentProblem([Finding(file, 1, f"not YAML ({reason})", "correct the file")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        raise DocumentProblem([Finding(file, 1, "the file holds no keys", "write `key: value` lines")])
    return Document(file, data, lines)


def _build(loader: yaml.SafeLoader, node: yaml.Node, at: Location, lines: dict[Location, int], file: str) -> Any:
    line = node.start_mark.line + 1
    lines[at] = line
    if len(at) > _DEEPEST:
        raise DocumentProblem([Finding(file, line, "nested too deeply", "write it flatter, without recursive aliases")])
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(loader, node, at, lines, file)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, child, (*at, index), lines, file) for index, child in enumerate(node.value)]
    value: Any = loader.construct_object(node)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return node.value  # dates and binary stay the text that was written


def _build_mapping(
    loader: yaml.SafeLoader, node: yaml.MappingNode, at: Location, lines: dict[Location, int], file: str
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
            raise DocumentProblem([Finding(file, line, "a key must be plain text", "write `name: value`")])
        key = str(key_node.value)
        if key in result:
            raise DocumentProblem([Finding(file, line, f"{key!r} is given twice", "keep one of them")])
        result[key] = _build(loader, value_node, (*at, key), lines, file)
        lines[(*at, key)] = line
    return result


def findings_of(
    document: Document,
    error: ValidationError,
    prefix: Location = (),
    is_open: Callable[[object], bool] = lambda _: False,
) -> list[Finding]:
    """The findings behind a pydantic error, each with its line and a fix.

    Values for which `is_open` holds may still become right: only keys that are missing or unknown count there.
    """
    found = []
    items = error.errors(include_url=False)
    around = {item["loc"][:depth] for item in items for depth in range(1, len(item["loc"]))}
    for item in items:
        if item["type"] not in ("missing", "extra_forbidden") and (item["loc"] in around or is_open(item["input"])):
            continue  # a list with a wrong item is also reported as too short: the item is what is wrong
        where = (*prefix, *item["loc"])
        name = ".".join(str(part) for part in item["loc"]) or "the value"
        kind = item["type"]
        if kind in WITHOUT_VALUE:
            found.append(document.finding(where, f"{name} is {WITHOUT_VALUE[kind]}", in_words(item)))
        else:
            found.append(document.finding(where, f"{name} is {shortly(item['input'])}", in_words(item)))
    return found


def shortly(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


WITHOUT_VALUE = {"missing": "missing", "extra_forbidden": "no known key"}
_WORDS: Mapping[str, str] = {  # by pydantic's type of error; in braces what its context tells
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write {ge} or more",
    "less_than": "write less than {lt}",
    "less_than_equal": "write {le} or less",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "string_type": "write text, in quotes where it looks like something else",
    "string_too_short": "write {min_length} characters or more",
    "string_too_long": "write {max_length} characters at most",
    "string_pattern_mismatch": "write text that fits {pattern}",
    "literal_error": "write {expected}",
    "list_type": "write a list, like [a, b]",
    "tuple_type": "write a list, like [a, b]",
    "too_short": "give {min_length} or more",
    "too_long": "give {max_length} at most",
    "dict_type": "write `key: value` lines",
    "mapping_type": "write `key: value` lines",
    "model_type": "write `key: value` lines",
    "model_attributes_type": "write `key: value` lines",
    "missing": "add it",
    "extra_forbidden": "correct its spelling or remove it",
}


def in_words(item: Mapping[str, Any]) -> str:
    """What to do about one error of pydantic (an item of its `errors()`)."""
    words = _WORDS.get(item["type"])
    if words is not None:
        with contextlib.suppress(KeyError):
            return words.format(**item.get("ctx", {}))
    reason = str(item["msg"]).removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]
