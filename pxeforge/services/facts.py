"""Facts that a host reports about itself: checked, stored, and its identity (NICs, UUID, serial) learned from them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.identity import useful_serial, useful_uuid
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services.context import Context
from pxeforge.services.events import record
from pxeforge.services.identity import claimed
from pxeforge.services.problems import Problem
from pxeforge.services.sightings import mark
from pxeforge.store.tables import Host, Nic

_MAX_BYTES = 200_000
_Text = Field(default=None, max_length=256)


class _Lenient(BaseModel):
    """Newer agents may tell more; what is told must have the right shape."""

    model_config = ConfigDict(extra="allow")


class _NicFacts(_Lenient):
    name: str = Field(max_length=32)
    mac: str = Field(max_length=64)
    addresses: list[str] = Field(default=[], max_length=64)
    physical: bool | None = None


class _DiskFacts(_Lenient):
    name: str = Field(max_length=64)
    size_bytes: int = Field(ge=0)


class _KeyFacts(_Lenient):
    type: str = Field(max_length=64)


class _Facts(_Lenient):
    hostname: str | None = _Text
    uuid: str | None = _Text
    serial: str | None = _Text
    nics: list[_NicFacts] = Field(default=[], max_length=256)
    disks: list[_DiskFacts] = Field(default=[], max_length=1024)
    ssh_host_keys: list[_KeyFacts] = Field(default=[], max_length=16)


def merge_facts(session: Session, ctx: Context, host: Host, facts: dict[str, Any]) -> None:
    """Stores the facts; a NIC that only stood for an unnamed discovered host moves here. Raises Problem."""
    if len(json.dumps(facts)) > _MAX_BYTES:
        raise Problem("the facts are too large")
    try:
        checked = _Facts.model_validate(facts)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise Problem(f"facts not usable: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    host.facts = facts
    # What many boards share is no identity: it stays among the facts, to be seen.
    host.uuid = useful_uuid(checked.uuid) or useful_uuid(host.uuid)
    host.serial = useful_serial(checked.serial) or useful_serial(host.serial)
    # Bonds, VLANs and bridges bear the MACs of NICs, or made-up ones. Where there is no hardware at all (a container)
    # everything counts.
    real = [nic for nic in checked.nics if nic.physical] or checked.nics
    for nic in real:
        _learn_nic(session, ctx, host, nic)
    mark(session, ctx, host)


def _learn_nic(session: Session, ctx: Context, host: Host, facts: _NicFacts) -> None:
    try:
        mac = MacAddress.parse(facts.mac)
    except NotAMac:
        return  # InfiniBand and tunnels have no Ethernet address
    virtual = facts.name.startswith(("veth", "docker", "virbr", "br-"))
    if virtual or not any(mac.octets):
        return
    address = next((text.partition("/")[0] for text in facts.addresses if "." in text), None)
    row = session.get(Nic, str(mac))
    if row is None:
        row = Nic(mac=str(mac))
        host.nics.append(row)
    elif row.host_id != host.id and not _take_over(session, ctx, host, row):
        return
    row.name = facts.name
    row.address = address or row.address


def _take_over(session: Session, ctx: Context, host: Host, row: Nic) -> bool:
    """A second NIC of this host may have been discovered as a host of its own; a named host is never robbed."""
    other = row.host
    if other.state != HostState.DISCOVERED.value or other.name or other.roles:
        record(
            session, ctx, host_id=host.id, source="agent", kind="conflict",
            message=f"reports the NIC {row.mac}, which belongs to host {other.name or other.id}: see `pxeforge host "
            "conflicts`",
        )  # fmt: skip
        claimed(session, ctx, host, row.mac, other)
        return False
    row.host = host
    session.flush()
    session.expire(other, ["nics"])
    if not session.scalars(select(Nic).where(Nic.host_id == other.id)).first():
        session.delete(other)
    return True
