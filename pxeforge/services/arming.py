"""Arming: what the next netboot of a host starts, once, is checked, fixed in attempts and written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import discovery, disk_passphrases, fit, hosts, images, profiles
from pxeforge.services.answers import has_rescue, is_encrypted
from pxeforge.services.boot_menu import (
    MEMTEST_IMAGE,
    MEMTEST_NUMBER,
    MENU_TIMEOUT_S,
    PLAN,
    RESCUE_NUMBER,
    Choice,
    Purpose,
    host_parameters,
    plan_of,
)
from pxeforge.services.boot_texts import HIDDEN, MENUS, check_renders, render
from pxeforge.services.context import Context, digest, new_id
from pxeforge.services.events import record
from pxeforge.services.install_ends import close_attempts
from pxeforge.services.install_sources import source_of
from pxeforge.services.install_tokens import token_of
from pxeforge.services.problems import Conflict, Problem
from pxeforge.store.tables import Attempt, Event, Host, Token

ARMED_FOR_S = 2 * 3600
_MOST_CHOICES = 20


def arm(
    ctx: Context, text: str, *, profile: str, for_s: float = ARMED_FOR_S, first_only: bool = False, who: str
) -> dict[str, Any]:
    """The next netboot of the host installs `profile`, once, within `for_s` seconds.

    Refused (and nothing changed) when the answers do not render and lint cleanly: raises Problem with file and line.
    `first_only`: also where the host was ever armed for an install, or is not waiting for one.
    """
    ask_mirrors(ctx, text, [profile])
    with ctx.database.write() as session:
        if first_only:
            _refuse_again(session, text)
        return arm_here(session, ctx, text, profile=profile, for_s=for_s, who=who)


def arm_here(
    session: Session, ctx: Context, text: str, *, profile: str, for_s: float, who: str
) -> dict[str, Any]:  # fmt: skip
    """The same in the caller's transaction; mirrors were asked."""
    host = to_be_armed(session, text, for_s)
    choice = add_choice(session, ctx, host, "1", Purpose.INSTALL, profile, for_s, who)
    return arm_choices(session, ctx, host, [choice], None, f"armed for {profile} ({choice.image})", for_s, who)


def arm_program(
    ctx: Context, text: str, *, boot: str, profile: str | None = None, for_s: float = ARMED_FOR_S, who: str
) -> dict[str, Any]:
    """The next netboot starts a rescue system (from the image of `profile`), a memory test or the discovery image,
    once; no disk is touched.

    Raises Problem.
    """
    ask_mirrors(ctx, text, [profile] if profile else [])
    with ctx.database.write() as session:
        return arm_program_here(session, ctx, text, boot=boot, profile=profile, for_s=for_s, who=who)


def arm_program_here(
    session: Session, ctx: Context, text: str, *, boot: str, profile: str | None, for_s: float, who: str
) -> dict[str, Any]:
    """The same in the caller's transaction; mirrors were asked."""
    programs = {one.value: one for one in (Purpose.RESCUE, Purpose.MEMTEST, Purpose.DISCOVER)}
    if boot not in programs:
        raise Problem(f"{boot!r} cannot be booted: use {' or '.join(programs)}, or arm the host for a profile")
    if boot == Purpose.RESCUE.value and not profile:
        raise Problem("a rescue system comes from a profile's image: say which profile")
    host = to_be_armed(session, text, for_s)
    choice = add_choice(session, ctx, host, "1", programs[boot], profile or "", for_s, who)
    said = f"armed for {boot} ({choice.image})"
    return arm_choices(session, ctx, host, [choice], plan_of([choice], None), said, for_s, who)


def arm_menu(
    ctx: Context, text: str, *, profiles: Sequence[str], timeout_s: int = MENU_TIMEOUT_S, for_s: float = ARMED_FOR_S,
    who: str,
) -> dict[str, Any]:  # fmt: skip
    """Whoever sits at the host's console chooses one of `profiles` by its number, once; else the local disk boots.

    The menu has a rescue system, and a memory test where that image was imported. Raises Problem like `arm`.
    """
    ask_mirrors(ctx, text, profiles)
    with ctx.database.write() as session:
        return arm_menu_here(session, ctx, text, profiles=profiles, timeout_s=timeout_s, for_s=for_s, who=who)


def arm_menu_here(
    session: Session, ctx: Context, text: str, *, profiles: Sequence[str], timeout_s: int, for_s: float, who: str
) -> dict[str, Any]:
    """The same in the caller's transaction; mirrors were asked."""
    if not profiles or len(set(profiles)) != len(profiles) or len(profiles) > _MOST_CHOICES:
        raise Problem(f"a menu needs 1 to {_MOST_CHOICES} different profiles: name each with --profile")
    if not 5 <= timeout_s <= 3500:
        raise Problem("a menu waits for 5 to 3500 seconds: use --timeout, e.g. --timeout 90s")
    host = to_be_armed(session, text, for_s)
    wishes = [(str(number), Purpose.INSTALL, profile) for number, profile in enumerate(profiles, start=1)]
    if _has_rescue(session, ctx, profiles[0]):
        wishes.append((RESCUE_NUMBER, Purpose.RESCUE, profiles[0]))
    choices = [add_choice(session, ctx, host, *wish, for_s, who) for wish in wishes]
    if choices[0].arch == "amd64" and any(image.name == MEMTEST_IMAGE for image in images.everything(ctx)):
        choices.append(add_choice(session, ctx, host, MEMTEST_NUMBER, Purpose.MEMTEST, "", for_s, who))
    said = f"armed for a menu of {', '.join(profiles)}"
    return arm_choices(session, ctx, host, choices, plan_of(choices, timeout_s), said, for_s, who)


def forecast(ctx: Context, text: str, *, profile: str) -> list[str]:
    """What arming the host for an install would warn of; raises Problem where it would be refused. Changes nothing."""
    ask_mirrors(ctx, text, [profile])
    with ctx.database.read() as session:
        host, row = hosts.find(session, text), profiles.get(session, profile)
        image = images.newest(ctx, row.image)
        check_renders(ctx, host, row, image)
        return fit.check(ctx, host, image, host_parameters(host, row.parameters))


def _has_rescue(session: Session, ctx: Context, profile: str) -> bool:
    image = images.newest(ctx, profiles.get(session, profile).image)
    return image.installer is not None and has_rescue(source_of(ctx, image))


def ask_mirrors(ctx: Context, text: str, wanted: Sequence[str]) -> None:
    """Before the transaction, which must not wait for a network: what `fit.check` will want to know."""
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        rows = [profiles.get(session, name) for name in wanted]
        layers = [(row.image, host_parameters(host, row.parameters)) for row in rows]
    for image, parameters in layers:
        fit.ask_mirror(ctx, images.newest(ctx, image), parameters)


def _refuse_again(session: Session, text: str) -> None:
    host = hosts.find(session, text)
    earlier = select(Token.digest).join(Attempt, Attempt.id == Token.attempt_id).where(Attempt.host_id == host.id)
    waits = host.state in (HostState.DISCOVERED.value, HostState.KNOWN.value)
    if not waits or host.registered_at is not None or session.scalars(earlier.limit(1)).first() is not None:
        raise Conflict(f"{host.name or host.id} was armed or installed before: arm it by hand if that is meant")


def to_be_armed(session: Session, text: str, for_s: float) -> Host:
    """The host with a name and without open attempts; raises Problem."""
    if not 60 <= for_s <= 7 * 86400:
        raise Problem("a host can be armed for a minute to a week: use --for, e.g. --for 2h")
    host = hosts.find(session, text)
    if not host.name:
        host.name = _free_name(session, host)
    if (HostState(host.state), Signal.ARM) in NEXT:  # else the move to `armed` is refused
        close_attempts(session, host, "superseded")
    return host


def add_choice(
    session: Session, ctx: Context, host: Host, number: str, purpose: Purpose, profile: str, for_s: float, who: str
) -> Choice:
    """An attempt for one thing the host may start, checked; with tokens where it is an install. Raises Problem."""
    layer: dict[str, Any] = {}
    if purpose is Purpose.MEMTEST:
        image = images.newest(ctx, MEMTEST_IMAGE)
    elif purpose is Purpose.DISCOVER:
        image = discovery.check_image(ctx)
    else:
        row = profiles.get(session, profile)
        layer, image = {**row.parameters, "template": row.template}, images.newest(ctx, row.image)
        if "linux" not in image.files:
            raise Problem(f"the image {image.name} of profile {profile} is no installer: set another image")
        if purpose is Purpose.INSTALL:
            if is_encrypted(host_parameters(host, layer)):
                disk_passphrases.ensure(session, ctx, host.id)
            check_renders(ctx, host, row, image)
    return add_attempt(session, ctx, host, number, purpose, profile, image, layer, for_s, who)


def add_attempt(
    session: Session, ctx: Context, host: Host, number: str, purpose: Purpose, profile: str, image: images.Image,
    layer: dict[str, Any], for_s: float, who: str,
) -> Choice:  # fmt: skip
    """The attempt for something that was checked, with tokens where it calls back."""
    attempt = Attempt(
        id=new_id(), host_id=host.id, purpose=purpose.value, profile=profile or purpose.value,
        image=images.reference(image), parameters=layer, armed_at=ctx.clock(), armed_by=who,
        expires_at=ctx.clock() + for_s, since_event=session.scalar(select(func.max(Event.id))) or 0,
    )  # fmt: skip
    session.add(attempt)
    session.flush()
    if purpose is Purpose.DISCOVER:
        discovery.permit(session, ctx, host.id, token_of(ctx, attempt.id, "answers"), for_s=for_s)
    for opens in ("answers", "installer") if purpose in (Purpose.INSTALL, Purpose.WIPE) else ():
        token = token_of(ctx, attempt.id, opens)
        session.add(Token(digest=digest(token), attempt_id=attempt.id, purpose=opens))
    return Choice(
        number=number, purpose=purpose, attempt_id=attempt.id, profile=attempt.profile, image=attempt.image,
        arch=image.arch, suite=image.suite, parameters=layer,
    )  # fmt: skip


def arm_choices(
    session: Session, ctx: Context, host: Host, choices: Sequence[Choice], plan: dict[str, Any] | None, said: str,
    for_s: float, who: str,
) -> dict[str, Any]:  # fmt: skip
    fitted = ((images.by_reference(ctx, one.image), host_parameters(host, one.parameters)) for one in choices)
    warnings = list(dict.fromkeys(said for image, own in fitted for said in fit.check(ctx, host, image, own)))
    attempt = session.get_one(Attempt, choices[0].attempt_id)
    if plan is not None:
        attempt.parameters = {**attempt.parameters, PLAN: plan}
        image, tokens = images.by_reference(ctx, attempt.image), {"answers": HIDDEN, "installer": HIDDEN}
        for what in MENUS:
            render(ctx, host, attempt.parameters, image, what, tokens)
    host.attempt_id, host.armed_until = attempt.id, attempt.expires_at
    hosts.move(
        session, ctx, host, Signal.ARM, who=who, message=f"{said} by {who} for {int(for_s // 60)} min",
        data={"after": {"image": attempt.image, "armed_until": attempt.expires_at}},
    )  # fmt: skip
    for warning in warnings:
        record(session, ctx, host_id=host.id, source="server", kind="fit_warning", message=warning)
    session.flush()
    return {**hosts.view(host), "warnings": warnings}


def _free_name(session: Session, host: Host) -> str:
    """A name for a host that was armed without one: from its MAC, as the field does."""
    base = f"host-{host.nics[0].mac.replace(':', '')[-6:]}"
    is_taken = session.scalars(select(Host.id).where(Host.name == base)).first() is not None
    return f"{base}-{host.id[:4]}" if is_taken else base
