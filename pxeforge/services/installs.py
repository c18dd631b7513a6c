"""An install from arming to registration: armed once, its tokens used once, disarmed by its end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.boot import Boot, BootDecision, BootRequest, KnownHost, LoaderChoice, decide_boot
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.domain.mac import MacAddress
from pxeforge.render.answers import AnswersContext, render_answers, render_disks, render_early, render_late
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.lint import errors_of, lint_kernel_args, lint_preseed
from pxeforge.render.menus import (
    EntryKind,
    MenuEntry,
    MenuKind,
    MenuProblem,
    armed_menu,
    local_menu,
    render_grub_start,
    render_menu,
)
from pxeforge.services import hosts, images, profiles
from pxeforge.services.answers import answers_context, effective, kernel_args
from pxeforge.services.context import Context, digest, new_id
from pxeforge.services.events import record, told_lately
from pxeforge.services.facts import merge_facts
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from pxeforge.store.tables import AgentCredential, Attempt, Host, Profile, Token

__all__ = ["MenuKind"]

ARMED_FOR_S = 2 * 3600
INSTALL_BUDGET_S = 3 * 3600  # from the answers to the registration; a slow mirror fits, a hung installer does not
ANSWERS_GRACE_S = 900  # an installer may read its answers again this long, never later
BOOT_LOOP_S = 600  # a netboot this soon after registration is worth a word in the timeline
_REPEATS_S = 60.0  # the same words of a peer again within this time are no news
_NONCE = re.compile(r"[0-9a-f]{32,128}")
_HIDDEN = "0" * 32  # stands for a token in previews
_MENUS = {"menu": MenuKind.IPXE, "menu.pxelinux": MenuKind.PXELINUX, "menu.grub": MenuKind.GRUB}


# ---------------------------------------------------------------------------------------------- arming


def arm(ctx: Context, text: str, *, profile: str, for_s: float = ARMED_FOR_S, who: str) -> dict[str, Any]:
    """The next netboot of the host installs `profile`, once, within `for_s` seconds.

    Refused (and nothing changed) when the answers do not render and lint cleanly: raises Problem with file and line.
    """
    if not 60 <= for_s <= 7 * 86400:
        raise Problem("a host can be armed for a minute to a week: use --for, e.g. --for 2h")
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        row = profiles.get(session, profile)
        image = images.newest(ctx, row.image)
        if not host.name:
            host.name = _free_name(session, host)
        _check_renders(ctx, host, row, image)
        attempt = Attempt(
            id=new_id(), host_id=host.id, profile=profile, image=images.reference(image),
            parameters={**row.parameters, "template": row.template}, armed_at=ctx.clock(), armed_by=who,
            expires_at=ctx.clock() + for_s,
        )  # fmt: skip
        _close_attempt(session, host, "superseded")
        session.add(attempt)
        session.flush()
        for purpose in ("answers", "installer"):
            token = token_of(ctx, attempt.id, purpose)
            session.add(Token(digest=digest(token), attempt_id=attempt.id, purpose=purpose))
        host.attempt_id, host.armed_until = attempt.id, attempt.expires_at
        hosts.move(
            session, ctx, host, Signal.ARM, who=who,
            message=f"armed for {profile} ({images.reference(image)}) by {who} for {int(for_s // 60)} min",
        )  # fmt: skip
        session.flush()
        return hosts.view(host)


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
            if host is not None and host.armed_until is not None and host.armed_until <= now:
                _give_up(session, ctx, host, _DIAGNOSIS.get(host.state, "time is over"), source="server")


_DIAGNOSIS = {
    HostState.ARMED.value: "never netbooted while it was armed: check boot order, cabling and VLAN, then arm it again",
    HostState.BOOTING.value: "menu fetched, answers never asked: the kernel or its network did not come up",
    HostState.INSTALLING.value: "answers fetched, late_command never called: see the last installer lines before this",
}


def _give_up(session: Session, ctx: Context, host: Host, why: str, *, source: str) -> None:
    hosts.move(session, ctx, host, Signal.GAVE_UP, source=source, message=why)
    _close_attempt(session, host, "gave up")
    host.armed_until = None


def _close_attempt(session: Session, host: Host, outcome: str) -> None:
    attempt = session.get(Attempt, host.attempt_id) if host.attempt_id else None
    if attempt is not None and attempt.outcome is None:
        attempt.outcome = outcome


def _free_name(session: Session, host: Host) -> str:
    """A name for a host that was armed without one: from its MAC, as the field does."""
    base = f"host-{host.nics[0].mac.replace(':', '')[-6:]}"
    taken = session.scalars(select(Host.name).where(Host.name.startswith(base))).all()
    return base if base not in taken else f"{base}-{host.id[:4]}"


# ---------------------------------------------------------------------------------------------- rendering


def _context(ctx: Context, host: Host, parameters: dict[str, Any], suite: str, token: str) -> AnswersContext:
    return answers_context(
        parameters, hostname=host.name or "unnamed", suite=suite, addresses=ctx.addresses, token=token,
        agent_sha256=agent_digest(ctx),
    )  # fmt: skip


def _parameters(host: Host, layer: dict[str, Any]) -> dict[str, Any]:
    """Profile parameters, then the host's own; `disk` and `wipe` of the host are short for parameters."""
    own = {key: value for key, value in host.settings.items() if key in ("disk", "wipe")}
    base = {key: value for key, value in layer.items() if key != "template"}
    return effective(base, host.settings.get("parameters", {}), own)


def _render(
    ctx: Context, host: Host, layer: dict[str, Any], image: images.Image, what: str, tokens: dict[str, str],
    mac: MacAddress | None = None,
) -> str:  # fmt: skip
    """One text for one host; raises Problem with file and line, or with the linter's findings.

    `mac`: the NIC that netboots, where a menu asks for it; else the first one.
    """
    parameters = _parameters(host, layer)
    try:
        if what in _MENUS:
            return _render_menu(ctx, host, parameters, image, _MENUS[what], tokens["answers"], mac)
        values = _context(ctx, host, parameters, image.suite, tokens["installer"])
        dirs = ctx.assets("preseed")
        if what == "answers":
            return render_answers(str(layer["template"]), values, dirs)
        renderer = {"early": render_early, "disks": render_disks, "late": render_late}.get(what)
        if renderer is None:
            raise NotFound(f"{what!r} cannot be rendered: use menu, answers, early, disks or late")
        return renderer(values, dirs)
    except (TemplateProblem, MenuProblem) as problem:
        raise Problem(str(problem)) from problem


def _render_menu(
    ctx: Context, host: Host, parameters: dict[str, Any], image: images.Image, kind: MenuKind, token: str,
    mac: MacAddress | None,
) -> str:  # fmt: skip
    mac = mac or MacAddress.parse(host.nics[0].mac)
    base = image.boot_path
    entry = MenuEntry(
        id="1", title=f"Install {image.name} on {host.name}", kind=EntryKind.INSTALL, kernel_path=f"{base}/linux",
        initrd_paths=(f"{base}/initrd.gz",),
        kernel_args=kernel_args(parameters, hostname=host.name or "", addresses=ctx.addresses, token=token),
    )  # fmt: skip
    menu = armed_menu(host.name or str(mac), mac, entry)
    return render_menu(kind, menu, boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


def _check_renders(ctx: Context, host: Host, profile: Profile, image: images.Image) -> None:
    """Everything the host would fetch, rendered and linted before it is armed; raises Problem."""
    layer = {**profile.parameters, "template": profile.template}
    parameters = _parameters(host, layer)
    if not parameters["accounts"] and not parameters["root_password_hash"]:
        raise Problem(
            f"profile {profile.name} lets nobody log in: set an account, e.g. pxeforge profile set {profile.name} "
            "'accounts=[{name: ops, ssh_keys: [ssh-ed25519 …], sudo: true}]'"
        )
    tokens = {"answers": _HIDDEN, "installer": _HIDDEN}
    texts = {
        what: _render(ctx, host, layer, image, what, tokens) for what in (*_MENUS, "answers", "early", "disks", "late")
    }
    args = kernel_args(parameters, hostname=host.name or "", addresses=ctx.addresses, token=_HIDDEN)
    findings = [*errors_of(lint_preseed(texts["answers"])), *errors_of(lint_kernel_args(args))]
    if findings:
        raise Problem(f"the answers of profile {profile.name} ({profile.template}) would fail: {findings[0]}")


def agent_digest(ctx: Context) -> str | None:
    """SHA-256 of the agent that hosts fetch; None before the first start has packed it."""
    path = ctx.data_dir / "agent" / "pxeforge-agent.pyz"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def preview(ctx: Context, text: str, *, what: str, profile: str | None = None) -> str:
    """What the host would be given; tokens show as zeros. Without `profile`: what it is armed with now."""
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        attempt = _live_attempt(ctx, session, host)
        if profile is not None:
            row = profiles.get(session, profile)
            layer, image = {**row.parameters, "template": row.template}, images.newest(ctx, row.image)
        elif attempt is not None:
            layer, image = attempt.parameters, images.by_reference(ctx, attempt.image)
        else:
            raise Conflict("the host is not armed: name a profile to see what it would get")
        return _render(ctx, host, layer, image, what, {"answers": _HIDDEN, "installer": _HIDDEN})


def explain(ctx: Context, text: str) -> dict[str, Any]:
    """What the host would get if it netbooted now, and why."""
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        firmware = Firmware(host.firmware) if host.firmware else Firmware.BIOS
        request = BootRequest(mac=MacAddress.parse(host.nics[0].mac), firmware=firmware)
        decision = decide_boot(request, _known(host), ctx.clock())
    files = {}
    if decision.boot is Boot.INSTALL:
        menus = ("menu", "menu.grub") if firmware is Firmware.UEFI_X64 else ("menu",)
        files = {what: preview(ctx, text, what=what) for what in (*menus, "answers", "early", "disks", "late")}
    return {"decision": decision.boot.value, "reason": decision.reason, "loader": host.loader, "files": files}


# ---------------------------------------------------------------------------------------------- the wire asks


def _known(host: Host) -> KnownHost:
    return KnownHost(
        state=HostState(host.state), armed_until=host.armed_until, loader=LoaderChoice(host.loader)
    )  # fmt: skip


def decide(ctx: Context, request: BootRequest, host: Host | None) -> BootDecision:
    return decide_boot(request, _known(host) if host else None, ctx.clock())


def _live_attempt(ctx: Context, session: Session, host: Host) -> Attempt | None:
    """The attempt that a boot loader may still be served for."""
    if host.state not in (HostState.ARMED.value, HostState.BOOTING.value) or not host.attempt_id:
        return None
    if host.armed_until is None or ctx.clock() >= host.armed_until:
        return None
    return session.get(Attempt, host.attempt_id)


def menu(ctx: Context, mac: MacAddress, kind: MenuKind, *, peer: str, head: bool = False) -> str:
    """The host's own menu: its installer while it is armed, else the local disk. A HEAD moves nothing."""
    with ctx.database.write() as session:
        host = hosts.by_mac(session, mac)
        attempt = _live_attempt(ctx, session, host) if host else None
        if host is None or attempt is None or _is_stranger(session, ctx, host, peer):
            return render_menu(
                kind, local_menu(str(mac), mac), boot_url=ctx.addresses.boot_url,
                dirs=ctx.assets("boot_templates"),
            )  # fmt: skip
        image = images.by_reference(ctx, attempt.image)
        tokens = {purpose: token_of(ctx, attempt.id, purpose) for purpose in ("answers", "installer")}
        what = next(name for name, known in _MENUS.items() if known is kind)
        text = _render(ctx, host, attempt.parameters, image, what, tokens, mac)
        said = f"{kind.name.lower()} menu fetched by {peer}"
        again = told_lately(session, ctx, host.id, Signal.MENU_FETCHED.value, said, within_s=_REPEATS_S)
        if head or (again and host.state == HostState.BOOTING.value):
            return text
        host.address = peer or host.address
        source = "http" if kind is MenuKind.IPXE else "tftp"
        hosts.move(session, ctx, host, Signal.MENU_FETCHED, source=source, message=said)
        return text


def autoexec(ctx: Context, mac: MacAddress, *, peer: str, head: bool = False) -> str | None:
    """What iPXE runs before it asks DHCP anything (its user class may be out of reach): the menu of a known host.

    None for a stranger: its iPXE was not handed out by us and goes its own way.
    """
    with ctx.database.read() as session:
        if hosts.by_mac(session, mac) is None:
            return None
    return menu(ctx, mac, MenuKind.IPXE, peer=peer, head=head)


def grub_start(ctx: Context) -> str:
    """The grub.cfg that all hosts share; it holds no secret and sends each one to its own menu."""
    return render_grub_start(boot_url=ctx.addresses.boot_url, dirs=ctx.assets("boot_templates"))


def _is_stranger(session: Session, ctx: Context, host: Host, peer: str) -> bool:
    """Whether somebody else on our own wire asks for this host's menu: it holds the token of the answers.

    Behind a relay the peer is nobody's neighbour and the question stays open; so it does for one who forges a MAC.
    """
    behind = ctx.neighbour(peer)
    if behind is None or str(behind) in {nic.mac for nic in host.nics}:
        return False
    said = f"the menu was asked for by {peer} ({behind}), which is not this host: it got the local disk only"
    if not told_lately(session, ctx, host.id, "menu_refused", said, within_s=_REPEATS_S):
        record(session, ctx, host_id=host.id, source="http", kind="menu_refused", message=said)
    return True


def image_fetched(ctx: Context, path: str, *, peer: str, head: bool) -> None:
    """Kernel and initrd in the timeline of the host that fetches them."""
    if head or path not in ("linux", "initrd.gz"):
        return
    with ctx.database.write() as session:
        host = hosts.by_address(session, peer)
        said = f"{path} fetched by {peer}"
        if host is not None and not told_lately(session, ctx, host.id, "image_fetched", said, within_s=_REPEATS_S):
            record(session, ctx, host_id=host.id, source="http", kind="image_fetched", message=said)


# ---------------------------------------------------------------------------------------------- the installer asks


def answers(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    """The rendered answers, for the holder of the token; from now on the host is not armed any more.

    A HEAD (of a browser, a monitor) asks only how long they are: it begins no install and is not told.
    """
    return _answer(ctx, token, "answers", "answers", peer, head)


def early(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _answer(ctx, token, "installer", "early", peer, head)


def disks(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _answer(ctx, token, "installer", "disks", peer, head)


def late(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _answer(ctx, token, "installer", "late", peer, head)


def _answer(ctx: Context, token: str, purpose: str, what: str, peer: str, head: bool) -> str:
    with _keeping_refusals(ctx) as session:
        attempt, host = _redeem(session, ctx, token, purpose, what, peer)
        image = images.by_reference(ctx, attempt.image)
        tokens = {name: token_of(ctx, attempt.id, name) for name in ("answers", "installer")}
        text = _render(ctx, host, attempt.parameters, image, what, tokens)
        if what == "answers" and not head:
            _begin_install(session, ctx, host, attempt, peer)
        elif not head:
            said = f"{what} script fetched by {peer}"
            record(session, ctx, host_id=host.id, source="installer", kind=what, message=said)
    return text


@contextlib.contextmanager
def _keeping_refusals(ctx: Context) -> Iterator[Session]:
    """A write transaction that ends well when a token is refused, so that the refusal's event is kept."""
    refusal: Forbidden | None = None
    with ctx.database.write() as session:
        try:
            yield session
        except Forbidden as problem:
            refusal = problem
    if refusal is not None:
        raise refusal


def _begin_install(session: Session, ctx: Context, host: Host, attempt: Attempt, peer: str) -> None:
    if attempt.answers_at is None:
        attempt.answers_at = ctx.clock()
        host.armed_until = attempt.expires_at = ctx.clock() + INSTALL_BUDGET_S
    host.address = peer or host.address
    hosts.move(
        session, ctx, host, Signal.ANSWERS_FETCHED, source="http",
        message=f"answers fetched by {peer}; the host is disarmed and installing",
    )  # fmt: skip


def _redeem(session: Session, ctx: Context, token: str, purpose: str, what: str, peer: str) -> tuple[Attempt, Host]:
    """The attempt behind a token, or Forbidden (with an event on the host, if the token was ever good)."""
    row = session.get(Token, digest(token))
    if row is None or not hmac.compare_digest(row.purpose, purpose):
        raise Forbidden("this token is not known here")
    attempt = session.get_one(Attempt, row.attempt_id)
    host = session.get_one(Host, attempt.host_id)
    why = _refusal(ctx, row, attempt, host, what)
    if why is not None:
        said = f"token for {what} refused to {peer}: {why}"
        if not told_lately(session, ctx, host.id, "token_refused", said, within_s=_REPEATS_S):
            record(session, ctx, host_id=host.id, source="http", kind="token_refused", message=said)
        raise Forbidden(f"this token is refused: {why}")
    return attempt, host


def _refusal(ctx: Context, row: Token, attempt: Attempt, host: Host, what: str) -> str | None:
    if row.used_at is not None:
        return "it was used already"
    if attempt.outcome is not None:
        return f"its install is over ({attempt.outcome})"
    if ctx.clock() >= attempt.expires_at:
        return "its time is over"
    if what == "answers":
        if host.state not in (HostState.ARMED.value, HostState.BOOTING.value, HostState.INSTALLING.value):
            return f"the host is {host.state}"
        if attempt.answers_at is not None and ctx.clock() > attempt.answers_at + ANSWERS_GRACE_S:
            return "the answers were fetched before"
        return None
    return None if host.state == HostState.INSTALLING.value else f"the host is {host.state}"


def token_of(ctx: Context, attempt_id: str, purpose: str) -> str:
    """Derived, not stored: the same menu can be rendered twice, and the database alone opens nothing."""
    return ctx.sign("install tokens", f"{attempt_id}/{purpose}")


# ---------------------------------------------------------------------------------------------- the installer tells


def progress(ctx: Context, token: str, said: str, *, peer: str) -> None:
    with _keeping_refusals(ctx) as session:
        _, host = _redeem(session, ctx, token, "installer", "progress", peer)
        message = said or "installer reported"
        record(session, ctx, host_id=host.id, source="installer", kind="progress", message=message)


def failed(ctx: Context, token: str, stage: str, said: str, *, peer: str) -> None:
    """The installer stops by its own decision. A late failure is only told: the registration may still come."""
    with _keeping_refusals(ctx) as session:
        _, host = _redeem(session, ctx, token, "installer", "failed", peer)
        if stage == "late":
            record(session, ctx, host_id=host.id, source="installer", kind="late_failed", message=said or "late failed")
        else:
            _give_up(session, ctx, host, f"{stage}: {said or 'the installer gave up'}", source="installer")


def register(ctx: Context, token: str, facts: dict[str, Any], *, peer: str) -> dict[str, Any]:
    """The bootstrap's call home: facts in, the agent's credential out; the token is used up and the host disarmed.

    Who lost our answer on the way may ask again with the same `registration_nonce` until its agent has connected.
    """
    told = {key: value for key, value in facts.items() if key != "registration_nonce"}
    nonce = str(facts.get("registration_nonce") or "")
    with _keeping_refusals(ctx) as session:
        answer = _answered_before(session, ctx, token, nonce)
        if not answer:
            attempt, host = _redeem(session, ctx, token, "installer", "register", peer)
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
