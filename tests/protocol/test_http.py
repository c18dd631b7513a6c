"""Request heads: what is served, what is refused and why; response heads as GRUB needs them."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.http import BadRequest, Request, parse_request, response_head


def parsed(target: str = "/x", *fields: str, method: str = "GET", version: str = "HTTP/1.1") -> Request:
    return parse_request("\r\n".join([f"{method} {target} {version}", *fields]).encode("latin-1"))


def refusal(head: bytes) -> HTTPStatus:
    with pytest.raises(BadRequest) as caught:
        parse_request(head)
    return caught.value.status


def test_a_request_has_its_path_query_and_fields() -> None:
    request = parsed("/images/a%20b?stage=late&x=%2e", "Host: a", "X-One:  1 ", "x-one: 2", "Empty:")
    assert (request.method, request.path, request.query) == ("GET", "/images/a b", "stage=late&x=%2e")
    assert request.headers == {"host": "a", "x-one": "1, 2", "empty": ""}
    assert request.length == 0


@pytest.mark.parametrize(
    ("target", "path"),
    [("//boot//x/", "/boot/x/"), ("http://10.0.0.1:8080/boot/x", "/boot/x"), ("HTTP://h", "/"), ("/%C3%A4", "/ä"),
     ("/a%2Fb", "/a/b"), ("/..a/b..", "/..a/b.."), ("/a\\..\\b", "/a\\..\\b")],
)  # fmt: skip
def test_a_path_is_normalised_without_a_redirect(target: str, path: str) -> None:
    assert parsed(target).path == path


@pytest.mark.parametrize(
    "target",
    ["/..", "/a/../b", "/%2e%2e/x", "/a/%2E./b", "/.%2e/", "/./a", "/a%2f..%2fb", "/a%00b", "/%0d%0aX: 1", "/%ff", "*",
     "a/b", "ftp://h/x", "http:/x", "//..//x"],
)  # fmt: skip
def test_a_path_trick_is_refused_before_anybody_looks_at_it(target: str) -> None:
    assert refusal(f"GET {target} HTTP/1.1\r\nHost: a".encode()) is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01\x02\x00\x01", HTTPStatus.BAD_REQUEST),  # TLS
        (b"GET /x", HTTPStatus.BAD_REQUEST),  # HTTP/0.9
        (b"GET  /x HTTP/1.1", HTTPStatus.BAD_REQUEST),
        (b"GET /x HTTP/1.1\nHost: a", HTTPStatus.BAD_REQUEST),
        (b"GET /x HTTP/2.0", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"GET /x HTTP/1.1\r\nHost : a", HTTPStatus.BAD_REQUEST),
        (b"GET /x HTTP/1.1\r\nA: b\r\n c", HTTPStatus.BAD_REQUEST),  # a folded line
        (b"GET /x HTTP/1.1\r\nA: b\rX: c", HTTPStatus.BAD_REQUEST),
        (b"GET /x HTTP/1.1\r\nA: b\0", HTTPStatus.BAD_REQUEST),
        (b"GET /x HTTP/1.1" + b"\r\nA: b" * 65, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"POST /x HTTP/1.1\r\nContent-Length: -1", HTTPStatus.BAD_REQUEST),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1_0", HTTPStatus.BAD_REQUEST),
        (b"POST /x HTTP/1.1\r\nContent-Length: \xb2", HTTPStatus.BAD_REQUEST),
        (b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6", HTTPStatus.BAD_REQUEST),
        (b"POST /x HTTP/1.1\r\nContent-Length: " + b"9" * 16, HTTPStatus.BAD_REQUEST),
        (b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", HTTPStatus.LENGTH_REQUIRED),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(head: bytes, status: HTTPStatus) -> None:
    assert refusal(head) is status


def test_a_connection_stays_as_the_version_and_the_client_say() -> None:
    assert parsed().keeps_alive
    assert not parsed("/x", "Connection: Close").keeps_alive
    assert not parsed("/x", version="HTTP/1.0").keeps_alive
    assert parsed("/x", "Connection: Keep-Alive", version="HTTP/1.0").keeps_alive
    assert parsed("/x", "Expect: 100-Continue").expects_continue
    assert not parsed("/x", "Expect: 100-continue", version="HTTP/1.0").expects_continue


def test_header_names_go_out_in_title_case() -> None:
    head = response_head("200 OK", [("content-length", "3"), ("ETag", '"x"'), ("x-a-b", "c")])
    assert head == b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: "x"\r\nX-A-B: c\r\n\r\n'


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\nb", "a\rb"])
def test_a_header_with_a_line_break_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        response_head("200 OK", [("X", value)])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_plain_request_or_a_refusal(head: bytes) -> None:
    try:
        request = parse_request(head)
    except BadRequest:
        return
    assert request.path.startswith("/")
    assert {".", ".."}.isdisjoint(request.path.split("/"))


@given(st.text(alphabet=st.sampled_from("./%25ef0aA\\?#:"), max_size=40))
def test_no_spelling_of_a_path_goes_upwards(tail: str) -> None:
    try:
        path = parsed(f"/{tail}").path
    except BadRequest:
        return
    assert {".", "..", ""}.isdisjoint(path.strip("/").split("/")) or path == "/"
    assert min(ord(character) for character in path) >= 0x20
