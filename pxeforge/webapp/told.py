"""What a route of the API takes and gives, declared beside it: checked on the way in, and told by the OpenAPI page.

    @api.patch("/hosts/<host>")
    @told(takes=HostChange, gives=Host, problems=(404, 409), versioned=True)
    def change_host(host: str, body: dict[str, Any], expected_version: str | None) -> Any:
        \"\"\"Sets what is given and leaves the rest.\"\"\"
        return hosts.change(ctx, host, who=g.who, expected_version=expected_version, **body)

The function gets `body` (with `takes`), `query` (with `asks`), `part` (with `pages`) and `expected_version` (with
`versioned`) beside what stands in the path, and returns what is sent as JSON, or a response.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from flask import Response, current_app, g, jsonify, make_response, request
from werkzeug.datastructures import MultiDict

from pxeforge.domain.user_role import UserRole
from pxeforge.services import idempotency
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.versions import NONE_YET
from pxeforge.webapp.json_body import json_object
from pxeforge.webapp.paging import Part, PartAsked, Rows, cursor_of, cut, part_of
from pxeforge.webapp.shapes import checked, checked_texts

ONCE_HEADER: Final = "Idempotency-Key"
_CONTEXT: Final = "pxeforge.context"
_ETAG: Final = re.compile(r'"([\x21\x23-\x7e]{1,200})"')
_TEXT_KEY: Final = (str,)


class Nothing(TypedDict):
    """An empty object."""


class NoQuery(TypedDict):
    """No parameters."""


class UnsupportedContent(Problem):
    """A body that is no JSON."""

    status = 415


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """`gives`: the shape of the answer; of a row where `pages` is set. `media`: what is given instead of JSON."""

    gives: Any
    takes: Any
    asks: Any
    status: int
    problems: tuple[int, ...]
    pages: Pages | None
    once: bool
    versioned: bool
    makes: bool
    media: str


@dataclass(frozen=True, slots=True)
class Pages:
    """How a list is cut: by the texts under these names of each row, or (`keys`) by the route itself, which gets `part`
    and returns Rows; `keys` are the kinds that each of its sort keys may be.
    """

    names: tuple[str, ...] = ()
    keys: tuple[tuple[type, ...], ...] = ()


def told(
    *,
    gives: Any = Nothing,
    takes: Any = None,
    asks: Any = NoQuery,
    status: int = 200,
    problems: Sequence[int] = (),
    pages: Pages | None = None,
    once: bool = False,
    versioned: bool = False,
    makes: bool = False,
    media: str = "application/json",
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Declares a route. `problems`: refusals beside those that any such route has. `once`: it takes an
    Idempotency-Key. `versioned`: it takes If-Match. `makes`: it also makes what is not there, and takes If-None-Match.
    """
    declared = Declared(
        gives=gives, takes=takes, asks=asks, status=status, problems=tuple(problems), pages=pages, once=once,
        versioned=versioned, makes=makes, media=media,
    )  # fmt: skip

    def mark(view: Callable[..., Any]) -> Callable[..., Response]:
        @functools.wraps(view)
        def route(**path: str) -> Response:
            if once and ONCE_HEADER in request.headers:
                return _done_once(declared, view, path)
            return _answer(declared, view, path)

        route.declared = declared  # type: ignore[attr-defined]
        return route

    return mark


def use_context(app: Any, ctx: Context) -> None:
    """The context of the application's routes, for what this module does for them."""
    app.extensions[_CONTEXT] = ctx


def _answer(declared: Declared, view: Callable[..., Any], path: dict[str, str]) -> Response:
    given, part = _given(declared)
    made = view(**path, **given)
    if isinstance(made, Response):
        return made
    version = made.pop("version", None) if isinstance(made, dict) else None
    rows = _rows(declared, made, part)
    response = jsonify(rows.rows if rows else made)
    response.status_code = declared.status
    if rows and rows.next_after is not None:
        response.headers["Link"] = f'<{_next(rows.next_after)}>; rel="next"'
    if not rows and isinstance(made, dict) and (version or request.method in ("GET", "HEAD")):
        response.headers["ETag"] = f'"{_shown_version(version, response)}"'
    return response


def _given(declared: Declared) -> tuple[dict[str, Any], Part | None]:
    """What the function gets from the request, checked. Raises Problem."""
    given: dict[str, Any] = {}
    _only_once(request.args)
    shape, texts = declared.asks, request.args.to_dict()
    extra: dict[str, str] = {}
    if declared.pages is not None:
        extra = {key: texts.pop(key) for key in ("limit", "cursor") if key in texts}
    query = checked_texts(shape, texts)
    part = None
    if declared.pages is not None:
        keys = declared.pages.keys or tuple(_TEXT_KEY for _ in declared.pages.names)
        part = part_of(checked_texts(PartAsked, extra), keys)
        if declared.pages.keys:
            given["part"] = part
    if shape is not NoQuery:
        given["query"] = query
    if declared.takes is not None:
        given["body"] = checked(declared.takes, _body())
    if request.method not in ("GET", "HEAD"):
        _refuse_conditions(declared)
    if declared.versioned:
        given["expected_version"] = NONE_YET if "If-None-Match" in request.headers else _expected()
    return given, part


def _refuse_conditions(declared: Declared) -> None:
    """Raises Problem for a condition that nobody would look at: who sends one counts on it."""
    for name, looked_at in (("If-Match", declared.versioned), ("If-None-Match", declared.makes)):
        if name in request.headers and not looked_at:
            raise Problem(f"this address does not look at {name}: leave the header out")
    if "If-None-Match" in request.headers and request.headers["If-None-Match"].strip() != "*":
        raise Problem("If-None-Match must be *: do it only where there is nothing yet")
    if "If-None-Match" in request.headers and "If-Match" in request.headers:
        raise Problem("If-Match and If-None-Match exclude each other: send one of them")


def _only_once(args: MultiDict[str, str]) -> None:
    for name, values in args.lists():
        if len(values) > 1:
            raise Problem(f"the parameter {name} is given {len(values)} times: give it once")


def _body() -> dict[str, Any]:
    if not request.get_data():
        return {}
    if not request.is_json:
        raise UnsupportedContent("the body must be a JSON object: send it with Content-Type: application/json")
    body = json_object(request)
    if body is None:
        raise Problem("the body must be a JSON object")
    return body


def _expected() -> str | None:
    """The version of If-Match; None: any. Raises Problem."""
    text = request.headers.get("If-Match", "*").strip()
    if text == "*":
        return None
    found = _ETAG.fullmatch(text)
    if found is None:
        raise Problem('If-Match must be one ETag as it was sent, e.g. "0a1b2c3d4e5f6071", or *')
    return found[1]


def _rows(declared: Declared, made: Any, part: Part | None) -> Rows | None:
    if declared.pages is None or part is None:
        return None
    return made if isinstance(made, Rows) else cut(made, declared.pages.names, part)


def _next(after: Any) -> str:
    from urllib.parse import urlencode

    return f"{request.path}?{urlencode({**request.args.to_dict(), 'cursor': cursor_of(after)})}"


def _shown_version(version: str | None, response: Response) -> str:
    """Who only reads could guess at secrets from the version: they get one of what they are shown."""
    if version and g.actor.role.covers(UserRole.OPERATOR):
        return version
    return hashlib.sha256(response.get_data()).hexdigest()[:16]


def _done_once(declared: Declared, view: Callable[..., Any], path: dict[str, str]) -> Response:
    """The answer of before, where the same was done already under this key."""
    ctx: Context = current_app.extensions[_CONTEXT]
    key = request.headers[ONCE_HEADER].strip()
    idempotency.check_key(key)
    asked = b"\n".join((request.method.encode(), request.full_path.encode(), request.get_data()))
    with idempotency.doing(ctx, g.who, key, asked):
        before = idempotency.answered(ctx, g.who, key, asked)
        if before is not None:
            response = make_response(before.body, before.status, before.headers)
            response.headers["Idempotent-Replayed"] = "true"
            return response
        response = _answer(declared, view, path)
        if response.status_code < 400:
            kept = {name: response.headers[name] for name in ("Content-Type", "ETag") if name in response.headers}
            told_then = idempotency.Answer(response.status_code, kept, response.get_data(as_text=True))
            idempotency.keep(ctx, g.who, key, asked, told_then)
        return response
