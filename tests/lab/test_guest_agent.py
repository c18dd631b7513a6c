"""Commands go in and come out by the guest agent's protocol; the agent here runs them on this computer."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.lab import guest_agent
from pxeforge.lab.guest_agent import GuestAgentError


class FakeAgent:
    """One client at a time, as QEMU's; `leftover` is what somebody before did not wait for."""

    def __init__(self, path: Path) -> None:
        self.leftover = b""
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for child in self._children.values():
            child.kill()
            child.communicate()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                stream.write(self.leftover)
                while line := stream.readline():
                    question = json.loads(line.lstrip(b"\xff"))
                    if question["execute"] == "guest-sync-delimited":
                        stream.write(b"\xff")
                    stream.write(json.dumps(self._answer(question)).encode() + b"\n")
                    stream.flush()

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        given = question.get("arguments", {})
        if question["execute"] == "guest-sync-delimited":
            return {"return": given["id"]}
        if question["execute"] == "guest-exec":
            pipe = subprocess.PIPE
            child = subprocess.Popen([given["path"], *given["arg"]], stdin=pipe, stdout=pipe, stderr=pipe)
            assert child.stdin is not None
            child.stdin.write(base64.b64decode(given.get("input-data", "")))
            child.stdin.close()
            child.stdin = None
            self._children[child.pid] = child
            return {"return": {"pid": child.pid}}
        if question["execute"] == "guest-exec-status":
            return {"return": self._state(self._children[given["pid"]])}
        return {"error": {"class": "CommandNotFound", "desc": f"{question['execute']} is not known"}}

    def _state(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        if child.poll() is None:
            return {"exited": False}
        out, err = child.communicate()
        ended = {"signal": -child.returncode} if child.returncode < 0 else {"exitcode": child.returncode}
        told = {"out-data": base64.b64encode(out).decode()} | (
            {"err-data": base64.b64encode(err).decode()} if err else {}
        )
        return {"exited": True, **ended, **told}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
def agent(path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(path)
    yield fake
    fake.close()


def test_a_command_gets_its_words_and_says_how_it_ended(agent: FakeAgent, path: Path) -> None:
    done = guest_agent.run(path, ["sh", "-c", "cat; echo $HOME >&2; exit 3"], words="grüße")
    assert (done.stdout, done.stderr, done.returncode) == ("grüße", "/root\n", 3)
    assert guest_agent.run(path, ["sh", "-c", "kill -9 $$"]).returncode == -9
    assert guest_agent.run(path, ["printf", r"\377"]).stdout == "\ufffd"


def test_what_somebody_else_did_not_wait_for_is_skipped(agent: FakeAgent, path: Path) -> None:
    agent.leftover = b'{"return": {"pid": 1}}\n\xff{"return": 5}\n'
    assert guest_agent.run(path, ["echo", "mine"]).stdout == "mine\n"


def test_a_command_that_takes_too_long_is_ended(agent: FakeAgent, path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        guest_agent.run(path, ["sleep", "60"], timeout_s=0.1)
    (child, *_) = agent._children.values()
    assert child.wait(10) == -9


def test_an_agent_that_refuses_or_is_not_there_says_so(agent: FakeAgent, path: Path, tmp_path: Path) -> None:
    with pytest.raises(GuestAgentError, match="guest-fly is not known"):
        guest_agent.ask(path, "guest-fly")
    with pytest.raises(GuestAgentError, match="does not answer guest-ping"):
        guest_agent.ask(tmp_path / "nobody", "guest-ping")


def test_an_agent_that_stays_silent_is_given_up(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(GuestAgentError, match="does not answer guest-ping: timed out"):
            guest_agent.ask(path, "guest-ping", timeout_s=0.05)
