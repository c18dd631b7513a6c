"""An install from arming to registration: armed once, its tokens used once, disarmed by its end."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.installer import Installer
from pxeforge.domain.lifecycle import HostState, Signal, advance
from pxeforge.domain.mac import MacAddress
from pxeforge.render.answers import AnswersContext, render_answers, render_disks, render_early, render_late
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.install_source import InstallSource
from pxeforge.render.menus import (
    Menu,
    MenuKind,
    MenuProblem,
    local_menu,
    render_grub_start,
    render_menu,
)
from pxeforge.services import (
    answer_findings,
    disk_passphrases,
    fit,
    hosts,
    images,
    late_snippets,
    profiles,
    wire_hosts,
)
from pxeforge.services.answers import answers_context, has_rescue, is_encrypted, kernel_args
from pxeforge.services.boot_menu import (
    MEMTEST_IMAGE,
    MEMTEST_NUMBER,
    MENU_TIMEOUT_S,
    PLAN,
    RESCUE_NUMBER,
    Choice,
    Purpose,
    asks,
    build_menu,
    choices_of,
    ends_when_served,
    host_parameters,
    plan_of,
)
from pxeforge.services.context import Context, digest, new_id
from pxeforge.services.events import note, note_by_mac, record
from pxeforge.services.install_sources import source_of, template_dirs
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from pxeforge.services.remembered import Remembered
from pxeforge.services.wire_hosts import Standing, Ticket, WireHost
from pxeforge.store.group_commit import Statements
from pxeforge.store.tables import AgentCredential, Attempt, Host, Nic, Profile, Token

__all__ = ["MENU_TIMEOUT_S", "MenuKind"]

ARMED_FOR_S = 2 * 3600
INSTALL_BUDGET_S = 3 * 3600  # from the answers to the registration; a slow mirror fits, a hung installer does not
ANSWERS_GRACE_S = 900  # an installer may read its answers again this long, never later
BOOT_LOOP_S = 600  # a netboot this soon after registration is worth a word in the timeline
_NONCE = re.compile(r"[0-9a-f]{32,128}")
_HIDDEN = "0" * 32  # stands for a token in previews
_SAMPLE_MAC = "52:54:00:00:00:01"
_MENUS = {
    "menu": MenuKind.IPXE, "menu.pxelinux": MenuKind.PXELINUX, "menu.lpxelinux": MenuKind.LPXELINUX,
    "menu.grub": MenuKind.GRUB,
}  # fmt: skip
_KERNEL_ARGS = "kernel-args"
SEED_FILES = ("meta-data", "vendor-data")  # what cloud-init asks for beside its user-data
TOLD_FILES = ("linux", "initrd.gz")  # of an image, what the timeline tells of
_MOST_CHOICES = 20
_MOST_TRIES = 3
_SERVED_GRACE_S = 120  # the menu of a rescue system or memory test may be asked for again this long, never later


# ---------------------------------------------------------------------------------------------- arming


def arm(ctx: Context, text: str, *, profile: str, for_s: float = ARMED_FOR_S, who: str) -> dict[str, Any]:
    """The next netboot of the host installs `profile`, once, within `for_s` seconds.

    Refused (and nothing changed) when the answers do not render and lint cleanly: raises Problem with file and line.
    """
    _ask_mirrors(ctx, text, [profile])
    with ctx.database.write() as session:
        host = _to_be_armed(session, text, for_s)
        choice = _add_choice(session, ctx, host, "1", Purpose.INSTALL, profile, for_s, who)
        return _arm(session, ctx, host, [choice], None, f"armed for {profile} ({choice.image})", for_s, who)


def arm_program(
    ctx: Context, text: str, *, boot: str, profile: str | None = None, for_s: float = ARMED_FOR_S, who: str
) -> dict[str, Any]:
    """The next netboot starts a rescue system (from the image of `profile`) or a memory test, once; no disk is touched.

    Raises Problem.
    """
    programs = {Purpose.RESCUE.value: Purpose.RESCUE, Purpose.MEMTEST.value: Purpose.MEMTEST}
    if boot not in programs:
        raise Problem(f"{boot!r} cannot be booted: use {' or '.join(programs)}, or arm the host for a profile")
    if boot == Purpose.RESCUE.value and not profile:
        raise Problem("a rescue system comes from a profile's image: say which profile")
    _ask_mirrors(ctx, text, [profile] if profile else [])
    with ctx.database.write() as session:
        host = _to_be_armed(session, text, for_s)
        choice = _add_choice(session, ctx, host, "1", programs[boot], profile or "", for_s, who)
        said = f"armed for {boot} ({choice.image})"
        return _arm(session, ctx, host, [choice], plan_of([choice], None), said, for_s, who)


def arm_menu(
    ctx: Context, text: str, *, profiles: Sequence[str], timeout_s: int = MENU_TIMEOUT_S, for_s: float = ARMED_FOR_S,
    who: str,
) -> dict[str, Any]:  # fmt: skip
    """Whoever sits at the host's console chooses one of `profiles` by its number, once; else the local disk boots.

    The menu has a rescue system, and a memory test where that image was imported. Raises Problem like `arm`.
    """
    if not profiles or len(set(profiles)) != len(profiles) or len(profiles) > _MOST_CHOICES:
        raise Problem(f"a menu needs 1 to {_MOST_CHOICES} different profiles: name each with --profile")
    if not 5 <= timeout_s <= 3500:
        raise Problem("a menu waits for 5 to 3500 seconds: use --timeout, e.g. --timeout 90s")
    _ask_mirrors(ctx, text, profiles)
    with ctx.database.write() as session:
        host = _to_be_armed(session, text, for_s)
        wishes = [(str(number), Purpose.INSTALL, profile) for number, profile in enumerate(profiles, start=1)]
        if _has_rescue(session, ctx, profiles[0]):
            wishes.append((RESCUE_NUMBER, Purpose.RESCUE, profiles[0]))
        choices = [_add_choice(session, ctx, host, *wish, for_s, who) for wish in wishes]
        if choices[0].arch == "amd64" and any(image.name == MEMTEST_IMAGE for image in images.everything(ctx)):
            choices.append(_add_choice(session, ctx, host, MEMTEST_NUMBER, Purpose.MEMTEST, "", for_s, who))
        said = f"armed for a menu of {', '.join(profiles)}"
        return _arm(session, ctx, host, choices, plan_of(choices, timeout_s), said, for_s, who)


def _has_rescue(session: Session, ctx: Context, profile: str) -> bool:
    image = images.newest(ctx, profiles.get(session, profile).image)
    return image.installer is not None and has_rescue(source_of(ctx, image))


def _ask_mirrors(ctx: Context, text: str, wanted: Sequence[str]) -> None:
    """Before the transaction, which must not wait for a network: what `fit.check` will want to know."""
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        rows = [profiles.get(session, name) for name in wanted]
        layers = [(row.image, host_parameters(host, row.parameters)) for row in rows]
    for image, parameters in layers:
        fit.ask_mirror(ctx, images.newest(ctx, image), parameters)


def _to_be_armed(session: Session, text: str, for_s: float) -> Host:
    """The host with a name and without open attempts; raises Problem."""
    if not 60 <= for_s <= 7 * 86400:
        raise Problem("a host can be armed for a minute to a week: use --for, e.g. --for 2h")
    host = hosts.find(session, text)
    if not host.name:
        host.name = _free_name(session, host)
    if host.state != HostState.INSTALLING.value:  # else the move to `armed` is refused
        _close_attempt(session, host, "superseded")
    return host


def _add_choice(
    session: Session, ctx: Context, host: Host, number: str, purpose: Purpose, profile: str, for_s: float, who: str
) -> Choice:
    """An attempt for one thing the host may start, checked; with tokens where it is an install. Raises Problem."""
    layer: dict[str, Any] = {}
    if purpose is Purpose.MEMTEST:
        image = images.newest(ctx, MEMTEST_IMAGE)
    else:
        row = profiles.get(session, profile)
        layer, image = {**row.parameters, "template": row.template}, images.newest(ctx, row.image)
        if "linux" not in image.files:
            raise Problem(f"the image {image.name} of profile {profile} is no installer: set another image")
        if purpose is Purpose.INSTALL:
            if is_encrypted(host_parameters(host, layer)):
                disk_passphrases.ensure(session, ctx, host.id)
            _check_renders(ctx, host, row, image)
    attempt = Attempt(
        id=new_id(), host_id=host.id, profile=profile or purpose.value, image=images.reference(image),
        parameters=layer, armed_at=ctx.clock(), armed_by=who, expires_at=ctx.clock() + for_s,
    )  # fmt: skip
    session.add(attempt)
    session.flush()
    for opens in ("answers", "installer") if purpose is Purpose.INSTALL else ():
        token = token_of(ctx, attempt.id, opens)
        session.add(Token(digest=digest(token), attempt_id=attempt.id, purpose=opens))
    return Choice(
        number=number, purpose=purpose, attempt_id=attempt.id, profile=attempt.profile, image=attempt.image,
        arch=image.arch, suite=image.suite, parameters=layer,
    )  # fmt: skip


def _arm(
    session: Session, ctx: Context, host: Host, choices: Sequence[Choice], plan: dict[str, Any] | None, said: str,
    for_s: float, who: str,
) -> dict[str, Any]:  # fmt: skip
    fitted = ((images.by_reference(ctx, one.image), host_parameters(host, one.parameters)) for one in choices)
    warnings = list(dict.fromkeys(said for image, own in fitted for said in fit.check(ctx, host, image, own)))
    attempt = session.get_one(Attempt, choices[0].attempt_id)
    if plan is not None:
        attempt.parameters = {**attempt.parameters, PLAN: plan}
        image, tokens = images.by_reference(ctx, attempt.image), {"answers": _HIDDEN, "installer": _HIDDEN}
        for what in _MENUS:
            _render(ctx, host, attempt.parameters, image, what, tokens)
    host.attempt_id, host.armed_until = attempt.id, attempt.expires_at
    hosts.move(
        session, ctx, host, Signal.ARM, who=who, message=f"{said} by {who} for {int(for_s // 60)} min",
        data={"after": {"image": attempt.image, "armed_until": attempt.expires_at}},
    )  # fmt: skip
    for warning in warnings:
        record(session, ctx, host_id=host.id, source="server", kind="fit_warning", message=warning)
    session.flush()
    return {**hosts.view(host), "warnings": warnings}


def disarm(ctx: Context, text: str, *, who: str) -> dict[str, Any]:
    """Takes the arming back, or gives up a running install (its tokens die at once)."""
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        hosts.move(session, ctx, host, Signal.DISARM, who=who, message=f"disarmed by {who}")
        _close_attempt(session, host, "disarmed")
        host.armed_until = None
        session.flush()
        return hosts.view(host)


def expire(ctx: Context) -> None:
    """Ends what took too long: armed hosts nobody booted, installs that never called back."""
    now = ctx.clock()
    with ctx.database.read() as session:
        waiting = select(Host.id).where(Host.armed_until.is_not(None), Host.armed_until <= now)
        overdue = list(session.scalars(waiting))
    for host_id in overdue:
        with ctx.database.write() as session:
            host = session.get(Host, host_id)
            if host is None or host.armed_until is None or host.armed_until > now:
                continue
            attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
            if host.state == HostState.BOOTING.value and attempt is not None and PLAN in attempt.parameters:
                _served(session, ctx, host, attempt)
            else:
                _give_up(session, ctx, host, _DIAGNOSIS.get(host.state, "time is over"), source="server")


_DIAGNOSIS = {
    HostState.ARMED.value: "never netbooted while it was armed: check boot order, cabling and VLAN, then arm it again",
    HostState.BOOTING.value: "menu fetched, answers never asked: the kernel or its network did not come up",
    HostState.INSTALLING.value: "answers fetched, late_command never called: see the last installer lines before this",
}


def _served(session: Session, ctx: Context, host: Host, attempt: Attempt) -> None:
    """The end of an arming after which nobody calls back."""
    asked = asks(attempt.parameters)
    said = "nobody chose from the menu in time" if asked else "what it was armed for was handed out, once"
    hosts.move(session, ctx, host, Signal.SERVED, source="server", message=f"{said}: the host is disarmed")
    _close_attempt(session, host, "not chosen" if asked else "served")
    host.armed_until = None


def _give_up(session: Session, ctx: Context, host: Host, why: str, *, source: str) -> None:
    hosts.move(session, ctx, host, Signal.GAVE_UP, source=source, message=why)
    _close_attempt(session, host, "gave up")
    host.armed_until = None


def _close_attempt(session: Session, host: Host, outcome: str) -> None:
    """Ends what the host was armed for; a menu is an attempt per choice."""
    for attempt in session.scalars(select(Attempt).where(Attempt.host_id == host.id, Attempt.outcome.is_(None))):
        attempt.outcome = outcome


def _free_name(session: Session, host: Host) -> str:
    """A name for a host that was armed without one: from its MAC, as the field does."""
    base = f"host-{host.nics[0].mac.replace(':', '')[-6:]}"
    is_taken = session.scalars(select(Host.id).where(Host.name == base)).first() is not None
    return f"{base}-{host.id[:4]}" if is_taken else base


# ---------------------------------------------------------------------------------------------- rendering


def _context(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, what: str, token: str
) -> AnswersContext:
    parameters, passphrase = host_parameters(host, layer), None
    if is_encrypted(parameters):
        passphrase = disk_passphrases.HIDDEN if token == _HIDDEN else disk_passphrases.reveal(ctx, host.id)
    return answers_context(
        parameters, hostname=host.name or "unnamed", suite=image.suite, addresses=ctx.addresses, token=token,
        agent_sha256=agent_digest(ctx), luks_passphrase=passphrase, source=source_of(ctx, image),
        late_snippets=late_snippets.of_host(ctx, host, layer) if what == "late" else (),
    )  # fmt: skip


def _render(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, what: str, tokens: dict[str, str],
    mac: MacAddress | None = None,
) -> str:  # fmt: skip
    """One text for one host; raises Problem with file and line, or with the linter's findings.

    `mac`: the NIC that netboots, where a menu asks for it; else the first one.
    """
    try:
        if what in _MENUS:
            return _render_menu(ctx, host, layer, image, _MENUS[what], tokens["answers"], mac)
        if what == _KERNEL_ARGS:
            return _kernel_lines(_menu_of(ctx, host, layer, image, MenuKind.IPXE, tokens["answers"], mac))
        values = _context(ctx, host, layer, image, what, tokens["installer"])
        dirs = template_dirs(ctx, values.source.installer)
        if what == "answers":
            return render_answers(str(layer["template"]), values, dirs)
        if what in SEED_FILES and values.source.installer is Installer.SUBIQUITY:
            return render_answers(f"{what}.j2", values, dirs)
        renderer = {"early": render_early, "disks": render_disks, "late": render_late}.get(what)
        if renderer is None:
            raise NotFound(f"{what!r} cannot be rendered: use menu, kernel-args, answers, early, disks or late")
        return renderer(values, dirs)
    except (TemplateProblem, MenuProblem) as problem:
        raise Problem(str(problem)) from problem


def _render_menu(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, kind: MenuKind, token: str,
    mac: MacAddress | None,
) -> str:  # fmt: skip
    menu = _menu_of(ctx, host, layer, image, kind, token, mac)
    return render_menu(kind, menu, boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


def _menu_of(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, kind: MenuKind, token: str,
    mac: MacAddress | None,
) -> Menu:  # fmt: skip
    """`token` opens the answers of an install at once, and hides the tokens of all choices in a preview."""
    choices, timeout_s = choices_of(layer), (layer.get(PLAN) or {}).get("timeout_s")
    if not choices:
        alone = Choice(
            number="1", purpose=Purpose.INSTALL, attempt_id="", profile=image.name, image=images.reference(image),
            arch=image.arch, suite=image.suite, parameters=layer,
        )  # fmt: skip
        choices, tokens = (alone,), {"": token}
    elif token == _HIDDEN:
        tokens = {choice.attempt_id: _HIDDEN for choice in choices}
    else:
        tokens = {choice.attempt_id: token_of(ctx, choice.attempt_id, "answers") for choice in choices}
    mac = mac or MacAddress.parse(host.macs[0])
    return build_menu(ctx, host, choices, timeout_s, kind, mac, tokens)


def _kernel_lines(menu: Menu) -> str:
    """The kernel command line of each entry that has one, below its title."""
    return "\n".join(f"# {one.id}  {one.title}\n{one.kernel_args}\n" for one in menu.entries if one.kernel_args)


def _check_renders(ctx: Context, host: Host, profile: Profile, image: images.Image) -> None:
    """Everything the host would fetch, rendered and linted before it is armed; raises Problem."""
    layer = {**profile.parameters, "template": profile.template}
    parameters = host_parameters(host, layer)
    if not parameters["accounts"] and not parameters["root_password_hash"]:
        raise Problem(
            f"profile {profile.name} lets nobody log in: set an account, e.g. pxeforge profile set {profile.name} "
            "'accounts=[{name: ops, ssh_keys: [ssh-ed25519 …], sudo: true}]'"
        )
    tokens = {"answers": _HIDDEN, "installer": _HIDDEN}
    texts = {
        what: _render(ctx, host, layer, image, what, tokens) for what in (*_MENUS, "answers", "early", "disks", "late")
    }
    source = source_of(ctx, image)
    args = kernel_args(
        parameters, hostname=host.name or "", addresses=ctx.addresses, token=_HIDDEN, boot_mac=host.macs[0],
        source=source,
    )  # fmt: skip
    told = answer_findings.lint_answers("answers", texts["answers"], source, ask_programs=False)
    told += answer_findings.lint_args("kernel-args", args, source.installer)
    told += answer_findings.lint_menus(
        {"ipxe": texts["menu"], "pxelinux": texts["menu.pxelinux"], "grub": texts["menu.grub"]}, ask_programs=False
    )  # fmt: skip
    findings = answer_findings.errors_of(told)
    if findings and findings[0].file == "answers":
        values = _context(ctx, host, layer, image, "answers", _HIDDEN)
        dirs = template_dirs(ctx, source.installer)
        findings = answer_findings.with_origins(findings[:1], profile.template, values, dirs)
    if findings:
        raise Problem(f"the answers of profile {profile.name} ({profile.template}) would fail: {findings[0]}")


def agent_digest(ctx: Context) -> str | None:
    """SHA-256 of the agent that hosts fetch; None before the first start has packed it."""
    return _file_digest(ctx.data_dir / "agent" / "pxeforge-agent.pyz")


def _digest_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


_file_digest = Remembered(_digest_of)


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
        if (ends_when_served(layer) or "template" not in layer) and what not in (*_MENUS, _KERNEL_ARGS):
            raise Conflict("a rescue system or memory test fetches no answers and no scripts: look at its menu")
        return _render(ctx, host, layer, image, what, {"answers": _HIDDEN, "installer": _HIDDEN}, mac)


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
        values = _context(ctx, host, layer, image, "answers", _HIDDEN)
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


def forecast(ctx: Context, text: str, *, profile: str) -> list[str]:
    """What arming the host for an install would warn of; raises Problem where it would be refused. Changes nothing."""
    _ask_mirrors(ctx, text, [profile])
    with ctx.database.read() as session:
        host, layer, image = _previewed(ctx, session, text, profile, None)
        _check_renders(ctx, host, profiles.get(session, profile), image)
        return fit.check(ctx, host, image, host_parameters(host, layer))


def _sample_host() -> Host:
    return Host(id="sample", name="sample", state=HostState.KNOWN.value, settings={}, nics=[Nic(mac=_SAMPLE_MAC)])


def _attempt_of(session: Session, host: Host, attempt_id: str) -> Attempt:
    attempt = session.get(Attempt, attempt_id)
    if attempt is None or attempt.host_id != host.id:
        raise NotFound(f"{host.name or host.id} has no attempt {attempt_id!r}: see `pxeforge host attempts`")
    return attempt


def has_answers(ctx: Context, text: str) -> bool:
    """Whether what the host is armed for is an install, or a menu with one."""
    with ctx.database.read() as session:
        attempt = _live_attempt(ctx, session, hosts.find(session, text))
        return attempt is not None and not ends_when_served(attempt.parameters)


# ---------------------------------------------------------------------------------------------- the wire asks


def _live_attempt(ctx: Context, session: Session, host: Host) -> Attempt | None:
    """The attempt that a boot loader may still be served for."""
    if host.state not in (HostState.ARMED.value, HostState.BOOTING.value) or not host.attempt_id:
        return None
    if host.armed_until is None or ctx.clock() >= host.armed_until:
        return None
    return session.get(Attempt, host.attempt_id)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text that may leave once `agreed` is True (None: at once). False: the host has changed, prepare it anew."""

    text: str
    agreed: Future[bool] | None = None


def settled(prepare: Callable[[], Prepared]) -> str:
    """The text when it may leave; waits for that."""
    for _ in range(_MOST_TRIES):
        prepared = prepare()
        if prepared.agreed is None or prepared.agreed.result():
            return prepared.text
    raise Conflict("the host changes faster than it can be answered: ask again")


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


def _own_menu(ctx: Context, mac: MacAddress, kind: MenuKind, peer: str, source: str, head: bool) -> Prepared:
    now = ctx.clock()
    host = wire_hosts.by_mac(ctx, mac)
    attempt = host.live_attempt(now) if host else None
    if host is None or attempt is None or _is_stranger(ctx, host, peer):
        return Prepared(_local_menu(ctx, mac, kind))
    image = images.by_reference(ctx, attempt.image)
    tokens = {purpose: token_of(ctx, attempt.id, purpose) for purpose in ("answers", "installer")}
    what = next(name for name, known in _MENUS.items() if known is kind)
    text = _render(ctx, host, attempt.parameters, image, what, tokens, mac)
    said = f"{kind.name.lower()} menu fetched by {peer}"
    if head or (not ctx.news.is_new(host.id, said, now) and host.state is HostState.BOOTING):
        return Prepared(text)
    # Waited for: behind a relay the kernel's fetch, a moment later, is known by this address only.
    until = now + _SERVED_GRACE_S if ends_when_served(attempt.parameters) else None
    row = _menu_row(host, peer, source, said, now, until)
    return Prepared(text, ctx.database.share(_menus_fetched, row))


def _menu_row(host: WireHost, peer: str, source: str, said: str, now: float, until: float | None) -> list[Any]:
    """A row of _MENU_STATEMENTS; `until` shortens the time for which the host is armed."""
    after = advance(host.state, Signal.MENU_FETCHED).value
    data = json.dumps({"from": host.state.value, "to": after})
    attempt = host.attempt.id if host.attempt else None
    return [host.id, host.state.value, attempt, after, peer or None, until, now, source, said, data]


def _menus_fetched(change: Statements, rows: Sequence[list[Any]]) -> list[bool]:
    """For each host whether it was still as it was when its menu was rendered; only then it moves on."""
    values = json.dumps(rows)
    [(found,)] = change.rows(_MENU_STATEMENTS[0], rows=values)
    for statement in _MENU_STATEMENTS[1:]:
        change.run(statement, rows=values)
    as_before = set(json.loads(found))
    return [row[0] in as_before for row in rows]


_AS_BEFORE: Final = "hosts.id = value ->> 0 AND hosts.state = value ->> 1 AND hosts.attempt_id IS value ->> 2"
_MENU_STATEMENTS: Final = (
    f"SELECT json_group_array(hosts.id) FROM json_each(:rows) JOIN hosts ON {_AS_BEFORE}",  # noqa: S608 - our own
    f"""INSERT INTO events (host_id, at, source, kind, message, data)
        SELECT hosts.id, value ->> 6, value ->> 7, '{Signal.MENU_FETCHED.value}', value ->> 8, value ->> 9
        FROM json_each(:rows) JOIN hosts ON {_AS_BEFORE}""",  # noqa: S608 - our own
    f"""UPDATE hosts SET state = value ->> 3, address = coalesce(value ->> 4, address),
        armed_until = min(armed_until, coalesce(value ->> 5, armed_until))
        FROM json_each(:rows) WHERE {_AS_BEFORE}""",  # noqa: S608 - our own
)


def _local_menu(ctx: Context, mac: MacAddress, kind: MenuKind) -> str:
    menu = local_menu(str(mac), mac)
    return render_menu(kind, menu, boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


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


def image_fetched(ctx: Context, path: str, *, peer: str, head: bool) -> None:
    """Kernel and initrd in the timeline of the host that fetches them."""
    if head or path not in TOLD_FILES:
        return
    host_id = wire_hosts.id_behind(ctx.database.look_up, ctx.neighbour(peer), peer)
    said = f"{path} fetched by {peer}"
    if host_id is not None and ctx.news.is_new(host_id, said, ctx.clock()):
        note(ctx, host_id, source="http", kind="image_fetched", message=said)


# ---------------------------------------------------------------------------------------------- the installer asks


def answers(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    """The rendered answers, for the holder of the token; from now on the host is not armed any more.

    A HEAD (of a browser, a monitor) asks only how long they are: it begins no install and is not told.
    """
    return settled(lambda: prepare_answers(ctx, token, peer=peer, head=head))


def prepare_answers(ctx: Context, token: str, *, peer: str, head: bool = False) -> Prepared:
    """Like `answers`, without waiting for the database."""
    text, _ = _opened(ctx, token, "answers", "answers", peer)
    if head:
        return Prepared(text)
    return Prepared(text, ctx.database.share(_begin_installs, _Begin(digest(token), peer, ctx.clock())))


def seed(ctx: Context, token: str, name: str, *, peer: str) -> str:
    """What cloud-init asks for beside user-data: it changes nothing, and is good as long as the answers are."""
    if name not in SEED_FILES:
        _redeem(ctx, token, "answers", "answers", peer)  # whoever has no token learns nothing
        raise NotFound("no such answers")
    text, _ = _opened(ctx, token, "answers", name, peer)
    return text


def early(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "early", peer, head)


def disks(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "disks", peer, head)


def late(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "late", peer, head)


def _script(ctx: Context, token: str, what: str, peer: str, head: bool) -> str:
    text, host_id = _opened(ctx, token, "installer", what, peer)
    if not head:
        note(ctx, host_id, source="installer", kind=what, message=f"{what} script fetched by {peer}")
    return text


def _opened(ctx: Context, token: str, purpose: str, what: str, peer: str) -> tuple[str, str]:
    """The text behind a token and the host it is for."""
    ctx = ctx.towards(peer)
    ticket = _redeem(ctx, token, purpose, what, peer)
    attempt, host = ticket.attempt, ticket.host
    image = images.by_reference(ctx, attempt.image)
    tokens = {name: token_of(ctx, attempt.id, name) for name in ("answers", "installer")}
    return _render(ctx, host, attempt.parameters, image, what, tokens), host.id


@dataclass(frozen=True, slots=True)
class _Begin:
    """Answers that are about to leave."""

    digest: str
    peer: str
    now: float


def _begin_installs(change: Statements, begins: Sequence[_Begin]) -> list[bool]:
    """From now on these hosts are not armed any more; False for a token that has lost its worth meanwhile."""
    standings = wire_hosts.standings(change, [begin.digest for begin in begins])
    chosen: dict[str, str] = {}  # host and attempt: of two choices that come at once the first one counts
    begun: list[bool] = []
    rows: list[list[Any]] = []
    for begin in begins:
        standing = standings.get(begin.digest)
        is_good = standing is not None and _refusal(standing, "answers", begin.now) is None
        if standing is not None and is_good:
            is_good = chosen.setdefault(standing.host_id, standing.attempt_id) == standing.attempt_id
        if standing is not None and is_good:
            rows.append(_beginning(begin, standing))
        begun.append(is_good)
    for statement in _BEGIN_STATEMENTS if rows else ():
        change.run(statement, rows=json.dumps(rows))
    return begun


def _beginning(begin: _Begin, standing: Standing) -> list[Any]:
    """A row of _BEGIN_STATEMENTS; an installer that reads its answers again gets no more time."""
    is_first = standing.answers_at is None
    until = begin.now + INSTALL_BUDGET_S if is_first else standing.expires_at
    after = advance(standing.state, Signal.ANSWERS_FETCHED).value
    data = json.dumps({"from": standing.state.value, "to": after})
    said = f"answers fetched by {begin.peer}; the host is disarmed and installing"
    answers_at = begin.now if is_first else standing.answers_at
    return [standing.host_id, standing.attempt_id, answers_at, until, after, begin.peer or None, begin.now, said, data]


_BEGIN_STATEMENTS: Final = (
    """UPDATE attempts SET answers_at = value ->> 2, expires_at = value ->> 3
       FROM json_each(:rows) WHERE attempts.id = value ->> 1""",
    # Chosen from a menu: the other choices are spent.
    """UPDATE attempts SET outcome = 'not chosen'
       FROM json_each(:rows) WHERE attempts.host_id = value ->> 0 AND outcome IS NULL AND attempts.id <> value ->> 1""",
    """UPDATE hosts SET state = value ->> 4, armed_until = value ->> 3, attempt_id = value ->> 1,
       address = coalesce(value ->> 5, address) FROM json_each(:rows) WHERE hosts.id = value ->> 0""",
    f"""INSERT INTO events (host_id, at, source, kind, message, data)
       SELECT value ->> 0, value ->> 6, 'http', '{Signal.ANSWERS_FETCHED.value}', value ->> 7, value ->> 8
       FROM json_each(:rows)""",  # noqa: S608 - our own constant
)


def _redeem(ctx: Context, token: str, purpose: str, what: str, peer: str) -> Ticket:
    """The attempt and host behind a token, or Forbidden (with an event on the host, if the token was ever good)."""
    ticket = wire_hosts.by_token(ctx, token)
    if ticket is None or not hmac.compare_digest(ticket.purpose, purpose):
        raise Forbidden("this token is not known here")
    why = _refusal(ticket.standing, what, ctx.clock())
    if why is not None:
        said = f"token for {what} refused to {peer}: {why}"
        if ctx.news.is_new(ticket.host.id, said, ctx.clock()):
            note(ctx, ticket.host.id, source="http", kind="token_refused", message=said)
        raise Forbidden(f"this token is refused: {why}")
    return ticket


def _refusal(token: Standing, what: str, now: float) -> str | None:
    if token.used_at is not None:
        return "it was used already"
    if token.outcome is not None:
        return f"its install is over ({token.outcome})"
    if now >= token.expires_at:
        return "its time is over"
    if what in ("answers", *SEED_FILES):
        if token.state not in (HostState.ARMED, HostState.BOOTING, HostState.INSTALLING):
            return f"the host is {token.state.value}"
        if token.answers_at is not None and now > token.answers_at + ANSWERS_GRACE_S:
            return "the answers were fetched before"
        return None
    return None if token.state is HostState.INSTALLING else f"the host is {token.state.value}"


def token_of(ctx: Context, attempt_id: str, purpose: str) -> str:
    """Derived, not stored: the same menu can be rendered twice, and the database alone opens nothing."""
    return ctx.sign("install tokens", f"{attempt_id}/{purpose}")


# ---------------------------------------------------------------------------------------------- the installer tells


def progress(ctx: Context, token: str, said: str, *, peer: str) -> None:
    ticket = _redeem(ctx, token, "installer", "progress", peer)
    note(ctx, ticket.host.id, source="installer", kind="progress", message=said or "installer reported")


def failed(ctx: Context, token: str, stage: str, said: str, *, peer: str) -> None:
    """The installer stops by its own decision. A late failure is only told: the registration may still come."""
    with ctx.database.write() as session:
        ticket = _redeem(ctx, token, "installer", "failed", peer)
        if stage == "late":
            note(ctx, ticket.host.id, source="installer", kind="late_failed", message=said or "late failed")
        else:
            host = session.get_one(Host, ticket.host.id)
            _give_up(session, ctx, host, f"{stage}: {said or 'the installer gave up'}", source="installer")


def register(ctx: Context, token: str, facts: dict[str, Any], *, peer: str) -> dict[str, Any]:
    """The bootstrap's call home: facts in, the agent's credential out; the token is used up and the host disarmed.

    Who lost our answer on the way may ask again with the same `registration_nonce` until its agent has connected.
    """
    ctx = ctx.towards(peer)
    told = {key: value for key, value in facts.items() if key != "registration_nonce"}
    nonce = str(facts.get("registration_nonce") or "")
    with ctx.database.write() as session:
        answer = _answered_before(session, ctx, token, nonce)
        if not answer:
            ticket = _redeem(ctx, token, "installer", "register", peer)
            attempt = session.get_one(Attempt, ticket.attempt.id)
            host = session.get_one(Host, ticket.host.id)
            answer = _register(session, ctx, token, attempt, host, told, nonce, peer)
    return answer


def _answered_before(session: Session, ctx: Context, token: str, nonce: str) -> dict[str, Any]:
    """The same answer once more, for the one who alone can know the nonce; {} for everybody else."""
    row = session.get(Token, digest(token))
    if row is None or row.purpose != "installer" or row.used_at is None:
        return {}
    attempt = session.get_one(Attempt, row.attempt_id)
    host, credential = session.get_one(Host, attempt.host_id), _credential(ctx, attempt, nonce)
    known = session.get(AgentCredential, host.id)
    if known is None or known.seen_at is not None or not hmac.compare_digest(known.digest, digest(credential)):
        return {}
    return _welcome(ctx, host, credential)


def _credential(ctx: Context, attempt: Attempt, nonce: str) -> str:
    """Derived from what only the registering host and we know; without a good nonce it is random, and told once."""
    if not _NONCE.fullmatch(nonce):
        return secrets.token_urlsafe(32)
    return ctx.sign("agent credentials", f"{attempt.id}/{nonce}")


def _register(
    session: Session,
    ctx: Context,
    token: str,
    attempt: Attempt,
    host: Host,
    facts: dict[str, Any],
    nonce: str,
    peer: str,
) -> dict[str, Any]:
    from pxeforge.services.facts import merge_facts  # 7 MB that only the process needs which is told facts

    now = ctx.clock()
    merge_facts(session, ctx, host, facts)
    session.get_one(Token, digest(token)).used_at = now
    attempt.registered_at, attempt.outcome = now, "registered"
    host.registered_at, host.armed_until, host.seen_at = now, None, now
    host.address = peer or host.address
    credential = _credential(ctx, attempt, nonce)
    row = session.get(AgentCredential, host.id) or AgentCredential(host_id=host.id)
    row.digest, row.issued_at, row.seen_at = digest(credential), now, None
    session.add(row)
    keys = len(host.facts.get("ssh_host_keys", []))
    hosts.move(
        session, ctx, host, Signal.REGISTER, source="installer",
        message=f"registered from {peer}: {len(host.nics)} NICs, {len(host.facts.get('disks', []))} disks, "
        f"{keys} SSH host keys; disarmed",
    )  # fmt: skip
    return _welcome(ctx, host, credential)


def _welcome(ctx: Context, host: Host, credential: str) -> dict[str, Any]:
    return {
        "agent_url": ctx.addresses.agent_url,
        "agent_token": credential,
        "certificate_pem": (ctx.data_dir / "tls" / "server.crt").read_text(),
        "host_id": host.id,
        "host_name": host.name,
    }
