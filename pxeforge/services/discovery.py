"""Hosts that report their hardware from memory: who is offered it, with which token, and what comes of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from pxeforge.domain.boot import UnknownHosts
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import LOCAL_ENTRY, Menu, MenuKind, local_menu
from pxeforge.services import hosts, images
from pxeforge.services.context import Context, digest
from pxeforge.services.discovery_entry import DISCOVERY_IMAGE, discovery_entry
from pxeforge.services.events import note, record
from pxeforge.services.install_ends import close_attempts
from pxeforge.services.problems import Forbidden, NotFound
from pxeforge.services.wire_hosts import WireHost
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import Attempt, DiscoveryToken, Host

DISCOVER: Final = "discover"  # of the setting unknown_hosts
ENDS: Final = ("poweroff", "reboot", "wait")
TOKEN_S: Final = 3600.0  # from the menu to the report: a slow machine with much memory needs minutes
_HARDWARE: Final = (
    "uuid", "serial", "vendor", "product", "cpu", "ram_bytes", "secure_boot", "nics", "macs", "disks", "neighbours",
    "clock", "told_by",
)  # fmt: skip
_UNDER_WAY: Final = (HostState.BOOTING.value, HostState.RESCUE.value)
_SAME_BOOT_S: Final = 600.0  # a boot loader may ask for its menu again
_OFFERS_A_DAY: Final = 3  # a host that never reports is sent to its disk then: it would boot in circles
_DAY_S: Final = 86400.0
_OFFERS: Final = """
    SELECT count(CASE WHEN made_at > :since THEN 1 END), count(used_at) FROM discovery_tokens WHERE host_id = :host_id
"""
_OPEN: Final = """
    SELECT max(made_at) FROM discovery_tokens
    WHERE host_id = :host_id AND used_at IS NULL AND expires_at > :now AND made_at > :since
"""
_MAKE: Final = """
    INSERT INTO discovery_tokens (digest, host_id, made_at, expires_at)
    SELECT :digest, id, :made_at, :expires_at FROM hosts WHERE id = :host_id
    ON CONFLICT (digest) DO NOTHING
"""
_BY_DIGEST: Final = "SELECT host_id, expires_at, used_at FROM discovery_tokens WHERE digest = :digest"


def for_unknown(ctx: Context, host_id: str | None, now: float) -> UnknownHosts:
    """What a host gets that nobody vouched for, at this netboot."""
    wanted = UnknownHosts(ctx.unknown_hosts)
    if wanted is UnknownHosts.DISCOVER and not is_offered(ctx, host_id, now):
        return UnknownHosts.LOCAL
    return wanted


def is_offered(ctx: Context, host_id: str | None, now: float) -> bool:
    """Whether a host nobody vouched for is to report its hardware at this netboot: once, three tries a day."""
    if ctx.unknown_hosts != DISCOVER or not any(image.name == DISCOVERY_IMAGE for image in images.everything(ctx)):
        return False
    if host_id is None:
        return True
    [(lately, reported)] = ctx.database.look_up(_OFFERS, host_id=host_id, since=now - _DAY_S)
    return not reported and (lately < _OFFERS_A_DAY or _open_since(ctx, host_id, now) is not None)


def _open_since(ctx: Context, host_id: str, now: float) -> float | None:
    """When the token of this boot was made, if there is one."""
    [(made_at,)] = ctx.database.look_up(_OPEN, host_id=host_id, now=now, since=now - _SAME_BOOT_S)
    return None if made_at is None else float(made_at)


def menu_of(ctx: Context, host: WireHost, mac: MacAddress, kind: MenuKind, now: float) -> tuple[Menu, list[Any] | None]:
    """The menu that starts the discovery image, and a row for `tokens_made` that has to be stored before it leaves."""
    image = images.newest(ctx, DISCOVERY_IMAGE)
    if kind.is_for_pcs and image.arch != "amd64":
        return local_menu(str(mac), mac), None
    made_at, row = _open_since(ctx, host.id, now), None
    if made_at is None:
        made_at = float(int(now))
        row = [digest(_token(ctx, host.id, made_at)), host.id, made_at, now + TOKEN_S]
    token = _token(ctx, host.id, made_at)
    entry = discovery_entry(ctx, "1", images.reference(image), token, host.settings)
    return Menu(host_name=host.name or str(mac), mac=mac, entries=(entry, LOCAL_ENTRY), default_id=entry.id), row


def tokens_made(change: Statements, rows: Sequence[list[Any]]) -> list[bool]:
    """Stores the tokens of menus that are about to leave."""
    for made, host_id, made_at, expires_at in rows:
        change.run(_MAKE, digest=made, host_id=host_id, made_at=made_at, expires_at=expires_at)
    return [True] * len(rows)


def _token(ctx: Context, host_id: str, made_at: float) -> str:
    """Derived, not stored: the same menu can be rendered twice, and the database alone opens nothing."""
    return ctx.sign("discovery tokens", f"{host_id}/{int(made_at)}")


def permit(session: Session, ctx: Context, host_id: str, token: str, *, for_s: float) -> None:
    """Makes a token good for one report of a host that is armed for it."""
    now = ctx.clock()
    session.add(
        DiscoveryToken(digest=digest(token), host_id=host_id, made_at=now, expires_at=now + for_s + TOKEN_S)
    )  # fmt: skip


def report(ctx: Context, token: str, facts: dict[str, Any], *, peer: str) -> str:
    """What a host says of its hardware, once; returns what it does then. Raises Forbidden, Problem.

    Only hardware is taken: what an installed system has told (its SSH keys, say) is nothing that memory could know.
    """
    from pxeforge.services.facts import merge_facts  # 7 MB that only the process needs which is told facts

    now = ctx.clock()
    _check(ctx, token, peer)
    with ctx.database.write() as session:
        row = session.get(DiscoveryToken, digest(token))
        if row is None or row.used_at is not None or now >= row.expires_at:
            raise Forbidden("this token was used, or its time is over: netboot again")
        host = session.get_one(Host, row.host_id)
        row.used_at = now
        merge_facts(session, ctx, host, {**host.facts, **{key: facts[key] for key in _HARDWARE if key in facts}})
        host.seen_at, host.address = now, peer or host.address
        _over(session, ctx, host)
        neighbours = [one for one in facts.get("neighbours") or [] if isinstance(one, dict)]
        record(
            session, ctx, host_id=host.id, source="http", kind="hardware_reported",
            message=f"hardware reported by {peer}: {len(host.nics)} NICs, {len(facts.get('disks') or [])} disks, "
            f"{len(neighbours)} neighbours",
        )  # fmt: skip
    return ctx.discovery_end


def _over(session: Session, ctx: Context, host: Host) -> None:
    """A host that was armed for this is done with it."""
    attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
    if attempt is None or attempt.purpose != DISCOVER or host.state not in _UNDER_WAY:
        return
    if host.state == HostState.BOOTING.value:
        hosts.move(session, ctx, host, Signal.SERVED, source="server", message="what it was armed for was handed out")
    hosts.move(session, ctx, host, Signal.RESCUE_OVER, source="http", message="it has reported its hardware")
    close_attempts(session, host, "reported")
    host.armed_until = None


def _check(ctx: Context, token: str, peer: str) -> None:
    """Raises Forbidden before anything is locked; a token that was good once is told of in the host's timeline."""
    rows = ctx.database.look_up(_BY_DIGEST, digest=digest(token))
    if not rows:
        raise Forbidden("this token is not known here")
    host_id, expires_at, used_at = rows[0]
    if used_at is not None or ctx.clock() >= expires_at:
        why = "it was used already" if used_at is not None else "its time is over"
        said = f"token for a report of hardware refused to {peer}: {why}"
        if ctx.news.is_new(host_id, said, ctx.clock()):
            note(ctx, host_id, source="http", kind="token_refused", message=said)
        raise Forbidden(f"this token is refused: {why}")


def check_image(ctx: Context) -> images.Image:
    """The image that is booted; raises NotFound with what to do."""
    try:
        return images.newest(ctx, DISCOVERY_IMAGE)
    except NotFound:
        raise NotFound("there is no discovery image: run `pxeforge image import discovery`") from None


def prune(ctx: Context) -> None:
    """Tokens that nobody used a day after their end; used ones stay: they tell that the host has reported."""
    with ctx.database.write() as session:
        session.execute(
            delete(DiscoveryToken).where(
                DiscoveryToken.used_at.is_(None), DiscoveryToken.expires_at < ctx.clock() - _DAY_S
            )
        )
