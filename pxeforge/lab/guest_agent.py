"""Runs commands inside a machine of the lab by QEMU's guest agent: no network of the machine's is needed.

JSON lines on a unix socket, which is a serial port in the machine. The words of the protocol: QEMU's
docs/interop/qemu-ga-ref. One client at a time is listened to, so that every question has a connection of its own.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

# What a command of ours has of an environment, here as in systems by systemd-nspawn.
ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root",
)  # fmt: skip
_ANSWER_S: Final = 20.0
_FIRST_LOOK_S: Final = 0.05
_LOOK_S: Final = 0.5
_MARK: Final = b"\xff"  # what the agent sends before the answer to guest-sync-delimited, and never else
_LONGEST: Final = 64 * 2**20


class GuestAgentError(Exception):
    """The agent does not answer, or refused; the message says what it said."""


def ask(path: Path, command: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = _ANSWER_S) -> Any:
    """One question; its `return` value. Raises GuestAgentError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                _synchronise(stream)
                _send(stream, command, arguments)
                return _value(stream.readline(_LONGEST))
    except (OSError, ValueError) as error:
        raise GuestAgentError(f"the guest agent does not answer {command}: {error}") from error


def _synchronise(stream: Any) -> None:
    """Skips what is left of an answer that somebody before us did not wait for."""
    mark = secrets.randbelow(2**31)
    stream.write(_MARK)
    _send(stream, "guest-sync-delimited", {"id": mark})
    while True:
        skipped = b""
        while (octet := stream.read(1)) != _MARK:
            skipped += octet
            if not octet or len(skipped) > _LONGEST:
                raise GuestAgentError("the guest agent hung up")
        if _value(stream.readline(_LONGEST)) == mark:
            return


def _send(stream: Any, command: str, arguments: dict[str, Any] | None) -> None:
    question = {"execute": command} | ({"arguments": arguments} if arguments else {})
    stream.write(json.dumps(question).encode() + b"\n")
    stream.flush()


def _value(line: bytes) -> Any:
    if not line:
        raise GuestAgentError("the guest agent hung up")
    answer = json.loads(line)
    if "error" in answer:
        raise GuestAgentError(str(answer["error"].get("desc", answer["error"])))
    return answer["return"]


def run(
    path: Path, command: Sequence[str], *, timeout_s: float | None = 60.0, words: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command as root and returns what it said. Raises GuestAgentError, TimeoutExpired (it is killed then)."""
    arguments: dict[str, Any] = {
        "path": "/usr/bin/env", "arg": ["-i", *ENVIRONMENT, *command], "capture-output": True,
    }  # fmt: skip
    if words is not None:
        arguments["input-data"] = base64.b64encode(words.encode()).decode()
    pid = int(ask(path, "guest-exec", arguments)["pid"])
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    look_s = _FIRST_LOOK_S
    while not (state := ask(path, "guest-exec-status", {"pid": pid}))["exited"]:
        if deadline is not None and time.monotonic() > deadline:
            ask(path, "guest-exec", {"path": "/bin/sh", "arg": ["-c", f"kill -KILL {pid}"]})
            raise subprocess.TimeoutExpired(list(command), timeout_s or 0)
        time.sleep(look_s)
        look_s = min(_LOOK_S, look_s * 1.5)
    code = -int(state["signal"]) if "signal" in state else int(state["exitcode"])
    return subprocess.CompletedProcess(list(command), code, _text(state, "out-data"), _text(state, "err-data"))


def _text(state: dict[str, Any], key: str) -> str:
    return base64.b64decode(state.get(key, "")).decode(errors="replace")
