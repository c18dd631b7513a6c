"""A small client of QEMU's machine protocol (QMP, JSON lines on a unix socket)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """QEMU does not answer or refused the command."""


def execute(path: Path, command: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 5) -> Any:
    """Connects, runs one command and returns its `return` value; raises QmpError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                stream.readline()  # the greeting
                for name, value in (("qmp_capabilities", None), (command, arguments)):
                    request = {"execute": name} | ({"arguments": value} if value else {})
                    stream.write(json.dumps(request).encode() + b"\n")
                    stream.flush()
                    answer = _answer(stream.readline)
                return answer
    except (OSError, ValueError) as error:
        raise QmpError(f"QEMU does not answer {command} on its control socket: {error}") from error


def _answer(readline: Any) -> Any:
    while line := readline():
        message = json.loads(line)
        if "error" in message:
            raise QmpError(str(message["error"].get("desc", message["error"])))
        if "return" in message:
            return message["return"]  # anything else is an event
    raise QmpError("QEMU closed its control socket")
