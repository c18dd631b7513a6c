"""Where webhooks go: nowhere inside, nowhere else than was checked, and never for long."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pxeforge.services import webhook_target
from pxeforge.services.webhook_target import Limits, NotDelivered, Unwelcome, check_url, post

LOOPBACK = Limits(allowed=(ipaddress.ip_network("127.0.0.0/8"),))
BOOT = Limits(denied=(ipaddress.ip_network("198.51.100.0/24"),))


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as its path says and remembers what came."""

    seen: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, dict(self.headers), body))
        word = self.path.strip("/")
        self.send_response(int(word) if word.isdigit() else 204)
        if word == "302":
            self.send_header("Location", "/200")
        self.end_headers()
        if word == "drip":
            for _ in range(100):
                try:
                    self.wfile.write(b".")
                except OSError:
                    return
                if threading.Event().wait(0.05):
                    return

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    seen: list[Any] = []
    handler = type("One", (Receiver,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0", "169.254.169.254", "[fe80::1]", "[::ffff:127.0.0.1]", "[::]",
     "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255", "240.0.0.1",
     "[fd00:ec2::254]", "localhost", "2130706433", "0x7f.1", "127.1", "198.51.100.7", "[::ffff:198.51.100.7]"],
)  # fmt: skip
def test_nothing_is_sent_inside(host: str) -> None:
    with pytest.raises(Unwelcome, match="webhook_networks"):
        check_url(f"http://{host}/hook", BOOT)
    with pytest.raises(NotDelivered, match="nothing is sent to"):
        post(f"http://{host}:1/hook", b"", {}, BOOT)


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1:25/", "http://", "http:///x",
     "https://u:p@example.org/", "https://u@example.org/", "http://ex ample.org/", "http://example.org:x/",
     "http://example.org:99999/", "http://example.org:0/", "http://example.org/\r\nX: y", "http://ä.example/",
     "http://[::1", "javascript:alert(1)", "http://example.org/" + "a" * 2000],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Unwelcome):
        check_url(url, Limits())
    with pytest.raises(NotDelivered):
        post(url, b"", {}, Limits())


def test_other_networks_of_the_house_may_be_reached() -> None:
    for host in ("192.0.2.7", "[2001:db8::7]", "198.51.101.7", "10.1.2.3"):
        check_url(f"https://{host}/hook", BOOT)


def test_a_name_is_checked_by_all_its_addresses_and_the_connection_goes_to_a_checked_one(
    monkeypatch: pytest.MonkeyPatch, receiver: tuple[str, list[Any]]
) -> None:
    """DNS rebinding: the name means a harmless address when it is checked, and another when it is connected to."""
    asked = iter([["192.0.2.7", "127.0.0.1"], ["192.0.2.7"], ["127.0.0.1"]])

    def resolve(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(asked)]

    went: list[Any] = []

    def connect(address: Any, *_: Any) -> Any:
        went.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(webhook_target.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(webhook_target.socket, "create_connection", connect)
    with pytest.raises(Unwelcome):
        check_url("http://rebind.example/", Limits())
    with pytest.raises(NotDelivered, match=r"no answer from rebind\.example"):
        post("http://rebind.example:8000/", b"", {}, Limits())
    assert went == [("192.0.2.7", 8000)]


def test_the_body_arrives_under_the_name_that_was_asked_for(receiver: tuple[str, list[Any]]) -> None:
    url, seen = receiver
    assert post(f"{url}/a/b?c=d", b'{"x": 1}', {"webhook-id": "1"}, LOOPBACK) == 204
    [(path, headers, body)] = seen
    assert (path, headers["webhook-id"], body) == ("/a/b?c=d", "1", b'{"x": 1}')
    assert headers["Host"] == url.removeprefix("http://")


@pytest.mark.parametrize(("path", "word"), [("302", "redirects are not followed"), ("500", "500"), ("410", "410")])
def test_what_is_not_taken_is_told_and_no_redirect_is_followed(
    receiver: tuple[str, list[Any]], path: str, word: str
) -> None:
    url, seen = receiver
    with pytest.raises(NotDelivered, match=word) as refused:
        post(f"{url}/{path}", b"", {}, LOOPBACK)
    assert (refused.value.status, len(seen)) == (int(path), 1)


def test_an_answer_that_never_ends_is_cut(receiver: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_target, "_WHOLE_S", 0.1)
    url, _ = receiver
    post(f"{url}/drip", b"", {}, LOOPBACK)


@pytest.mark.parametrize(
    "talk",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500],
)
def test_a_receiver_that_speaks_something_else_is_told(talk: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(talk)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(NotDelivered):
            post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"", {}, LOOPBACK)
        thread.join(10)


def test_plain_http_behind_https_is_told(receiver: tuple[str, list[Any]]) -> None:
    with pytest.raises(NotDelivered, match="no TLS with"):
        post(receiver[0].replace("http:", "https:"), b"", {}, LOOPBACK)


def test_our_own_address_is_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    is_ours: Callable[[Any], bool] = webhook_target._is_ours
    assert is_ours(ipaddress.ip_address("127.0.0.1"))
    assert not is_ours(ipaddress.ip_address("192.0.2.7"))
