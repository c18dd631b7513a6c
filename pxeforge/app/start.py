"""Prepares a start (data directory, database, first password, certificate) and then becomes the supervisor.

The supervisor runs as long as the rack does and needs nothing of what prepares a start: it is another program in the
same process (exec), which is 60 MB of memory less.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, NoReturn

from pxeforge.app.assembly import addresses_of, open_context, open_data_dir, refuse_second_server, remember_addresses
from pxeforge.app.certificate import check_given, ensure_certificate, fingerprint
from pxeforge.app.processes import admin_pair, boot_count, listen, socket_path
from pxeforge.app.settings import BadSettings, Settings
from pxeforge.app.settings_table import write_table
from pxeforge.app.supervisor import Handover
from pxeforge.protocol.dhcp.subnet import BadSubnet
from pxeforge.services import accounts, housekeeping

_MOST_SOCKET_BYTES: Final = 107


def start(settings: Settings, say: Callable[[str], None]) -> NoReturn:
    """Returns never; raises BadSettings and CannotListen."""
    _check_length(settings.data_dir)
    open_data_dir(settings.data_dir)
    lock = _lock(settings)
    if not settings.interfaces:
        raise BadSettings("no interface given: name the one of the boot network, e.g. --interface eth0")
    addresses = addresses_of(settings)
    refuse_second_server(settings)
    ctx = open_context(settings, upgrade=True)
    try:
        ctx.subnets()
    except BadSubnet as problem:
        raise BadSettings(str(problem)) from None
    remember_addresses(settings, addresses)
    write_table(ctx, settings)
    now = datetime.datetime.now(datetime.UTC)
    if settings.admin_certificate and settings.admin_key:
        warning = check_given(settings.admin_certificate, settings.admin_key, now)
        if warning:
            say(warning)
    password = accounts.ensure_admin(ctx)
    if password is not None:  # said at once: a start that fails later (a port in use) must not swallow it
        say(f"first start: log in as admin with the password {password} (shown only once; you choose another then)")
    ensure_certificate(settings.data_dir, [addresses.boot_address, settings.admin_address[0], "127.0.0.1"], now)
    shown, _ = admin_pair(settings)
    housekeeping.at_start(ctx)
    ctx.database.close()
    handover = Handover(
        settings=settings,
        lock=lock.fileno(),
        boot=tuple(each.detach() for each in listen("0.0.0.0", settings.boot_port, "boot_port", boot_count(settings))),  # noqa: S104
        lines=(
            f"certificate SHA-256 {fingerprint(shown)}",
            f"pxeforge is ready: admin https://{settings.admin_listen}/ boot {addresses.boot_url}/ "
            f"agents {addresses.agent_url}/ dhcp {settings.dhcp} on {', '.join(settings.interfaces)}",
        ),
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir("/")  # `-m` looks in the current folder first
    for descriptor in (handover.lock, *handover.boot):
        os.set_inheritable(descriptor, True)
    os.execve(sys.executable, [sys.executable, "-m", "pxeforge.app.supervisor"], handover.environment())  # noqa: S606


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


def _check_length(data_dir: Path) -> None:
    """The way in for root is a unix socket, and its path has 107 bytes at most (unix(7): sun_path)."""
    over = len(os.fsencode(socket_path(data_dir))) - _MOST_SOCKET_BYTES
    if over > 0:
        raise BadSettings(f"data_dir {data_dir} is {over} bytes too long for the socket in it: choose a shorter path")
