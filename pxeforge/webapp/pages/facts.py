"""What a host reported about itself, shaped for its page; a host may report anything, so nothing is trusted here."""

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
        ssh_host_keys=tuple(filter(None, (_text(key.get("public_key")) for key in _dicts(facts.get("ssh_host_keys"))))),
    )


def _disk(row: dict[str, Any]) -> Disk:
    return Disk(
        name=_text(row.get("name")),
        size_bytes=_number(row.get("size_bytes")),
        model=_text(row.get("model")),
        serial=_text(row.get("serial")),
        by_path=_text(row.get("by_path")),
    )


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
