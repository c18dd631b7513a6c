"""A monitor's view of `pxeforge serve` as a process: counters over restarts, readiness, and the log as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.app.test_serve import Served, boot_processes, inside, status_of
from tests.app.test_serve import namespace as namespace

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(300),
]
SERVER = (
    "--interface", "br0", "--dhcp", "off", "--metrics-listen", "127.0.0.1:9100", "--log-format", "json",
)  # fmt: skip
BOOT = 'pxeforge_http_responses_total{plane="boot",code="2xx"}'


@pytest.fixture(scope="module")
def served(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(namespace, tmp_path_factory.mktemp("watched") / "data", *SERVER)
    server.wait_ready()
    yield server
    assert server.stop() == 0


def value(namespace: str, series: str) -> float:
    text = inside(namespace, "curl", "-s", "http://127.0.0.1:9100/metrics")
    name, _, labels = series.rstrip("}").partition("{")
    wanted = dict(pair.split("=") for pair in labels.replace('"', "").split(",") if pair)
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels == wanted
    )


def wait_until(namespace: str, series: str, least: float) -> float:
    deadline = time.monotonic() + 60
    while (found := value(namespace, series)) < least:
        assert time.monotonic() < deadline, f"{series} is {found}"
        time.sleep(0.2)
    return found


def test_counters_go_on_where_a_killed_process_left_them(namespace: str, served: Served) -> None:
    for _ in range(3):
        assert status_of(namespace, "http://10.99.0.1:8080/healthz") == "200"
    before = wait_until(namespace, BOOT, 3)
    starts = [value(namespace, f'pxeforge_process_starts_total{{process="boot-{n}"}}') for n in (0, 1)]
    for doomed in boot_processes(served):
        os.kill(doomed, signal.SIGKILL)
    assert value(namespace, BOOT) >= before
    for number, count in enumerate(starts):
        wait_until(namespace, f'pxeforge_process_starts_total{{process="boot-{number}"}}', count + 1)
    wait_until(namespace, "pxeforge_ready", 1)
    assert status_of(namespace, "http://127.0.0.1:9100/readyz") == "200"
    assert status_of(namespace, "http://10.99.0.1:8080/healthz") == "200"
    wait_until(namespace, BOOT, before + 1)
    for line in served.text().splitlines():
        if line.startswith("{"):
            assert {"timestamp", "level", "process", "event"} <= json.loads(line).keys()
    assert '"event": "a listener ended; it is restarted"' in served.text()


def test_every_process_is_seen_and_the_admin_plane_asks_for_a_login(namespace: str, served: Served) -> None:
    for process in ("wire", "tftp", "boot-0", "boot-1", "agent", "admin"):
        assert value(namespace, f'pxeforge_process_up{{process="{process}"}}') == 1
        assert value(namespace, f'pxeforge_process_resident_bytes{{process="{process}"}}') > 1 << 20
    assert status_of(namespace, "https://127.0.0.1:8443/metrics") == "401"
    assert status_of(namespace, "https://127.0.0.1:8443/readyz") == "200"
    assert status_of(namespace, "http://127.0.0.1:9100/api/v1/hosts") == "404"


def test_health_is_an_exit_code(served: Served, namespace: str, tmp_path: Path) -> None:
    def health(data_dir: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pxeforge", "--data-dir", str(data_dir), "health"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    well = health(served.log.parent / "data")
    assert (well.returncode, [line.split() for line in well.stdout.splitlines()]) == (
        0, [["children", "ok"], ["database", "ok"], ["disk", "ok"]],
    )  # fmt: skip
    nobody = health(tmp_path)
    assert nobody.returncode == 1
    assert "is `pxeforge serve` running?" in nobody.stderr
