"""The page of the step types, made from their parameters: what each does, takes, and an example."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pxeforge.engine.step_examples import STEP_EXAMPLES
from pxeforge.engine.step_fields import Params
from pxeforge.engine.step_types import STEP_TYPES

_INTRODUCTION = """
A task of a role is a list of steps. Each looks first, changes only what differs, and looks again: a second run changes
nothing. `pxeforge deploy --check` does the first part only. A step may have a `name` beside its type; units and tasks
name it in `restart_on`. In every text of the parameters templates are filled in ([blueprints.md](../blueprints.md)).

Programs of the host that a step calls have to be there: install their package in an earlier step. Passwords go to
programs by standard input, environment or a file that only root can read, never on a command line.
"""


def steps_page(made_by: str) -> str:
    lines = [made_by, "", "# Step types", _INTRODUCTION]
    for name, params in STEP_TYPES.items():
        lines += [f"## {name}", "", _words(params), "", *_table(params), "", "```yaml"]
        lines += [f"- {line}" if at == 0 else f"  {line}" for at, line in enumerate(STEP_EXAMPLES[name].splitlines())]
        lines += ["```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _words(params: type[Params]) -> str:
    return inspect.cleandoc(params.__doc__ or "")


def _table(params: type[Params]) -> list[str]:
    schema = params.model_json_schema()
    rows = list(_rows(schema, schema.get("$defs", {}), ""))
    return ["| Parameter | Kind | Default |", "| --- | --- | --- |", *rows]


def _rows(schema: Mapping[str, Any], known: Mapping[str, Any], before: str) -> Iterator[str]:
    """One row per field; fields of what lies inside follow as `field.inner` or `field[].inner`."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        kind, inner, is_list = _kind(field, known)
        default = "required" if name in required else _default(field)
        yield f"| `{before}{name}` | {kind} | {default} |"
        if inner is not None:
            yield from _rows(inner, known, f"{before}{name}{'[]' if is_list else ''}.")


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default", {} if field.get("type") == "object" else None)
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _kind(field: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None, bool]:
    """(words, the model that lies inside, whether it is a list of them)."""
    if "$ref" in field:
        return "map", known[field["$ref"].rpartition("/")[2]], False
    if "anyOf" in field:
        kinds = [_kind(option, known) for option in field["anyOf"] if option.get("type") != "null"]
        inner = next(((model, is_list) for _, model, is_list in kinds if model is not None), (None, False))
        return " or ".join(dict.fromkeys(words for words, _, _ in kinds)), *inner
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")])), None, False
    if field.get("type") == "array":
        words, inner_model, _ = _kind(field.get("items", {}), known)
        return f"list of {words}s" if words in ("text", "map", "whole number") else "list", inner_model, True
    kinds_by_type = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return kinds_by_type.get(str(field.get("type")), "map" if field.get("type") == "object" else "any"), None, False
