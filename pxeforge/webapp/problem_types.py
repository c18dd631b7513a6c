"""Refusals of the API as problem details (RFC 9457): one table of their types, and how they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NotRequired, TypedDict

from flask import Response, jsonify, request

from pxeforge.webapp.shapes import FieldError

MEDIA_TYPE: Final = "application/problem+json"
_URN: Final = "urn:pxeforge:problem:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """`meaning`: when it comes and what to do."""

    name: str
    title: str
    meaning: str

    @property
    def uri(self) -> str:
        return _URN + self.name


TYPES: Final[dict[int, ProblemType]] = {
    400: ProblemType("bad-request", "Bad request", "something in the request is wrong; `errors` names each field"),
    401: ProblemType("login-needed", "Login needed", "send an API token (Bearer) or name and password (Basic)"),
    403: ProblemType("forbidden", "Forbidden", "the role is too small, or a browser's token is missing"),
    404: ProblemType("not-found", "Not found", "there is no such thing, or no such address"),
    405: ProblemType("method-not-allowed", "Method not allowed", "the address takes other methods: see `Allow`"),
    409: ProblemType("conflict", "Conflict", "the state of things forbids it just now; the detail says what to do"),
    412: ProblemType(
        "stale", "Changed meanwhile",
        "`If-Match` names another version, or `If-None-Match: *` what there is already; the detail says who made it",
    ),
    413: ProblemType("too-large", "Too large", "send less at once"),
    415: ProblemType("wrong-content", "Wrong kind of content", "send a JSON object as `application/json`"),
    422: ProblemType("key-reused", "Idempotency key reused", "the key belongs to another request: make a new one"),
    429: ProblemType("too-many", "Too many attempts", "wait as long as `Retry-After` or the detail says"),
    500: ProblemType("server-error", "Server error", "a fault of pxeforge; its log says which"),
    503: ProblemType("unavailable", "Not available", "try again later"),
}  # fmt: skip


class FieldErrorShape(TypedDict):
    pointer: str
    detail: str


class ProblemDetails(TypedDict):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: NotRequired[list[FieldErrorShape]]


def answer(status: int, detail: str, errors: Sequence[FieldError] = ()) -> Response:
    """The response for a refusal of the request at hand."""
    found = TYPES.get(status)
    told: dict[str, Any] = {
        "type": found.uri if found else "about:blank", "title": found.title if found else "Refused",
        "status": status, "detail": detail, "instance": request.path,
    }  # fmt: skip
    if errors:
        told["errors"] = [{"pointer": error.pointer, "detail": error.detail} for error in errors]
    response = jsonify(told)
    response.status_code, response.mimetype = status, MEDIA_TYPE
    return response
