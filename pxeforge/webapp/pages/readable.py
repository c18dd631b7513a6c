"""How times, durations, sizes and lists read on a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sized
from datetime import UTC, datetime
from typing import Any, Final


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`, `3 d 4 h`."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def span(seconds: float) -> str:
    """A round duration in few letters, for the scale of a chart: `0`, `30 s`, `5 min`, `2 h`, `3 d`."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:g} {unit}"
    return f"{seconds:g} s" if seconds else "0"


def ago(at: float | None, now: float) -> str:
    """How long ago, in one unit: `never`, `just now`, `12 s ago`, `5 min ago`."""
    if at is None:
        return "never"
    return "just now" if now - at < 2 else f"{_coarse(now - at)} ago"


def left(until: float | None, now: float) -> str:
    """How much time is left: `–`, `over`, `59 min left`."""
    if until is None:
        return "–"
    return "over" if until <= now else f"{_coarse(until - now)} left"


def clock(at: float | None) -> str:
    return "–" if at is None else _utc(at).strftime("%H:%M:%S")


def moment(at: float | None) -> str:
    return "–" if at is None else _utc(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float | None) -> str:
    return "" if at is None else _utc(at).isoformat(timespec="seconds")


def size(count_bytes: float | None) -> str:
    """Decimal units up to TB, as disks are sold: `512 GB`, `1.92 TB`."""
    if count_bytes is None:
        return "–"
    return _scaled(float(count_bytes), 1000, ("B", "kB", "MB", "GB", "TB"))


def memory(count_bytes: float | None) -> str:
    """Binary units, as memory is sold: `64 GiB`."""
    if count_bytes is None:
        return "–"
    return _scaled(float(count_bytes), 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def counted(count: int | Sized, noun: str) -> str:
    """`1 host`, `12 hosts`."""
    number = count if isinstance(count, int) else len(count)
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(value: Any, separator: str = ", ") -> str:
    """Text for a value that may be one thing, several or none."""
    if value is None:
        return ""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return separator.join(str(item) for item in value)


def same_counted(texts: Iterable[str]) -> str:
    """`2 × 960 GB + 480 GB`."""
    found = Counter(texts)
    return " + ".join(f"{count} × {text}" if count > 1 else text for text, count in found.items())


def tail(text: Any, lines: int = 40) -> str:
    """The last lines of an output, with a word about those left out."""
    rows = str(text or "").rstrip().splitlines()
    if len(rows) <= lines:
        return "\n".join(rows)
    return "\n".join([f"… {len(rows) - lines} lines before", *rows[-lines:]])


def host_label(host: dict[str, Any]) -> str:
    """The name, else the first MAC address, else the id."""
    macs: list[str] = host.get("macs") or []
    return str(host.get("name") or (macs[0] if macs else host["id"]))


def _coarse(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)} {unit}"
    return f"{int(seconds)} s"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    index = 0
    while value >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    return f"{value:.3g} {units[index]}" if value < 1000 else f"{value:.0f} {units[index]}"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "duration": duration, "ago": ago, "span": span, "left": left, "clock": clock, "moment": moment, "iso": iso,
    "size": size, "memory": memory, "listing": listing, "counted": counted, "same_counted": same_counted,
    "tail": tail, "host_label": host_label,
}  # fmt: skip
