"""Reports the hardware of a host that runs nothing but memory: once, with the token of its menu. Touches no disk."""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pxeforge.agent.facts import collect
from pxeforge.agent.lldp import neighbours

_OF_A_SYSTEM = ("hostname", "os", "machine_id", "ssh_host_keys", "mounts", "default_route")  # of this memory only
_TRIES = 8
_PAUSE_S = 5.0
ENDS = ("poweroff", "reboot", "wait")


class NotReported(Exception):
    """The server took nothing; the message says why, without the token."""


def hardware(root: Path = Path("/"), sys_: Path = Path("/sys"), listen_s: float = 30.0) -> dict[str, Any]:
    """The facts but for what an installed system would tell, and the LLDP neighbours of its NICs."""
    facts = {key: value for key, value in collect(root, sys_).items() if key not in _OF_A_SYSTEM}
    physical = [nic["name"] for nic in facts["nics"] if nic.get("physical")]
    return {**facts, "neighbours": neighbours(physical, listen_s), "told_by": "discovery"}


def report(url: str, facts: dict[str, Any], sleep: Callable[[float], None] = time.sleep) -> str:
    """Sends the facts; returns what to do then (one of ENDS). Raises NotReported."""
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            sleep(_PAUSE_S)
        try:
            status, answer = _post(url, facts)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        if status == 200:
            return answer if answer in ENDS else "wait"
        problem = f"the server says {status}: {answer[:200]}"
        if status < 500:
            break  # it will not think otherwise
    raise NotReported(problem)


def _post(url: str, facts: dict[str, Any]) -> tuple[int, str]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=30)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{parts.path}/report", json.dumps(facts).encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode("utf-8", "replace").strip()
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """`main([url, file])`: reports to `url`; what to do then is written into the file, for the script around it."""
    url, file = arguments
    facts = hardware()
    told = ", ".join(
        f"{one['nic']}: {one.get('system') or one['chassis']} {one['port']}" for one in facts["neighbours"]
    )
    print(f"{len(facts['disks'])} disks, {len(facts['nics'])} NICs, neighbours: {told or 'none heard'}", flush=True)
    try:
        end = report(url, facts)
    except NotReported as problem:
        print(f"not reported: {problem}", file=sys.stderr)
        return 1
    Path(file).write_text(end)
    return 0
