"""`pxeforge serve`: one foreground process tree."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, Final

import click

from pxeforge.cli.output import say
from pxeforge.cli.transport import Refusal

_TAKES_NOTHING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--database", metavar="URL", help="Where the database is (default: in --data-dir).")
@click.option("--interface", "interfaces", multiple=True, help="Interface of the boot network (repeatable).")
@click.option("--dhcp", type=click.Choice(["proxy", "server", "off"]), help="proxy (default): beside your DHCP server.")
@click.option("--range", "range", metavar="FIRST-LAST", help="Addresses to lease in server mode.")
@click.option("--router", help="Router offered in server mode (default: our own address).")
@click.option("--dns", multiple=True, help="DNS server offered in server mode (repeatable; default: our own address).")
@click.option("--domain", help="DNS domain of the hosts.")
@click.option("--boot-port", type=int, help="HTTP port of the boot plane (default 8080).")
@click.option("--agent-port", type=int, help="TLS port for agents (default 8442).")
@click.option("--admin-listen", metavar="ADDRESS:PORT", help="Web page and API, TLS (default 127.0.0.1:8443).")
@click.option("--metrics-listen", metavar="ADDRESS:PORT", help="/metrics for monitors, without login (default: none).")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="Lines of the log (default console).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="The least that is logged.")
@click.option("--tftp-port", type=int, help="UDP port of TFTP (default 69).")
@click.option("--mirror", metavar="URL", help="Upstream package mirror (default: the one apt uses here).")
@click.option("--force", is_flag=True, default=None, help="Server mode although another DHCP server answers.")
@click.pass_obj
def serve(session: Any, /, config: Path | None, **flags: Any) -> None:
    """Serve a boot network until SIGTERM.

    Every flag is also a key in pxeforge.toml and an environment variable PXEFORGE_…
    Unknown hosts and hosts that are not armed are never offered an installer.
    """
    from pxeforge.app.start import start

    if config is not None:
        session.config = config
    settings = session.settings(**{key: value for key, value in flags.items() if value not in (None, ())})
    try:
        start(settings, say)
    except OSError as problem:
        if problem.errno not in _TAKES_NOTHING:
            raise
        raise Refusal(f"{settings.data_dir} takes nothing more ({problem.strerror}): make room on its disk") from None


COMMANDS = (serve,)
