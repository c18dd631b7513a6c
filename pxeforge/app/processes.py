"""The processes of `pxeforge serve`: one per listener, each with a factory that builds it from the settings.

They share nothing but the data directory, so that a fault in one (or its restart) leaves the others serving.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import os
import pickle
import resource
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pxeforge.app.privileges import CAP_NET_BIND_SERVICE, drop_capabilities
from pxeforge.servers.datagram import CannotListen
from pxeforge.servers.http import HttpServer, HttpSettings, listen_tcp

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings
    from pxeforge.app.wire import Server
    from pxeforge.services.context import Context

SETTINGS_VARIABLE = "PXEFORGE_CHILD_SETTINGS"
READY_VARIABLE = "PXEFORGE_CHILD_READY"
CHANNEL_VARIABLE = "PXEFORGE_CHILD_CHANNEL"  # descriptor of our end of the channel between wire and tftp
LISTENER_VARIABLE = "PXEFORGE_CHILD_LISTENER"  # descriptor of the listening socket of the boot plane
_MOST_BOOT_PROCESSES = 4
_PR_SET_PDEATHSIG = 1
_SWITCH_S = 0.001  # how long a thread of the boot plane keeps the interpreter while the one of the sockets waits for it


def names(settings: Settings) -> tuple[str, ...]:
    """The children of `serve`; the boot plane has several, on one socket."""
    boot = settings.boot_processes or min(_MOST_BOOT_PROCESSES, os.cpu_count() or 1)
    return ("wire", "tftp", *["boot"] * boot, "agent", "admin")


def settings_from_environment() -> Settings:
    """What `handed_over` made of them in the program that started us."""
    plain = pickle.loads(base64.b64decode(os.environ[SETTINGS_VARIABLE]))  # noqa: S301 - our own parent's
    return cast("Settings", plain)


def handed_over(settings: Settings) -> str:
    """For SETTINGS_VARIABLE."""
    return base64.b64encode(pickle.dumps(settings.plain())).decode()


def die_with_parent() -> None:
    """The kernel ends us when our parent is gone (also after kill -9): no listener outlives its supervisor."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(name: str) -> None:
    """The body of one child; returns after SIGTERM. Raises CannotListen."""
    settings = settings_from_environment()
    die_with_parent()
    if name in ("wire", "tftp"):
        _run_loops(name, settings)
    else:
        {"boot": _run_boot, "agent": _run_agent, "admin": _run_admin}[name](settings)


def _run_loops(name: str, settings: Settings) -> None:
    from pxeforge.app.assembly import open_context

    raise_file_limit()
    channel = socket.socket(fileno=int(os.environ[CHANNEL_VARIABLE]))
    ctx = open_context(settings)
    servers = _loops(name, settings, ctx, channel)
    # All sockets are open; those of an interface that vanishes and returns are opened anew.
    drop_capabilities(keep={CAP_NET_BIND_SERVICE} if name == "wire" else ())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [threading.Thread(target=server.run, name=label, daemon=True) for label, server in servers.items()]
    for thread in threads:
        thread.start()
    collect_rarely()
    _say_ready()
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a server loop ended unexpectedly; see the log")
    for server in servers.values():
        server.stop()
    for thread in threads:
        thread.join(10)


def _loops(name: str, settings: Settings, ctx: Context, channel: socket.socket) -> Mapping[str, Server]:
    """Each imports what it needs itself: it is memory."""
    if name == "wire":
        from pxeforge.app.wire import build_wire

        return build_wire(settings, ctx, channel)
    from pxeforge.app.tftp_helper import build_tftp_helper

    return build_tftp_helper(settings, ctx, channel)


def _run_boot(settings: Settings) -> None:
    """One of the processes that accept from the supervisor's socket, which stays open while one is restarted."""
    from pxeforge.app.assembly import open_context
    from pxeforge.app.upstream import open_mirror
    from pxeforge.webapp.boot_plane import create_boot_plane, is_slow

    drop_capabilities()
    raise_file_limit()
    sys.setswitchinterval(_SWITCH_S)
    listener = socket.socket(fileno=int(os.environ[LISTENER_VARIABLE]))
    server = HttpServer(listener, HttpSettings(places=settings.boot_downloads), is_slow=is_slow)
    ctx = open_context(settings)
    app = create_boot_plane(ctx, open_mirror(settings), server.counts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    collect_rarely()
    _say_ready()
    server.run(app)


def collect_rarely() -> None:
    """What was loaded stays; the collector looks through what lives long a hundred times less often.

    It stops all threads meanwhile, for tens of milliseconds once we know thousands of hosts: packets would wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000)
    ctypes.CDLL(None).malloc_trim(0)  # what loading has left behind


def raise_file_limit() -> None:
    """As many open files as we may have: a client has one to three, and the usual limit of 1,024 is of long ago."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run_agent(settings: Settings) -> None:
    from pxeforge.app.assembly import open_context
    from pxeforge.app.web_server import Plane, serve
    from pxeforge.webapp.agent_plane import create_agent_plane

    listener = listen("0.0.0.0", settings.agent_port, "agent_port")  # noqa: S104
    drop_capabilities()
    app = create_agent_plane(open_context(settings))
    serve([Plane(name="agent", app=app, listener=listener, threads=32, tls=settings.data_dir / "tls")], _say_ready)


def _run_admin(settings: Settings) -> None:
    """The pages and the API by TLS, and the same application without login on the unix socket."""
    from pxeforge.app.assembly import open_context, remember_addresses
    from pxeforge.app.upkeep import Upkeep
    from pxeforge.app.web_server import Plane, listen_unix, serve
    from pxeforge.webapp.admin import create_admin

    public, local = listen(*settings.admin_address, "admin_listen"), listen_unix(socket_path(settings.data_dir))
    drop_capabilities()
    ctx = open_context(settings)
    remember_addresses(settings, ctx.addresses)  # they may have changed since the start
    pages, trusted = create_admin(ctx), create_admin(ctx, trusted_socket=True)
    Upkeep(ctx).start()
    serve(
        [
            Plane(name="admin", app=pages, listener=public, threads=8, tls=settings.data_dir / "tls"),
            Plane(name="socket", app=trusted, listener=local, threads=8),
        ],
        _say_ready,
    )


def listen(address: str, port: int, setting: str) -> socket.socket:
    """A listening TCP socket; raises CannotListen with the setting to change when it cannot be had."""
    try:
        return listen_tcp(address, port)
    except PermissionError:
        raise CannotListen(
            f"no permission to listen on TCP port {port}: run as root or choose a port above 1023 ({setting})"
        ) from None
    except OSError as problem:
        raise CannotListen(
            f"TCP {address}:{port} cannot be used ({problem.strerror}): end the other program or change {setting}"
        ) from None


def socket_path(data_dir: Path) -> Path:
    """Where root's way in is."""
    return data_dir / "pxeforge.sock"


def _say_ready() -> None:
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor:
        os.write(int(descriptor), b"1")


def main() -> None:
    name = sys.argv[1]
    # structlog would load it to paint tracebacks: 4 MB of memory in each of us.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        run(name)
    except CannotListen as problem:
        sys.exit(f"pxeforge: {problem}")


if __name__ == "__main__":
    main()
