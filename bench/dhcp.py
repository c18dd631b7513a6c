"""The DHCP server row: whole exchanges per second, with leases on a disk, beside dnsmasq and Kea."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.fleet import make_fleet
from bench.scene import WIRES, Scene
from bench.table import Aim, Row

_WINDOW = 64  # exchanges under way at a time: what a rack switched on at once amounts to


def measure_exchanges(scene: Scene, clients: int, rounds: int, seconds: float) -> Row:
    """All three servers run, and are asked in turn. `scene.folder` must lie on a real disk."""
    fleet = make_fleet(scene.folder / "data", clients)
    start_pxeforge(scene, fleet.folder)
    start_dnsmasq(scene)
    start_kea(scene)
    found: dict[str, list[float]] = {name: [] for name in WIRES}
    dropped = 0
    for _ in range(rounds):
        for name, wire in WIRES.items():
            words = f"-a {wire.server} -g {wire.relay} -n {clients} -w {_WINDOW} -t {seconds}"
            measured = scene.load("dhcp_load", words, limit_s=seconds + 60)
            found[name].append(measured["per_s"])
            dropped += int(measured["dropped"]) if name == "pxeforge" else 0
        sys.stderr.write(f"DHCP exchanges: {', '.join(f'{name} {each[-1]:.0f}/s' for name, each in found.items())}\n")
    ours = found.pop("pxeforge")
    title = f"DHCP server: exchanges of 4 messages, leases on disk, {clients:,} clients, {_WINDOW} at a time"
    spoilt = f"{dropped} dropped" if dropped else ""
    return Row(measure=title, unit="/s", ours=ours, peers=found, aim=Aim.least(3000), spoilt=spoilt)


def start_pxeforge(scene: Scene, data_dir: Path) -> None:
    wire = WIRES["pxeforge"]
    words = f"--interface lan --dhcp server --force --range {'-'.join(wire.range)}"
    scene.pxeforge(data_dir, words, inside=wire.inside)


def start_dnsmasq(scene: Scene) -> None:
    """Without its ping before each offer (3 s) and its log line for each message."""
    wire = WIRES["dnsmasq"]
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]
    speed = ["--log-facility=-", "--no-ping", "--quiet-dhcp", "--dhcp-lease-max=1000000"]
    leases = f"--dhcp-leasefile={scene.folder}/dnsmasq.leases"
    lent = f"--dhcp-range={','.join(wire.range)},255.240.0.0,3600"
    scene.start(
        [*wire.inside, *command, *speed, leases, lent, "--interface=lan", "--bind-interfaces"], "dnsmasq", "DHCP"
    )


def start_kea(scene: Scene) -> None:
    """As it comes, with the lease file that it keeps by default; no log line for each lease."""
    wire, settings = WIRES["Kea"], scene.folder / "kea.json"
    stdout = [{"output": "stdout"}]
    dhcp4 = {
        "interfaces-config": {"interfaces": ["lan"]},
        "lease-database": {"type": "memfile", "persist": True, "name": str(scene.folder / "kea.leases")},
        "valid-lifetime": 3600,
        "subnet4": [{"id": 1, "subnet": f"10.{wire.number}.0.0/12", "pools": [{"pool": " - ".join(wire.range)}]}],
        "loggers": [
            {"name": "kea-dhcp4", "severity": "WARN", "output_options": stdout},
            {"name": "kea-dhcp4.dhcp4", "severity": "INFO", "output_options": stdout},
        ],
    }
    settings.write_text(json.dumps({"Dhcp4": dhcp4}))
    places = {"KEA_PIDFILE_DIR": str(scene.folder), "KEA_LOCKFILE_DIR": str(scene.folder)}
    scene.start([*wire.inside, "kea-dhcp4", "-c", str(settings)], "kea-dhcp4", "DHCP4_STARTED", places)
