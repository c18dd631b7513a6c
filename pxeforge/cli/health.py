"""`pxeforge health`: whether the running server can do its work, as an exit code."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import click
import requests
import requests_unixsocket

from pxeforge.app.processes import socket_path
from pxeforge.cli.options import json_option
from pxeforge.cli.output import printable, show_json
from pxeforge.cli.transport import Refusal

_TIMEOUT_S = 10


@click.command()
@json_option
@click.pass_obj
def health(session: Any, as_json: bool) -> None:
    """Ask the running server whether it is ready: its database, its processes and its disk.

    Exit code 0 when it is, else 1: fit for a container's health check. (`pxeforge doctor` is for the time before.)
    """
    told = _ready(session)
    if as_json:
        show_json(told)
    else:
        for name, seen in told["checks"].items():
            click.echo(f"{name:<10} {printable(str(seen))}")
    sys.exit(0 if told["status"] == "ready" else 1)


def _ready(session: Any) -> dict[str, Any]:
    """What /readyz says; raises Refusal where nobody answers."""
    asking = requests.Session() if session.server else requests_unixsocket.Session()  # type: ignore[no-untyped-call]
    asking.trust_env = bool(session.server)  # ALL_PROXY is not for sockets
    base = session.server.rstrip("/") if session.server else _socket_url(session)
    try:
        told = asking.get(f"{base}/readyz", timeout=_TIMEOUT_S, verify=session.verify).json()
        if not isinstance(told["checks"], dict):
            raise TypeError
    except requests.exceptions.SSLError as problem:
        raise Refusal(f"the server's certificate is not trusted ({problem}): give --ca FILE") from None
    except (ValueError, KeyError, TypeError):
        raise Refusal("the answer is not pxeforge's: check --server, or a proxy in between") from None
    except requests.RequestException as problem:
        raise Refusal(f"the server does not answer ({type(problem).__name__}): is `pxeforge serve` running?") from None
    return dict(told)


def _socket_url(session: Any) -> str:
    return f"http+unix://{quote(str(socket_path(session.settings().data_dir)), safe='')}"


COMMANDS = (health,)
