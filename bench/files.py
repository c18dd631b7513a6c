"""The rows of file transfers: TFTP beside dnsmasq, HTTP beside nginx, every byte compared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.scene import HTTP_PORT, IMAGE, Scene, ip, write_files
from bench.table import Aim, Row

_OURS, _DNSMASQ, _NGINX = "10.99.0.1", "10.99.0.2", "10.99.0.3"
_NGINX_PORT = 8081  # our boot plane takes its port on every address
_SMALL, _LARGE = "initrd.gz", "netboot.iso"
_SPARE_S = 30.0  # what a load generator may need beyond its seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A row to be: the load generator's words (`{address}` is the server) and how much longer than others it runs."""

    title: str
    program: str
    words: str
    file: str
    ours: str
    theirs: str
    peer: str
    least: float
    longer: float = 1.0


_TFTP = f"-a {{address}} -p 69 -n {IMAGE}/{_SMALL} -s 10.99.1 -b 1468"
_TRANSFERS = {
    "tftp-window": Transfer(
        title="TFTP, 16 clients, blksize 1468, windowsize 16, 2 MB file", program="tftp_load", file=_SMALL,
        words=f"{_TFTP} -c 16 -w 16", ours=_OURS, theirs=_DNSMASQ, peer="dnsmasq", least=2.5,
    ),
    "tftp-lockstep": Transfer(
        title="TFTP, 64 clients in lockstep, blksize 1468, 2 MB file", program="tftp_load", file=_SMALL,
        words=f"{_TFTP} -c 64 -w 1", ours=_OURS, theirs=_DNSMASQ, peer="dnsmasq", least=1.0,
    ),
    "tftp-loss": Transfer(
        title="TFTP, 16 clients, windowsize 16, 2 % of all blocks lost", program="tftp_load", file=_SMALL,
        words=f"{_TFTP} -c 16 -w 16 -l 0.02", ours=_OURS, theirs=_DNSMASQ, peer="dnsmasq", least=1.0, longer=2.5,
    ),
    "http": Transfer(
        title="HTTP, 16 clients, 40 MB file", program="http_load", file=_LARGE,
        words=f"-a {{address}} -u /{IMAGE}/{_LARGE} -c 16", ours=f"{_OURS} -p {HTTP_PORT}",
        theirs=f"{_NGINX} -p {_NGINX_PORT}", peer="nginx", least=1.0,
    ),
}  # fmt: skip
NAMES = tuple(_TRANSFERS)


def make_network() -> None:
    """Over loopback: a bridge with the servers' addresses; 10.99.1.0/24 are the clients."""
    ip("link add br0 type bridge")
    for address in (_OURS, _DNSMASQ, _NGINX):
        ip(f"addr add {address}/16 dev br0")
    ip("link set br0 up")
    ip("route add local 10.99.1.0/24 dev lo")


def measure_transfers(scene: Scene, names: list[str], rounds: int, seconds: float) -> list[Row]:
    """The rows of these names; `scene.folder` is in memory, so that no disk is measured."""
    chosen = [_TRANSFERS[name] for name in names]
    make_network()
    write_files(scene.folder, {_SMALL: 2_000_000, _LARGE: 40_000_000})
    scene.pxeforge(scene.folder, "--interface br0 --dhcp off")
    starts: dict[str, Callable[[Scene], None]] = {"dnsmasq": _start_dnsmasq, "nginx": _start_nginx}
    for peer in sorted({transfer.peer for transfer in chosen}):
        starts[peer](scene)
    return [_measure(scene, transfer, rounds, seconds) for transfer in chosen]


def _measure(scene: Scene, transfer: Transfer, rounds: int, seconds: float) -> Row:
    """Ours and theirs in turn, so that a busy moment of this computer hits both."""
    ours: list[float] = []
    theirs: list[float] = []
    lasts_s = seconds * transfer.longer
    for _ in range(rounds):
        for results, address in ((ours, transfer.ours), (theirs, transfer.theirs)):
            words = f"{transfer.words.format(address=address)} -f {scene.folder / IMAGE / transfer.file} -t {lasts_s}"
            results.append(scene.load(transfer.program, words, limit_s=lasts_s + _SPARE_S)["mb_per_s"])
        sys.stderr.write(f"{transfer.title}: {ours[-1]} MB/s, {transfer.peer} {theirs[-1]} MB/s\n")
    peers = {transfer.peer: theirs}
    return Row(measure=transfer.title, unit="MB/s", aim=Aim.ratio(transfer.least), ours=ours, peers=peers)


def _start_dnsmasq(scene: Scene) -> None:
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]
    tftp = ["--log-facility=-", "--enable-tftp", f"--tftp-root={scene.folder}", "--tftp-max=300"]
    scene.start([*command, *tftp, f"--listen-address={_DNSMASQ}", "--bind-interfaces"], "dnsmasq", "TFTP")


def _start_nginx(scene: Scene) -> None:
    settings = scene.folder / "nginx.conf"
    settings.write_text(
        f"daemon off; user root; worker_processes auto; pid {scene.folder}/nginx.pid; error_log stderr notice;\n"
        "events {} http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"server {{ listen {_NGINX}:{_NGINX_PORT}; root {scene.folder}; }} }}\n"
    )
    scene.start(["nginx", "-p", str(scene.folder), "-c", str(settings)], "nginx", "start worker process")
