from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest

from pxeforge.agent.transport import AgentPlane, Unreachable, WrongCertificate

from .fake_server import TOKEN, FakeServer, make_certificate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    fake = FakeServer(tmp_path)
    fake.start()
    yield fake
    fake.stop()


class AskOf(Protocol):
    def __call__(self, server: FakeServer, *, token: str = ..., pem: str = ...) -> AgentPlane: ...


@pytest.fixture
def ask_of() -> Iterator[AskOf]:
    """Agent planes whose kept connections are closed afterwards."""
    with ExitStack() as stack:

        def make(server: FakeServer, *, token: str = TOKEN, pem: str = "") -> AgentPlane:
            return stack.enter_context(closing(AgentPlane(server.url, token, pem or server.pem)))

        yield make


def test_the_pinned_certificate_is_accepted_under_any_name(server: FakeServer, ask_of: AskOf) -> None:
    reply = ask_of(server).post("/v1/hello", {"facts": {}})
    assert reply.status == 200
    assert reply.body["poll_s"] == 0.05


def test_another_certificate_is_refused_before_anything_is_sent(
    server: FakeServer, ask_of: AskOf, tmp_path: Path
) -> None:
    _, _, other = make_certificate(tmp_path, "other")
    with pytest.raises(WrongCertificate, match=r"another certificate than the pinned one .*register this host again"):
        ask_of(server, pem=other).post("/v1/hello", {"facts": {}})
    assert server.requests == []


def test_further_certificates_in_the_pem_are_not_pinned(server: FakeServer, ask_of: AskOf, tmp_path: Path) -> None:
    _, _, other = make_certificate(tmp_path, "other")
    with pytest.raises(WrongCertificate):
        ask_of(server, pem=other + server.pem).post("/v1/hello", {"facts": {}})
    assert server.requests == []


def test_a_wrong_clock_does_not_matter(tmp_path: Path, ask_of: AskOf) -> None:
    server = FakeServer(tmp_path)
    server.key_file, server.certificate_file, server.pem = make_certificate(tmp_path, starts_in_days=400)
    server.start()
    try:
        assert ask_of(server).post("/v1/claim", {"wait_s": 0}).status == 204
    finally:
        server.stop()


def test_a_connection_serves_many_requests_and_one_that_was_closed_is_made_anew(
    server: FakeServer, ask_of: AskOf
) -> None:
    plane = ask_of(server)
    for _ in range(3):
        assert plane.post("/v1/claim", {}).status == 204
    assert server.connections == 1
    server.hang_up()
    assert plane.post("/v1/claim", {}).status == 204
    assert server.connections == 2
    plane.close()
    assert plane.post("/v1/claim", {}).status == 204
    assert server.connections == 3


def test_several_threads_ask_at_once_over_connections_of_their_own(server: FakeServer, ask_of: AskOf) -> None:
    plane = ask_of(server)
    together = threading.Barrier(4)

    def ask(_: int) -> list[int]:
        together.wait()
        return [plane.post("/v1/claim", {}).status for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [[204] * 10] * 4
    assert server.connections <= 4


def test_a_server_with_another_certificate_is_refused_although_the_former_one_was_asked(
    server: FakeServer, ask_of: AskOf, tmp_path: Path
) -> None:
    plane = ask_of(server)
    assert plane.post("/v1/claim", {}).status == 204
    server.stop()
    server.key_file, server.certificate_file, _ = make_certificate(tmp_path, "other")
    server.start()
    asked = len(server.requests)
    with pytest.raises(WrongCertificate):
        plane.post("/v1/claim", {})
    assert len(server.requests) == asked


def test_a_wrong_credential_is_an_ordinary_answer(server: FakeServer, ask_of: AskOf) -> None:
    assert ask_of(server, token="wrong").post("/v1/claim", {}).status == 401


def test_a_server_that_is_down_is_unreachable(server: FakeServer, ask_of: AskOf) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="gives no answer"):
        ask_of(server).post("/v1/claim", {})


@pytest.mark.parametrize(("url", "pem"), [("http://x", ""), ("https://x", "no certificate")])
def test_a_bad_configuration_is_refused(url: str, pem: str) -> None:
    with pytest.raises(ValueError, match="register the host again"):
        AgentPlane(url, TOKEN, pem)
