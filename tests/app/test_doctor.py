"""`pxeforge doctor` as a process in networks of namespaces, beside dnsmasq and beside a pxeforge that serves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_serve import Served, holding
from tests.conftest import write_image
from tests.servers.conftest import Network
from tests.servers.conftest import network as network
from tests.servers.test_pxe_probe import dnsmasq

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(300),
]
needs_dnsmasq = pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
RANGE = "--dhcp-range=10.77.0.50,10.77.0.60,1h"

Findings = list[dict[str, Any]]


def examine(namespace: str, data_dir: Path, *words: str, timeout_s: float = 1.5) -> tuple[Findings, int]:
    """The findings and the exit code."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "pxeforge", "--data-dir", str(data_dir)]
    done = subprocess.run(
        [*command, "doctor", "--json", "--timeout", str(timeout_s), *words], capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "PXEFORGE_MIRROR": "http://127.0.0.1:9/debian"},
    )  # fmt: skip
    assert done.stdout, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout), done.returncode


def of(findings: Findings, check: str) -> Findings:
    return [finding for finding in findings if finding["check"] == check]


def servers(findings: Findings, check: str) -> list[str]:
    """The servers that a check lists, each once per line."""
    return sorted(finding["data"]["server"] for finding in of(findings, check) if "server" in finding["data"])


def levels(findings: Findings, check: str) -> list[str]:
    return [finding["level"] for finding in of(findings, check)]


def test_in_an_empty_network_hosts_would_get_no_address_and_nothing_is_made(network: Network, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    found, code = examine(network.server, data_dir, "--interface", "br0", timeout_s=0.5)
    assert code == 1
    assert [finding["check"] for finding in found if finding["level"] == "error"] == ["dhcp"]
    assert "hosts would get no address" in of(found, "dhcp")[0]["seen"]
    assert levels(found, "mirror") == ["warning"]
    assert not data_dir.exists()
    found, code = examine(network.server, data_dir, "--interface", "br0", "--dhcp", "server", timeout_s=0.5)
    assert code == 0
    assert levels(found, "dhcp") == ["ok"]


@needs_dnsmasq
def test_beside_a_plain_dhcp_server_nothing_stands_in_the_way_of_a_proxy(network: Network, tmp_path: Path) -> None:
    host = network.host("52:54:00:00:00:07", "10.77.0.7/24")
    with dnsmasq(network.server, "br0", tmp_path, RANGE):
        found, code = examine(host, tmp_path / "data", "--interface", "eth0")
        as_server, code_as_server = examine(host, tmp_path / "data", "--interface", "eth0", "--dhcp", "server")
    assert code == 0, found
    assert servers(found, "dhcp") == ["10.77.0.1"]
    assert of(found, "dhcp")[0]["data"]["guises"] == ["bios", "http-x64", "plain", "uefi-x64"]
    assert (servers(found, "pxe"), levels(found, "pxe")) == ([], ["ok"])
    assert code_as_server == 1
    assert levels(as_server, "dhcp") == ["error"]


@needs_dnsmasq
def test_exactly_the_offers_of_a_dhcp_server_a_pxe_service_and_a_server_with_files_are_listed(
    network: Network, tmp_path: Path
) -> None:
    asking = network.host("52:54:00:00:00:07", "10.77.0.7/24")
    pxe = network.host("52:54:00:00:00:08", "10.77.0.8/24")
    second = network.host("52:54:00:00:00:09", "10.77.0.9/24")
    proxy = ("--dhcp-range=10.77.0.0,proxy", "--pxe-service=x86PC,Install,pxelinux", "--enable-tftp",
             f"--tftp-root={tmp_path}", "--pxe-service=X86-64_EFI,Install,boot.efi")  # fmt: skip
    with (
        dnsmasq(network.server, "br0", tmp_path, RANGE),
        dnsmasq(pxe, "eth0", tmp_path, *proxy),
        dnsmasq(second, "eth0", tmp_path, "--dhcp-range=10.77.0.70,10.77.0.80,1h", "--dhcp-boot=x.0,,10.77.0.99"),
    ):
        found, code = examine(asking, tmp_path / "data", "--interface", "eth0", timeout_s=2)
    assert code == 1
    assert servers(found, "dhcp") == ["10.77.0.1", "10.77.0.9"]
    assert levels(found, "dhcp") == ["ok", "ok", "warning"]
    assert servers(found, "pxe") == ["10.77.0.8", "10.77.0.9"]
    by_server = {finding["data"]["server"]: finding for finding in of(found, "pxe")}
    assert by_server["10.77.0.8"]["level"] == "error"
    assert "pxelinux.0 from 10.77.0.8" in by_server["10.77.0.8"]["seen"]
    assert by_server["10.77.0.9"]["level"] == "warning"
    assert "x.0 from 10.77.0.99" in by_server["10.77.0.9"]["seen"]


@needs_dnsmasq
def test_a_dnsmasq_of_this_very_computer_is_named_with_its_ports(network: Network, tmp_path: Path) -> None:
    with dnsmasq(network.server, "br0", tmp_path, RANGE):
        found, code = examine(network.server, tmp_path / "data", "--interface", "br0")
    assert code == 1
    assert "dnsmasq" in of(found, "neighbours")[0]["seen"]
    held = [finding for finding in of(found, "ports") if finding["level"] == "error"]
    assert ["UDP 67 (DHCP) is held by dnsmasq" in finding["seen"] for finding in held] == [True]
    assert servers(found, "dhcp") == ["10.77.0.1"]


def test_a_program_on_the_boot_planes_port_is_named(network: Network, tmp_path: Path) -> None:
    holder = holding(network.server, "socket.create_server(('', 8080))")
    try:
        found, code = examine(network.server, tmp_path / "data", "--interface", "br0", timeout_s=0.5)
    finally:
        holder.kill()
        holder.wait()
    assert code == 1
    conflict = next(finding for finding in of(found, "ports") if finding["level"] == "error")
    assert conflict["data"]["pids"]
    assert "TCP 8080 (boot plane) is held by python" in conflict["seen"]


def test_links_are_seen_as_the_kernel_has_them(network: Network, tmp_path: Path) -> None:
    network.host("52:54:00:00:00:07")
    for words in (
        "link set br0 type bridge stp_state 1 forward_delay 1500",
        "link set br0 mtu 1400",
        "link add twin type veth peer name lone",
        "addr add 10.77.0.3/24 dev twin",
    ):
        subprocess.run(["ip", "-n", network.server, *words.split()], check=True)
    chosen = [word for name in ("br0", "twin", "lone", "none", "c2") for word in ("--interface", name)]
    found, code = examine(network.server, tmp_path / "data", *chosen, timeout_s=0.5)
    assert code == 1
    told = {(finding["check"], finding["interface"]): finding for finding in found}
    assert "MTU is 1400" in told["link", "br0"]["seen"]
    topology = [finding["seen"] for finding in of(found, "topology")]
    assert any("deaf for 30 s" in text for text in topology)
    assert any("twin has an address in the same subnet" in text for text in topology)
    assert any("port of the bridge br0" in text for text in topology)
    assert told["link", "lone"]["level"] == "error"
    assert told["address", "lone"]["level"] == "error"
    assert told["interface", "none"]["level"] == "error"


@contextmanager
def serving(network: Network, data_dir: Path) -> Iterator[None]:
    words = ("--interface", "br0", "--dhcp", "server", "--range", "10.77.0.50-10.77.0.60", "--force")
    served = Served(network.server, data_dir, *words)
    try:
        served.wait_ready()
        yield
    finally:
        served.stop()


def test_beside_a_running_pxeforge_everything_is_its_own_and_it_hands_out_what_was_imported(
    network: Network, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    folder = write_image(data_dir)
    data_dir.chmod(0o700)
    asking = network.host("52:54:00:00:00:07", "10.77.0.7/24")
    us = ("--interface", "br0", "--dhcp", "server")
    with serving(network, data_dir):
        found, code = examine(network.server, data_dir, *us)
        elsewhere, _ = examine(asking, tmp_path / "other", "--interface", "eth0", "--dhcp", "server")
        (folder / "loaders" / "pxelinux.0").write_bytes(b"changed!")
        changed, _ = examine(network.server, data_dir, *us, timeout_s=0.5)
    assert code == 0, found
    assert all("held by the pxeforge that runs here" in finding["seen"] for finding in of(found, "ports"))
    assert (servers(found, "dhcp"), levels(found, "dhcp")) == (["10.77.0.1"], ["ok"])
    assert (servers(found, "pxe"), levels(found, "pxe")) == ([], ["ok"])
    for check in ("data-dir", "secret-key", "database", "certificate", "tftp", "http"):
        assert levels(found, check) == ["ok"], of(found, check)
    assert "8 bytes, as imported" in of(found, "tftp")[0]["seen"]
    assert levels(elsewhere, "dhcp") == ["error"]
    assert servers(elsewhere, "dhcp") == ["10.77.0.1"]
    assert servers(elsewhere, "pxe") == []
    assert levels(changed, "tftp") == ["error"]
    after, _ = examine(network.server, data_dir, *us, timeout_s=0.5)
    assert levels(after, "http") == ["note"]
