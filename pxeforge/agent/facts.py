"""What this host is made of, as JSON; whatever cannot be read is left empty, never guessed."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

_CPU_FLAGS = ("aes", "avx2", "avx512f", "hypervisor", "lm", "pdpe1gb", "sse4_2", "svm", "vmx")
_DMI = {"uuid": "product_uuid", "serial": "product_serial", "vendor": "sys_vendor", "product": "product_name"}
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"  # of EFI's global variables
_SYSTEM_PATHS = ("/", "/usr", "/var", "/boot", "/boot/efi")
_NOT_DISKS = ("loop", "ram", "zram", "fd", "sr", "dm-", "md", "nbd")


def collect(root: Path = Path("/"), sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> dict[str, Any]:
    """All facts. `root` is where the installed system is, `sys` and `proc` where the kernel shows itself."""
    nics, mounts = _nics(sys), _mounts(proc)
    release = _key_values(_read(root / "etc/os-release"))
    return {
        "hostname": _read(root / "etc/hostname").strip() or socket.gethostname(),
        "clock": time.time(),
        "boot_id": _read(proc / "sys/kernel/random/boot_id").strip(),
        **{name: _read(sys / "class/dmi/id" / file).strip() for name, file in _DMI.items()},
        "cpu": _cpu(proc),
        "ram_bytes": _ram_bytes(proc),
        "secure_boot": _secure_boot(sys),
        "nics": nics,
        "macs": [nic["mac"] for nic in nics],
        "default_route": _default_route(proc),
        "disks": _disks(sys, Path("/dev"), mounts),
        "mounts": mounts,
        "os": {key: release.get(name, "") for key, name in (("id", "ID"), ("version", "VERSION_ID"), *_OS_NAMES)},
        "kernel": _read(proc / "sys/kernel/osrelease").strip(),
        "machine_id": _read(root / "etc/machine-id").strip(),
        "ssh_host_keys": _ssh_host_keys(root),
    }


_OS_NAMES = (("codename", "VERSION_CODENAME"), ("name", "PRETTY_NAME"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _key_values(text: str) -> dict[str, str]:
    """os-release(5): KEY=value with optional quotes."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _cpu(proc: Path) -> dict[str, Any]:
    text = _read(proc / "cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    have = set(flags.group(1).split()) if flags else set()
    return {
        "model": " ".join(model.group(1).split()) if model else "",
        "count": len(re.findall(r"^processor\s*:", text, re.MULTILINE)),
        "flags": [flag for flag in _CPU_FLAGS if flag in have],
    }


def _ram_bytes(proc: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _read(proc / "meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def _secure_boot(sys: Path) -> bool | None:
    """Whether UEFI enforces Secure Boot: four bytes of attributes, then 1 or 0. None where it cannot be read."""
    try:
        value = (sys / "firmware/efi/efivars" / _SECURE_BOOT).read_bytes()
    except OSError:
        return None
    return value[4] == 1 if len(value) == 5 else None


def _nics(sys: Path) -> list[dict[str, Any]]:
    """Ethernet nics, asked of netlink and, where there is no iproute2, of sysfs (then without addresses)."""
    return _nics_by_ip(sys) or _nics_by_sysfs(sys)


def _nics_by_ip(sys: Path) -> list[dict[str, Any]]:
    try:
        ran = subprocess.run(
            ["ip", "-json", "address"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True
        )
        links = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [
        {
            "name": link["ifname"],
            "mac": link.get("address", ""),
            "addresses": [
                f"{address['local']}/{address['prefixlen']}"
                for address in link.get("addr_info", [])
                if address.get("scope") == "global"
            ],
            "link": "LOWER_UP" in link.get("flags", []) if "UP" in link.get("flags", []) else None,
            **_hardware(sys / "class/net" / link["ifname"]),
        }
        for link in links
        if link.get("link_type") == "ether"
    ]


def _nics_by_sysfs(sys: Path) -> list[dict[str, Any]]:
    nics: list[dict[str, Any]] = []
    for folder in sorted((sys / "class/net").glob("*")):
        mac = _read(folder / "address").strip()
        if folder.name == "lo" or not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
            continue
        carrier = _read(folder / "carrier").strip()  # cannot be read while the nic is down
        link = carrier == "1" if carrier else None
        nics.append({"name": folder.name, "mac": mac, "addresses": [], "link": link, **_hardware(folder)})
    return nics


def _hardware(folder: Path) -> dict[str, Any]:
    """What drives a nic, and how fast its link is (-1 or nothing while it is down)."""
    driver, speed = folder / "device/driver", _read(folder / "speed").strip()
    return {
        "physical": (folder / "device").exists(),
        "driver": driver.resolve().name if driver.exists() else "",
        "speed_mbps": int(speed) if speed.isdigit() else None,
    }


def _default_route(proc: Path) -> dict[str, str] | None:
    """The IPv4 default route with the lowest metric: {gateway, nic}."""
    routes = []
    for line in _read(proc / "net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            gateway = ".".join(str(byte) for byte in reversed(bytes.fromhex(fields[2])))
            routes.append((int(fields[6]), {"gateway": gateway, "nic": fields[0]}))
    return min(routes, key=lambda route: route[0])[1] if routes else None


def _disks(sys: Path, dev: Path, mounts: list[dict[str, str]]) -> list[dict[str, Any]]:
    systems = [Path(mount["device"]).resolve().name for mount in mounts if mount["path"] in _SYSTEM_PATHS]
    below = {disk for name in systems for disk in _disks_below(sys, name)}
    by_path: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for link in sorted((dev / "disk/by-path").iterdir()):
            by_path.setdefault(link.resolve().name, str(link))
    disks = []
    for folder in sorted((sys / "block").glob("*")):
        sectors = _read(folder / "size").strip()
        if folder.name.startswith(_NOT_DISKS) or not sectors.isdigit() or int(sectors) == 0:
            continue
        disks.append(
            {
                "name": folder.name,
                "size_bytes": int(sectors) * 512,  # always 512-byte units, whatever the disk's sectors are
                "serial": disk_serial(folder),
                "model": _read(folder / "device/model").strip(),
                "rotational": _read(folder / "queue/rotational").strip() == "1",
                "by_path": by_path.get(folder.name, ""),
                "removable": _read(folder / "removable").strip() == "1",
                "system": folder.name in below,
            }
        )
    return disks


def disk_serial(folder: Path) -> str:
    """NVMe and virtio tell it as text, SCSI and SATA disks in page 0x80 of their vital product data (SPC)."""
    told = _read(folder / "device/serial").strip() or _read(folder / "serial").strip()
    if told:
        return told
    with contextlib.suppress(OSError):
        page = (folder / "device/vpd_pg80").read_bytes()
        if page[1:2] == b"\x80":
            text = page[4 : 4 + int.from_bytes(page[2:4], "big")].decode("ascii", "replace")
            return "".join(char for char in text if char.isprintable()).strip()
    return ""


def _disks_below(sys: Path, name: str) -> set[str]:
    """The disks under a block device: a partition's own, and those of all parts of a volume or an array."""
    folder = sys / "class/block" / name
    slaves = [slave.name for slave in (folder / "slaves").glob("*")]
    if slaves:
        return {disk for slave in slaves for disk in _disks_below(sys, slave)}
    return {folder.resolve().parent.name if (folder / "partition").exists() else name}


def _mounts(proc: Path) -> list[dict[str, str]]:
    """File systems on block devices, each once, where it was mounted first: {device, path, filesystem}."""
    found: dict[str, dict[str, str]] = {}
    for line in _read(proc / "self/mounts").splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[0].startswith("/dev/"):
            found.setdefault(fields[0], {"device": fields[0], "path": fields[1], "filesystem": fields[2]})
    return list(found.values())


def _ssh_host_keys(root: Path) -> list[dict[str, str]]:
    keys = []
    for file in sorted((root / "etc/ssh").glob("ssh_host_*_key.pub")):
        fields = _read(file).split()
        if len(fields) >= 2:
            keys.append({"type": fields[0], "public_key": f"{fields[0]} {fields[1]}"})
    return keys
