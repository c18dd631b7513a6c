"""A machine that netboots, installs, registers and carries out tasks, as seen from the wire; run in its namespace.

`python -m tests.e2e.simulated_machine discover|boot|register|work SERVER MAC [ADDRESS]`; what it learns it prints.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final

_COOKIE: Final = bytes.fromhex("63825363")
_AGENT_PORT: Final = 8442
_BOOT_PORT: Final = 8080
_IDLE_S: Final = 3.0  # an agent that found nothing to do for so long is done
DISKS: Final = [{"name": "vda", "size_bytes": 64 * 10**9, "serial": "SIM1", "model": "SIM DISK", "system": True}]


def discover(mac: str, interface: str) -> None:
    """A DISCOVER as an UEFI firmware broadcasts it (RFC 4578), three times as firmware does."""
    number = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack(">BBBBIHH16s16s64x128x", 1, 1, 6, 0, secrets.randbits(32), 0, 0x8000, bytes(16), number)
    options = {
        53: b"\x01", 55: bytes([1, 3, 6, 54, 60, 66, 67]), 57: b"\x05\xc0", 60: b"PXEClient:Arch:00007:UNDI:003016",
        93: b"\0\x07", 94: b"\x01\x03\x10", 97: b"\0" + number.rjust(16, b"\1"),
    }  # fmt: skip
    told = b"".join(bytes([code, len(value)]) + value for code, value in options.items())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        wire.bind(("0.0.0.0", 68))
        for _ in range(3):
            wire.sendto(head + _COOKIE + told + b"\xff", ("255.255.255.255", 67))
            time.sleep(0.3)


def boot(server: str, mac: str) -> str:
    """Fetches menu and answers; the token of the installer's way back."""
    answers = re.search(r"/answers/([0-9a-f]{32})", _get(server, f"/boot/{mac}/menu.ipxe"))
    if answers is None:
        sys.exit("the menu says: boot the local disk")
    installer = re.search(r"/installer/([0-9a-f]{32})/", _get(server, f"/answers/{answers[1]}"))
    if installer is None:
        sys.exit("the answers name no way back")
    _get(server, f"/installer/{installer[1]}/early")
    return installer[1]


def register(server: str, mac: str, address: str, token: str) -> str:
    """The agent's credential."""
    facts = {
        "hostname": "sim", "serial": "SIM", "ram_bytes": 8 << 30, "cpu": {"model": "sim", "count": 4}, "disks": DISKS,
        "nics": [{"name": "ens3", "mac": mac, "addresses": [f"{address}/24"]}],
        "registration_nonce": secrets.token_hex(32),
    }  # fmt: skip
    told: dict[str, Any] = json.loads(_boot_plane(server, "POST", f"/installer/{token}/register", json.dumps(facts)))
    return str(told["agent_token"])


def work(server: str, credential: str) -> int:
    """Greets, then carries out tasks until there are none for a while; how many it did."""
    _agent(server, credential, "/v1/hello", {"version": "0", "boot_id": "sim", "facts": {"disks": DISKS}})
    done, quiet_since = 0, time.monotonic()
    while time.monotonic() - quiet_since < _IDLE_S:
        task = _agent(server, credential, "/v1/claim", {})
        if not task:
            time.sleep(0.2)
            continue
        path = f"/v1/tasks/{task['task_id']}/result"
        _agent(server, credential, path, {"fence": task["fence"], "status": "changed", "steps": []})
        done, quiet_since = done + 1, time.monotonic()
    return done


def _get(server: str, path: str) -> str:
    return _boot_plane(server, "GET", path)


def _boot_plane(server: str, method: str, path: str, body: str | None = None) -> str:
    connection = http.client.HTTPConnection(server, _BOOT_PORT, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        content = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        sys.exit(f"{method} {path.split('?')[0][:40]} was answered with {answer.status}: {content[:300]}")
    return content


def _agent(server: str, credential: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(server, _AGENT_PORT, timeout=30, context=context)
    try:
        headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status >= 400:
        sys.exit(f"{path} was answered with {answer.status}: {content[:300]!r}")
    return dict(json.loads(content)) if content else {}


def main(step: str, server: str, mac: str, address: str, kept: str) -> None:
    """`kept`: a file for what one step leaves to the next."""
    if step == "discover":
        discover(mac, "nic0")
    elif step == "boot":
        Path(kept).write_text(boot(server, mac))
    elif step == "register":
        Path(kept).write_text(register(server, mac, address, Path(kept).read_text()))
    elif step == "work":
        print(work(server, Path(kept).read_text()))
    else:
        sys.exit(f"there is no step {step}")


if __name__ == "__main__":
    main(*sys.argv[1:6])
