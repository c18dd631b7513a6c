"""Starts the children of `pxeforge serve`, watches them, restarts what dies, and ends them all on SIGTERM."""

from __future__ import annotations

import datetime
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

import structlog

from pxeforge.app.assembly import addresses_of, open_context, open_data_dir, remember_addresses
from pxeforge.app.certificate import ensure_certificate, fingerprint
from pxeforge.app.processes import CHANNEL_VARIABLE, NAMES, READY_VARIABLE, SETTINGS_VARIABLE
from pxeforge.app.settings import BadSettings, Settings
from pxeforge.servers.tftp_share import channel
from pxeforge.services import accounts, housekeeping

_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 15.0
_TIDY_EVERY_S = 600.0
_BACKOFF_S = (0.5, 1, 2, 5, 10, 30)
log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """One listener's process and how often it had to be restarted."""

    name: str
    process: subprocess.Popen[bytes]
    ready: int
    channel: socket.socket | None = None  # kept here too: what waits in it survives a restart
    restarts: int = 0
    restart_at: float = field(default=0.0)


def serve(settings: Settings, say: Callable[[str], None]) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code. Raises BadSettings and CannotListen's sentence by exit 1."""
    open_data_dir(settings.data_dir)
    lock = _lock(settings)
    if not settings.interfaces:
        raise BadSettings("no interface given: name the one of the boot network, e.g. --interface eth0")
    addresses = addresses_of(settings)
    ctx = open_context(settings, upgrade=True)
    remember_addresses(settings, addresses)
    password = accounts.ensure_admin(ctx)
    if password is not None:  # said at once: a start that fails later (a port in use) must not swallow it
        say(f"first start: log in as admin with the password {password} (it is shown only once)")
    certificate, _ = ensure_certificate(
        settings.data_dir, [addresses.boot_address, settings.admin_address[0], "127.0.0.1"],
        datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    housekeeping.at_start(ctx)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    channels = dict(zip(("wire", "tftp"), channel(), strict=True))
    children = [_start(name, settings, channels.get(name)) for name in NAMES]
    try:
        failed = _wait_ready(children, stop)
        if failed is not None:
            return failed
        say(f"certificate SHA-256 {fingerprint(certificate)}")
        say(
            f"pxeforge is ready: admin https://{settings.admin_listen}/ boot {addresses.boot_url}/ "
            f"agents {addresses.agent_url}/ dhcp {settings.dhcp} on {', '.join(settings.interfaces)}"
        )
        _watch(children, settings, stop, lambda: housekeeping.tick(ctx), lambda: housekeeping.tidy(ctx))
    finally:
        _end(children)
        lock.close()
    return 0


def _lock(settings: Settings) -> IO[str]:
    """Held while we run: two servers on one data directory would hand out the same addresses."""
    stream = (settings.data_dir / "serve.lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise BadSettings(
            f"another pxeforge serves {settings.data_dir} already: stop it or choose another --data-dir"
        ) from None
    return stream


def _start(name: str, settings: Settings, channel: socket.socket | None, restarts: int = 0) -> Child:
    ready, ours = os.pipe()
    environment = os.environ | {SETTINGS_VARIABLE: settings.model_dump_json(), READY_VARIABLE: str(ours)}
    passed = [ours]
    if channel is not None:
        passed.append(channel.fileno())
        environment[CHANNEL_VARIABLE] = str(channel.fileno())
    process = subprocess.Popen(
        [sys.executable, "-m", "pxeforge.app.processes", name], env=environment, pass_fds=passed, cwd="/"
    )
    os.close(ours)
    return Child(name=name, process=process, ready=ready, channel=channel, restarts=restarts)


def _wait_ready(children: list[Child], stop: threading.Event) -> int | None:
    """None when all are up; otherwise the exit code (the child that failed has said why)."""
    deadline = time.monotonic() + _START_LIMIT_S
    waiting = {child.ready: child for child in children}
    while waiting and not stop.is_set():
        readable, _, _ = select.select(list(waiting), [], [], 0.2)
        for descriptor in readable:
            child = waiting.pop(descriptor)
            if not os.read(descriptor, 1):
                return child.process.wait(_STOP_LIMIT_S) or 1
        if time.monotonic() > deadline:
            names = ", ".join(child.name for child in waiting.values())
            log.error("start took too long", listeners=names)
            return 1
    return 0 if stop.is_set() else None


def _watch(
    children: list[Child],
    settings: Settings,
    stop: threading.Event,
    tick: Callable[[], None],
    tidy: Callable[[], None],
) -> None:
    next_tick = next_tidy = time.monotonic()
    while not stop.wait(0.5):
        now = time.monotonic()
        for position, child in enumerate(children):
            if child.process.poll() is None:
                continue
            if not child.restart_at:
                child.restart_at = now + _BACKOFF_S[min(child.restarts, len(_BACKOFF_S) - 1)]
                log.error("a listener ended; it is restarted", listener=child.name, code=child.process.returncode)
            elif now >= child.restart_at:
                os.close(child.ready)
                children[position] = _start(child.name, settings, child.channel, child.restarts + 1)
        if now >= next_tick:
            next_tick = now + 5
            try:
                tick()
                if now >= next_tidy:
                    next_tidy = now + _TIDY_EVERY_S
                    tidy()
            except Exception:
                # A full disk or a locked database must not end the listeners; the next tick tries again.
                log.exception("housekeeping failed")


def _end(children: list[Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + _STOP_LIMIT_S
    for child in children:
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        os.close(child.ready)
