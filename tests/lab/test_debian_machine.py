"""What can be known of a machine without one; tests/e2e/test_cloud_machines.py boots them."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from pxeforge.lab import debian_machine
from pxeforge.lab.cloud import Cloud, CloudProblem
from pxeforge.lab.debian_machine import BootTree, DebianMachine, Hardware
from pxeforge.lab.keeper import lab_mac
from pxeforge.lab.qemu import MachineError
from pxeforge.lab.rack import Rack


def made(tmp_path: Path, **more: object) -> DebianMachine:
    tree = BootTree((tmp_path / "upper", tmp_path / "base"), tmp_path / "vmlinuz-6", tmp_path / "initrd.img-6")
    given: dict[str, object] = {
        "name": "b1", "rack": Rack("x"), "taps": ("tap20n0", "tap20n1"), "macs": (lab_mac(20), lab_mac(276)),
        "address": "10.77.0.20", "tree": tree, "folder": tmp_path / "b1", "qemu": ("qemu",),
    }  # fmt: skip
    return DebianMachine(**(given | more))  # type: ignore[arg-type]


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "mkfs.ext4" else program)
    assert debian_machine.why_not() == "install the package e2fsprogs"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert debian_machine.why_not() == "machines on a rack need root"


def test_it_is_started_with_the_kernel_of_its_tree_and_all_its_parts(tmp_path: Path) -> None:
    command = made(tmp_path, hardware=Hardware(memory_mb=512, processors=3))._built().command()
    pairs = list(itertools.pairwise(command))
    assert ("-kernel", str(tmp_path / "vmlinuz-6")) in pairs
    assert ("-initrd", str(tmp_path / "initrd.img-6")) in pairs
    assert {("-smp", "3"), ("-m", "512")} <= set(pairs)
    devices = [value for key, value in pairs if key == "-device"]
    assert [word for word in devices if "mac=" in word] == [
        "virtio-net-pci,netdev=nic,mac=52:54:00:77:00:14,bootindex=1",
        "virtio-net-pci,netdev=nic1,mac=52:54:00:77:01:14,romfile=",
    ]
    assert [word.split("serial=")[1].split(",")[0] for word in devices if "serial=" in word] == ["LAB-B1", "LAB-B1-2"]


def test_what_does_not_run_says_so(tmp_path: Path) -> None:
    machine = made(tmp_path)
    assert not machine.is_running
    with pytest.raises(MachineError, match="b1 does not run"):
        machine.run(["true"])
    machine.stop()
    machine.remove()


def test_machines_and_systems_share_names_and_wires_are_known(tmp_path: Path) -> None:
    with pytest.raises(CloudProblem, match=r"names of their own.*: c1, c1"):
        Cloud(tmp_path, cache=tmp_path, suite="bookworm", names=["c1"], machines=["c1"])
    with pytest.raises(CloudProblem, match=r"names of their own.*: none"):
        Cloud(tmp_path, cache=tmp_path, suite="bookworm")
    for wires in ((), (1, 0), (0, 2)):
        with pytest.raises(CloudProblem, match="the first NIC is on wire 0"):
            Cloud(tmp_path, cache=tmp_path, suite="bookworm", machines=["n1"], hardware=Hardware(wires=wires))
