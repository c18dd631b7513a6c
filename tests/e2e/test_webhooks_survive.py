"""Webhooks whose sender is killed again and again: every event arrives, in a message that is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pxeforge.services import event_list, hosts, webhooks

from .webhook_process import open_folder

ROOT = Path(__file__).parents[2]
HOSTS = 40
KILLS = 6


class Receiver(http.server.BaseHTTPRequestHandler):
    """Remembers what came."""

    got: list[tuple[dict[str, str], bytes]]
    arrived: threading.Semaphore

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        self.arrived.release()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.mark.slow
def test_no_event_is_lost_though_the_sender_is_killed_at_any_moment(tmp_path: Path) -> None:
    ctx = open_folder(tmp_path)
    ctx.database.upgrade()
    got: list[tuple[dict[str, str], bytes]] = []
    handler = type("One", (Receiver,), {"got": got, "arrived": threading.Semaphore(0)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        secret = webhooks.add(ctx, url, events=["operator.adopt"], who="test")["secret"]
        for number in range(HOSTS):
            hosts.add(ctx, macs=[f"52:54:00:00:00:{number:02x}"], who="test")
        wanted = {
            one["id"] for one in event_list.after(ctx, event_list.Wanted(kind="adopt"), 0, limit=1000)
        }  # fmt: skip
        for _ in range(KILLS):
            _send_some_and_die(tmp_path, handler)
        _send_the_rest(tmp_path, lambda: {json.loads(body)["data"]["id"] for _, body in got} >= wanted)
        server.shutdown()
        thread.join(10)
    ids: dict[int, set[str]] = {}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    for headers, body in got:
        said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        ids.setdefault(json.loads(body)["data"]["id"], set()).add(headers["webhook-id"])
    assert set(ids) == wanted
    assert all(len(one) == 1 for one in ids.values())  # what came twice came under one id
    ctx.database.close()


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.webhook_process", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _send_some_and_die(folder: Path, handler: Any) -> None:
    """Killed while a message is on its way or just after: the receiver has it, nobody wrote it down."""
    with _start(folder) as process:
        for _ in range(3):
            handler.arrived.acquire(timeout=60)
        process.kill()


def _send_the_rest(folder: Path, is_done: Any) -> None:
    with _start(folder) as process:
        for _ in range(6000):
            if is_done():
                break
            threading.Event().wait(0.02)
        process.kill()
