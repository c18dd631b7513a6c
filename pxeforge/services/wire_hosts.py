"""Hosts as the wire asks for them: one indexed read past the ORM, for every packet and every file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.boot import KnownHost, LoaderChoice
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress
from pxeforge.services.context import Context, digest
from pxeforge.store.group_commit import Statements

Rows = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class WireAttempt:
    """The install a host was armed for last."""

    id: str
    image: str
    parameters: dict[str, Any]
    expires_at: float
    answers_at: float | None
    outcome: str | None
    purpose: str  # as in the table of attempts


@dataclass(frozen=True, slots=True)
class WireHost:
    """What a boot decision, a menu and the answers need to know."""

    id: str
    name: str | None
    state: HostState
    loader: LoaderChoice
    armed_until: float | None
    registered_at: float | None
    address: str | None
    settings: dict[str, Any]
    macs: tuple[str, ...]
    attempt: WireAttempt | None

    def live_attempt(self, now: float) -> WireAttempt | None:
        """The attempt that a boot loader may still be served for."""
        in_time = self.armed_until is not None and now < self.armed_until
        return self.attempt if in_time and self.state in (HostState.ARMED, HostState.BOOTING) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """All that decides whether a token is still good. Times are unix seconds."""

    used_at: float | None
    attempt_id: str
    expires_at: float
    answers_at: float | None
    outcome: str | None
    host_id: str
    state: HostState
    for_what: str  # the purpose of the attempt


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token with the attempt and the host it opens."""

    purpose: str
    used_at: float | None
    attempt: WireAttempt
    host: WireHost

    @property
    def standing(self) -> Standing:
        attempt, host = self.attempt, self.host
        return Standing(
            self.used_at, attempt.id, attempt.expires_at, attempt.answers_at, attempt.outcome, host.id, host.state,
            attempt.purpose,
        )  # fmt: skip


_COLUMNS: Final = """
    h.id, h.name, h.state, h.loader, h.armed_until, h.registered_at, h.address, h.settings,
    (SELECT group_concat(mac) FROM (SELECT mac FROM nics WHERE host_id = h.id ORDER BY position, mac) own),
    a.id, a.image, a.parameters, a.expires_at, a.answers_at, a.outcome, a.purpose
"""
_BY_MAC: Final = (
    f"SELECT {_COLUMNS} FROM nics n JOIN hosts h ON h.id = n.host_id "  # noqa: S608 - our own constants
    "LEFT JOIN attempts a ON a.id = h.attempt_id WHERE n.mac = :mac"
)
_BY_TOKEN: Final = (
    f"SELECT t.purpose, t.used_at, {_COLUMNS} FROM tokens t "  # noqa: S608 - our own constants
    "JOIN attempts a ON a.id = t.attempt_id JOIN hosts h ON h.id = a.host_id WHERE t.digest = :digest"
)
_STANDINGS: Final = """
    SELECT json_group_array(
        json_array(t.digest, t.used_at, a.id, a.expires_at, a.answers_at, a.outcome, h.id, h.state, a.purpose)
    ) FROM json_each(:rows) JOIN tokens t ON t.digest = value ->> 0
    JOIN attempts a ON a.id = t.attempt_id JOIN hosts h ON h.id = a.host_id
"""
_DECISION_BY_MAC: Final = """
    SELECT h.id, h.state, h.armed_until, h.loader, h.registered_at
    FROM nics n JOIN hosts h ON h.id = n.host_id WHERE n.mac = :mac
"""
# A union, not an OR: every line an installer logs asks this, and only so the index of the NICs is used.
_BY_ADDRESS: Final = """
    SELECT h.id FROM hosts h WHERE h.id IN (
        SELECT n.host_id FROM nics n WHERE n.address = :address UNION
        SELECT h2.id FROM hosts h2 WHERE h2.address = :address
    ) ORDER BY h.seen_at DESC NULLS LAST LIMIT 1
"""


def by_mac(ctx: Context, mac: MacAddress) -> WireHost | None:
    rows = ctx.database.look_up(_BY_MAC, mac=str(mac))
    return _host(rows[0]) if rows else None


def decision_facts(ctx: Context, mac: MacAddress) -> tuple[str, KnownHost, float | None] | None:
    """Host id, what the boot decision needs, and when it registered (unix seconds): the least a packet must know."""
    rows = ctx.database.look_up(_DECISION_BY_MAC, mac=str(mac))
    if not rows:
        return None
    host_id, state, armed_until, loader, registered_at = rows[0]
    return (
        host_id,
        KnownHost(state=HostState(state), armed_until=armed_until, loader=LoaderChoice(loader)),
        registered_at,
    )


def id_behind(rows: Rows, mac: MacAddress | None, address: str) -> str | None:
    """The host at this address: by its MAC on our own wire (in proxy mode we lease nothing), else by a lease.

    `mac`: who answers for the address, if known. `rows`: `Database.look_up`, or a reader inside a change.
    """
    found = rows("SELECT host_id FROM nics WHERE mac = :mac", mac=str(mac)) if mac is not None else []
    found = found or rows(_BY_ADDRESS, address=address)
    return str(found[0][0]) if found else None


def image_behind(ctx: Context, address: str) -> str | None:
    """The image (`name/version`) that the host at this address was armed with last."""
    host_id = id_behind(ctx.database.look_up, ctx.neighbour(address), address)
    if host_id is None:
        return None
    rows = ctx.database.look_up(
        "SELECT a.image FROM hosts h JOIN attempts a ON a.id = h.attempt_id WHERE h.id = :id", id=host_id
    )
    return str(rows[0][0]) if rows else None


def standings(change: Statements, digests: Sequence[str]) -> dict[str, Standing]:
    """How these tokens (by their digests) stand now; one step, however many."""
    [(found,)] = change.rows(_STANDINGS, rows=json.dumps([[each] for each in digests]))
    return {
        token: Standing(used_at, attempt_id, expires_at, answers_at, outcome, host_id, HostState(state), for_what)
        for token, used_at, attempt_id, expires_at, answers_at, outcome, host_id, state, for_what in json.loads(
            found or "[]"
        )
    }


def by_token(ctx: Context, token: str) -> Ticket | None:
    found = ctx.database.look_up(_BY_TOKEN, digest=digest(token))
    if not found:
        return None
    host = _host(found[0][2:])
    assert host.attempt is not None  # an inner join
    return Ticket(purpose=found[0][0], used_at=found[0][1], attempt=host.attempt, host=host)


def _host(row: tuple[Any, ...]) -> WireHost:
    attempt = WireAttempt(row[9], row[10], json.loads(row[11]), row[12], row[13], row[14], row[15]) if row[9] else None
    return WireHost(
        id=row[0], name=row[1], state=HostState(row[2]), loader=LoaderChoice(row[3]), armed_until=row[4],
        registered_at=row[5], address=row[6], settings=json.loads(row[7]), macs=tuple((row[8] or "").split(",")),
        attempt=attempt,
    )  # fmt: skip
