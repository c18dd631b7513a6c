"""`pxeforge serve` follows its interfaces, although its listeners have given up nearly every capability."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .test_serve import SERVER, Served, inside, namespace, status_of

__all__ = ["namespace"]
pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(300),
]


def ip(namespace: str, *commands: str) -> None:
    for words in commands:
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)


def wait_for(true: Callable[[], bool], served: Served, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, served.text()
        time.sleep(0.2)


def udp_listeners(namespace: str) -> str:
    return inside(namespace, "ss", "-lunH")


def capabilities(served: Served, name: bytes) -> set[str]:
    """The effective ones of every thread of a child."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if words[-3:-1] != [b"pxeforge.app.processes", name] or parent != served.process.pid:
                continue
            lines = [(task / "status").read_text().splitlines() for task in (folder / "task").iterdir()]
        except (OSError, IndexError):
            continue
        found |= {line.split()[1] for status in lines for line in status if line.startswith("CapEff")}
    return found


def test_an_interface_that_returns_and_an_address_that_changes_are_served(namespace: str, tmp_path: Path) -> None:
    served = Served(namespace, tmp_path / "data", *SERVER)
    try:
        served.wait_ready()
        # Else the way back to port 67 would prove nothing.
        assert capabilities(served, b"wire") == {"0000000000000400"}
        assert capabilities(served, b"tftp") == {"0000000000000000"}
        ip(namespace, "link del br0")
        wait_for(lambda: "the interface is gone" in served.text(), served)
        wait_for(lambda: "br0:67" not in udp_listeners(namespace), served)
        ip(namespace, "link add br0 type bridge", "addr add 10.99.0.1/24 dev br0", "link set br0 up")
        wait_for(lambda: "br0:67" in udp_listeners(namespace), served)
        assert "the interface is back" in served.text()
        assert "every listener starts again" not in served.text()

        ip(namespace, "addr del 10.99.0.1/24 dev br0", "addr add 10.99.0.9/24 dev br0")
        wait_for(lambda: "our address has changed: every listener starts again" in served.text(), served)
        wait_for(lambda: "10.99.0.9:69" in udp_listeners(namespace), served)
        wait_for(lambda: status_of(namespace, "http://10.99.0.9:8080/healthz") == "200", served)
        menu = inside(namespace, "curl", "-s", "http://10.99.0.9:8080/boot/52:54:00:12:34:56/menu.ipxe")
        assert menu.startswith("#!ipxe")
        assert "Traceback" not in served.text()
    finally:
        ip(namespace, "addr flush dev br0", "addr add 10.99.0.1/24 dev br0")
        assert served.stop() == 0


def test_subnets_that_make_no_sense_are_one_sentence_at_the_start(namespace: str, tmp_path: Path) -> None:
    config = tmp_path / "pxeforge.toml"
    config.write_text('[[subnets]]\nnetwork = "10.99.0.0/16"\nrange = "10.99.7.1-10.99.7.9"\n')
    served = Served(namespace, tmp_path / "data", *SERVER, "--config", str(config))
    assert served.wait_end() == 1
    assert "the subnet 10.99.0.0/16 lies across the network 10.99.0.0/24 of an interface" in served.text()
    assert "Traceback" not in served.text()
