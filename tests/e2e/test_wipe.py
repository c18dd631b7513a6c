"""A machine erases the disk that was named by its serial, by a real debian-installer, and leaves the others alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pxeforge.lab.journey import PROFILE, digest_of
from pxeforge.lab.keeper import lab_mac
from pxeforge.lab.qemu import further_disk, make_disk
from tests.e2e.conftest import LabMaker

HOST, ERASED, KEPT = "old", "ERASE0001", "KEEP0001"
MIB = 1 << 20


def filled(path: Path) -> Path:
    """A disk with something in every part of it."""
    make_disk(path, 0.0625)
    path.write_bytes(b"data" * (path.stat().st_size // 4))
    return path


@pytest.mark.timeout(2400)
def test_the_disk_that_was_named_is_erased_and_no_other(make_lab: LabMaker) -> None:
    lab = make_lab("wipe")
    machine = lab.machine(1, fresh_disk=True, disk_gb=1)
    erased, kept = (filled(machine.disk.with_suffix(f".{name}")) for name in ("erased", "keep"))
    machine.extra_args = [*further_disk(erased, ERASED), *further_disk(kept, KEPT)]
    before = [digest_of(kept), digest_of(machine.disk)]
    args = " ".join(["mitigations=off", *lab.facts["installer_args"]])
    settings = {"light": True, "kernel_args": args, "console": "ttyS0,115200n8"}
    lab.pxeforge("profile", "set", PROFILE, *(f"{key}={json.dumps(value)}" for key, value in settings.items()))
    lab.pxeforge("host", "add", "--mac", str(lab_mac(1)), "--name", HOST)
    lab.pxeforge("host", "wipe", HOST, "--disk", ERASED, "--yes-wipe", HOST, "--retire", "--profile", PROFILE)
    try:
        machine.start()
        assert machine.wait_power_off(1800), machine.console_text()[-2000:]
    finally:
        machine.power_off()
    told = [(event["kind"], event["message"]) for event in lab.timeline(HOST)]
    assert lab.json("host", "show", HOST)["state"] == "retired", told[-8:]
    [report] = [message for kind, message in told if kind == "wiped"]
    assert ERASED in report
    content = erased.read_bytes()
    assert not any(content[: 4 * MIB])
    assert not any(content[-4 * MIB :])
    assert [digest_of(kept), digest_of(machine.disk)] == before
