from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.command import main
from pxeforge.agent.registration import NotRegistered, register
from pxeforge.agent.transport import certificate_fingerprint

from .fake_server import make_certificate


class BootPlane:
    """The registration route: answers as told, one answer after another, the last one for ever."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers, self.bodies = list(answers), []  # type: ignore[var-annotated]
        plane = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name http.server asks for
                plane.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, answer = plane.answers.pop(0) if len(plane.answers) > 1 else plane.answers[0]
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/installer/one-time-token/register"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tls").mkdir()
    _, _, pem = make_certificate(tmp_path / "tls")
    return {
        "agent_url": "https://10.0.0.1:8442",
        "agent_token": "t0p",
        "certificate_pem": pem,
        "host_id": "7",
        "host_name": "db1",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "target"
    (root / "etc/ssh").mkdir(parents=True)
    (root / "etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAAkey root@d-i\n")
    (root / "etc/hostname").write_text("db1\n")
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
    return root


@pytest.fixture
def planes() -> Iterator[list[BootPlane]]:
    started: list[BootPlane] = []
    yield started
    for plane in started:
        plane.server.shutdown()
        plane.server.server_close()


def test_registration_sends_facts_and_writes_what_the_agent_needs(
    config: dict[str, str], root: Path, planes: list[BootPlane], capsys: pytest.CaptureFixture[str]
) -> None:
    planes.append(BootPlane((200, {**config, "more": 1})))
    assert main(["register", "--url", planes[0].url, "--token-in-url", "--root", str(root)]) == 0
    facts = planes[0].bodies[0]
    assert facts["hostname"] == "db1"
    assert facts["os"]["codename"] == "trixie"
    assert facts["ssh_host_keys"] == [{"type": "ssh-ed25519", "public_key": "ssh-ed25519 AAAAkey"}]
    assert facts["ram_bytes"] > 0
    assert facts["cpu"]["count"] > 0
    file = root / "etc/pxeforge/agent.json"
    assert json.loads(file.read_text()) == config
    assert file.stat().st_mode & 0o777 == 0o600
    assert "pxeforge-agent.pyz run" in (root / "etc/systemd/system/pxeforge-agent.service").read_text()
    wants = root / "etc/systemd/system/multi-user.target.wants/pxeforge-agent.service"
    assert str(wants.readlink()) == "/etc/systemd/system/pxeforge-agent.service"
    assert capsys.readouterr().out == "registered as db1 (7)\n"
    assert main(["register", "--url", planes[0].url, "--root", str(root)]) == 0  # once more does no harm


def test_a_used_token_ends_at_once_with_one_sentence_that_hides_it(
    root: Path, planes: list[BootPlane], capsys: pytest.CaptureFixture[str]
) -> None:
    planes.append(BootPlane((410, {"error": "used"})))
    assert main(["register", "--url", planes[0].url, "--token-in-url", "--root", str(root)]) == 1
    said = capsys.readouterr().err
    assert (
        said.strip() == "the server answers 410 (used): the token is used up, too old or wrong, so arm the host again"
    )
    assert len(planes[0].bodies) == 1
    assert not (root / "etc/pxeforge").exists()


def test_a_server_in_trouble_is_asked_again_but_not_for_ever(
    config: dict[str, str], root: Path, planes: list[BootPlane]
) -> None:
    pauses: list[float] = []
    planes.append(BootPlane((503, {}), (503, {}), (200, config)))
    assert register(planes[0].url, root, pauses.append) == {"host_id": "7", "host_name": "db1"}
    assert len(pauses) == 2
    # One nonce for all tries: a server whose answer was lost can then give it once more.
    [nonce] = {body["registration_nonce"] for body in planes[0].bodies}
    assert len(nonce) == 64
    planes.append(BootPlane((503, {})))
    with pytest.raises(NotRegistered, match="answers 503, after 8 attempts") as caught:
        register(planes[1].url, root, pauses.append)
    assert "one-time-token" not in str(caught.value)
    assert max(pauses) <= 30


def test_a_half_answer_is_refused(config: dict[str, str], root: Path, planes: list[BootPlane]) -> None:
    del config["certificate_pem"]
    planes.append(BootPlane((200, config)))
    with pytest.raises(NotRegistered, match="lacks certificate_pem"):
        register(planes[0].url, root, lambda _: None)
    assert not (root / "etc/pxeforge").exists()


def test_run_without_registration_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--root", str(tmp_path)]) == 1
    assert "register this host again" in capsys.readouterr().err


def test_a_certificate_that_was_named_must_be_the_servers(
    config: dict[str, str], root: Path, planes: list[BootPlane]
) -> None:
    planes.append(BootPlane((200, config)))
    with pytest.raises(NotRegistered, match="not the one that was named"):
        register(planes[0].url, root, certificate="ab" * 32)
    assert not (root / "etc/pxeforge").exists()
    right = certificate_fingerprint(config["certificate_pem"])
    assert register(planes[0].url, root, certificate=right.upper())["host_name"] == "db1"
