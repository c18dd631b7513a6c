"""The description of the API tells every route, as it is."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from pxeforge.domain import host_name
from pxeforge.services import hosts, rules
from pxeforge.services.context import Context
from pxeforge.webapp.access import NEEDS
from pxeforge.webapp.admin import create_admin
from pxeforge.webapp.openapi import Undeclared, description, routes
from pxeforge.webapp.problem_types import TYPES
from pxeforge.webapp.shapes import BadFields, Parts, Says, checked, schema_of
from tests.conftest import MAC

from .test_admin import every_route


@pytest.fixture
def told(app: Flask) -> dict[str, Any]:
    return description(app)


def test_every_route_stands_in_it_with_what_it_needs(app: Flask, told: dict[str, Any]) -> None:
    real = {
        (endpoint.removeprefix("api."), method, NEEDS[endpoint].value)
        for endpoint, method, _ in every_route(app)
        if endpoint.startswith("api.") and method not in ("HEAD", "OPTIONS")
    }
    written = {
        (one["operationId"], method.upper(), one["x-pxeforge-need"])
        for methods in told["paths"].values()
        for method, one in methods.items()
    }
    assert written == real
    assert len(real) > 80


def test_every_route_tells_parameters_answers_and_refusals(told: dict[str, Any]) -> None:
    for path, methods in told["paths"].items():
        for method, one in methods.items():
            named = {parameter["name"] for parameter in one.get("parameters", []) if parameter["in"] == "path"}
            assert named == {word.rstrip("}").partition("}")[0] for word in path.split("{")[1:]}, path
            assert one["summary"].endswith((".", ")", "…")), (method, path)
            good = [status for status in one["responses"] if status.startswith("2")]
            assert len(good) == 1, (method, path)
            assert {"401", "403", "default"} <= set(one["responses"]), (method, path)
            if method in ("post", "put", "patch") and "requestBody" in one:
                assert "400" in one["responses"], (method, path)


def test_a_word_of_an_address_is_no_name_that_would_hide_behind_it(told: dict[str, Any]) -> None:
    for folder, argument, reserved in (
        ("/hosts", "host", host_name.RESERVED_NAMES),
        ("/rules", "rule", rules.RESERVED_NAMES),
        ("/profiles", "profile", frozenset()),
        ("/users", "name", frozenset()),
        ("/images", "name", frozenset()),
        ("/image-imports", "name", frozenset()),
        ("/runs", "run", frozenset()),
        ("/webhooks", "webhook", frozenset()),
    ):
        below = {path.split("/")[2] for path in told["paths"] if path.startswith(f"{folder}/")}
        assert below - {f"{{{argument}}}"} == reserved, folder


def test_what_is_edited_takes_a_version_and_what_is_done_a_key(told: dict[str, Any]) -> None:
    def with_header(name: str) -> set[tuple[str, str]]:
        return {
            (method, path)
            for path, methods in told["paths"].items()
            for method, one in methods.items()
            if name in [parameter["name"] for parameter in one.get("parameters", [])]
        }

    assert {
        ("patch", "/hosts/{host}"), ("delete", "/hosts/{host}"), ("put", "/hosts/{host}/roles"),
        ("post", "/hosts/{host}/unassign"), ("patch", "/profiles/{profile}"), ("delete", "/profiles/{profile}"),
        ("patch", "/users/{name}"), ("delete", "/users/{name}"),
    } <= with_header("If-Match")  # fmt: skip
    assert {
        ("post", "/hosts"), ("post", "/hosts/import"), ("post", "/hosts/{host}/arm"), ("post", "/deploy"),
        ("post", "/verify"), ("post", "/hosts/assign"), ("post", "/webhooks"), ("post", "/images"),
    } <= with_header("Idempotency-Key")  # fmt: skip
    assert {("put", "/hosts/{host}/power"), ("put", "/racks/{rack}")} == with_header("If-None-Match")
    assert {("get", one) for one in ("/hosts", "/events", "/rules", "/racks")} <= with_header("cursor")


def test_every_schema_is_sound_and_every_reference_leads_somewhere(told: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        own = [value["$ref"]] if isinstance(value, dict) and isinstance(value.get("$ref"), str) else []
        return own + [found for one in inner for found in references(one)]

    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in set(references(told)):
        place: Any = told
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert told["openapi"].startswith("3.1.")
    assert set(told["components"]["responses"]) == {one.name for one in TYPES.values()}


def test_an_answer_is_as_it_is_told(ctx: Context, told: dict[str, Any], registered: dict[str, Any]) -> None:
    """Every address without an argument, and those of a host that was installed: no key is left out, none is secret
    knowledge.
    """
    api, seen = create_admin(ctx, trusted_socket=True).test_client(), 0
    hosts.add(ctx, macs=["52:54:00:00:00:77"], tags=["x"], roles=["base"], who="ann")
    known = {"host": "n1", "profile": "debian-13", "name": "debian-13", "what": "answers"}
    for path, methods in told["paths"].items():
        url = path
        for name, value in known.items():
            url = url.replace(f"{{{name}}}", value)
        schema = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {}).get("application/json")
        if schema is None or "{" in url:
            continue
        url += {"/diff/answers": "?left=profile:debian-13&right=profile:debian-13"}.get(url, "")
        reply = api.get(f"/api/v1{url.replace(':debian', '=debian')}")
        if reply.status_code != 200:
            continue
        whole = {**schema["schema"], "components": told["components"]}
        Draft202012Validator(_closed(whole)).validate(reply.get_json())
        seen += 1
    assert seen > 25
    assert api.get(f"/api/v1/hosts/{MAC}").headers["ETag"]


def _closed(schema: Any) -> Any:
    """The same, without room for keys that are not told."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(one) for key, one in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(inner.get("properties"), dict) else inner


def test_a_route_that_says_nothing_of_itself_is_named(ctx: Context) -> None:
    app = create_admin(ctx)
    app.add_url_rule("/api/v1/forgotten", "api.forgotten", lambda: "x")
    with pytest.raises(Undeclared, match=r"api\.forgotten says not"):
        routes(app)


class Inner(TypedDict):
    a: int


class Outer(TypedDict):
    """What is checked."""

    inner: NotRequired[Inner]
    rows: NotRequired[list[Inner]]
    both: NotRequired[str | int]
    map: NotRequired[dict[str, float]]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({}, []), ({"inner": {"a": 1}}, []), ({"inner": {"a": "1"}}, ["/inner"]), ({"inner": {}}, ["/inner"]),
        ({"inner": {"a": 1, "b": 1}}, ["/inner"]), ({"rows": [{"a": 1}, {"a": None}]}, ["/rows"]),
        ({"both": 1.5}, ["/both"]), ({"both": True}, ["/both"]), ({"map": {"x": 1, "y": 2.5}}, []),
        ({"map": {"x": True}}, ["/map"]), ({"a/b~c": 1}, ["/a~1b~0c"]), ({"inner": None}, []),
        ({"map": {"x": 10**400}}, ["/map"]),
    ],
)  # fmt: skip
def test_what_is_refused_and_what_the_schema_refuses_is_the_same(value: dict[str, Any], wrong: list[str]) -> None:
    try:
        checked(Outer, value)
        found = []
    except BadFields as problem:
        found = [error.pointer for error in problem.errors]
    assert found == wrong
    parts = Parts()
    schema = {**schema_of(Outer, parts, closed=True), "components": {"schemas": dict(parts)}}
    if value != {"map": {"x": 10**400}}:  # bounds of numbers are ours
        assert Draft202012Validator(schema).is_valid(value) is (wrong == [])


def test_two_shapes_of_one_name_are_refused() -> None:
    parts, other = Parts(), TypedDict("Inner", {"b": str})  # type: ignore[misc]
    schema_of(Inner, parts)
    with pytest.raises(TypeError, match="called Inner"):
        schema_of(other, parts)
    with pytest.raises(TypeError, match="called Inner"):
        schema_of(Inner, parts, closed=True)
    with pytest.raises(TypeError, match="is no shape"):
        schema_of(set[str])
    assert Says(text="x").most is None
