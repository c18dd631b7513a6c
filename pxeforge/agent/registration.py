"""Registers a freshly installed host: facts out, credential and pinned certificate in, unit enabled."""

from __future__ import annotations

import random
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pxeforge.agent.facts import collect
from pxeforge.agent.transport import Unreachable, certificate_fingerprint, pinned_context, post_plain
from pxeforge.agent.whole_file import write_json, write_whole

CONFIG_PATH = "/etc/pxeforge/agent.json"
UNIT_PATH = "/etc/systemd/system/pxeforge-agent.service"
_WANTS_PATH = "/etc/systemd/system/multi-user.target.wants/pxeforge-agent.service"
_ATTEMPTS = 8
_KEYS = ("agent_url", "agent_token", "certificate_pem", "host_id", "host_name")

# KillMode=mixed: a stop asks the agent only, so that a step in progress may end; only then are children killed.
UNIT = """\
[Unit]
Description=pxeforge agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/pxeforge/pxeforge-agent.pyz run
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=300
StateDirectory=pxeforge-agent
StateDirectoryMode=0700

[Install]
WantedBy=multi-user.target
"""


class NotRegistered(Exception):
    """Registration did not succeed; the message says why in one sentence, without the token."""


def register(
    url: str, root: Path = Path("/"), sleep: Callable[[float], None] = time.sleep, *, certificate: str | None = None
) -> dict[str, Any]:
    """Registers and writes the configuration below root; returns it without its secrets. Raises NotRegistered.

    `certificate`: the SHA-256 that the server's certificate must have.
    """
    config = _ask(url, collect(root), sleep)
    try:
        shown = certificate_fingerprint(config["certificate_pem"])
        if certificate is not None and shown != certificate.lower():
            raise NotRegistered(f"the server shows a certificate with SHA-256 {shown}, not the one that was named")
        pinned_context(config["certificate_pem"])
        _write(root, config)
    except (OSError, ValueError) as error:
        raise NotRegistered(str(error)) from None
    return {"host_id": config["host_id"], "host_name": config["host_name"]}


def _ask(url: str, facts: dict[str, Any], sleep: Callable[[float], None]) -> dict[str, Any]:
    """The server's answer; tries 8 times within about two minutes, with jitter so that a rack does not knock as one.

    The token is good once. The nonce lets the server repeat its answer to us when we lost it on the way.
    """
    problem = ""
    body = {**facts, "registration_nonce": secrets.token_hex(32)}
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(min(30.0, 2.0**attempt) * random.uniform(0.5, 1.0))  # noqa: S311
        try:
            reply = post_plain(url, body)
        except Unreachable as error:
            problem = str(error)
            continue
        except ValueError as error:
            raise NotRegistered(str(error)) from None
        if reply.status == 200:
            missing = [key for key in _KEYS if not isinstance(reply.body.get(key), str)]
            if missing:
                raise NotRegistered(f"the server's answer lacks {', '.join(missing)}: server and agent do not match")
            return {key: reply.body[key] for key in _KEYS}
        problem = f"the server answers {reply.status}"
        if reply.body.get("error"):
            problem += f" ({reply.body['error']})"
        if 400 <= reply.status < 500 and reply.status not in (408, 429):
            raise NotRegistered(f"{problem}: the token is used up, too old or wrong, so arm the host again")
    raise NotRegistered(f"{problem}, after {_ATTEMPTS} attempts: check the server, then register by hand")


def _write(root: Path, config: dict[str, Any]) -> None:
    config_file, unit, wants = (root / path.lstrip("/") for path in (CONFIG_PATH, UNIT_PATH, _WANTS_PATH))
    config_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_json(config_file, config)
    unit.parent.mkdir(parents=True, exist_ok=True)
    write_whole(unit, UNIT.encode(), 0o644)
    # In the installer's chroot no systemd runs, so this is what `systemctl enable` would do.
    wants.parent.mkdir(parents=True, exist_ok=True)
    if not wants.is_symlink():
        wants.unlink(missing_ok=True)
        wants.symlink_to(UNIT_PATH)


def start_unit() -> None:
    """On a running system: systemd reads the unit and starts the agent anew; raises NotRegistered."""
    for words in (["daemon-reload"], ["restart", Path(UNIT_PATH).name]):
        try:
            done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=360)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotRegistered(f"registered, but the agent could not be started ({error})") from None
        if done.returncode:
            raise NotRegistered(f"registered, but the agent could not be started: {done.stderr.strip()[-500:]}")
