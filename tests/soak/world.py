"""Where a soak takes place: a server on a wire of its own, a small disk, and a clock that can be set."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.children import children_of
from bench.scene import HTTP_PORT, IMAGE, WIRES, write_files

WIRE: Final = WIRES["pxeforge"]
AGENT_PORT: Final = 8442
ADDRESSES: Final = ("10.64.1.10", "10.64.1.120")
DISK_MB: Final = 96
_READY_S: Final = 90.0
_TOO_SLOW: Final = "start took too long"  # as the supervisor says it
_BACK_S: Final = 120.0  # a child that died is back by then: the supervisor waits up to 30 s before it starts it
_AFTERWARDS_S: Final = 3.0  # requests that were under way when the server was back
_SETTINGS: Final = {
    "PXEFORGE_MIRROR": "http://127.0.0.1:9/debian", "PXEFORGE_ADDRESS_CHECK": "false", "PXEFORGE_BOOT_PROCESSES": "2",
    "PXEFORGE_LEASE_TIME_S": "300",
}  # fmt: skip
_LAST_LINE: Final = re.compile(
    r"(?:\n|\\n)((?:[\w.]+\.)?\w+(?:Error|Exception|Full|Unavailable|Problem|Gone)\b[^\n\\]*)"
)


class ServerGone(Exception):
    """No answer: the connection was refused or ended."""


class World:
    """The server and its surroundings; its requests may come from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self.log, self._clock_file, self._clock = folder / "serve.log", folder / "clock", folder / "clock.so"
        self.clock_offset_s = 0.0
        self.disk_is_full = False
        self.starts = self.slow_starts = 0
        self.idle: dict[str, tuple[int, float]] = {}  # process → descriptors and MB of each child once it was ready
        self._served: subprocess.Popen[bytes] | None = None
        self._troubles = 0  # accidents under way
        self._calm_since = 0.0
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ the server

    @property
    def supervisor(self) -> int:
        assert self._served is not None
        return self._served.pid

    def now(self) -> float:
        """The server's clock, unix seconds."""
        return time.time() + self.clock_offset_s

    def prepare(self) -> None:
        """A disk of its own for the data directory; run inside a fresh network and mount namespace."""
        self.data_dir.mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "none", str(self.data_dir)], check=True
        )
        write_files(self.data_dir, {"linux": 300_000, "initrd.gz": 100_000})
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._clock), str(source), "-ldl"], check=True)
        self._clock_file.write_bytes(struct.pack("d", 0.0))

    @property
    def image(self) -> Path:
        return self.data_dir / IMAGE

    def start(self) -> str | None:
        """Starts the server, once more where the computer was too busy for it; what it said last if it refused."""
        refused = self._start_once()
        if refused is not None and _TOO_SLOW in refused:
            self.slow_starts += 1
            refused = self._start_once()
        return refused

    def _start_once(self) -> str | None:
        flags = f"--interface lan --dhcp server --force --range {ADDRESSES[0]}-{ADDRESSES[1]}"
        command = [*WIRE.inside, sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(self.data_dir)]
        already = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as stream:
            self._served = subprocess.Popen(
                [*command, *flags.split()], stdout=stream, stderr=stream, env={**os.environ, **self._environment()}
            )
        self.starts += 1
        deadline = time.monotonic() + _READY_S
        while True:
            said = self._said_since(already)
            if "pxeforge is ready" in said:
                return None
            if self._served.poll() is not None:
                shown = said if "Traceback" in said else said[-400:]
                return shown or f"it ended with {self._served.returncode}"
            if time.monotonic() > deadline:
                self.kill()
                return f"it was not ready within {_READY_S:.0f} s: {said[-1500:]}"
            time.sleep(0.1)

    def _said_since(self, position: int) -> str:
        with self.log.open("rb") as stream:
            stream.seek(position)
            return stream.read().decode(errors="replace")

    def _environment(self) -> dict[str, str]:
        return {**_SETTINGS, "LD_PRELOAD": str(self._clock), "PXEFORGE_SOAK_CLOCK": str(self._clock_file)}

    def stop(self) -> int:
        """Asks the server to end; its exit code."""
        assert self._served is not None
        self._served.send_signal(signal.SIGTERM)
        try:
            return self._served.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1

    def kill(self) -> None:
        """kill -9; its children die with it."""
        assert self._served is not None
        self._served.kill()
        self._served.wait()

    @property
    def is_running(self) -> bool:
        return self._served is not None and self._served.poll() is None

    def children(self) -> dict[str, list[int]]:
        return children_of(self.supervisor)

    # ------------------------------------------------------------------ accidents

    @contextlib.contextmanager
    def trouble(self) -> Iterator[None]:
        """While it lasts, and a moment longer, nobody has to be answered."""
        self.begin_trouble()
        try:
            yield
        finally:
            self.end_trouble()

    def begin_trouble(self) -> None:
        with self._lock:
            self._troubles += 1

    def end_trouble(self) -> None:
        """May be called by another thread than the one where it began."""
        with self._lock:
            self._troubles -= 1
            self._calm_since = time.monotonic() + _AFTERWARDS_S

    def was_calm(self, since: float) -> bool:
        """Whether the server was untroubled from `since` (monotonic) until now."""
        with self._lock:
            return not self._troubles and since > self._calm_since

    def wait_back(self) -> str | None:
        """Until every child answers again; who does not, in time."""
        deadline = time.monotonic() + _BACK_S
        wanted = {"wire": 1, "tftp": 1, "boot": 2, "agent": 1, "admin": 1}
        while time.monotonic() < deadline:
            there = {name: len(pids) for name, pids in self.children().items()}
            if there == wanted and self._answers():
                return None
            time.sleep(0.2)
        return f"after {_BACK_S:.0f} s these children run: {there}, pages answer: {self._answers()}"

    def _answers(self) -> bool:
        for port in (HTTP_PORT, AGENT_PORT):
            try:
                socket.create_connection((WIRE.server, port), timeout=5).close()
            except OSError:
                return False
        try:
            self.admin("GET", "/readyz", timeout_s=5)
        except ServerGone:
            return False
        return True

    def fill_disk(self) -> None:
        """Not a byte is left."""
        self.disk_is_full = True
        with (self.data_dir / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(65536))
        with (self.data_dir / "filler").open("ab", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(64))

    def free_disk(self) -> None:
        (self.data_dir / "filler").unlink(missing_ok=True)
        self.disk_is_full = False

    def set_clock(self, offset_s: float) -> None:
        """In place: the server has the file mapped."""
        with self._clock_file.open("r+b") as stream:
            stream.write(struct.pack("d", offset_s))
        self.clock_offset_s = offset_s

    # ------------------------------------------------------------------ requests

    def admin(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = 60.0
    ) -> tuple[int, bytes]:  # fmt: skip
        """A request to the admin plane through its socket; raises ServerGone."""
        connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(timeout_s)
            connection.sock.connect(str(self.data_dir / "pxeforge.sock"))
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise ServerGone(f"{type(problem).__name__}: {problem}") from None
        finally:
            connection.close()

    def boot(self, method: str, path: str, source: str, body: bytes | None = None) -> tuple[int, bytes]:
        """A request to the boot plane from a host's address; raises ServerGone."""
        connection = http.client.HTTPConnection(WIRE.server, HTTP_PORT, timeout=30, source_address=(source, 0))
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise ServerGone(f"{type(problem).__name__}: {problem}") from None
        finally:
            connection.close()

    # ------------------------------------------------------------------ what the log says

    def tracebacks(self) -> dict[str, int]:
        """The last lines of all tracebacks in the server's log, and how often each was there."""
        found: dict[str, int] = {}
        text = self.log.read_text(errors="replace")
        for match in re.finditer(r"Traceback \(most recent call last\)", text):
            tail = text[match.start() : match.start() + 12_000]
            ends = _LAST_LINE.search(tail)
            last = ends[1][:200] if ends else tail[:200]
            found[last] = found.get(last, 0) + 1
        return found
