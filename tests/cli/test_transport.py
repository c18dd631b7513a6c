"""The way to the REST API: long lists come whole, streams go on where they were, refusals are one sentence."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pxeforge.app.settings import Settings
from pxeforge.cli import transport
from pxeforge.cli.transport import HttpApi, LocalApi, Refusal
from pxeforge.services import hosts


class Server(http.server.BaseHTTPRequestHandler):
    """Says the next of its answers: status, headers, body."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        if not self.answers:
            self.close_connection = True
            return
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HttpApi, list[Any], list[Any]]]:
    """An API with the answers that are put into the first list; what it was asked is in the second."""
    monkeypatch.setattr(transport, "_AGAIN_S", 0.01)
    monkeypatch.setattr(transport, "_PATIENCE_S", 0.2)
    answers: list[Any] = []
    asked: list[Any] = []
    handler = type("One", (Server,), {"answers": answers, "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as real, requests.Session() as session:
        thread = threading.Thread(target=real.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        session.trust_env = False
        yield HttpApi(session, f"http://127.0.0.1:{real.server_port}"), answers, asked
        real.shutdown()
        thread.join(10)


def part(rows: list[int], link: str = "") -> tuple[int, dict[str, str], bytes]:
    return 200, {"Link": link} if link else {}, json.dumps(rows).encode()


def test_a_list_in_parts_comes_whole(server: tuple[HttpApi, list[Any], list[Any]]) -> None:
    api, answers, asked = server
    answers += [
        part([1], '</api/v1/hosts?cursor=abc>; rel="next"'),
        part([2], '<x?cursor=d%3D>; rel="next"'),
        part([3]),
    ]
    assert api.call("GET", "/hosts", query={"tag": "a b", "state": None}) == [1, 2, 3]
    assert [path for path, _ in asked] == [
        "/api/v1/hosts?tag=a+b", "/api/v1/hosts?tag=a+b&limit=1000&cursor=abc",
        "/api/v1/hosts?tag=a+b&limit=1000&cursor=d%3D",
    ]  # fmt: skip


def test_whoever_names_a_limit_gets_that_part(server: tuple[HttpApi, list[Any], list[Any]]) -> None:
    api, answers, _ = server
    answers += [part([1], '</api/v1/events?cursor=abc>; rel="next"')]
    assert api.call("GET", "/events", query={"limit": 1}) == [1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": "too small", "title": "No", "errors": []}, "too small"),
        ({"title": "No"}, "No"),
        ([], "answered 400"),
    ],
)
def test_a_refusal_is_the_sentence_of_the_server(
    server: tuple[HttpApi, list[Any], list[Any]], body: Any, said: str
) -> None:
    api, answers, _ = server
    answers.append((400, {}, json.dumps(body).encode()))
    with pytest.raises(Refusal, match=said):
        api.call("GET", "/hosts")


def stream(*blocks: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/event-stream"}, "".join(f"{block}\n\n" for block in blocks).encode()


def test_a_stream_that_ends_is_taken_up_where_it_was(server: tuple[HttpApi, list[Any], list[Any]]) -> None:
    api, answers, asked = server
    answers += [
        stream("retry: 1\nid: 4", 'id: 5\nevent: a.b\ndata: {"id": 5}', ": still here", 'id: 6\ndata: {"id": 6}'),
        stream("retry: 1\nid: 6"),
        stream("retry: 1\nid: 6", 'id: 9\ndata: {"id": 9}'),
    ]
    told = api.follow("/events/stream", {"kind": "b"})
    assert [next(told)["id"] for _ in range(3)] == [5, 6, 9]
    with pytest.raises(Refusal, match="the server is gone"):
        next(told)
    assert [headers.get("Last-Event-ID") for _, headers in asked[:3]] == [None, "6", "6"]
    assert asked[0][0] == "/api/v1/events/stream?kind=b"


def test_a_refused_stream_says_why(server: tuple[HttpApi, list[Any], list[Any]]) -> None:
    api, answers, _ = server
    answers.append((403, {}, b'{"detail": "this needs the role viewer"}'))
    with pytest.raises(Refusal, match="needs the role viewer"):
        next(api.follow("/events/stream"))


def test_without_a_server_lists_come_whole_too_and_nothing_can_be_followed(tmp_path: Path) -> None:
    api = LocalApi(Settings(data_dir=tmp_path, operator_dir=tmp_path / "etc"))
    ctx = api._client.application.extensions["pxeforge.context"]
    for number in range(103):
        hosts.add(ctx, macs=[f"52:54:00:00:01:{number:02x}"], name=f"n{number:03}", who="test")
    assert [one["name"] for one in api.call("GET", "/hosts")] == [f"n{number:03}" for number in range(103)]
    assert len(api.call("GET", "/hosts", query={"limit": 7})) == 7
    with pytest.raises(Refusal, match="no server runs"):
        api.follow("/events/stream")
    ctx.database.close()
