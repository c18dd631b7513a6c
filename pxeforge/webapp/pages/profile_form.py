"""A profile's parameters as the fields of a form: made from the table of parameters, read back with errors per field.

An empty field means the default. What is hidden in a field (password hashes) stays as it was when it comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from pxeforge.services.answers import DEFAULTS, check_parameters
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide, reveal
from pxeforge.services.parameter_words import PARAMETER_CHOICES, PARAMETER_WORDS, PARAMETERS_OF_ANY_KIND
from pxeforge.services.problems import Problem

PREFIX: Final = "p_"  # of the names of the fields
_LONGEST: Final = 256 * 1024
_MOST_ROWS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter. `kind`: text, choice, number or yaml; `text` is empty where the default counts."""

    key: str
    kind: str
    words: str
    text: str
    default: str
    choices: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_set(self) -> bool:
        return bool(self.text) or bool(self.error)

    @property
    def rows(self) -> int:
        return min(_MOST_ROWS, self.text.count("\n") + 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What came back: parameters to set and to unset, what was typed, and what is wrong with it, by parameter."""

    values: dict[str, Any]
    unset: list[str]
    typed: dict[str, str]
    errors: dict[str, str]


def fields(
    ctx: Context, parameters: Mapping[str, Any], entered: Entered | None = None
) -> list[Field]:  # fmt: skip
    """A field for every parameter there is; with `entered` what was typed, and its errors."""
    found = []
    for key, default in DEFAULTS.items():
        text = _shown(ctx, key, parameters)
        found.append(
            Field(
                key=key, kind=_kind(key), words=PARAMETER_WORDS.get(key, ""), choices=_choices(key),
                text=entered.typed.get(key, text) if entered else text, default=as_text(default, "yaml"),
                error=entered.errors.get(key, "") if entered else "",
            )
        )  # fmt: skip
    return found


def _shown(ctx: Context, key: str, parameters: Mapping[str, Any]) -> str:
    return as_text(hide(ctx, parameters[key], key), _kind(key)) if key in parameters else ""


def read(ctx: Context, form: Mapping[str, str], before: Mapping[str, Any]) -> Entered:
    """The fields of a form, and of them those that say something else than a form of `before` would."""
    entered = Entered(values={}, unset=[], typed={}, errors={})
    wanted = dict(before)
    for key in DEFAULTS:
        typed = form.get(f"{PREFIX}{key}")
        if typed is None:
            continue
        text = entered.typed[key] = typed.replace("\r\n", "\n").strip()
        if text == _shown(ctx, key, before):
            continue
        wanted.pop(key, None)
        if not text:
            entered.unset.extend([key] if key in before else [])
            continue
        try:
            wanted[key] = reveal(ctx, _parsed(key, text), before)
        except Problem as problem:
            entered.errors[key] = str(problem)
            continue
        entered.values[key] = wanted[key]
    entered.errors.update(_faults(wanted))
    return entered


def _faults(wanted: Mapping[str, Any]) -> dict[str, str]:
    """What forbids these parameters, by the one to change; "" where none of them alone is to blame."""
    said = _fault(wanted)
    if not said:
        return {}
    mends = {key: said for key in wanted if not _fault({k: v for k, v in wanted.items() if k != key})}
    alone = {key: fault for key, value in wanted.items() if (fault := _fault({key: value}))}
    return mends or alone or {"": said}


def _fault(parameters: Mapping[str, Any]) -> str:
    try:
        check_parameters(parameters)
    except Problem as problem:
        return str(problem).removeprefix("parameter not usable: ")
    return ""


def version_of(profile: Mapping[str, Any]) -> str:
    """Changes when somebody else changes the profile."""
    told = [profile["image"], profile["template"], profile["parameters"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _kind(key: str) -> str:
    default = DEFAULTS[key]
    if key in PARAMETERS_OF_ANY_KIND or isinstance(default, list | dict):
        return "yaml"
    if key in PARAMETER_CHOICES or isinstance(default, bool):
        return "choice"
    return "number" if isinstance(default, int | float) else "text"


def _choices(key: str) -> tuple[str, ...]:
    return ("true", "false") if isinstance(DEFAULTS[key], bool) else PARAMETER_CHOICES.get(key, ())


def _parsed(key: str, text: str) -> Any:
    """The value that a person typed; raises Problem."""
    kind, default = _kind(key), DEFAULTS[key]
    if len(text) > _LONGEST:
        raise Problem(f"more than {_LONGEST} characters: shorten it")
    if isinstance(default, bool) and kind == "choice" and text in ("true", "false"):
        return text == "true"
    if kind == "number":
        try:
            return type(default)(text)
        except ValueError:
            raise Problem(f"{text!r} is no number") from None
    # None as default tells nothing of the kind: what looks like a list or an object is one.
    is_yaml = kind == "yaml" or (default is None and (text[0] in "[{" or "\n" in text))
    return parse_yaml(text) if is_yaml else text


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*) are not taken", mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """Plain data of YAML or JSON; raises Problem with the line."""
    try:
        value = yaml.load(f"{text}\n", Loader=_Loader)  # noqa: S506 - a SafeLoader
        json.dumps(value, allow_nan=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, text.count("\n")) + 1 if mark else 1
        raise Problem(f"line {line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise Problem(f"not YAML: {' '.join(str(error).split())}") from None
    except (TypeError, ValueError):
        raise Problem("it holds a date or something else that is no text, number, list or object: quote it") from None
    except RecursionError:
        raise Problem("it is nested too deeply: write it flatter") from None
    return value


class _Dumper(yaml.SafeDumper):
    """Lists below their key, scripts as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def as_text(value: Any, kind: str) -> str:
    """A value as it is typed: plain, or as YAML where it is a list or object."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and kind != "yaml":
        return value
    if not isinstance(value, list | dict):
        return str(value)
    if not value or all(isinstance(item, str | int) and len(str(item)) < 40 for item in _items(value)):
        return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=200, allow_unicode=True).strip()
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000).strip()


def _items(value: list[Any] | dict[str, Any]) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
