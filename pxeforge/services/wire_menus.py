"""Boot loaders ask: the menu of each host, and what else leads to its kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pxeforge.domain.lifecycle import HostState, Signal, advance
from pxeforge.domain.mac import MacAddress
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.menus import MenuKind, MenuProblem, local_menu, render_grub_start, render_menu
from pxeforge.services import discovery, images, wire_hosts
from pxeforge.services.boot_menu import (
    ends_when_served,
)
from pxeforge.services.boot_texts import MENUS, render
from pxeforge.services.context import Context
from pxeforge.services.discovery_entry import INITRD, KERNEL
from pxeforge.services.events import note, note_by_mac
from pxeforge.services.install_tokens import token_of
from pxeforge.services.prepared import Prepared, settled
from pxeforge.services.problems import Problem
from pxeforge.services.wire_hosts import WireHost
from pxeforge.store.group_commit import Statements, as_rows

TOLD_FILES = ("linux", "initrd.gz", KERNEL, INITRD)  # of an image, what the timeline tells of
_SERVED_GRACE_S = 120  # the menu of a rescue system or memory test may be asked for again this long, never later


def menu(
    ctx: Context, mac: MacAddress, kind: MenuKind, *, peer: str, source: str = "http", head: bool = False
) -> str:  # fmt: skip
    """The host's own menu: its installer while it is armed, else the local disk. A HEAD moves nothing.

    `source`: how it is fetched, http or tftp. Raises Problem, which the host's timeline tells too.
    """
    return settled(lambda: prepare_menu(ctx, mac, kind, peer=peer, source=source, head=head))


def prepare_menu(
    ctx: Context, mac: MacAddress, kind: MenuKind, *, peer: str, source: str = "http", head: bool = False
) -> Prepared:  # fmt: skip
    """Like `menu`, without waiting for the database."""
    try:
        return _own_menu(ctx.towards(peer), mac, kind, peer, source, head)
    except (Problem, TemplateProblem, MenuProblem) as problem:
        said = f"no {kind.name.lower()} menu for {peer}: {problem}"
        if not head and ctx.news.is_new(str(mac), said, ctx.clock()):
            note_by_mac(ctx, str(mac), source=source, kind="menu_failed", message=said)
        raise Problem(str(problem)) from problem


def autoexec(ctx: Context, mac: MacAddress, *, peer: str, source: str = "http", head: bool = False) -> str | None:
    """What iPXE runs before it asks DHCP anything (its user class may be out of reach): the menu of a known host.

    None for a stranger: its iPXE was not handed out by us and goes its own way.
    """
    if wire_hosts.decision_facts(ctx, mac) is None:
        return None
    return menu(ctx, mac, MenuKind.IPXE, peer=peer, source=source, head=head)


def grub_start(ctx: Context, peer: str = "") -> str:
    """The grub.cfg that all hosts share; it holds no secret and sends each one to its own menu."""
    ctx = ctx.towards(peer)
    return render_grub_start(boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


def loader_fetched(ctx: Context, mac: MacAddress, name: str, *, peer: str, head: bool) -> None:
    """A boot loader that firmware takes by HTTP, in the timeline of the host whose MAC stands in the path."""
    said = f"{name[:128]} fetched by {peer}"
    if not head and ctx.news.is_new(str(mac), said, ctx.clock()):
        note_by_mac(ctx, str(mac), source="http", kind="loader_fetched", message=said)


def image_fetched(ctx: Context, path: str, *, peer: str, head: bool) -> None:
    """Kernel and initrd in the timeline of the host that fetches them."""
    if head or path not in TOLD_FILES:
        return
    host_id = wire_hosts.id_behind(ctx.database.look_up, ctx.neighbour(peer), peer)
    said = f"{path} fetched by {peer}"
    if host_id is not None and ctx.news.is_new(host_id, said, ctx.clock()):
        note(ctx, host_id, source="http", kind="image_fetched", message=said)


def _own_menu(ctx: Context, mac: MacAddress, kind: MenuKind, peer: str, source: str, head: bool) -> Prepared:
    now = ctx.clock()
    host = wire_hosts.by_mac(ctx, mac)
    attempt = host.live_attempt(now) if host else None
    if host is None or attempt is None or _is_stranger(ctx, host, peer):
        if host is not None and host.state is HostState.DISCOVERED and discovery.is_offered(ctx, host.id, now):
            return _discovery_menu(ctx, host, mac, kind, peer, source, head, now)
        return Prepared(_local_menu(ctx, mac, kind))
    image = images.by_reference(ctx, attempt.image)
    tokens = {purpose: token_of(ctx, attempt.id, purpose) for purpose in ("answers", "installer")}
    what = next(name for name, known in MENUS.items() if known is kind)
    text = render(ctx, host, attempt.parameters, image, what, tokens, mac)
    said = f"{kind.name.lower()} menu fetched by {peer}"
    if head or (not ctx.news.is_new(host.id, said, now) and host.state is HostState.BOOTING):
        return Prepared(text)
    # Waited for: behind a relay the kernel's fetch, a moment later, is known by this address only.
    until = now + _SERVED_GRACE_S if ends_when_served(attempt.parameters) else None
    row = _menu_row(host, peer, source, said, now, until)
    return Prepared(text, ctx.database.share(_menus_fetched, row))


def _discovery_menu(
    ctx: Context, host: WireHost, mac: MacAddress, kind: MenuKind, peer: str, source: str, head: bool, now: float
) -> Prepared:
    """A host that nobody vouched for reports its hardware: its menu holds a token for that, and nothing else."""
    if _is_stranger(ctx, host, peer):
        return Prepared(_local_menu(ctx, mac, kind))
    menu, row = discovery.menu_of(ctx, host, mac, kind, now)
    text = render_menu(kind, menu, boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))
    said = f"{kind.name.lower()} menu fetched by {peer}: it is to report its hardware"
    if not head and ctx.news.is_new(host.id, said, now):
        note(ctx, host.id, source=source, kind="discovery_menu", message=said)
    return Prepared(text, ctx.database.share(discovery.tokens_made, row) if row is not None else None)


def _menu_row(host: WireHost, peer: str, source: str, said: str, now: float, until: float | None) -> list[Any]:
    """A row of _MENU_STATEMENTS; `until` shortens the time for which the host is armed."""
    after = advance(host.state, Signal.MENU_FETCHED).value
    data = {"from": host.state.value, "to": after}
    attempt = host.attempt.id if host.attempt else None
    return [host.id, host.state.value, attempt, after, peer or None, until, now, source, said, data]


def _menus_fetched(change: Statements, rows: Sequence[list[Any]]) -> list[bool]:
    """For each host whether it was still as it was when its menu was rendered; only then it moves on."""
    values = as_rows(rows)
    [(found,)] = change.rows(_MENU_STATEMENTS[0], rows=values)
    for statement in _MENU_STATEMENTS[1:]:
        change.run(statement, rows=values)
    as_before = set(json.loads(found or "[]"))
    return [row[0] in as_before for row in rows]


_AS_BEFORE: Final = (
    "hosts.id = value ->> 0 AND hosts.state = value ->> 1 AND hosts.attempt_id IS NOT DISTINCT FROM value ->> 2"
)
_MENU_STATEMENTS: Final = (
    f"SELECT json_group_array(hosts.id) FROM json_each(:rows) JOIN hosts ON {_AS_BEFORE}",  # noqa: S608 - our own
    f"""INSERT INTO events (host_id, at, source, kind, message, data)
        SELECT hosts.id, CAST(value ->> 6 AS float), value ->> 7, '{Signal.MENU_FETCHED.value}', value ->> 8, value -> 9
        FROM json_each(:rows) JOIN hosts ON {_AS_BEFORE}""",  # noqa: S608 - our own
    f"""UPDATE hosts SET state = value ->> 3, address = coalesce(value ->> 4, address),
        armed_until = CASE WHEN CAST(value ->> 5 AS float) < armed_until THEN CAST(value ->> 5 AS float)
                           ELSE armed_until END
        FROM json_each(:rows) WHERE {_AS_BEFORE}""",  # noqa: S608 - our own
)


def _local_menu(ctx: Context, mac: MacAddress, kind: MenuKind) -> str:
    menu = local_menu(str(mac), mac)
    return render_menu(kind, menu, boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


def _is_stranger(ctx: Context, host: WireHost, peer: str) -> bool:
    """Whether somebody else on our own wire asks for this host's menu: it holds the token of the answers.

    Behind a relay the peer is nobody's neighbour and the question stays open; so it does for one who forges a MAC.
    """
    behind = ctx.neighbour(peer)
    if behind is None or str(behind) in host.macs:
        return False
    said = f"the menu was asked for by {peer} ({behind}), which is not this host: it got the local disk only"
    if ctx.news.is_new(host.id, said, ctx.clock()):
        note(ctx, host.id, source="http", kind="menu_refused", message=said)
    return True
