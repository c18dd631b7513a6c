"""The reference page of the REST API, made from the routes and what is declared beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flask import Flask

from pxeforge.services.context import Addresses, Context
from pxeforge.store.database import Database
from pxeforge.webapp.api import create_api
from pxeforge.webapp.openapi import NEED_WORDS, Route, description, routes
from pxeforge.webapp.problem_types import TYPES

_INTRODUCTION: Final = (
    "Every address is below `/api/v1`. The same as OpenAPI 3.1, with every schema: `GET /api/v1/openapi.json`. "
    "How to log in, to page, to edit safely, to repeat a request and to be told of events: "
    "[the REST API](../api.md).\n\n"
    "*Needs* is the least role. *Refusals* are problem types, see the end of the page; 413, 429, 500 and 503 can come "
    "anywhere. A name with `?` can be left out."
)


def api_page(made_by: str = "") -> str:
    """The whole page; `made_by`: the line that says how."""
    with tempfile.TemporaryDirectory() as folder:
        app = Flask("pxeforge")
        database = Database(Path(folder) / "pxeforge.db")
        try:
            app.register_blueprint(create_api(_empty(database, Path(folder))))
            found, schemas = routes(app), description(app)["components"]["schemas"]
        finally:
            database.close()
    topics = "".join(_topic(name, found) for name in dict.fromkeys(route.topic for route in found))
    shapes = "".join(_shape(name, schema) for name, schema in schemas.items())
    types = "\n".join(f"| {status} | `{one.uri}` | {one.meaning} |" for status, one in sorted(TYPES.items()))
    return (
        f"# Reference of the REST API\n\n{made_by}\n\n{_INTRODUCTION}\n\n{topics}"
        f"## What is sent and answered\n\n{shapes}"
        f"## Problem types\n\n| Status | Type | Meaning |\n| --- | --- | --- |\n{types}\n"
    )


def _empty(database: Database, folder: Path) -> Context:
    """For routes that are only looked at."""
    return Context(
        database=database, data_dir=folder, addresses=Addresses(boot_address="192.0.2.1"), master_key=bytes(44)
    )


def _topic(name: str, found: list[Route]) -> str:
    return f"## {name.capitalize()}\n\n" + "".join(_route(one) for one in found if one.topic == name)


def _route(route: Route) -> str:
    lines = [f"### {route.method} {route.path}\n", " ".join(filter(None, (route.summary, route.more))) + "\n"]
    lines += [f"- Needs: {NEED_WORDS[route.need]}"]
    lines += [f"- {label}: {text}" for label, text in _facts(route) if text]
    refusals = ", ".join(f"{status} {TYPES[status].name}" for status in route.refusals)
    return "\n".join([*lines, f"- Refusals: {refusals}", "", ""])


def _facts(route: Route) -> Iterator[tuple[str, str]]:
    from pxeforge.webapp.paging import PartAsked
    from pxeforge.webapp.shapes import parameters_of

    declared = route.declared
    query = parameters_of(declared.asks) + (parameters_of(PartAsked) if declared.pages else [])
    yield "Parameters", ", ".join(f"`{one['name']}{'' if one['required'] else '?'}`" for one in query)
    headers = ["`If-Match?`"] * declared.versioned + ["`If-None-Match?`"] * declared.makes
    headers += ["`Idempotency-Key?`"] * declared.once
    yield "Headers", ", ".join(headers)
    yield "Takes", _named(declared.takes) if declared.takes is not None else ""
    kind = _named(declared.gives) if declared.media == "application/json" else f"`{declared.media}`"
    yield "Answers", f"{declared.status}, {'a list of ' if declared.pages else ''}{kind}"


def _named(shape: Any) -> str:
    from pxeforge.webapp.shapes import schema_of

    return _kind(schema_of(shape))


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("type", "anything"))


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "\n".join(
        f"| `{key}{'' if key in required else '?'}` | {_kind(one)} | {one.get('description', '')} |"
        for key, one in schema.get("properties", {}).items()
    ).replace("  |", " |")
    text = f"{schema['description']}\n\n" if "description" in schema else ""
    table = f"| Key | Kind | Meaning |\n| --- | --- | --- |\n{rows}\n\n" if rows else ""
    return f"### {name}\n\n{text}{table}"
