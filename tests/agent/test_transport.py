from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.agent.transport import AgentPlane, Unreachable, WrongCertificate

from .fake_server import TOKEN, FakeServer, make_certificate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    fake = FakeServer(tmp_path)
    fake.start()
    yield fake
    fake.stop()


def test_the_pinned_certificate_is_accepted_under_any_name(server: FakeServer) -> None:
    reply = AgentPlane(server.url, TOKEN, server.pem).post("/v1/hello", {"facts": {}})
    assert reply.status == 200
    assert reply.body["poll_s"] == 0.05


def test_another_certificate_is_refused_before_anything_is_sent(server: FakeServer, tmp_path: Path) -> None:
    _, _, other = make_certificate(tmp_path, "other")
    with pytest.raises(WrongCertificate, match=r"another certificate than the pinned one .*register this host again"):
        AgentPlane(server.url, TOKEN, other).post("/v1/hello", {"facts": {}})
    assert server.requests == []


def test_further_certificates_in_the_pem_are_not_pinned(server: FakeServer, tmp_path: Path) -> None:
    _, _, other = make_certificate(tmp_path, "other")
    with pytest.raises(WrongCertificate):
        AgentPlane(server.url, TOKEN, other + server.pem).post("/v1/hello", {"facts": {}})
    assert server.requests == []


def test_a_wrong_clock_does_not_matter(tmp_path: Path) -> None:
    server = FakeServer(tmp_path)
    server.key_file, server.certificate_file, server.pem = make_certificate(tmp_path, starts_in_days=400)
    server.start()
    try:
        assert AgentPlane(server.url, TOKEN, server.pem).post("/v1/claim", {"wait_s": 0}).status == 204
    finally:
        server.stop()


def test_a_wrong_credential_is_an_ordinary_answer(server: FakeServer) -> None:
    assert AgentPlane(server.url, "wrong", server.pem).post("/v1/claim", {}).status == 401


def test_a_server_that_is_down_is_unreachable(server: FakeServer) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="gives no answer"):
        AgentPlane(server.url, TOKEN, server.pem).post("/v1/claim", {})


@pytest.mark.parametrize(("url", "pem"), [("http://x", ""), ("https://x", "no certificate")])
def test_a_bad_configuration_is_refused(url: str, pem: str) -> None:
    with pytest.raises(ValueError, match="register the host again"):
        AgentPlane(url, TOKEN, pem)
