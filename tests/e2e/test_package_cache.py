"""The package cache with real clients: several apt at once, signatures and all, in front of this computer's mirror."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from pxeforge.lab.mirror import NoMirror, apt_mirrors
from pxeforge.lab.relay import Relay, serving
from pxeforge.services.archive_signature import DEBIAN_KEYRING

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
CLIENTS = 6
SUITE = "trixie"
PACKAGES = ("openssh-server", "curl", "busybox")
BOOT = "http://10.99.0.1:8080"


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    name = f"cache-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for words in (
        "link set lo up", "link add br0 type bridge", "addr add 10.99.0.1/24 dev br0", "link set br0 up",
    ):  # fmt: skip
        subprocess.run(["ip", "-n", name, *words.split()], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def serve(namespace: str, folder: Path, **more: str) -> Iterator[None]:
    log = folder / f"serve-{secrets.token_hex(2)}.log"
    command = [sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(folder / "data"), "--interface", "br0"]
    inside = ["ip", "netns", "exec", namespace, *command, "--dhcp", "off"]
    with log.open("wb") as stream:
        process = subprocess.Popen(inside, stdout=stream, stderr=stream, env={**os.environ, **more})
    try:
        deadline = time.monotonic() + 120
        while "pxeforge is ready" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def counters(folder: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "pxeforge", "--data-dir", str(folder / "data"), "mirror", "status", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return dict(json.loads(found)["counters"])


class Apt:
    """apt with a root of its own, on which nothing is installed; it believes Debian's keys only."""

    def __init__(self, namespace: str, root: Path) -> None:
        self.namespace, self.root = namespace, root
        for part in ("etc/preferences.d", "etc/apt.conf.d", "lists/partial", "archives/partial"):
            (root / part).mkdir(parents=True)
        (root / "status").touch()
        (root / "etc/sources.list").write_text(f"deb [signed-by={DEBIAN_KEYRING}] {BOOT}/mirror/debian {SUITE} main\n")
        options = {
            "Dir::Etc": root / "etc", "Dir::State": root, "Dir::State::status": root / "status", "Dir::Cache": root,
            "Dir::Cache::archives": root / "archives", "APT::Sandbox::User": "root", "Acquire::Retries": 0,
            "Acquire::Languages": "none", "APT::Architecture": "amd64", "APT::Architectures": "amd64",
        }  # fmt: skip
        (root / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))

    def get(self, *words: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        command = ["ip", "netns", "exec", self.namespace, "apt-get", "-y", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=surroundings)

    def install(self) -> set[str]:
        """What apt has downloaded and verified for an install."""
        for words in (("update",), ("--download-only", "install", *PACKAGES)):
            done = self.get(*words)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Err:" not in done.stdout, done.stdout
        return {path.name for path in (self.root / "archives").glob("*.deb")}


def test_several_apt_at_once_and_again_without_the_mirror(namespace: str, tmp_path: Path) -> None:
    try:
        mirrors = apt_mirrors()
    except NoMirror as problem:
        pytest.skip(str(problem))
    with serving(Relay(tmp_path / "relay.sock", mirrors, log=tmp_path / "relay.log")):
        upstream = f"http+unix://{quote(str(tmp_path / 'relay.sock'), safe='')}/debian"
        with serve(namespace, tmp_path, PXEFORGE_MIRROR=upstream, PXEFORGE_BOOT_PROCESSES="2"):
            clients = [Apt(namespace, tmp_path / f"apt{number}") for number in range(CLIENTS)]
            with ThreadPoolExecutor(CLIENTS) as pool:
                [*sets] = pool.map(Apt.install, clients)
    assert all(each == sets[0] for each in sets)
    assert len(sets[0]) > 20
    asked = [line.split()[-1] for line in (tmp_path / "relay.log").read_text().splitlines()]
    fetched = [path for path in asked if path.endswith(".deb")]
    assert len(fetched) == len(set(fetched)) == len(sets[0])  # each once, however many wanted it
    online = counters(tmp_path)
    assert online["hits"] + online["joined"] > online["misses"]
    assert online["served_bytes"] > (CLIENTS - 1) * sum(p.stat().st_size for p in clients[0].root.rglob("*.deb"))

    offline = {"PXEFORGE_MIRROR": "http://127.0.0.1:9/debian", "PXEFORGE_MIRROR_OFFLINE": "true"}
    with serve(namespace, tmp_path, **offline):
        late = Apt(namespace, tmp_path / "late")
        assert late.install() == sets[0]
        done = late.get("--download-only", "install", "cowsay")
        assert done.returncode != 0
        assert "cowsay" in done.stderr
    after = counters(tmp_path)
    assert after["upstream_bytes"] == online["upstream_bytes"]
    assert after["missing"] > 0
