"""`python -m bench.scale`: what the pages and the API cost with 10,000 hosts and a year of events. Needs root."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.__main__ import replace_table
from bench.children import children_of, cpu_s, resident_mb
from bench.scene import WIRES, Scene, make_wires
from bench.year import ROLES, has_name, make_year, name_of
from pxeforge.app.processes import socket_path

MARKS: Final = ("<!-- scale -->", "<!-- /scale -->")
_INSIDE = "PXEFORGE_BENCH_NAMESPACE"
_PAGE_KB, _LIST_MS, _HOME_MS, _EDIT_MS = 300, 150, 200, 50
_WIRE = WIRES["pxeforge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`path` of request number n. `most_ms` for nineteen of twenty answers, `most_kb` for the largest one."""

    title: str
    path: Callable[[int], str]
    most_ms: float | None = None
    most_kb: float | None = None
    change: Callable[[int], dict[str, Any]] | None = None  # the body of a PATCH; None: a GET


@dataclass(slots=True)
class Answered:
    """What the answers to one question cost."""

    question: Question
    times_ms: list[float] = field(default_factory=list)
    cpu_ms: float = 0.0  # of the admin process, by request
    bytes: int = 0  # the largest
    packed_bytes: int = 0

    @property
    def p95_ms(self) -> float:
        return statistics.quantiles(self.times_ms, n=20)[-1] if len(self.times_ms) > 1 else self.times_ms[0]

    @property
    def missed(self) -> str:
        question = self.question
        said = []
        if question.most_ms is not None and self.p95_ms > question.most_ms:
            said.append(f"{question.most_ms:.0f} ms")
        if question.most_kb is not None and self.bytes > question.most_kb * 1000:
            said.append(f"{question.most_kb:.0f} kB")
        return " and ".join(said)


def page(title: str, path: str | Callable[[int], str], most_ms: float = _LIST_MS) -> Question:
    return Question(title=title, path=_path(path), most_ms=most_ms, most_kb=_PAGE_KB)


def route(title: str, path: str | Callable[[int], str]) -> Question:
    return Question(title=f"API: {title}", path=_path(f"/api/v1{path}" if isinstance(path, str) else path))


def _path(path: str | Callable[[int], str]) -> Callable[[int], str]:
    return path if callable(path) else lambda _: str(path)


def questions(hosts: int) -> list[Question]:
    def some(number: int) -> str:
        first = number * 37 % hosts
        return next(name_of(each) for each in (*range(first, hosts), *range(first)) if has_name(each))

    return [
        page("dashboard", "/", _HOME_MS),
        page("hosts, first page", "/hosts"),
        page("hosts, a later page", lambda n: f"/hosts?page={n % 50 + 2}"),
        *[page(f"hosts, sorted by {key}", f"/hosts?sort={key}") for key in ("state", "address", "seen_at")],
        page("hosts, by state", "/hosts?state=failed"),
        page("hosts, by role", lambda n: f"/hosts?role={ROLES[n % len(ROLES)]}"),
        page("hosts, by tag", lambda n: f"/hosts?tag=rack-{n}"),
        page("hosts, search for a name", lambda n: f"/hosts?q={some(n)}"),
        page("hosts, search for a part of a MAC", lambda n: f"/hosts?q={quote(f'52:54:01:00:{n:02x}')}"),
        page("hosts, search for three words", lambda n: f"/hosts?q={quote(f'rack-{n} ready {ROLES[n % 4]}')}"),
        page("hosts, search that finds nothing", "/hosts?q=zzzz"),
        page("one host with its timeline", lambda n: f"/hosts/{some(n)}"),
        page("events", "/events"),
        page("audit log", "/audit"),
        page("audit log of one user", "/audit?who=ops"),
        page("audit log of one host", lambda n: f"/audit?host={some(n)}"),
        route("hosts, a page", "/hosts?limit=100"),
        route("hosts, by state", "/hosts?state=failed&limit=100"),
        route("hosts, by tag", "/hosts?tag=rack-7&limit=100"),
        route("one host", lambda n: f"/api/v1/hosts/{some(n)}"),
        route("timeline of one host", lambda n: f"/api/v1/hosts/{some(n)}/timeline"),
        route("audit log", "/audit?limit=100"),
        route("events", "/events?limit=100"),
        Question(
            title="API: one host is edited", path=lambda n: f"/api/v1/hosts/{some(n)}", most_ms=_EDIT_MS,
            change=lambda n: {"tags": [f"seen-{n}-{time.time_ns() % 1000}"]},
        ),
    ]  # fmt: skip


class AdminPlane:
    """The running server's pages and API, through its socket and over one connection."""

    def __init__(self, data_dir: Path) -> None:
        self._path = str(socket_path(data_dir))
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """The body of the answer; raises ValueError for an answer that is none."""
        connection = self._connection or self._open()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status // 100 != 2:
            raise ValueError(f"{method} {path} was answered with {answer.status}: {content[:300]!r}")
        return content

    def _open(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self._path)
        self._connection = connection
        return connection

    def close(self) -> None:
        """What is asked after it is asked over a new connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def measure_scale(data_dir: Path, supervisor: int, hosts: int, times: int) -> tuple[list[Answered], str]:
    """Each question `times` times, in turn; and a line about memory."""
    plane, asked = AdminPlane(data_dir), [Answered(question) for question in questions(hosts)]
    before = _memory(supervisor)
    [admin] = children_of(supervisor)["admin"]
    try:
        for one in asked:
            _ask(plane, one, 0)  # what is loaded once is not what a page costs
            one.times_ms.clear()
            began = cpu_s(admin)
            for number in range(times):
                _ask(plane, one, number)
            one.cpu_ms = (cpu_s(admin) - began) * 1000 / times
            sys.stderr.write(f"scale: {one.question.title}: p95 {one.p95_ms:.0f} ms, {one.bytes / 1000:.0f} kB\n")
    finally:
        plane.close()
    after = _memory(supervisor)
    memory = ", ".join(f"{name} {before[name]:.0f} → {after[name]:.0f}" for name in before)
    return asked, f"RSS in MB before and after these requests: {memory}."


def _memory(supervisor: int) -> dict[str, float]:
    told = {"supervisor": resident_mb(supervisor)}
    for name, pids in sorted(children_of(supervisor).items()):
        for number, pid in enumerate(sorted(pids)):
            told[name if len(pids) == 1 else f"{name}-{number}"] = resident_mb(pid)
    return told


def _ask(plane: AdminPlane, one: Answered, number: int) -> None:
    question = one.question
    body = question.change(number) if question.change else None
    began = time.perf_counter()
    content = plane.ask("PATCH" if body is not None else "GET", question.path(number), body)
    one.times_ms.append((time.perf_counter() - began) * 1000)
    if len(content) > one.bytes:
        one.bytes, one.packed_bytes = len(content), len(zlib.compress(content, 6))


def scale_markdown(asked: Iterable[Answered]) -> str:
    lines = ["| request | p50 | p95 | CPU | kB | packed | to reach |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for one in asked:
        cells = (
            one.question.title, f"{statistics.median(one.times_ms):.0f} ms", f"**{one.p95_ms:.0f} ms**",
            f"{one.cpu_ms:.0f} ms", f"{one.bytes / 1000:.0f}", f"{one.packed_bytes / 1000:.0f}", _aim(one),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _aim(one: Answered) -> str:
    question = one.question
    aims = [f"≤ {question.most_ms:.0f} ms"] if question.most_ms is not None else []
    aims += [f"≤ {question.most_kb:.0f} kB"] if question.most_kb is not None else []
    return (", ".join(aims) or "—") + (f": missed {one.missed}" if one.missed else "")


def main(words: Sequence[str]) -> int:
    options = _options(words)
    if os.geteuid() != 0:
        sys.stderr.write("bench.scale: the measurement makes network namespaces: run it as root\n")
        return 1
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", "bench.scale", *words])
    make_wires()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="pxeforge-scale-", dir=options.disk) as name:
        scene, data_dir = Scene(Path(name)), Path(name) / "data"
        began = time.monotonic()
        make_year(data_dir, options.hosts, options.events)
        sys.stderr.write(f"scale: the year was made in {time.monotonic() - began:.0f} s\n")
        try:
            served = scene.pxeforge(data_dir, "--interface lan --dhcp proxy", inside=_WIRE.inside)
            asked, memory = measure_scale(data_dir, served.pid, options.hosts, options.times)
        finally:
            scene.end()
        size_mb = (data_dir / "pxeforge.db").stat().st_size / 1e6
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    text = (
        f"{options.hosts:,} hosts, {options.hosts * options.events:,} events, a database of {size_mb:.0f} MB; "
        f"{os.cpu_count()} CPUs, Linux {kernel}, Python {platform.python_version()}, load average before the run "
        f"{load:.1f}; each request {options.times} times.\n\n{scale_markdown(asked)}\n{memory}\n"
    )
    sys.stdout.write(f"\n{text}")
    if options.into is not None:
        replace_table(options.into, text, MARKS)
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10_000, help="hosts in the database (default 10,000)")
    parser.add_argument("--events", type=int, default=200, help="events of each host (default 200)")
    parser.add_argument("--times", type=int, default=40, help="how often each request is made (default 40)")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="folder on a real disk")
    parser.add_argument("--into", type=Path, help="Markdown file whose part about scale is replaced")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
