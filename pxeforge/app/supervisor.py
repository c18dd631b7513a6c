"""Starts the children of `pxeforge serve`, watches them, restarts what dies, and ends them all on SIGTERM."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from pxeforge.app import logs
from pxeforge.app.processes import (
    HANDED_VARIABLE,
    PARENT_VARIABLE,
    READY_VARIABLE,
    SETTINGS_VARIABLE,
    handed_over,
    names,
    settings_from_environment,
)
from pxeforge.servers.interfaces import NoInterface, interface_named
from pxeforge.servers.tftp_share import channel

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings

_START_LIMIT_S = 180.0  # a busy computer takes a minute
_STOP_LIMIT_S = 15.0
_ADDRESSES_EVERY_S = 5.0
_BACKOFF_S = (0.5, 1, 2, 5, 10, 30)
# Docstrings are 4 to 5 MB in each child. The admin process describes its API by them.
_WITHOUT_DOCSTRINGS = ("-OO",)
# glibc gives each thread a heap of its own, never to be given back. Ours take turns at the interpreter: one will do.
_MEMORY = {"MALLOC_ARENA_MAX": "1"}
_HANDOVER_VARIABLE = "PXEFORGE_HANDOVER"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What the program that prepares a start leaves to the supervisor: open descriptors, and what to say when ready."""

    settings: Settings
    lock: int
    boot: tuple[int, ...]
    lines: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        rest = json.dumps({"lock": self.lock, "boot": self.boot, "lines": self.lines})
        return {**os.environ, SETTINGS_VARIABLE: handed_over(self.settings), _HANDOVER_VARIABLE: rest}

    @classmethod
    def from_environment(cls) -> Handover:
        rest = json.loads(os.environ.pop(_HANDOVER_VARIABLE))
        os.set_inheritable(rest["lock"], False)
        for descriptor in rest["boot"]:
            os.set_inheritable(descriptor, False)
        return cls(
            settings=settings_from_environment(),
            lock=rest["lock"],
            boot=tuple(rest["boot"]),
            lines=tuple(rest["lines"]),
        )


@dataclass(slots=True)
class Child:
    """One listener's process and how often it had to be restarted."""

    name: str
    process: subprocess.Popen[bytes]
    ready: int
    handed: tuple[socket.socket, ...] = ()  # channel or listeners; kept here too: what waits in it survives a restart
    restarts: int = 0
    restart_at: float = field(default=0.0)


def supervise(handover: Handover) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    settings = handover.settings
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wire, tftp = channel()
    handed: dict[str, list[tuple[socket.socket, ...]]] = {"wire": [(wire,)], "tftp": [(tftp,)]}
    listeners = tuple(socket.socket(fileno=descriptor) for descriptor in handover.boot)
    handed["boot"] = [listeners[turn:] + listeners[:turn] for turn in range(len(listeners))]  # its own comes first
    children = [_start(name, handed[name].pop() if name in handed else ()) for name in names(settings)]
    try:
        failed = _wait_ready(children, stop)
        if failed is not None:
            return failed
        sys.stdout.write("".join(f"{line}\n" for line in handover.lines))
        sys.stdout.flush()
        _watch(children, settings, stop)
    finally:
        _end(children)
        os.close(handover.lock)
    return 0


def _start(name: str, handed: tuple[socket.socket, ...], restarts: int = 0) -> Child:
    ready, ours = os.pipe()
    environment = {**os.environ, **_MEMORY, READY_VARIABLE: str(ours), PARENT_VARIABLE: str(os.getpid())}
    passed = [each.fileno() for each in handed]
    environment[HANDED_VARIABLE] = json.dumps(passed)
    command = [sys.executable, *_lean(name), "-m", "pxeforge.app.processes", name]
    process = subprocess.Popen(command, env=environment, pass_fds=[ours, *passed], cwd="/")
    os.close(ours)
    return Child(name=name, process=process, ready=ready, handed=handed, restarts=restarts)


def _wait_ready(children: list[Child], stop: threading.Event) -> int | None:
    """None when all are up; otherwise the exit code (the child that failed has said why)."""
    deadline = time.monotonic() + _START_LIMIT_S
    waiting = {child.ready: child for child in children}
    with selectors.DefaultSelector() as words:
        for descriptor in waiting:
            words.register(descriptor, selectors.EVENT_READ)
        while waiting and not stop.is_set():
            for key, _ in words.select(0.2):
                words.unregister(key.fd)
                child = waiting.pop(key.fd)
                if not os.read(key.fd, 1):
                    return child.process.wait(_STOP_LIMIT_S) or 1
            if time.monotonic() > deadline:
                names = ", ".join(child.name for child in waiting.values())
                log.error("start took too long", listeners=names)
                return 1
    return 0 if stop.is_set() else None


def _watch(children: list[Child], settings: Settings, stop: threading.Event) -> None:
    ours, look_at = _our_addresses(settings), time.monotonic() + _ADDRESSES_EVERY_S
    while not stop.wait(0.5):
        now = time.monotonic()
        if now >= look_at:
            ours, look_at = _follow(ours, children, settings), now + _ADDRESSES_EVERY_S
        for position, child in enumerate(children):
            if child.process.poll() is None:
                continue
            if not child.restart_at:
                child.restart_at = now + _BACKOFF_S[min(child.restarts, len(_BACKOFF_S) - 1)]
                log.error("a listener ended; it is restarted", listener=child.name, code=child.process.returncode)
            elif now >= child.restart_at:
                os.close(child.ready)
                children[position] = _start(child.name, child.handed, child.restarts + 1)


def _our_addresses(settings: Settings) -> tuple[str, ...] | None:
    """None while an interface is away: it may come back as it was."""
    try:
        return tuple(str(interface_named(name).address) for name in settings.interfaces)
    except NoInterface:
        return None


def _follow(before: tuple[str, ...] | None, children: list[Child], settings: Settings) -> tuple[str, ...] | None:
    """Menus, answers and sockets carry our addresses: where one has changed, every listener starts again."""
    ours = _our_addresses(settings)
    if ours is None or ours == before:
        return before
    if before is not None:
        log.warning("our address has changed: every listener starts again", was=before, now=ours)
        for child in children:
            if child.process.poll() is None:
                child.process.terminate()
    return ours


def _lean(name: str) -> tuple[str, ...]:
    return () if name == "admin" else _WITHOUT_DOCSTRINGS


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


def main() -> int:
    """Returns the exit code."""
    handover = Handover.from_environment()
    logs.set_up(handover.settings, "supervisor")
    return supervise(handover)


if __name__ == "__main__":
    sys.exit(main())
