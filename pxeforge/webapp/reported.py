"""What a host reported about itself, shaped for whoever shows it; it may be anything, so nothing is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LARGEST = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    name: str
    size_bytes: float | None
    model: str
    serial: str
    by_path: str
    kind: str = ""  # SSD, HDD, removable
    system: bool = False  # carries the system that reported it


@dataclass(frozen=True, slots=True, kw_only=True)
class NicShown:
    """A NIC that we know of, that the host reported, or both."""

    mac: str
    name: str = ""
    addresses: tuple[str, ...] = ()
    reserved: str = ""
    link: bool | None = None
    physical: bool = True
    neighbour: str = ""  # the switch and port that LLDP told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Empty texts and None stand for what was not reported."""

    cpu: str
    threads: int | None
    memory_bytes: float | None
    vendor: str
    os: str
    kernel: str
    disks: tuple[Disk, ...]
    ssh_host_keys: tuple[str, ...]
    secure_boot: bool | None = None
    virtualisation: str = ""


def hardware(facts: dict[str, Any]) -> Hardware:
    cpu, os_release = _dict(facts.get("cpu")), _dict(facts.get("os"))
    return Hardware(
        cpu=_text(cpu.get("model")),
        threads=_whole(cpu.get("count")),
        memory_bytes=_number(facts.get("ram_bytes")),
        vendor=" ".join(filter(None, (_text(facts.get("vendor")), _text(facts.get("product"))))),
        os=_text(os_release.get("name")),
        kernel=_text(facts.get("kernel")),
        disks=tuple(_disk(row) for row in _dicts(facts.get("disks"))),
        secure_boot=_flag(facts.get("secure_boot")),
        virtualisation=_virtualisation(cpu),
        ssh_host_keys=tuple(filter(None, (_text(key.get("public_key")) for key in _dicts(facts.get("ssh_host_keys"))))),
    )


def _disk(row: dict[str, Any]) -> Disk:
    return Disk(
        name=_text(row.get("name")),
        size_bytes=_number(row.get("size_bytes")),
        model=_text(row.get("model")),
        serial=_text(row.get("serial")),
        by_path=_text(row.get("by_path")),
        kind=_kind(row),
        system=row.get("system") is True,
    )


def nics(known: list[dict[str, Any]], facts: dict[str, Any]) -> list[NicShown]:
    """Those of the host (as hosts.view tells them) with what it reported of each, then others that it reported."""
    reported = {_text(row.get("mac")).lower(): row for row in _dicts(facts.get("nics"))}
    heard = {_text(row.get("nic")): row for row in _dicts(facts.get("neighbours"))}  # agent/lldp.py
    shown = [_nic(row["mac"], row, reported.pop(row["mac"], {}), heard) for row in known]
    return shown + [_nic(mac, {}, row, heard) for mac, row in sorted(reported.items()) if mac]


def _nic(mac: str, known: dict[str, Any], row: dict[str, Any], heard: dict[str, dict[str, Any]]) -> NicShown:
    name = _text(row.get("name")) or _text(known.get("name"))
    told = [_text(one) for one in _list(row.get("addresses"))]
    seen = _text(known.get("address"))
    if seen and seen not in {one.partition("/")[0] for one in told}:
        told.append(seen)
    neighbour = heard.get(name, {})
    place = [_text(neighbour.get("system")) or _text(neighbour.get("chassis")), _text(neighbour.get("port"))]
    return NicShown(
        mac=mac, name=name, addresses=tuple(filter(None, told)), reserved=_text(known.get("reserved_address")),
        link=_flag(row.get("link")), physical=row.get("physical") is not False, neighbour=" ".join(filter(None, place)),
    )  # fmt: skip


def _kind(row: dict[str, Any]) -> str:
    if row.get("removable") is True:
        return "removable"
    rotational = _flag(row.get("rotational"))
    return "" if rotational is None else "HDD" if rotational else "SSD"


def _virtualisation(cpu: dict[str, Any]) -> str:
    flags = {_text(flag) for flag in _list(cpu.get("flags"))}
    if "hypervisor" in flags:
        return "virtual machine"
    return "can run virtual machines" if flags & {"vmx", "svm"} else ""


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [row for row in _list(value) if isinstance(row, dict)]


def _text(value: Any) -> str:
    return str(value)[:400] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _LARGEST:
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
