"""What a JSON value may look like, said once as a typed declaration: told as JSON Schema, and checked.

A shape is `str`, `int`, `float`, `bool`, `None`, `Any`, an enum of texts, a Literal, a list, a dict, a union of these,
a TypedDict, or one of them in `Annotated` with a `Says`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pxeforge.services.problems import Problem

Schema = dict[str, Any]
MOST_NUMBER: Final = 2**53  # what every JSON reader keeps whole (RFC 8259, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What a value means, and its bounds."""

    text: str = ""
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class FieldError:
    """`pointer`: which value is meant (RFC 6901); for a parameter its name."""

    pointer: str
    detail: str


class BadFields(Problem):
    """A request whose fields are not as they are declared."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(error.detail for error in errors))


# ---------------------------------------------------------------------------------------------- as JSON Schema

_PLAIN: Final[dict[Any, str]] = {str: "string", bool: "boolean", float: "number", int: "integer", type(None): "null"}


class Parts(dict[str, Schema]):
    """Schemas by the names of their TypedDicts, which must not be two's."""

    def __init__(self) -> None:
        super().__init__()
        self._whose: dict[str, tuple[Any, bool]] = {}

    def is_new(self, shape: Any, *, closed: bool) -> bool:
        name: str = shape.__name__
        if self._whose.setdefault(name, (shape, closed)) != (shape, closed):
            raise TypeError(f"two shapes are called {name} (or one is both taken and given): give one another name")
        return name not in self


def schema_of(shape: Any, parts: Parts | None = None, *, closed: bool = False) -> Schema:
    """JSON Schema 2020-12. TypedDicts go into `parts` by their names and are referred to.

    `closed`: other keys than the declared ones are refused, and null stands for a key that is left out (requests).
    """
    parts = Parts() if parts is None else parts
    if shape in _PLAIN:
        return {"type": _PLAIN[shape]}
    if shape is Any:
        return {}
    if isinstance(shape, type) and issubclass(shape, Enum):
        return {"type": "string", "enum": [one.value for one in shape]}
    if is_typeddict(shape):
        return _object(shape, parts, closed)
    return _composed(shape, parts, closed)


def _composed(shape: Any, parts: Parts, closed: bool) -> Schema:
    origin, inner = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return {**schema_of(inner[0], parts, closed=closed), **_bounds(inner[1])}
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0], parts, closed=closed)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1], parts, closed=closed)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, parts, closed=closed) for one in inner]}
    raise TypeError(f"{shape!r} is no shape: see webapp/shapes.py")


def _bounds(says: Says) -> Schema:
    told = {"description": says.text or None, "minimum": says.least, "maximum": says.most}
    return {key: value for key, value in told.items() if value is not None}


def _object(shape: Any, parts: Parts, closed: bool) -> Schema:
    name: str = shape.__name__
    if parts.is_new(shape, closed=closed):
        parts[name] = {}  # before its fields: one may be of this shape too
        fields = {key: schema_of(one, parts, closed=closed) for key, one in _fields(shape).items()}
        if closed:
            fields = {key: one if key in required_keys(shape) else _or_null(one) for key, one in fields.items()}
        parts[name].update(
            {
                "type": "object",
                **({"description": _first_line(shape)} if shape.__doc__ else {}),
                "properties": fields,
                **({"required": sorted(required_keys(shape))} if required_keys(shape) else {}),
                **({"additionalProperties": False} if closed else {}),
            }
        )
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    told = {key: one for key, one in schema.items() if key == "description"}
    bare = {key: one for key, one in schema.items() if key != "description"}
    return {**told, "anyOf": [bare, {"type": "null"}]} if bare else schema


def _first_line(shape: Any) -> str:
    return str(shape.__doc__).strip().splitlines()[0]


@cache
def required_keys(shape: Any) -> frozenset[str]:
    """The keys that a TypedDict has always. (Its own `__required_keys__` cannot read annotations that are texts.)"""
    hints = get_type_hints(shape, include_extras=True)
    return frozenset(key for key, one in hints.items() if get_origin(one) is not NotRequired)


@cache
def _fields(shape: Any) -> dict[str, Any]:
    """The shapes of a TypedDict's keys."""
    return {key: _bare(one) for key, one in get_type_hints(shape, include_extras=True).items()}


def _bare(shape: Any) -> Any:
    """Without NotRequired."""
    return get_args(shape)[0] if get_origin(shape) is NotRequired else shape


def parameters_of(shape: Any) -> list[Schema]:
    """The keys of a TypedDict as parameters of a query string, for OpenAPI."""
    found = []
    for name, one in _fields(shape).items():
        schema = schema_of(one)
        text = schema.pop("description", None)
        required = name in required_keys(shape)
        told: Schema = {"name": name, "in": "query", "required": required, "schema": schema}
        found.append({**told, "description": text} if text else told)
    return found


# ---------------------------------------------------------------------------------------------- checked


def checked(shape: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a request's TypedDict that are given; null means not given. Raises BadFields with every mistake."""
    errors: list[FieldError] = []
    good: dict[str, Any] = {}
    fields = _fields(shape)
    for key, one in value.items():
        if key not in fields:
            errors.append(FieldError(_pointer(key), f"unknown key {key!r}: known are {', '.join(fields)}"))
        elif one is not None:
            wrong = _wrong(fields[key], one, key)
            errors += [FieldError(_pointer(key), wrong)] if wrong else []
            good[key] = one
    missing = [key for key in fields if key in required_keys(shape) and value.get(key) is None]
    errors += [FieldError(_pointer(key), f"{key} is missing: {_meaning(fields[key])}") for key in missing]
    if errors:
        raise BadFields(errors)
    return good


def checked_texts(shape: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """The same for the parameters of a query string, which are texts."""
    errors: list[FieldError] = []
    good: dict[str, Any] = {}
    fields = _fields(shape)
    for key, text in given.items():
        if key not in fields:
            errors.append(FieldError(key, f"unknown parameter {key!r}: known are {', '.join(fields) or 'none'}"))
            continue
        value = _read(fields[key], text)
        wrong = _wrong(fields[key], value, key)
        errors += [FieldError(key, wrong)] if wrong else []
        good[key] = value
    missing = [key for key in fields if key in required_keys(shape) and key not in given]
    errors += [FieldError(key, f"the parameter {key} is missing: {_meaning(fields[key])}") for key in missing]
    if errors:
        raise BadFields(errors)
    return good


def _read(shape: Any, text: str) -> Any:
    """A parameter as the kind it is declared to be; the text itself where it is none."""
    kinds = (get_args(shape)[0],) if get_origin(shape) is Annotated else (shape,)
    try:
        if int in kinds:
            return int(text) if text.isascii() and len(text) <= 20 and not set(text) & set("_ \t\n") else text
        if float in kinds:
            return float(text) if len(text) <= 40 and not set(text.lower()) & set("_nif \t\n") else text
    except ValueError:
        return text
    if bool in kinds:
        return {"true": True, "false": False}.get(text, text)
    return text


_CALLED: Final[dict[Any, str]] = {
    str: "a text", bool: "true or false", float: "a number", int: "a whole number", type(None): "null",
}  # fmt: skip


def _wrong(shape: Any, value: Any, where: str) -> str | None:
    """What is wrong with the value, as a sentence; None: nothing."""
    if _fits(shape, value):
        return None
    return f"{where} must be {_called(shape)}"


def _fits(shape: Any, value: Any) -> bool:
    if shape is Any:
        return True
    if shape in (int, float):
        kinds = (int, float) if shape is float else int
        return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) <= MOST_NUMBER
    if shape in _PLAIN:
        return isinstance(value, shape)
    if isinstance(shape, type) and issubclass(shape, Enum):
        return value in [one.value for one in shape]
    if is_typeddict(shape):
        return isinstance(value, dict) and _fits_object(shape, value)
    return _fits_composed(get_origin(shape), get_args(shape), value)


def _fits_object(shape: Any, value: dict[str, Any]) -> bool:
    fields = _fields(shape)
    return set(required_keys(shape)) <= set(value) <= set(fields) and all(
        (one is None and key not in required_keys(shape)) or _fits(fields[key], one) for key, one in value.items()
    )


def _fits_composed(origin: Any, inner: tuple[Any, ...], value: Any) -> bool:
    if origin is Annotated:
        says: Says = inner[1]
        return _fits(inner[0], value) and (
            isinstance(value, str)
            or ((says.least is None or value >= says.least) and (says.most is None or value <= says.most))
        )
    if origin is Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(_fits(inner[0], one) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner[1], one) for one in value.values())
    return any(_fits(one, value) for one in inner)


def _called(shape: Any) -> str:
    """The shape in words: `must be …`."""
    if shape in _CALLED:
        return _CALLED[shape]
    origin, inner = get_origin(shape), get_args(shape)
    if origin is Annotated:
        says: Says = inner[1]
        least, most = (None if one is None else f"{one:g}" for one in (says.least, says.most))
        bounds = f" from {least} to {most}" if least and most else f", {least} at least" if least else ""
        return _called(inner[0]) + (bounds or (f", {most} at most" if most else ""))
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if isinstance(shape, type) and issubclass(shape, Enum):
        return f"one of {', '.join(one.value for one in shape)}"
    if origin is list:
        return "a list of texts" if inner[0] is str else f"a list, each {_called(inner[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_called(one) for one in inner)
    return "an object"


def _meaning(shape: Any) -> str:
    says = get_args(shape)[1].text if get_origin(shape) is Annotated else ""
    return says or f"it must be {_called(shape)}"


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")
