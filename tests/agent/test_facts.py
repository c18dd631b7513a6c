from __future__ import annotations

import json
from pathlib import Path

from pxeforge.agent.facts import collect


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_facts_of_a_made_up_host_are_read(tmp_path: Path) -> None:
    sys, proc, root = tmp_path / "sys", tmp_path / "proc", tmp_path / "root"
    put(sys, "class/dmi/id/product_uuid", "AB-CD\n")
    put(sys, "class/dmi/id/sys_vendor", "ACME\n")
    put(sys, "block/sda/size", "2048\n")
    put(sys, "block/sda/device/model", "DISK 1\n")
    put(sys, "block/sda/queue/rotational", "1\n")
    put(sys, "block/loop0/size", "8\n")
    put(sys, "block/sdb/size", "0\n")
    put(proc, "cpuinfo", "processor\t: 0\nmodel name\t: CPU  X\nflags\t: fpu vmx aes\n\nprocessor\t: 1\n")
    put(proc, "meminfo", "MemTotal:       2048 kB\n")
    put(proc, "sys/kernel/random/boot_id", "b00t\n")
    route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    route += "eth1\t00000000\t0200000A\t3\t0\t0\t200\t00000000\neth0\t00000000\t0100000A\t3\t0\t0\t100\t00000000\n"
    put(proc, "net/route", route)
    mounts = "proc /proc proc rw 0 0\n/dev/mapper/vg0-root / ext4 rw 0 0\n/dev/sda1 /boot/efi vfat rw 0 0\n"
    put(proc, "self/mounts", mounts + "/dev/mapper/vg0-root /var/lib/bind ext4 rw 0 0\n")
    put(root, "etc/hostname", "db1\n")
    facts = collect(root, sys, proc)
    assert facts["uuid"] == "AB-CD"
    assert facts["vendor"] == "ACME"
    assert facts["cpu"] == {"model": "CPU X", "count": 2, "flags": ["aes", "vmx"]}
    assert facts["ram_bytes"] == 2048 * 1024
    assert facts["mounts"] == [
        {"device": "/dev/mapper/vg0-root", "path": "/", "filesystem": "ext4"},
        {"device": "/dev/sda1", "path": "/boot/efi", "filesystem": "vfat"},
    ]
    assert [(disk["name"], disk["size_bytes"], disk["rotational"]) for disk in facts["disks"]] == [
        ("sda", 1 << 20, True)
    ]
    assert facts["default_route"] == {"gateway": "10.0.0.1", "nic": "eth0"}
    assert facts["boot_id"] == "b00t"
    assert facts["hostname"] == "db1"


def test_disks_under_the_system_are_told_from_those_that_are_free(tmp_path: Path) -> None:
    for name in ("sda", "sdb", "sdc", "md0", "dm-0"):
        put(tmp_path, f"block/{name}/size", "2048\n")
    (tmp_path / "class" / "block").mkdir(parents=True)
    for disk, part in (("sda", "sda1"), ("sdb", "sdb1")):
        put(tmp_path, f"block/{disk}/{part}/partition", "1\n")
        (tmp_path / "class/block" / part).symlink_to(tmp_path / "block" / disk / part)
    for name, slaves in (("md0", ("sda1", "sdb1")), ("dm-0", ("md0",))):
        for slave in slaves:
            put(tmp_path, f"block/{name}/slaves/{slave}/size", "1\n")
        (tmp_path / "class/block" / name).symlink_to(tmp_path / "block" / name)
    put(tmp_path, "self/mounts", "/dev/dm-0 / ext4 rw 0 0\n/dev/sdc1 /srv ext4 rw 0 0\n")
    facts = collect(tmp_path, tmp_path, tmp_path)
    assert {disk["name"]: disk["system"] for disk in facts["disks"]} == {"sda": True, "sdb": True, "sdc": False}


def test_secure_boot_is_told_where_the_firmware_says_so(tmp_path: Path) -> None:
    variable = tmp_path / "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    assert collect(tmp_path, tmp_path, tmp_path)["secure_boot"] is None
    variable.parent.mkdir(parents=True)
    for value, told in ((b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False), (b"\6\0", None)):
        variable.write_bytes(value)
        assert collect(tmp_path, tmp_path, tmp_path)["secure_boot"] is told


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    facts = collect(tmp_path, tmp_path, tmp_path)
    assert facts["disks"] == []
    assert facts["cpu"]["count"] == 0
    assert facts["default_route"] is None
    assert facts["ssh_host_keys"] == []


def test_facts_of_this_host_are_json() -> None:
    facts = collect()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["macs"] == [nic["mac"] for nic in facts["nics"]]
