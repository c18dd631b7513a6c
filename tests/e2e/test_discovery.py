"""A machine nobody knows: it netboots the discovery image, reports its hardware and its switch, and rules make it a
named host with a place in a rack and roles. Its disk is as it was.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.lab.rack import BRIDGE
from pxeforge.lab.session import Lab
from tests.e2e.conftest import CACHE, ROOT

REPORT_LIMIT_S = 600
SAY_EVERY_S = 3.0
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="a virtual rack needs root (network namespaces)"),
]
SEND = """
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0))
sender.send(bytes.fromhex(sys.argv[2]))
"""


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


FRAME = (
    bytes.fromhex("0180c200000e3cecef00000188cc")
    + tlv(1, b"\x04" + bytes.fromhex("3cecef000001"))
    + tlv(2, b"\x05Ethernet1/12")
    + tlv(3, b"\x00\x78")
    + tlv(5, b"leaf1")
    + tlv(0, b"")
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server that lets unknown hosts report their hardware."""
    folder = ROOT / "discovery"
    Lab.clear(folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PXEFORGE_UNKNOWN_HOSTS", "discover")
        lab = Lab.up(
            folder, cache=CACHE, hosts=1, admin_port=0, name="pxf-discovery", images=["discovery"], installs=False,
            seed=ROOT / "discovery-seed",
        )  # fmt: skip
    try:
        yield lab
    finally:
        lab.down()


class Switch:
    """Says over and over which port this is, as switches do."""

    def __init__(self, lab: Lab) -> None:
        self._rack, self._next = lab.rack(), 0.0

    def speak(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SAY_EVERY_S
            self._rack.run([sys.executable, "-c", SEND, BRIDGE, FRAME.hex()])


def test_an_unknown_machine_reports_itself_and_becomes_a_host_with_a_name_a_place_and_a_role(lab: Lab) -> None:
    lab.pxeforge(
        "rule", "add", "leaf1", "--when", "switch=leaf1", "--when", "disks=>=1", "--set", "name=node{n:03}",
        "--set", "rack=r1", "--set", "unit={port_number}", "--set", "roles=base", "--set", "tags=discovered",
    )  # fmt: skip
    machine, switch = lab.machine(1, fresh_disk=True, disk_gb=1), Switch(lab)
    before = digest(machine.disk)
    began = time.monotonic()
    machine.start()
    try:
        is_off = machine.wait_power_off(REPORT_LIMIT_S, on_tick=switch.speak)
        assert is_off, machine.console_text()[-3000:]
    finally:
        machine.power_off()
    print(f"discovered and off after {time.monotonic() - began:.0f} s", flush=True)
    found = named(lab, str(machine.mac))
    assert (found["name"], found["state"], found["roles"]) == ("node001", "known", ["base"])
    assert found["settings"]["rack"] == {"name": "r1", "unit": 12, "height": 1}
    facts = found["facts"]
    assert facts["serial"] == "LAB0001"
    assert facts["ram_bytes"] > 400_000_000
    assert [disk["size_bytes"] for disk in facts["disks"]] == [1 << 30]
    assert [nic["mac"] for nic in facts["nics"] if nic["driver"]] == [str(machine.mac)]
    assert [(one["system"], one["port"]) for one in facts["neighbours"]] == [("leaf1", "Ethernet1/12")]
    assert digest(machine.disk) == before
    kinds = [event["kind"] for event in lab.timeline("node001")]
    assert {"discovered", "discovery_menu", "hardware_reported", "assigned"} <= set(kinds)


def digest(disk: Path) -> str:
    with disk.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def named(lab: Lab, mac: str) -> dict[str, Any]:
    """The host as soon as the rules have looked at it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = lab.host(mac)
        if found is not None and found["name"]:
            return found
        time.sleep(1)
    raise AssertionError(f"the rules named nobody: {lab.timeline(mac)}")
