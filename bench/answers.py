"""How long it takes to render what the installer of one host asks for, in one process, warm."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.table import Aim, Row
from pxeforge.assets import asset_dirs
from pxeforge.render.answers import render_answers, render_disks, render_early, render_late
from pxeforge.services.answers import answers_context, effective
from pxeforge.services.context import Addresses

_AIM_MS: Final = 1.0  # Cobbler's own benchmark has 4 ms
_TIMES: Final = 200  # renderings of a round
_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyGZRyPyQjKZBTCzBVBDa0wN7GVrCrDDQqZ8pPXk5mv ops"
# A host with a bit of everything: what costs time is reading the parameters, more than the template.
_PARAMETERS: Final[dict[str, Any]] = {
    "accounts": [
        {"name": name, "password_hash": "$6$saltsalt$" + "x" * 86, "ssh_keys": [_KEY], "sudo": True}
        for name in ("ops", "admin")
    ],
    "layout": "lvm", "reserve": "40%", "reserved_disks": [{"name": "ceph", "disk": "size=1T.."}],
    "late_snippets": [{"name": f"part-{number}", "text": "echo done\n" * 20} for number in range(5)],
    "network": {
        "nics": [{"mac": "boot", "name": "lan1"}, {"mac": "52:54:00:00:00:02", "name": "lan2"}],
        "bonds": [{"name": "bond0", "nics": ["lan1", "lan2"], "mode": "802.3ad"}],
        "vlans": [{"name": "mgmt", "link": "bond0", "id": 10, "addresses": ["10.0.0.5/24"], "gateway": "10.0.0.1"}],
        "dns": ["10.0.0.1"],
    },
}  # fmt: skip


def measure_answers(rounds: int) -> list[Row]:
    """Rows of the answers alone and of everything together."""
    dirs = asset_dirs("preseed", Path("/nonexistent"))
    addresses, parameters = Addresses(boot_address="192.0.2.1"), effective(_PARAMETERS)

    def context(number: int) -> Any:
        return answers_context(
            parameters, hostname=f"n{number}", suite="trixie", addresses=addresses, token=f"{number:032x}",
            agent_sha256="a" * 64,
        )  # fmt: skip

    def answers(number: int) -> None:
        render_answers("debian.cfg.j2", context(number), dirs)

    def all_texts(number: int) -> None:
        values = context(number)
        render_answers("debian.cfg.j2", values, dirs)
        for render in (render_early, render_disks, render_late):
            render(values, dirs)

    measures = {"answers of one host, rendered": answers, "answers and scripts of one host, rendered": all_texts}
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, work in measures.items():
            median = _median_ms(work)
            if number:  # the first round compiles the templates
                found[name].append(median)
        if number:
            sys.stderr.write(f"answers: {', '.join(f'{times[-1]:.2f}' for times in found.values())} ms\n")
    return [Row(measure=name, unit="ms", aim=Aim.most(_AIM_MS), ours=times) for name, times in found.items()]


def _median_ms(work: Any) -> float:
    times = []
    for number in range(_TIMES):
        began = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)
