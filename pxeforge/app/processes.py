"""The processes of `pxeforge serve`: one per listener, each with a factory that builds it from the settings.

They share nothing but the data directory, so that a fault in one (or its restart) leaves the others serving.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import json
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
from pxeforge.servers.tcp_listener import listen_shared

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings
    from pxeforge.app.wire import Server
    from pxeforge.services.context import Context

SETTINGS_VARIABLE = "PXEFORGE_CHILD_SETTINGS"
READY_VARIABLE = "PXEFORGE_CHILD_READY"
PARENT_VARIABLE = "PXEFORGE_CHILD_PARENT"  # the supervisor's process id
# Descriptors: for wire and tftp their end of the channel between them, for boot its listening socket and the others'.
HANDED_VARIABLE = "PXEFORGE_CHILD_HANDED"
_MOST_BOOT_PROCESSES = 4
_PR_SET_PDEATHSIG = 1
_PAGES_COLLECT = 100
_SWITCH_S = 0.001  # how long a thread of the boot plane keeps the interpreter while the one of the sockets waits for it


def names(settings: Settings) -> tuple[str, ...]:
    """The children of `serve`; the boot plane has several, on one port."""
    return ("wire", "tftp", *["boot"] * boot_count(settings), "agent", "admin")


def counted_names(settings: Settings) -> tuple[str, ...]:
    """The same, each with a name of its own: what pxeforge.services.tallies calls them."""
    return ("wire", "tftp", *(f"boot-{number}" for number in range(boot_count(settings))), "agent", "admin")


def boot_count(settings: Settings) -> int:
    """How many processes serve the boot plane."""
    return settings.boot_processes or min(_MOST_BOOT_PROCESSES, os.cpu_count() or 1)


def _handed() -> list[socket.socket]:
    return [socket.socket(fileno=descriptor) for descriptor in json.loads(os.environ[HANDED_VARIABLE])]


def settings_from_environment() -> Settings:
    """What `handed_over` made of them in the program that started us."""
    plain = pickle.loads(base64.b64decode(os.environ[SETTINGS_VARIABLE]))  # noqa: S301 - our own parent's
    return cast("Settings", plain)


def handed_over(settings: Settings) -> str:
    """For SETTINGS_VARIABLE."""
    return base64.b64encode(pickle.dumps(settings.plain())).decode()


def die_with_parent() -> None:
    """The kernel ends us when our parent is gone (also after kill -9): no listener outlives its supervisor.

    Where it was killed before the kernel was asked, we end ourselves, now that nobody is served yet.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None and os.getppid() != int(parent):
        sys.exit("pxeforge: the supervisor is gone")


def run(name: str) -> None:
    """The body of one child; returns after SIGTERM. Raises CannotListen."""
    from pxeforge.app import logs

    settings = settings_from_environment()
    die_with_parent()
    logs.set_up(settings, name)
    if name in ("wire", "tftp"):
        _run_loops(name, settings)
    else:
        {"boot": _run_boot, "agent": _run_agent, "admin": _run_admin}[name](settings)


def _run_loops(name: str, settings: Settings) -> None:
    from pxeforge.app.assembly import open_context
    from pxeforge.app.tally_writer import TallyWriter
    from pxeforge.servers.tftp import TftpServer

    raise_file_limit()
    [channel] = _handed()
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
    levels = {label: server.counts for label, server in servers.items() if isinstance(server, TftpServer)}
    tally = TallyWriter(ctx, name, servers, levels)
    tally.start()
    collect_rarely()
    _say_ready()
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a server loop ended unexpectedly; see the log")
    for server in servers.values():
        server.stop()
    for thread in threads:
        thread.join(10)
    tally.stop()


def _loops(name: str, settings: Settings, ctx: Context, channel: socket.socket) -> Mapping[str, Server]:
    """Each imports what it needs itself: it is memory."""
    if name == "wire":
        from pxeforge.app.wire import build_wire

        return build_wire(settings, ctx, channel)
    from pxeforge.app.tftp_helper import build_tftp_helper

    return build_tftp_helper(settings, ctx, channel)


def _run_boot(settings: Settings) -> None:
    """One of the processes that accept from the supervisor's sockets, which stay open while one is restarted."""
    from pxeforge.app.assembly import open_context
    from pxeforge.app.tally_writer import TallyWriter
    from pxeforge.app.upstream import open_cache
    from pxeforge.servers.http import HttpServer, HttpSettings
    from pxeforge.webapp.boot_plane import create_boot_plane, file_at_once, is_slow

    drop_capabilities()
    raise_file_limit()
    sys.setswitchinterval(_SWITCH_S)
    listener, *siblings = _handed()
    ctx = open_context(settings)
    cache = open_cache(settings)
    cache.tell_upstreams()
    server = HttpServer(
        listener, HttpSettings(places=settings.boot_downloads), siblings=siblings,
        is_slow=lambda path: is_slow(path, cache),
        instant=lambda path, headers: file_at_once(ctx, cache, path, headers),
    )  # fmt: skip
    app = create_boot_plane(ctx, cache, server.counts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    tally = TallyWriter(ctx, "boot", {"boot": server}, {"boot": server.counts})
    tally.start()
    collect_rarely()
    _say_ready()
    server.run(app)
    tally.stop()


def collect_rarely(oldest: int = 1_000) -> None:
    """What was loaded stays; the collector looks through what lives long a hundred times less often.

    It stops all threads meanwhile, for tens of milliseconds once we know thousands of hosts: packets would wait.
    `oldest`: after how many looks at what is younger (of 200,000 new things each); pages leave more behind in circles
    than packets do.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, oldest)
    ctypes.CDLL(None).malloc_trim(0)  # what loading has left behind


def raise_file_limit() -> None:
    """As many open files as we may have: a client has one to three, and the usual limit of 1,024 is of long ago."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run_agent(settings: Settings) -> None:
    from pxeforge.app.assembly import open_context
    from pxeforge.app.tally_writer import TallyWriter
    from pxeforge.app.web_server import Counted, Plane, serve
    from pxeforge.webapp.agent_plane import create_agent_plane

    [listener] = listen("0.0.0.0", settings.agent_port, "agent_port")  # noqa: S104
    drop_capabilities()
    ctx = open_context(settings)
    app = Counted(create_agent_plane(ctx))
    tally = TallyWriter(ctx, "agent", {"agent": app})
    tally.start()
    collect_rarely(_PAGES_COLLECT)
    serve([Plane(name="agent", app=app, listener=listener, threads=32, tls=_own_pair(settings))], _say_ready)
    tally.stop()


def _own_pair(settings: Settings) -> tuple[Path, Path]:
    """What agents have pinned."""
    return settings.data_dir / "tls" / "server.crt", settings.data_dir / "tls" / "server.key"


def admin_pair(settings: Settings) -> tuple[Path, Path]:
    """What browsers are shown: the operator's own certificate, if there is one."""
    if settings.admin_certificate and settings.admin_key:
        return settings.admin_certificate, settings.admin_key
    return _own_pair(settings)


def _run_admin(settings: Settings) -> None:
    """The pages and the API by TLS, and the same application without login on the unix socket."""
    from pxeforge.app.assembly import open_context, remember_addresses
    from pxeforge.app.image_importer import ImageImporter
    from pxeforge.app.role_fetcher import RoleFetcher
    from pxeforge.app.tally_writer import TallyWriter
    from pxeforge.app.upkeep import Upkeep
    from pxeforge.app.web_server import Counted, Plane, listen_unix, serve
    from pxeforge.app.webhook_sender import WebhookSender
    from pxeforge.services.metrics import Metrics
    from pxeforge.services.milestones import Milestones
    from pxeforge.services.readiness import Readiness
    from pxeforge.webapp.admin import create_admin
    from pxeforge.webapp.event_stream import MOST_STREAMS, stop_streams
    from pxeforge.webapp.watch import Watch, create_watch

    [public], local = listen(*settings.admin_address, "admin_listen"), listen_unix(socket_path(settings.data_dir))
    watched = listen(*settings.metrics_address, "metrics_listen") if settings.metrics_address else []
    drop_capabilities()
    ctx = open_context(settings)
    remember_addresses(settings, ctx.addresses)  # they may have changed since the start
    processes, milestones = counted_names(settings), Milestones(ctx)
    readiness = Readiness(ctx, processes)
    metrics = Metrics(ctx, readiness, milestones=milestones, processes=processes, supervisor=os.getppid())
    watch = Watch(readiness, metrics)
    apps = {
        "admin": Counted(create_admin(ctx, watch=watch)),
        "socket": Counted(create_admin(ctx, trusted_socket=True, watch=watch)),
        "metrics": Counted(create_watch(watch)),
    }
    tally = TallyWriter(ctx, "admin", apps)
    tally.start()
    Upkeep(ctx, milestones).start()
    RoleFetcher(ctx, settings).start()
    ImageImporter(ctx).start()
    sender = WebhookSender(ctx)
    sender.start()
    threads = 8 + MOST_STREAMS  # they are begun when they are needed
    planes = [
        Plane(name="admin", app=apps["admin"], listener=public, threads=threads, tls=admin_pair(settings)),
        Plane(name="socket", app=apps["socket"], listener=local, threads=threads),
    ]
    planes += [Plane(name="metrics", app=apps["metrics"], listener=each, threads=2) for each in watched]
    collect_rarely(_PAGES_COLLECT)
    serve(planes, _say_ready, stop_streams)
    sender.stop()
    tally.stop()


def listen(address: str, port: int, setting: str, count: int = 1) -> list[socket.socket]:
    """Listening TCP sockets on one port; raises CannotListen with the setting to change when it cannot be had."""
    try:
        return listen_shared(address, port, count)
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


def do_without_extras() -> None:
    """Before structlog and SQLAlchemy are imported: they would load what we never use, 5 MB in each process.

    rich paints tracebacks; greenlet is for databases and logs of asyncio.
    """
    for name in ("rich", "greenlet"):
        sys.modules[name] = None  # type: ignore[assignment]


def main() -> None:
    name = sys.argv[1]
    do_without_extras()
    try:
        run(name)
    except CannotListen as problem:
        sys.exit(f"pxeforge: {problem}")


if __name__ == "__main__":
    main()
