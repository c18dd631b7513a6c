"""What a host would be given, looked at without giving it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress
from pxeforge.render.answers import AnswersContext
from pxeforge.render.install_source import InstallSource
from pxeforge.services import hosts, images, profiles
from pxeforge.services.boot_menu import ERASE, ends_when_served, host_parameters
from pxeforge.services.boot_texts import HIDDEN, KERNEL_ARGS, MENUS, render, values_of
from pxeforge.services.context import Context
from pxeforge.services.install_sources import template_dirs
from pxeforge.services.problems import Conflict, NotFound
from pxeforge.store.tables import Attempt, Host, Nic

_OF_AN_INSTALL = ("answers", "early", "disks", "late")
_OF_A_WIPE = ("answers", "early", "wipe")
_SAMPLE_MAC = "52:54:00:00:00:01"


def preview(
    ctx: Context, text: str | None, *, what: str, profile: str | None = None, attempt: str | None = None,
    mac: MacAddress | None = None,
) -> str:  # fmt: skip
    """What the host (None: one that has nothing of its own) would be given; tokens show as zeros.

    As if it were armed for `profile`, or as in an earlier `attempt` of it (with the host's settings and the templates
    of today); without either: what it is armed with now. `mac`: its NIC that netboots, else the first one.
    """
    with ctx.database.read() as session:
        host, layer, image = _previewed(ctx, session, text, profile, attempt)
        if (ends_when_served(layer) or "template" not in layer) and what not in (*MENUS, KERNEL_ARGS):
            raise Conflict("a rescue system or memory test fetches no answers and no scripts: look at its menu")
        return render(ctx, host, layer, image, what, {"answers": HIDDEN, "installer": HIDDEN}, mac)


@dataclass(frozen=True, slots=True)
class Basis:
    """What the answers of a preview are made from."""

    source: InstallSource
    template: str
    values: AnswersContext
    dirs: tuple[Path, ...]
    image: images.Image
    parameters: dict[str, Any]  # the defaults, the profile's and the host's


def basis(
    ctx: Context, text: str | None, *, profile: str | None = None, attempt: str | None = None
) -> Basis | None:  # fmt: skip
    """As `preview`; None where there are no answers (a rescue system, a memory test). Raises Problem."""
    with ctx.database.read() as session:
        host, layer, image = _previewed(ctx, session, text, profile, attempt)
        if ends_when_served(layer) or "template" not in layer:
            return None
        values = values_of(ctx, host, layer, image, "answers", HIDDEN)
        dirs = template_dirs(ctx, values.source.installer)
        return Basis(values.source, str(layer["template"]), values, dirs, image, host_parameters(host, layer))


def _previewed(
    ctx: Context, session: Session, text: str | None, profile: str | None, attempt: str | None
) -> tuple[Host, dict[str, Any], images.Image]:
    host = _sample_host() if text is None else hosts.find(session, text)
    if profile is not None:
        row = profiles.get(session, profile)
        return host, {**row.parameters, "template": row.template}, images.newest(ctx, row.image)
    chosen = _attempt_of(session, host, attempt) if attempt else _live_attempt(ctx, session, host)
    if chosen is None:
        raise Conflict("the host is not armed: name a profile to see what it would get")
    return host, chosen.parameters, images.by_reference(ctx, chosen.image)


def _sample_host() -> Host:
    return Host(id="sample", name="sample", state=HostState.KNOWN.value, settings={}, nics=[Nic(mac=_SAMPLE_MAC)])


def _attempt_of(session: Session, host: Host, attempt_id: str) -> Attempt:
    attempt = session.get(Attempt, attempt_id)
    if attempt is None or attempt.host_id != host.id:
        raise NotFound(f"{host.name or host.id} has no attempt {attempt_id!r}: see `pxeforge host attempts`")
    return attempt


def fetched(ctx: Context, text: str) -> tuple[str, ...]:
    """The texts that an installer would fetch for what the host is armed for; none for a rescue system."""
    with ctx.database.read() as session:
        attempt = _live_attempt(ctx, session, hosts.find(session, text))
        if attempt is None or ends_when_served(attempt.parameters):
            return ()
        return _OF_A_WIPE if ERASE in attempt.parameters else _OF_AN_INSTALL


def _live_attempt(ctx: Context, session: Session, host: Host) -> Attempt | None:
    """The attempt that a boot loader may still be served for."""
    if host.state not in (HostState.ARMED.value, HostState.BOOTING.value) or not host.attempt_id:
        return None
    if host.armed_until is None or ctx.clock() >= host.armed_until:
        return None
    return session.get(Attempt, host.attempt_id)
