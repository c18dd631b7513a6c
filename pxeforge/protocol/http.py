"""Request heads of HTTP/1.x to meaning, and response heads to bytes (RFC 9112), as the boot plane needs them.

Strict where leniency is a hole (lengths, line ends, names), lenient where firmware is (no Host, absolute targets).
Header names go out in title case: GRUB knows `Content-Length` in this spelling only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

HEAD_END: Final = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~\x80-\xff]+) HTTP/(\d)\.(\d)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_SLASHES = re.compile(r"/{2,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_FIELDS: Final = 64


class BadRequest(Exception):
    """A request that is not served; the connection ends after the answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request head. `path` is decoded and has no `.`, `..`, `//` or control character; `length`: bytes of body."""

    method: str
    path: str
    query: str
    minor_version: int
    headers: Mapping[str, str]  # names in lower case; repeated ones joined by a comma
    length: int

    @property
    def keeps_alive(self) -> bool:
        words = {word.strip().lower() for word in self.headers.get("connection", "").split(",")}
        return "close" not in words and (self.minor_version >= 1 or "keep-alive" in words)

    @property
    def expects_continue(self) -> bool:
        return self.minor_version >= 1 and self.headers.get("expect", "").lower() == "100-continue"


def parse_request(head: bytes) -> Request:
    """`head` is what stands before the empty line. Raises BadRequest."""
    lines = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "this is no request line")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    headers = _fields(lines[1:])
    path, query = _target(target)
    return Request(method.decode(), path, query, min(int(minor), 1), headers, _body_length(headers))


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _MOST_FIELDS:
        raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {_MOST_FIELDS} header fields")
    headers: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "this is no header field")
        name, value = found[1].decode().lower(), found[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _target(target: bytes) -> tuple[str, str]:
    """(path, query); a path trick is refused here, whatever it would have led to."""
    raw, _, query = target.decode("latin-1").partition("?")
    raw = _ORIGIN.sub("", raw, count=1) if not raw.startswith("/") else raw
    try:
        path = unquote_to_bytes((raw or "/").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "the path is not UTF-8") from None
    path = _SLASHES.sub("/", path)
    if not path.startswith("/") or _CONTROL.search(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "the path is not plain")
    return path, query


def _body_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length, not in chunks")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
    return int(text)


def response_head(status: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """`status` is `200 OK`. Raises ValueError for a header that would break the head."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{_spelled(name)}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header of the answer holds a line break")
    return f"{text}\r\n\r\n".encode("latin-1")


def _spelled(name: str) -> str:
    return name.title() if name.islower() else name
