"""Forwards a TCP port of the host's loopback into a rack's namespace, so that a browser reaches the admin UI there."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import ipaddress
import os
import socket
import threading
from pathlib import Path

from pxeforge.lab.rack import NETNS_DIR

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CHUNK = 64 * 1024


def address(text: str) -> tuple[str, int]:
    """Reads `127.0.0.1:8443` (IPv4); raises ValueError."""
    host, _, port = text.rpartition(":")
    ipaddress.IPv4Address(host)
    if not 0 <= int(port) <= 65535:
        raise ValueError(f"{port} is no port number")
    return host, int(port)


def loopback_address(text: str) -> tuple[str, int]:
    """Like address, but refuses to listen where others could connect."""
    host, port = address(text)
    if not ipaddress.IPv4Address(host).is_loopback:
        raise ValueError(f"{host} is not on the loopback")
    return host, port


def enter(netns: Path) -> None:
    """Moves this thread, and those it starts from now on, into the namespace; sockets made before stay where they are.

    Raises OSError.
    """
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # os.setns came with Python 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"cannot enter {netns}: {os.strerror(error)}")
    finally:
        os.close(descriptor)


def forward(listener: socket.socket, target: tuple[str, int]) -> None:
    """Accepts until the listener is shut down; connections are dialled from the namespace of the calling thread."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, target), daemon=True).start()


def _serve(client: socket.socket, target: tuple[str, int]) -> None:
    with client:
        try:
            server = socket.create_connection(target, timeout=10)
        except OSError:
            return  # nobody listens there: the client sees its connection closed
        with server:
            server.settimeout(None)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_CHUNK):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pxeforge.lab.port_forward", description=__doc__)
    parser.add_argument("--netns", required=True, help="name of the rack's network namespace")
    parser.add_argument("--listen", type=loopback_address, required=True, help="where on the host, e.g. 127.0.0.1:8443")
    parser.add_argument("--to", type=address, required=True, help="where in the namespace, e.g. 127.0.0.1:8443")
    options = parser.parse_args(arguments)
    with socket.create_server(options.listen) as listener:
        enter(NETNS_DIR / options.netns)
        host, port = listener.getsockname()
        print(f"port_forward: {host}:{port} leads to {options.to[0]}:{options.to[1]} in {options.netns}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            forward(listener, options.to)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
