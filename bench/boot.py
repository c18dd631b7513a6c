"""The rows of an armed fleet: proxy offers, menus and answers for distinct hosts, none of them asked twice."""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

from bench.compiled import CannotBench
from bench.fleet import Fleet, make_fleet
from bench.scene import HTTP_PORT, WIRES, Scene
from bench.table import Aim, Row

_CONNECTIONS, _WINDOW = 64, 64
_CALM_SHARE = 5  # every fifth host asks at an easy pace, to see how long one waits
_LIMIT_S = 300.0
_WIRE = WIRES["pxeforge"]


_WRITTEN_S = 2.0  # the timeline is written a moment after the answer


def measure_boot(scene: Scene, hosts: int, rounds: int) -> list[Row]:
    """Each round has a fresh server and fleet: who asks a second time within a minute is no news, and cheaper."""
    calm, offers, menus, answers, dropped = [], [], [], [], 0
    few = hosts // _CALM_SHARE
    for number in range(rounds):
        fleet = make_fleet(scene.folder / f"fleet-{number}", hosts)
        start_proxy(scene, fleet.folder)
        paced = offers_of(scene, f"-n {few} -r 1000 -1")
        fast = offers_of(scene, f"-f {few} -n {hosts - few} -w {_WINDOW} -1")
        calm.append(paced["p99_ms"])
        offers.append(fast["per_s"])
        dropped += int(paced["dropped"] + fast["dropped"])
        menus.append(texts_of(scene, fleet.menus, _CONNECTIONS)["requests_per_s"])
        _expect(fleet, "booting")
        answers.append(texts_of(scene, fleet.answers, _CONNECTIONS)["requests_per_s"])
        _expect(fleet, "installing")
        scene.end()
        said = f"offers {offers[-1]:.0f}/s, p99 {calm[-1]:.1f} ms, menus {menus[-1]:.0f}/s, answers {answers[-1]:.0f}/s"
        sys.stderr.write(f"{hosts} armed hosts: {said}\n")
    whom = f"each of {hosts:,} armed hosts once"
    return [
        _offers_row(f"offers, {whom}, {_WINDOW} at a time", "/s", offers, Aim.least(5000), dropped),
        _offers_row("p99 of offers at 1,000/s, open loop", "ms", calm, Aim.most(20), dropped),
        Row(measure=f"HTTP: menus, {whom}, {_CONNECTIONS} clients", unit="/s", ours=menus, aim=Aim.least(2000)),
        Row(measure=f"HTTP: answers, {whom}, {_CONNECTIONS} clients", unit="/s", ours=answers, aim=Aim.least(2000)),
    ]


def _offers_row(title: str, unit: str, ours: list[float], aim: Aim, dropped: int) -> Row:
    spoilt = f"{dropped} dropped" if dropped else ""
    return Row(measure=f"DHCP proxy: {title}", unit=unit, ours=ours, aim=aim, spoilt=spoilt)


def start_proxy(scene: Scene, data_dir: Path) -> int:
    """The process id of `serve`, beside a site's DHCP server that is not there."""
    return scene.pxeforge(data_dir, "--interface lan --dhcp proxy", inside=_WIRE.inside).pid


def offers_of(scene: Scene, words: str) -> dict[str, float]:
    return scene.load("dhcp_load", f"-a {_WIRE.server} -g {_WIRE.relay} -p {words}", limit_s=_LIMIT_S)


def texts_of(scene: Scene, paths: Path, connections: int) -> dict[str, float]:
    """Every path of the list once."""
    words = f"-a {_WIRE.server} -p {HTTP_PORT} -U {paths} -c {connections} -1"
    return scene.load("http_load", words, limit_s=_LIMIT_S)


def _expect(fleet: Fleet, state: str) -> None:
    """The server took them for what they are, one by one: a menu for the local disk is an answer as well."""
    deadline = time.monotonic() + _WRITTEN_S
    while (count := _count(fleet, state)) != fleet.hosts and time.monotonic() < deadline:
        time.sleep(0.05)
    if count != fleet.hosts:
        raise CannotBench(f"{fleet.hosts} hosts asked, {count} are {state}")


def _count(fleet: Fleet, state: str) -> int:
    with sqlite3.connect(fleet.folder / "pxeforge.db") as database:
        (count,) = database.execute("SELECT count(*) FROM hosts WHERE state = ?", [state]).fetchone()
    return int(count)
