"""What grows with the fleet: the time of one answer at a time with 100, 1,000 and 10,000 hosts in the database."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import Fleet, mac_of, make_fleet
from bench.scene import HTTP_PORT, WIRES, Scene, Wire
from bench.table import Growth
from pxeforge.app.settings import Settings
from pxeforge.cli.transport import at, open_here

SIZES = (100, 1_000, 10_000)
_ROUNDS = 5
_ASKED = SIZES[0] // _ROUNDS  # hosts that ask in a round: in each fleet the same ones, none of them twice
_LIMIT_S = 60.0


@dataclass(frozen=True)
class _Site:
    """A fleet and its server on a wire of its own: all three run, and are asked in turn."""

    fleet: Fleet
    wire: Wire


_Question = Callable[[Scene, _Site, int], float]  # asked of hosts from this number on; a median in ms


def measure_growth(scene: Scene) -> list[Growth]:
    sites = [
        _Site(make_fleet(scene.folder / f"fleet-{size}", size), wire)
        for size, wire in zip(SIZES, WIRES.values(), strict=True)
    ]
    questions: dict[str, _Question] = {
        "proxy offer": _offer, "menu": _menu, "answers": _answers, "edit (`host set`)": _edit,
        "edit of its answers": _edit_answers,
    }  # fmt: skip
    found = _ask(scene, sites, "--dhcp proxy", questions)
    found |= _ask(scene, sites, "--dhcp server --force --range {range}", {"server mode, 4 messages": _exchange})
    return [Growth(measure=name, times_ms=dict(zip(SIZES, each, strict=True))) for name, each in found.items()]


def _ask(scene: Scene, sites: list[_Site], words: str, questions: dict[str, _Question]) -> dict[str, list[float]]:
    """Per question the median of the rounds for each site, in ms."""
    for site in sites:
        flags = words.format(range="-".join(site.wire.range))
        scene.pxeforge(site.fleet.folder, f"--interface lan {flags}", inside=site.wire.inside)
    found: dict[str, list[list[float]]] = {name: [[] for _ in sites] for name in questions}
    for number in range(_ROUNDS):
        for name, question in questions.items():
            for site, times in zip(sites, found[name], strict=True):
                times.append(question(scene, site, number * _ASKED))
            sys.stderr.write(f"growth: {name}: {', '.join(f'{times[-1]:.2f}' for times in found[name])} ms\n")
    scene.end()
    return {name: [statistics.median(times) for times in each] for name, each in found.items()}


def _offer(scene: Scene, site: _Site, first: int) -> float:
    return _dhcp(scene, site, first, "-p")


def _exchange(scene: Scene, site: _Site, first: int) -> float:
    return _dhcp(scene, site, first, "")


def _dhcp(scene: Scene, site: _Site, first: int, words: str) -> float:
    words = f"-a {site.wire.server} -g {site.wire.relay} -f {first} -n {_ASKED} -w 1 -1 {words}"
    return scene.load("dhcp_load", words, limit_s=_LIMIT_S)["p50_ms"]


def _menu(scene: Scene, site: _Site, first: int) -> float:
    return _http(scene, site, site.fleet.menus, first)


def _answers(scene: Scene, site: _Site, first: int) -> float:
    return _http(scene, site, site.fleet.answers, first)


def _http(scene: Scene, site: _Site, paths: Path, first: int) -> float:
    part = scene.folder / "part.txt"
    part.write_text("".join(paths.read_text().splitlines(keepends=True)[first : first + _ASKED]))
    words = f"-a {site.wire.server} -p {HTTP_PORT} -U {part} -c 1 -1"
    return scene.load("http_load", words, limit_s=_LIMIT_S)["p50_ms"]


def _edit(scene: Scene, site: _Site, first: int) -> float:
    return _patch(scene, site, first, lambda number: {"tags": [f"seen-{number}"]})


def _edit_answers(scene: Scene, site: _Site, first: int) -> float:
    """Parameters of the host's own, which are checked by rendering its answers."""
    return _patch(scene, site, first, _own_address)


def _own_address(number: int) -> dict[str, Any]:
    nic = {"mac": "boot", "addresses": [f"10.{number >> 8}.{number & 255}.5/24"]}
    return {"settings": {"parameters": {"network": {"nics": [nic]}}}}


def _patch(_scene: Scene, site: _Site, first: int, change: Callable[[int], dict[str, Any]]) -> float:
    """By the server's socket, as the command line does it, without the start of a command."""
    api = open_here(Settings.model_validate({"data_dir": site.fleet.folder}))
    times = []
    for number in range(first, first + _ASKED):
        began = time.perf_counter()
        api.call("PATCH", at("/hosts/{}", mac_of(number)), change(number))
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)
