"""The processes of `pxeforge serve`: one per listener, each with a factory that builds it from the settings.

They share nothing but the data directory, so that a fault in one (or its restart) leaves the others serving.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask

from pxeforge.app.assembly import open_context
from pxeforge.app.privileges import drop_capabilities
from pxeforge.app.settings import Settings
from pxeforge.servers.datagram import CannotListen

SETTINGS_VARIABLE = "PXEFORGE_CHILD_SETTINGS"
READY_VARIABLE = "PXEFORGE_CHILD_READY"
CHANNEL_VARIABLE = "PXEFORGE_CHILD_CHANNEL"  # descriptor of our end of the channel between wire and tftp
NAMES = ("wire", "tftp", "boot", "agent", "admin", "socket")
_PR_SET_PDEATHSIG = 1


def settings_from_environment() -> Settings:
    return Settings.model_validate_json(os.environ[SETTINGS_VARIABLE])


def die_with_parent() -> None:
    """The kernel ends us when our parent is gone (also after kill -9): no listener outlives its supervisor."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _be_a_worker() -> None:
    """A web worker is handed its open socket: it needs no privilege of its own."""
    die_with_parent()
    drop_capabilities()


def boot_app() -> Flask:
    from pxeforge.app.upstream import open_mirror
    from pxeforge.webapp.boot_plane import create_boot_plane

    _be_a_worker()
    settings = settings_from_environment()
    return create_boot_plane(open_context(settings), open_mirror(settings))


def agent_app() -> Flask:
    from pxeforge.webapp.agent_plane import create_agent_plane

    _be_a_worker()
    return create_agent_plane(open_context(settings_from_environment()))


def admin_app() -> Flask:
    from pxeforge.webapp.admin import create_admin

    _be_a_worker()
    return create_admin(open_context(settings_from_environment()))


def socket_app() -> Flask:
    from pxeforge.webapp.admin import create_admin

    _be_a_worker()
    return create_admin(open_context(settings_from_environment()), trusted_socket=True)


def run(name: str) -> None:
    """The body of one child; returns after SIGTERM. Raises CannotListen."""
    settings = settings_from_environment()
    die_with_parent()
    if name in ("wire", "tftp"):
        _run_loops(name, settings)
    else:
        _run_web(name, settings)


def _run_loops(name: str, settings: Settings) -> None:
    from pxeforge.app.wire import build_tftp_helper, build_wire

    channel = socket.socket(fileno=int(os.environ[CHANNEL_VARIABLE]))
    ctx = open_context(settings)
    servers = build_wire(settings, ctx, channel) if name == "wire" else build_tftp_helper(ctx, channel)
    drop_capabilities()  # all sockets are open
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [threading.Thread(target=server.run, name=label, daemon=True) for label, server in servers.items()]
    for thread in threads:
        thread.start()
    _say_ready()
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a server loop ended unexpectedly; see the log")
    for server in servers.values():
        server.stop()
    for thread in threads:
        thread.join(10)


def _run_web(name: str, settings: Settings) -> None:
    from granian import Granian
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings

    options: dict[str, Any] = {
        "target": f"pxeforge.app.processes:{name}_app",
        "factory": True,
        "interface": Interfaces.WSGI,
        "workers": 1,
        "blocking_threads": 8 if name != "agent" else 32,
        "websockets": False,
        "log_level": "error",
        "respawn_failed_workers": True,
        "workers_kill_timeout": 10,
        "http1_settings": HTTP1Settings(),
    }
    tls = {
        "ssl_cert": settings.data_dir / "tls" / "server.crt",
        "ssl_key": settings.data_dir / "tls" / "server.key",
    }
    if name == "socket":
        path = settings.data_dir / "pxeforge.sock"
        path.unlink(missing_ok=True)
        options |= {"uds": path, "uds_permissions": 0o600}
    elif name == "admin":
        address, port = settings.admin_address
        check_port(address, port, "admin_listen")
        options |= {"address": address, "port": port, **tls}
    else:
        port = settings.boot_port if name == "boot" else settings.agent_port
        check_port("0.0.0.0", port, f"{name}_port")  # noqa: S104
        options |= {"address": "0.0.0.0", "port": port} | (tls if name == "agent" else {})  # noqa: S104
    threading.Thread(target=_say_ready_when_answering, args=(options,), daemon=True).start()
    Granian(**options).serve()


def _say_ready_when_answering(options: dict[str, Any]) -> None:
    """The server's own start hook comes before its workers can answer: ready is who has answered a request."""
    request = b"HEAD /healthz HTTP/1.1\r\nHost: pxeforge\r\nConnection: close\r\n\r\n"
    while True:
        try:
            with _connection(options) as stream:
                stream.settimeout(5)
                stream.sendall(request)
                if stream.recv(5) == b"HTTP/":
                    _say_ready()
                    return
        except OSError:
            time.sleep(0.1)


def _connection(options: dict[str, Any]) -> socket.socket:
    if "uds" in options:
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.connect(str(options["uds"]))
        return local
    address = "127.0.0.1" if options["address"] == "0.0.0.0" else options["address"]  # noqa: S104
    plain = socket.create_connection((address, options["port"]), timeout=5)
    if "ssl_cert" not in options:
        return plain
    return ssl.create_default_context(cafile=str(options["ssl_cert"])).wrap_socket(plain, server_hostname="pxeforge")


def check_port(address: str, port: int, setting: str) -> None:
    """Raises CannotListen with the setting to change when somebody else has the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            raise CannotListen(
                f"no permission to listen on TCP port {port}: run as root or choose a port above 1023 ({setting})"
            ) from None
        except OSError as problem:
            raise CannotListen(
                f"TCP {address}:{port} cannot be used ({problem.strerror}): end the other program or change {setting}"
            ) from None


def _say_ready() -> None:
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor:
        os.write(int(descriptor), b"1")


def main() -> None:
    name = sys.argv[1]
    try:
        run(name)
    except CannotListen as problem:
        sys.exit(f"pxeforge: {problem}")


if __name__ == "__main__":
    main()


def socket_path(data_dir: Path) -> Path:
    """Where root's way in is."""
    return data_dir / "pxeforge.sock"
