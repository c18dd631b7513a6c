"""`pxeforge serve` as a process: it starts, refuses with a reason, survives kill -9, and stops.

In a network namespace of its own, with real sockets on the real ports.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import Cluster

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    name = f"serve-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for words in (
        "link set lo up", "link add br0 type bridge", "addr add 10.99.0.1/24 dev br0", "link set br0 up",
    ):  # fmt: skip
        subprocess.run(["ip", "-n", name, *words.split()], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


class Served:
    """One `pxeforge serve`, its output in a file."""

    def __init__(self, namespace: str, data_dir: Path, *words: str) -> None:
        self.log = data_dir.with_name(f"serve-{secrets.token_hex(2)}.log")
        command = [sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(data_dir), *words]
        environment = {**os.environ, "PXEFORGE_MIRROR": "http://127.0.0.1:9/debian", "PXEFORGE_BOOT_PROCESSES": "2"}
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], stdout=stream, stderr=stream, env=environment
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self, limit_s: float = 120) -> None:
        deadline = time.monotonic() + limit_s
        while "pxeforge is ready" not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.2)

    def wait_end(self, limit_s: float = 120) -> int:
        return self.process.wait(limit_s)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end()


SERVER = ("--interface", "br0", "--dhcp", "server", "--range", "10.99.0.50-10.99.0.90", "--force")


def cli(data_dir: Path, *words: str, database: str | None = None) -> str:
    command = [sys.executable, "-m", "pxeforge", "--data-dir", str(data_dir), *words]
    environment = {**os.environ, **({"PXEFORGE_DATABASE": database} if database else {})}
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment).stdout


def inside(namespace: str, *words: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", namespace, *words], capture_output=True, text=True, check=False, timeout=60
    ).stdout


def status_of(namespace: str, url: str) -> str:
    return inside(namespace, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url)


def holding(namespace: str, how: str) -> subprocess.Popen[bytes]:
    """A process that has the port before us."""
    script = f"import socket,time; s={how}; print('x', flush=True); time.sleep(99)"
    holder = subprocess.Popen(["ip", "netns", "exec", namespace, sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def test_it_serves_both_planes_refuses_a_second_server_and_continues_after_kill_9(
    namespace: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    first = Served(namespace, data_dir, *SERVER)
    first.wait_ready()
    assert "log in as admin with the password" in first.text()
    assert inside(namespace, "curl", "-s", "http://10.99.0.1:8080/healthz").startswith("ok\nconnections ")
    assert status_of(namespace, "http://10.99.0.1:8080/hosts") == "404"
    assert status_of(namespace, "https://127.0.0.1:8443/api/v1/hosts") == "401"
    cli(data_dir, "host", "add", "--mac", "52:54:00:12:34:56", "--name", "n1")

    second = Served(namespace, data_dir, *SERVER)
    assert second.wait_end() == 1
    assert "another pxeforge serves" in second.text()

    first.process.kill()
    first.wait_end()
    again = Served(namespace, data_dir, *SERVER)
    again.wait_ready()
    assert "password" not in again.text()
    assert "n1" in cli(data_dir, "host", "list")
    assert again.stop() == 0
    assert "n1" in cli(data_dir, "host", "list")


def test_it_serves_from_postgresql_goes_on_after_a_restart_of_it_and_alone(
    namespace: str, tmp_path: Path, postgresql: Cluster
) -> None:
    with postgresql.fresh("template1") as location:
        words = (*SERVER, "--database", location.url)
        served = Served(namespace, tmp_path / "data", *words)
        served.wait_ready()
        cli(tmp_path / "data", "host", "add", "--mac", "52:54:00:12:34:56", "--name", "n1")
        assert not (tmp_path / "data" / "pxeforge.db").exists()

        elsewhere = Served(namespace, tmp_path / "other", *words)
        assert elsewhere.wait_end() == 1
        assert "another pxeforge uses the database" in elsewhere.text()

        name = location.shown.rpartition("/")[2]
        postgresql.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert "n1" in cli(tmp_path / "data", "host", "list")
        cli(tmp_path / "data", "host", "add", "--mac", "52:54:00:12:34:57", "--name", "n2")
        assert inside(namespace, "curl", "-s", "http://10.99.0.1:8080/boot/52:54:00:12:34:57/menu.ipxe")
        assert served.stop() == 0
        told = cli(tmp_path / "data", "host", "list", database=location.url)
        assert "n1" in told
        assert "n2" in told


def test_the_boot_plane_answers_while_one_of_its_processes_is_started_again(namespace: str, tmp_path: Path) -> None:
    served = Served(namespace, tmp_path / "data", *SERVER)
    try:
        served.wait_ready()
        for doomed in boot_processes(served):
            os.kill(doomed, signal.SIGKILL)
            # Nobody is refused: the listener is the supervisor's, and whoever comes meanwhile waits in it.
            assert status_of(namespace, "http://10.99.0.1:8080/healthz") == "200"
            deadline = time.monotonic() + 60
            while len(alive := boot_processes(served)) < 2 or doomed in alive:
                assert time.monotonic() < deadline, served.text()
                time.sleep(0.2)
    finally:
        assert served.stop() == 0


def boot_processes(served: Served) -> list[int]:
    """The children `boot` of the supervisor, which is a child of `ip netns exec` or that process itself."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, IndexError):
            continue
        if words[-3:-1] == [b"pxeforge.app.processes", b"boot"] and parent == served.process.pid and state != "Z":
            found.append(int(folder.name))
    return sorted(found)


def test_a_port_in_use_is_named_with_what_to_do(namespace: str, tmp_path: Path) -> None:
    holder = holding(namespace, "socket.create_server(('0.0.0.0', 8080))")
    try:
        served = Served(namespace, tmp_path / "data", *SERVER)
        assert served.wait_end() == 1
        assert "8080 cannot be used" in served.text()
        assert "boot_port" in served.text()
        assert "log in as admin with the password" in served.text()  # the next start will not say it again
        assert "Traceback" not in served.text()
    finally:
        holder.kill()
        holder.wait()


def test_a_dhcp_port_in_use_is_named_with_what_to_do(namespace: str, tmp_path: Path) -> None:
    holder = holding(namespace, "socket.socket(2, 2); s.bind(('0.0.0.0', 67))")
    try:
        served = Served(namespace, tmp_path / "data", "--interface", "br0")
        assert served.wait_end() == 1
        assert "port 67" in served.text()
        assert "Traceback" not in served.text()
    finally:
        holder.kill()
        holder.wait()


def test_an_unknown_interface_is_named_with_the_choices(namespace: str, tmp_path: Path) -> None:
    served = Served(namespace, tmp_path / "data", "--interface", "eth9")
    assert served.wait_end() == 1
    assert "there is no interface eth9: choose one of br0" in served.text()


def test_without_permission_to_bind_it_says_so(namespace: str, tmp_path: Path) -> None:
    from pxeforge.servers.datagram import CannotListen

    code = (
        "import os,sys; sys.path.insert(0, sys.argv[1]); from pxeforge.app.processes import listen\n"
        "os.setuid(65534)\n"
        "try: listen('127.0.0.1', 80, 'boot_port')\n"
        "except Exception as problem: print(type(problem).__name__, problem)"
    )
    # Ports below 1024 need the capability also in a fresh namespace, where ip_unprivileged_port_start is 1024.
    said = inside(namespace, sys.executable, "-c", code, str(Path(__file__).parents[2]))
    assert said.startswith(CannotListen.__name__)
    assert "no permission to listen on TCP port 80: run as root" in said
