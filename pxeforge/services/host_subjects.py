"""What rules and selections may ask of hosts, gathered from what is stored of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from pxeforge.domain.host_rules import BadRule, Disk, Subject, misses, read_criteria
from pxeforge.domain.identity import useful_serial, useful_uuid, useful_word
from pxeforge.services.problems import Problem
from pxeforge.services.racks import position_of
from pxeforge.store.tables import Host, Nic, Sighting

_TERM: Final = re.compile(r"([a-z_]+)(>=|<=|=|<|>)(.*)", re.DOTALL)
_OF_FACTS: Final = frozenset(
    {"vendor", "product", "memory", "cpus", "disks", "disk_size", "disk_rotational", "switch", "switch_port"}
)
_MANY: Final = 500  # more than this many identities are no longer named one by one: SQL takes only so many


def subjects_of(session: Session, hosts: Sequence[Host], *, facts: bool = True) -> dict[str, Subject]:
    """By host id; without `facts` as if none had been told."""
    seen: dict[str, list[Sighting]] = {}
    query = select(Sighting, Nic.host_id).join(Nic, Nic.mac == Sighting.mac).order_by(Sighting.at.desc())
    if len(hosts) <= _MANY:
        query = query.where(Nic.host_id.in_([host.id for host in hosts]))
    for sighting, host_id in session.execute(query):
        seen.setdefault(host_id, []).append(sighting)
    return {host.id: _subject(host, host.facts if facts else {}, seen.get(host.id, ())) for host in hosts}


def _subject(host: Host, told: object, seen: Sequence[Sighting]) -> Subject:
    """One host; `told`: its facts, `seen`: where its NICs were, the last one first."""
    facts: dict[str, Any] = told if isinstance(told, dict) else {}
    place, cpu = position_of(host.settings), facts.get("cpu")
    neighbours = _objects(facts.get("neighbours"))
    return Subject(
        name=host.name,
        state=host.state,
        macs=tuple(host.macs),
        vendor=useful_word(facts.get("vendor")),
        product=useful_word(facts.get("product")),
        serial=useful_serial(host.serial) or "",
        uuid=useful_uuid(host.uuid) or "",
        firmware=host.firmware or "",
        memory_bytes=_number(facts.get("ram_bytes")),
        cpus=_number(cpu.get("count")) if isinstance(cpu, dict) else None,
        disks=_disks(facts.get("disks")),
        addresses=_unique([host.address, *(nic.address for nic in host.nics), *(one.relay for one in seen)]),
        relays=_unique(one.relay for one in seen),
        circuit_ids=_unique(one.circuit_id for one in seen),
        remote_ids=_unique(one.remote_id for one in seen),
        switches=_unique(_text(one.get("system")) or _text(one.get("chassis")) for one in neighbours),
        switch_ports=_unique(_text(one.get("port")) for one in neighbours),
        rack=place.rack if place else None,
        unit=place.unit if place else None,
        tags=tuple(map(str, host.tags)),
        roles=tuple(row.role for row in host.roles),
    )


def _disks(told: object) -> tuple[Disk, ...] | None:
    """Fixed disks; None where none were ever told of."""
    if not isinstance(told, list):
        return None
    fixed = [one for one in _objects(told) if not one.get("removable")]
    return tuple(
        Disk(size_bytes=size, rotational=one["rotational"] if isinstance(one.get("rotational"), bool) else None)
        for one in fixed
        if (size := _number(one.get("size_bytes"))) is not None
    )


def _objects(told: object) -> list[dict[str, Any]]:
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _number(told: object) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _text(told: object) -> str:
    return told if isinstance(told, str) else ""


def _unique(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in texts if one))


# ---------------------------------------------------------------------------------------------- where


def read_where(text: str) -> list[dict[str, list[str]]]:
    """`state=known tag=rack1,rack2 memory>=64G`: criteria that must all hold, commas for one or the other.

    The keys are those of rules. Raises Problem.
    """
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise Problem(f"the selection {text!r} cannot be read ({problem}): close every quote") from None
    if not words:
        raise Problem("the selection is empty: say which hosts, e.g. 'state=known tag=rack1'")
    found: list[dict[str, list[str]]] = []
    disks: dict[str, list[str]] = {}
    for word in words:
        term = _TERM.fullmatch(word)
        if term is None:
            raise Problem(f"{word!r} is no criterion: write it like state=known or memory>=64G")
        values = term[3].split(",") if term[2] == "=" else [f"{term[2]}{term[3]}"]
        if term[1].startswith("disk"):
            disks[term[1]] = values
        else:
            found.append({term[1]: values})
    try:
        return [read_criteria(one) for one in (*found, disks) if one]
    except BadRule as problem:
        raise Problem(str(problem)) from None


def select_hosts(session: Session, text: str) -> list[Host]:
    """The hosts that a selection fits, in the order of their names. Raises Problem."""
    wanted = read_where(text)
    query = select(Host).order_by(Host.name.is_(None), Host.name, Host.created_at)
    needs_facts = any(key in _OF_FACTS for one in wanted for key in one)
    if not needs_facts:
        query = query.options(defer(Host.facts))  # they are most of a host
    hosts = session.scalars(query).all()
    subjects = subjects_of(session, hosts, facts=needs_facts)
    return [host for host in hosts if not any(misses(one, subjects[host.id]) for one in wanted)]
