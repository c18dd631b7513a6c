"""BMCs of other people, started on the loopback: sushy-tools' Redfish emulator and OpenIPMI's ipmi_sim."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pxeforge.app.certificate import ensure_certificate

USER, PASSWORD = "ops", "s3cret-BMC"
UUIDS = ("27946b59-9e44-4fa7-8e91-f3527a1ef094", "11111111-9e44-4fa7-8e91-f3527a1ef094")

# Its fake machines take up to eleven seconds to switch: here none.
_EMULATOR = "import random; random.randint = lambda least, most: 0; from sushy_tools.emulator.main import main; main()"


@dataclass(frozen=True)
class Bmc:
    port: int
    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "tls" / "server.crt"

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def redfish(folder: Path, *, systems: int = 1) -> Iterator[Bmc]:
    """With TLS and a login; its machines are off."""
    bcrypt = pytest.importorskip("bcrypt")
    pytest.importorskip("sushy_tools")
    certificate, key = make_certificate(folder)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "users").write_text(f"{USER}:{hashed}\n")
    machines = [{"uuid": uuid, "name": f"m{at}", "power_state": "Off", "nics": []} for at, uuid in enumerate(UUIDS)]
    (folder / "state").mkdir()
    (folder / "config.py").write_text(
        f"SUSHY_EMULATOR_AUTH_FILE = {str(folder / 'users')!r}\n"
        f"SUSHY_EMULATOR_STATE_DIR = {str(folder / 'state')!r}\n"
        f"SUSHY_EMULATOR_FAKE_SYSTEMS = {machines[:systems]!r}\n"
    )
    port = free_port(socket.SOCK_STREAM)
    words = ["--fake", "-i", "127.0.0.1", "-p", str(port), "--ssl-certificate", str(certificate), "--ssl-key", str(key)]
    argv = [sys.executable, "-c", _EMULATOR, "--config", str(folder / "config.py"), *words]
    with started(argv, folder):
        await_true(lambda: _speaks_tls(port))
        yield Bmc(port, folder)


@contextlib.contextmanager
def ipmi(folder: Path) -> Iterator[Bmc]:
    """With one user who may switch; what its machine was told is in `log`."""
    if shutil.which("ipmi_sim") is None or shutil.which("ipmitool") is None:
        pytest.skip("this needs ipmi_sim and ipmitool")
    port = free_port(socket.SOCK_DGRAM)
    chassis = folder / "chassis"
    chassis.write_text(
        f"#!/bin/sh\necho \"$@\" >>'{folder}/log'\n"
        f"case \"$1 $2\" in\n'get power') echo \"power:$(cat '{folder}/power')\";;\n"
        f"'set power') echo \"$3\" >'{folder}/power';;\n'set shutdown') echo 0 >'{folder}/power';;\nesac\n"
    )
    chassis.chmod(0o755)
    (folder / "power").write_text("0")
    auths = "".join(f"  allowed_auths_{who} md5\n" for who in ("callback", "user", "operator", "admin"))
    (folder / "lan.conf").write_text(
        f'name "bmc"\nstartlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n{auths}'
        f'  guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control "{chassis}"\n'
        f'user 2 true "{USER}" "{PASSWORD}" operator 10 \n'
    )
    (folder / "bmc.emu").write_text(
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
    )
    (folder / "state").mkdir()
    words = ["-c", str(folder / "lan.conf"), "-f", str(folder / "bmc.emu"), "-s", str(folder / "state"), "-n"]
    with started(["ipmi_sim", *words], folder):
        await_true(lambda: _pongs(port))
        yield Bmc(port, folder)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of the BMC's own, for 127.0.0.1."""
    (folder / "tls").mkdir(exist_ok=True)
    return ensure_certificate(folder, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))


@contextlib.contextmanager
def started(argv: list[str], folder: Path) -> Iterator[None]:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env={**os.environ, "HOME": "/"}
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_true(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "the BMC did not start"
        time.sleep(0.05)


def _speaks_tls(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.version() is not None
    except OSError:
        return False


def _pongs(port: int) -> bool:
    """An RMCP ping (ASF 2.0, 3.2.4.2) is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.3)
        asker.connect(("127.0.0.1", port))
        try:
            asker.send(bytes.fromhex("0600ff06000011be80000000"))
            return bool(asker.recv(100))
        except OSError:
            return False
