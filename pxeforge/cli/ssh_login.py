"""One command run as root on a host over SSH, whose key must be the one that the host reported at its registration."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pxeforge.cli.transport import Refusal

_CONNECT_S: Final = 15
_TIMEOUT_S: Final = 180
_SHOWN_LINES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How the operator gets onto the host. `known_hosts`: lines for `address`; no other key is accepted."""

    address: str
    user: str
    known_hosts: str
    port: int = 22
    key: Path | None = None


def keys_for(known_hosts: str, address: str) -> str:
    """The lines of a known_hosts text that are about this address; empty where there are none."""
    lines = [line for line in known_hosts.splitlines() if address in line.partition(" ")[0].split(",")]
    return "".join(f"{address} {line.partition(' ')[2]}\n" for line in lines)


def run_as_root(login: Login, command: str) -> str:
    """What it printed; raises Refusal that says whether the way there, the key or the command was the trouble.

    The command goes over standard input: it holds a token, and arguments can be read by every user of the host.
    """
    with tempfile.TemporaryDirectory(prefix="pxeforge-ssh-") as folder:
        known = Path(folder) / "known_hosts"
        known.write_text(login.known_hosts)
        argv = _argv(login, known)
        try:
            done = subprocess.run(
                argv, input=command, text=True, errors="replace", capture_output=True, timeout=_TIMEOUT_S, check=False,
                env=_environment(),
            )  # fmt: skip
        except FileNotFoundError:
            raise Refusal("there is no `ssh` here: install openssh-client") from None
        except subprocess.TimeoutExpired:
            raise Refusal(f"{login.address} did not end the command within {_TIMEOUT_S} s: look at it there") from None
    if done.returncode == 0:
        return done.stdout
    raise Refusal(_why(login, done.returncode, done.stderr or done.stdout))


def _argv(login: Login, known: Path) -> list[str]:
    options = {
        "UserKnownHostsFile": str(known), "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes",
        "HostKeyAlias": login.address, "CheckHostIP": "no", "UpdateHostKeys": "no", "BatchMode": "yes",
        "ConnectTimeout": str(_CONNECT_S), "ServerAliveInterval": "15", "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
    }  # fmt: skip
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    key = ["-i", str(login.key), "-o", "IdentitiesOnly=yes"] if login.key else []
    remote = ["sh", "-s"] if login.user == "root" else ["sudo", "-n", "sh", "-s"]
    return ["ssh", "-T", *given, *key, "-p", str(login.port), "-l", login.user, "--", login.address, *remote]


def _environment() -> dict[str, str]:
    """The operator's, with messages that can be told apart."""
    return {**os.environ, "LC_ALL": "C"}


def _why(login: Login, code: int, said: str) -> str:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    told = " ".join(lines[-_SHOWN_LINES:]) or "nothing was said"
    if "Host key verification failed" in said or "HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            f"{login.address} shows another SSH host key than the one it registered with: somebody else may answer "
            "there, or it was installed anew by others. Nothing was sent. Look at its console"
        )
    if "Permission denied" in said and code == 255:
        return f"{login.user}@{login.address} does not let you in: {told}: check --ssh-user, --key or your SSH agent"
    if code == 255:
        return f"{login.address} cannot be reached by SSH: {told}"
    if "sudo:" in said:
        return f"{login.user} may not become root on {login.address} without a password: {told}: use another --ssh-user"
    return f"the command ended with {code} on {login.address}: {told}"
