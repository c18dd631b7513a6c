"""The row of the package cache: warm, many small packages and a few large ones, beside nginx's proxy_cache."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bench.compiled import CannotBench
from bench.scene import HTTP_PORT, Scene, ip
from bench.table import Aim, Row

_OURS, _NGINX = "10.98.0.1", "10.98.0.2"
_NGINX_PORT, _UPSTREAM_PORT = 8081, 8082
_CLIENTS = 16
_SMALL, _LARGE, _LARGE_BYTES = 300, 3, 20_000_000
_MEDIAN_BYTES, _SPREAD, _MOST_BYTES = 60_000, 1.4, 5_000_000  # as Debian's packages are
_LEAST = 0.9
_SPARE_S = 60.0


def measure_cache(scene: Scene, rounds: int, seconds: float) -> Row:
    """`scene.folder` is in memory, so that no disk is measured. Both caches have one upstream."""
    _make_network()
    names = _write_packages(scene.folder / "upstream" / "debian")
    _start_nginx(scene)
    command = [sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(scene.folder), "--interface", "br1"]
    mirror = {"PXEFORGE_MIRROR": f"http://{_NGINX}:{_UPSTREAM_PORT}/debian"}
    scene.start([*command, "--dhcp", "off"], "pxeforge", "pxeforge is ready", mirror)
    ours = (_OURS, HTTP_PORT, _list(scene.folder / "ours", "/mirror/debian", names))
    theirs = (_NGINX, _NGINX_PORT, _list(scene.folder / "theirs", "/debian", names))
    for where in (ours, theirs):
        _ask(scene, where, "-1", _SPARE_S)  # fills the cache
    asked = _asked(scene)
    figures: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for results, where in zip(figures, (ours, theirs), strict=True):
            found = _ask(scene, where, f"-t {seconds}", seconds + _SPARE_S)
            results.append(found["bytes"] / found["seconds"] / 1e6)
        sys.stderr.write(f"package cache: {figures[0][-1]:.0f} MB/s, nginx {figures[1][-1]:.0f} MB/s\n")
    spoilt = "" if _asked(scene) == asked else "upstream was asked"
    size = sum(path.stat().st_size for path in (scene.folder / "upstream").rglob("*.deb")) / 1e6
    return Row(
        measure=f"HTTP: package cache, warm, {len(names)} packages of {size:.0f} MB, {_CLIENTS} clients", unit="MB/s",
        aim=Aim.ratio(_LEAST), ours=figures[0], peers={"nginx proxy_cache": figures[1]}, spoilt=spoilt,
    )  # fmt: skip


def _make_network() -> None:
    ip("link add br1 type bridge")
    for address in (_OURS, _NGINX):
        ip(f"addr add {address}/16 dev br1")
    ip("link set br1 up")


def _write_packages(root: Path) -> list[str]:
    """The same ones in every run, in an order in which large and small ones take turns."""
    chance = random.Random("packages")
    names = []
    for number in range(_SMALL + _LARGE):
        size = min(_MOST_BYTES, int(chance.lognormvariate(0, _SPREAD) * _MEDIAN_BYTES) + 1)
        name = f"pool/main/p/package-{number}_1.0_amd64.deb"
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(chance.randbytes(size if number < _SMALL else _LARGE_BYTES))
        names.append(name)
    chance.shuffle(names)
    return names


def _list(path: Path, prefix: str, names: list[str]) -> Path:
    path.write_text("".join(f"{prefix}/{name}\n" for name in names))
    return path


def _ask(scene: Scene, where: tuple[str, int, Path], words: str, limit_s: float) -> dict[str, float]:
    address, port, paths = where
    return scene.load("http_load", f"-a {address} -p {port} -U {paths} -c {_CLIENTS} {words}", limit_s=limit_s)


def _asked(scene: Scene) -> int:
    """Lines in upstream's access log."""
    try:
        return (scene.folder / "asked.log").read_bytes().count(b"\n")
    except OSError as problem:
        raise CannotBench(f"nginx has written no access log: {problem}") from problem


def _start_nginx(scene: Scene) -> None:
    """Upstream and the cache in front of it, as a package cache is set up with nginx."""
    folder, settings = scene.folder, scene.folder / "nginx.conf"
    (folder / "nginx-cache").mkdir()
    settings.write_text(
        f"daemon off; user root; worker_processes auto; pid {folder}/nginx.pid; error_log stderr notice;\n"
        "events {} http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"proxy_cache_path {folder}/nginx-cache levels=1:2 keys_zone=packages:10m max_size=10g inactive=30d"
        f" use_temp_path=off; proxy_temp_path {folder}/nginx-temp;\n"
        f"server {{ listen {_NGINX}:{_NGINX_PORT}; location / {{ proxy_pass http://{_NGINX}:{_UPSTREAM_PORT};"
        " proxy_cache packages; proxy_cache_valid 200 30d; proxy_cache_lock on; } }\n"
        f"server {{ listen {_NGINX}:{_UPSTREAM_PORT}; root {folder}/upstream; access_log {folder}/asked.log; }} }}\n"
    )
    scene.start(["nginx", "-p", str(folder), "-c", str(settings)], "nginx", "start worker process")
