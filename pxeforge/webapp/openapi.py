"""The description of the API as OpenAPI 3.1, made from the routes and what is declared beside each (webapp/told.py)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flask import Flask
from werkzeug.routing import Rule

import pxeforge
from pxeforge.webapp.access import NEEDS, Need
from pxeforge.webapp.paging import PartAsked
from pxeforge.webapp.problem_types import MEDIA_TYPE, TYPES, ProblemDetails
from pxeforge.webapp.shapes import Parts, Schema, parameters_of, required_keys, schema_of
from pxeforge.webapp.told import ONCE_HEADER, Declared, NoQuery

_PREFIX: Final = "/api/v1"
_ARGUMENT: Final = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_METHODS: Final = ("GET", "PUT", "POST", "PATCH", "DELETE")
NEED_WORDS: Final = {
    Need.VIEWER: "any user or token",
    Need.OPERATOR: "operator",
    Need.ADMIN: "admin",
    Need.OWN: "any user, not by a token",
}


class Undeclared(Exception):
    """A route of the API without `@told`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one address. `path` is below /api/v1, with `{name}` for each argument."""

    method: str
    path: str
    name: str
    topic: str
    need: Need
    summary: str
    more: str
    arguments: tuple[str, ...]
    declared: Declared

    @property
    def refusals(self) -> tuple[int, ...]:
        """The problem types that this route itself can answer with."""
        declared = self.declared
        bad = declared.takes is not None or declared.asks is not NoQuery or declared.pages or declared.versioned
        own = {401, 403, *declared.problems}
        own |= {400} if bad or declared.once else set()
        own |= {413, 415} if declared.takes is not None else set()
        own |= {412} if declared.versioned else set()
        own |= {409, 422} if declared.once else set()
        return tuple(sorted(own))


def routes(app: Flask) -> list[Route]:
    """All routes of the API, by topic and address. Raises Undeclared."""
    found = [route for rule in app.url_map.iter_rules() if rule.rule.startswith(_PREFIX) for route in _of(app, rule)]
    return sorted(found, key=lambda route: (route.topic, route.path, _METHODS.index(route.method)))


def description(app: Flask) -> Schema:
    """The whole document."""
    parts = Parts()
    paths: dict[str, Schema] = {}
    problem = schema_of(ProblemDetails, parts)
    for route in routes(app):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, parts)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pxeforge",
            "version": pxeforge.__version__,
            "description": "docs/api.md tells how to log in, to page, to edit without losing what others did, and to "
            "repeat a request safely.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": _PREFIX}],
        "security": [{"token": []}, {"password": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(parts.items())),
            "responses": {
                one.name: {"description": f"{one.title}: {one.meaning}.", "content": {MEDIA_TYPE: {"schema": problem}}}
                for one in TYPES.values()
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`pxeforge token create`"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _of(app: Flask, rule: Rule) -> Iterator[Route]:
    view = app.view_functions[rule.endpoint]
    declared: Declared | None = getattr(view, "declared", None)
    if declared is None:
        raise Undeclared(f"{rule.endpoint} says not what it takes and gives: put @told(…) beneath its route")
    words = inspect.getdoc(view) or ""
    summary, _, more = words.partition("\n\n")
    for method in sorted(set(rule.methods or ()) & set(_METHODS)):
        yield Route(
            method=method,
            path=_ARGUMENT.sub(r"{\1}", rule.rule.removeprefix(_PREFIX)),
            name=rule.endpoint.removeprefix("api."),
            topic=view.__module__.rpartition(".")[2].removeprefix("api_").replace("_", " "),
            need=NEEDS[rule.endpoint],
            summary=" ".join(summary.split()),
            more=" ".join(more.split()),
            arguments=tuple(_ARGUMENT.findall(rule.rule)),
            declared=declared,
        )


def _operation(route: Route, parts: Parts) -> Schema:
    told: Schema = {
        "operationId": route.name,
        "tags": [route.topic],
        "summary": route.summary,
        "description": " ".join(filter(None, (route.more, f"Needs: {NEED_WORDS[route.need]}."))),
        "x-pxeforge-need": route.need.value,
        "responses": _responses(route, parts),
    }
    parameters = _parameters(route)
    if parameters:
        told["parameters"] = parameters
    takes = route.declared.takes
    if takes is not None:
        schema = schema_of(takes, parts, closed=True)
        told["requestBody"] = {
            "required": bool(required_keys(takes)),
            "content": {"application/json": {"schema": schema}},
        }
    return told


def _parameters(route: Route) -> list[Schema]:
    declared = route.declared
    found: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in route.arguments
    ]
    found += parameters_of(declared.asks)
    if declared.pages is not None:
        found += parameters_of(PartAsked)
    if declared.versioned:
        found.append(_header("If-Match", "the ETag of what is changed: 412 where somebody else changed it meanwhile"))
    if declared.makes:
        found.append(_header("If-None-Match", "*: 412 where it is there already"))
    if declared.once:
        found.append(_header(ONCE_HEADER, "a key of your own: the same request with it is done once, within a day"))
    if declared.media == "text/event-stream":
        found.append(_header("Last-Event-ID", "the id of the last event that was seen"))
    return found


def _header(name: str, text: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _responses(route: Route, parts: Parts) -> Schema:
    declared = route.declared
    shape = schema_of(declared.gives, parts)
    headers: Schema = {}
    if declared.pages is not None:
        shape = {"type": "array", "items": shape}
        headers["Link"] = {"description": 'the next part, rel="next"; none at the end', "schema": {"type": "string"}}
    elif route.method == "GET" and shape.get("type") != "array" and declared.media == "application/json":
        headers["ETag"] = {"description": "the version of this, for If-Match", "schema": {"type": "string"}}
    content = {"schema": shape} if declared.media == "application/json" else {"schema": {"type": "string"}}
    good: Schema = {"description": "Done." if route.method != "GET" else "Found.", "content": {declared.media: content}}
    if headers:
        good["headers"] = headers
    refused = {str(status): {"$ref": f"#/components/responses/{TYPES[status].name}"} for status in route.refusals}
    return {str(declared.status): good, **refused, "default": {"$ref": "#/components/responses/server-error"}}
