"""Rules for hosts: which hosts one is for, and what it gives them. Pure: what is known of a host is an argument."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.host_name import why_no_host_name

MOST_PATTERNS: Final = 200
_LONGEST: Final = 200
_UNITS: Final = {
    "": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "KI": 2**10, "MI": 2**20, "GI": 2**30,
    "TI": 2**40, "PI": 2**50,
}  # fmt: skip
_NUMBER: Final = r"(\d{1,18}(?:\.\d{1,6})?)\s*([KMGTP]?I?)B?"
_COMPARED: Final = re.compile(rf"(>=|<=|>|<|=|)\s*{_NUMBER}", re.IGNORECASE)
_BETWEEN: Final = re.compile(rf"{_NUMBER}\s*-\s*{_NUMBER}", re.IGNORECASE)
_PREFIX: Final = re.compile(r"[0-9a-f]{1,12}")
_FIELD: Final = re.compile(r"\{([a-z_]+)(?::0?([1-9]))?\}")
_BRACES: Final = re.compile(r"[{}]")


class BadRule(ValueError):
    """A rule that means nothing; the message names the key and says what it takes."""


class NoValue(ValueError):
    """A template asks for what this host does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk as rules see it."""

    size_bytes: int
    rotational: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of a host. Texts may come from the host or the wire: they are compared and put in, never read."""

    name: str | None = None
    state: str = ""
    macs: tuple[str, ...] = ()
    vendor: str = ""
    product: str = ""
    serial: str = ""
    uuid: str = ""
    firmware: str = ""
    memory_bytes: int | None = None
    cpus: int | None = None
    disks: tuple[Disk, ...] | None = None  # None: not told yet
    addresses: tuple[str, ...] = ()  # of the host, and of the relays it was heard through
    relays: tuple[str, ...] = ()
    circuit_ids: tuple[str, ...] = ()
    remote_ids: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()  # LLDP neighbours
    switch_ports: tuple[str, ...] = ()
    rack: str | None = None
    unit: int | None = None
    tags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- criteria


@dataclass(frozen=True, slots=True)
class _Kind:
    """One criterion: how its value is checked, and why a subject does not fit (None: it fits)."""

    help: str
    check: Callable[[str], object]
    miss: Callable[[Subject, Sequence[str]], str | None]


def _texts(values: Callable[[Subject], Sequence[str]], what: str, help_: str) -> _Kind:
    def miss(subject: Subject, patterns: Sequence[str]) -> str | None:
        return _text_miss(values(subject), patterns, what)

    return _Kind(help_, _pattern, miss)


def _text_miss(told: Sequence[str], patterns: Sequence[str], what: str) -> str | None:
    """Patterns as of fnmatch, any of them; those behind `!` must not fit."""
    lowered = [one.lower() for one in told if one]
    for refused in (one[1:] for one in patterns if one.startswith("!")):
        if any(fnmatch.fnmatchcase(one, refused.lower()) for one in lowered):
            return f"{what} is {_shown(told)}, which the rule excludes"
    wanted = [one for one in patterns if not one.startswith("!")]
    if not wanted or any(fnmatch.fnmatchcase(one, pattern.lower()) for one in lowered for pattern in wanted):
        return None
    return f"{what} is {_shown(told)}, not {' or '.join(wanted)}"


def _shown(told: Sequence[str]) -> str:
    return " ".join(one for one in told if one)[:80] or "not known"


def _pattern(value: str) -> str:
    if not value.removeprefix("!"):
        raise BadRule("is empty: write a text, with * and ? for what may be anything")
    return value


def _numbers(value: Callable[[Subject], int | None], what: str, help_: str) -> _Kind:
    def miss(subject: Subject, wanted: Sequence[str]) -> str | None:
        told = value(subject)
        if told is not None and any(_range(one)(told) for one in wanted):
            return None
        return f"{what} is {'not known' if told is None else told}, not {' or '.join(wanted)}"

    return _Kind(help_, _range, miss)


def _range(text: str) -> Callable[[float], bool]:
    """`>=64G`, `<4`, `16`, `1-20`. K, M, G and T are powers of 1000, Ki, Mi … of 1024. Raises BadRule."""
    between = _BETWEEN.fullmatch(text.strip())
    if between is not None:
        low, high = _amount(between[1], between[2]), _amount(between[3], between[4])
        return lambda told: low <= told <= high
    found = _COMPARED.fullmatch(text.strip())
    if found is None:
        raise BadRule(f"{text!r} is no number: write it like 16, >=64G, <2T or 1-20")
    limit = _amount(found[2], found[3])
    return {
        ">=": lambda told: told >= limit, "<=": lambda told: told <= limit, ">": lambda told: told > limit,
        "<": lambda told: told < limit, "=": lambda told: told == limit, "": lambda told: told == limit,
    }[found[1]]  # fmt: skip


def _amount(number: str, unit: str) -> float:
    if unit.upper() not in _UNITS:
        raise BadRule(f"{unit!r} is no unit: use K, M, G, T or Ki, Mi, Gi, Ti")
    return float(number) * _UNITS[unit.upper()]


def _mac_prefix(value: str) -> str:
    prefix = re.sub(r"[:\-. ]", "", value).lower()
    if not _PREFIX.fullmatch(prefix):
        raise BadRule(f"{value!r} is no beginning of a MAC address: write it like 52:54:00")
    return prefix


def _mac_miss(subject: Subject, prefixes: Sequence[str]) -> str | None:
    wanted = tuple(_mac_prefix(one) for one in prefixes)
    if any(mac.replace(":", "").startswith(wanted) for mac in subject.macs):
        return None
    return f"no MAC address begins with {' or '.join(prefixes)}: {_shown(subject.macs)}"


def _subnet(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise BadRule(f"{value!r} is no subnet: write it like 10.77.0.0/24") from None


def _subnet_miss(subject: Subject, subnets: Sequence[str]) -> str | None:
    networks = [_subnet(one) for one in subnets]
    for text in subject.addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if any(address in network for network in networks):
            return None
    return f"no address or relay is in {' or '.join(subnets)}: {_shown(subject.addresses)}"


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise BadRule(f"{value!r} must be true or false")
    return value.lower() == "true"


def _nothing(_subject: Subject, _wanted: Sequence[str]) -> str | None:
    return None  # told together with `disks`


def _disk_miss(subject: Subject, criteria: Mapping[str, Sequence[str]]) -> str | None:
    """The number of disks that fit disk_size and disk_rotational; one at least where no number is asked for."""
    if subject.disks is None:
        return "its disks are not known yet: facts come with discovery or an install"
    sizes = [_range(one) for one in criteria.get("disk_size", ())]
    spins = [_truth(one) for one in criteria.get("disk_rotational", ())]
    fitting = [
        disk for disk in subject.disks
        if (not sizes or any(fits(disk.size_bytes) for fits in sizes)) and (not spins or disk.rotational in spins)
    ]  # fmt: skip
    wanted = criteria.get("disks", (">=1",))
    if any(_range(one)(len(fitting)) for one in wanted):
        return None
    what = " ".join(f"{key}={'|'.join(criteria[key])}" for key in ("disk_size", "disk_rotational") if key in criteria)
    return f"it has {len(fitting)} disks{' with ' + what if what else ''}, not {' or '.join(wanted)}"


_DISK_KEYS: Final = ("disks", "disk_size", "disk_rotational")
CRITERIA: Final[Mapping[str, _Kind]] = {
    "mac": _Kind("how one of its MAC addresses begins", _mac_prefix, _mac_miss),
    "vendor": _texts(lambda s: (s.vendor,), "vendor", "maker, as DMI tells it"),
    "product": _texts(lambda s: (s.product,), "product", "product name, as DMI tells it"),
    "serial": _texts(lambda s: (s.serial,), "serial", "serial number, as DMI tells it"),
    "uuid": _texts(lambda s: (s.uuid,), "uuid", "UUID, as DMI or firmware tells it"),
    "name": _texts(lambda s: (s.name or "",), "name", "name of the host"),
    "state": _texts(lambda s: (s.state,), "state", "state of the host, e.g. discovered"),
    "tag": _texts(lambda s: s.tags, "tag", "a tag of the host"),
    "role": _texts(lambda s: s.roles, "role", "a role of the host"),
    "firmware": _texts(lambda s: (s.firmware,), "firmware", "how it netboots, e.g. bios, uefi-x64"),
    "memory": _numbers(lambda s: s.memory_bytes, "memory", "bytes of memory, e.g. >=64G"),
    "cpus": _numbers(lambda s: s.cpus, "cpus", "number of processors, e.g. >=16"),
    "disks": _Kind("number of disks that fit the other two, e.g. >=2", _range, _nothing),
    "disk_size": _Kind("size of a disk, e.g. >=400G", _range, _nothing),
    "disk_rotational": _Kind("true: disks that spin, false: flash", _truth, _nothing),
    "subnet": _Kind("network of one of its addresses, or of its relay", _subnet, _subnet_miss),
    "relay": _texts(lambda s: s.relays, "relay", "address of the DHCP relay it is behind"),
    "circuit_id": _texts(lambda s: s.circuit_ids, "circuit-id", "the relay's circuit-id (option 82.1)"),
    "remote_id": _texts(lambda s: s.remote_ids, "remote-id", "the relay's remote-id (option 82.2)"),
    "switch": _texts(lambda s: s.switches, "switch", "name of a switch it is plugged into (LLDP)"),
    "switch_port": _texts(lambda s: s.switch_ports, "switch port", "port of that switch (LLDP)"),
    "rack": _texts(lambda s: (s.rack or "",), "rack", "rack it stands in"),
    "unit": _numbers(lambda s: s.unit, "unit", "unit it stands in, e.g. 1-20"),
}


def read_criteria(raw: Mapping[str, Any]) -> dict[str, list[str]]:
    """Criteria as they are kept: lists of texts by key. Raises BadRule; none at all is refused too."""
    criteria: dict[str, list[str]] = {}
    for key, value in raw.items():
        kind = CRITERIA.get(key)
        if kind is None:
            raise BadRule(f"unknown criterion {key!r}: known are {', '.join(CRITERIA)}")
        values = [_plain(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if not values or len(values) > MOST_PATTERNS:
            raise BadRule(f"{key} takes one value or a list of at most {MOST_PATTERNS}")
        for one in values:
            try:
                kind.check(one)
            except BadRule as problem:
                raise BadRule(f"{key}: {problem}") from None
        criteria[key] = values
    if not criteria:
        raise BadRule("a rule needs a criterion, e.g. mac=52:54:00: one for every host would be too much")
    return criteria


def _plain(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    if isinstance(value, dict | list) or value is None or len(text) > _LONGEST:
        raise BadRule(f"{value!r} is no text of at most {_LONGEST} characters")
    return text


def misses(criteria: Mapping[str, Sequence[str]], subject: Subject) -> list[str]:
    """Why the host does not fit, one clause for each criterion that it misses; empty: it fits."""
    found = [CRITERIA[key].miss(subject, wanted) for key, wanted in criteria.items() if key in CRITERIA]
    if any(key in criteria for key in _DISK_KEYS):
        found.append(_disk_miss(subject, criteria))
    return [one for one in found if one is not None]


# ---------------------------------------------------------------------------------------------- what a rule gives

FIELDS: Final[Mapping[str, str]] = {
    "n": "the smallest number with which the name is free, from 1 on",
    "mac": "its first MAC address, without colons",
    "mac_tail": "the last six digits of that",
    "serial": "serial number",
    "vendor": "maker",
    "product": "product name",
    "firmware": "how it netboots",
    "rack": "rack",
    "unit": "unit in the rack",
    "circuit_id": "the relay's circuit-id",
    "circuit_number": "the last number in it",
    "remote_id": "the relay's remote-id",
    "switch": "name of its switch (LLDP)",
    "switch_port": "port of that switch",
    "port_number": "the last number in that",
}
_TEMPLATES: Final = ("name", "rack", "unit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gives:
    """What a rule gives to the hosts it fits. Texts with `{…}` are templates."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    profile: str | None = None
    rack: str | None = None
    unit: str | None = None
    height: int | None = None
    attach: bool = False  # a NIC that shows a known host's UUID becomes one of that host's
    arm: bool = False  # for `profile`, once, and only a host that was never armed before

    def kept(self) -> dict[str, Any]:
        """As JSON: only what is there."""
        whole = {
            "name": self.name, "tags": list(self.tags), "roles": list(self.roles), "profile": self.profile,
            "rack": self.rack, "unit": self.unit, "height": self.height, "attach": self.attach, "arm": self.arm,
        }  # fmt: skip
        return {key: value for key, value in whole.items() if value}


def read_gives(raw: Mapping[str, Any]) -> Gives:
    """Raises BadRule."""
    known = Gives.__dataclass_fields__
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise BadRule(f"a rule cannot give {unknown[0]!r}: it gives {', '.join(known)}")
    texts = {key: _plain(raw[key]) for key in ("name", "profile", "rack", "unit") if raw.get(key) not in (None, "")}
    lists = {key: _words(key, raw[key]) for key in ("tags", "roles") if raw.get(key)}
    flags = {key: _truth(_plain(raw[key])) for key in ("attach", "arm") if raw.get(key) is not None}
    height = None
    if raw.get("height") is not None:
        if not re.fullmatch(r"[1-9]\d?", str(raw["height"])):
            raise BadRule("height is the number of units, 1 to 99")
        height = int(raw["height"])
    for key in _TEMPLATES:
        if key in texts:
            check_template(texts[key], numbered=key == "name")
    if "name" in texts and not _FIELD.search(texts["name"]):
        why_not = why_no_host_name(as_host_name(texts["name"]))
        if why_not is not None:
            raise BadRule(why_not)
    gives = Gives(**texts, **lists, **flags, height=height)  # type: ignore[arg-type]
    if not gives.kept():
        raise BadRule(f"a rule must give something: {', '.join(known)}")
    if (gives.unit or gives.height) and not gives.rack:
        raise BadRule("unit and height need a rack: give rack too")
    if "{rack}" in (gives.rack or "") or "{unit}" in (gives.unit or ""):
        raise BadRule("rack and unit cannot be made from themselves: use circuit_id, switch or another field")
    if gives.arm and not gives.profile:
        raise BadRule("arm needs a profile: say which one is installed")
    return gives


def _words(key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
        raise BadRule(f"{key} must be a list of texts")
    return tuple(dict.fromkeys(value))


def check_template(text: str, *, numbered: bool) -> None:
    """Raises BadRule where a template names what there is not."""
    for found in _FIELD.finditer(text):
        if found[1] not in FIELDS or (found[1] == "n" and not numbered):
            raise BadRule(f"{{{found[1]}}} is no field: known are {', '.join(FIELDS)} (n in names only)")
    if _BRACES.search(_FIELD.sub("", text)):
        raise BadRule(f"{text!r}: write fields like {{serial}} or {{n:03}}; other braces mean nothing")


def fill(template: str, subject: Subject, *, n: int | None = None) -> str:
    """The template with the host's values, in one pass: a value is never looked at again. Raises NoValue."""

    def value(found: re.Match[str]) -> str:
        told = _field_of(subject, found[1], n)
        if told is None or told == "":
            raise NoValue(f"{{{found[1]}}} is not known of this host")
        return str(told).zfill(int(found[2])) if found[2] else str(told)

    return _FIELD.sub(value, template)


def _field_of(subject: Subject, name: str, n: int | None) -> object:
    mac = subject.macs[0].replace(":", "") if subject.macs else None
    circuit, port = _first(subject.circuit_ids), _first(subject.switch_ports)
    return {
        "n": n, "mac": mac, "mac_tail": mac[-6:] if mac else None, "serial": subject.serial, "vendor": subject.vendor,
        "product": subject.product, "firmware": subject.firmware, "rack": subject.rack, "unit": subject.unit,
        "circuit_id": circuit, "circuit_number": _last_number(circuit), "remote_id": _first(subject.remote_ids),
        "switch": _first(subject.switches), "switch_port": port, "port_number": _last_number(port),
    }[name]  # fmt: skip


def _first(texts: Sequence[str]) -> str | None:
    return next((one for one in texts if one), None)


def _last_number(text: str | None) -> str | None:
    """Of `Ethernet1/12` the 12; nothing of hex."""
    if text is None or text.startswith("0x"):
        return None
    found = re.findall(r"\d{1,9}", text)
    return str(int(found[-1])) if found else None


def as_host_name(text: str) -> str:
    """What was filled in, brought into the form of a host name (RFC 1123); may be empty."""
    return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9-]+", "-", text.lower())).strip("-")[:63].strip("-")


def as_rack_name(text: str) -> str:
    """What was filled in, brought into the form of a rack's name; may be empty."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", text).strip("-")[:63]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it is kept. Of those that fit a host the first one in order counts for each single thing (name,
    profile, rack); tags and roles of all of them add up.
    """

    id: str
    name: str
    criteria: Mapping[str, Sequence[str]]
    gives: Gives
    enabled: bool = True
    most: int = 0
    applied: int = 0
