"""Every text that an armed host can fetch, rendered for it, and all of them checked before it is armed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pxeforge.domain.installer import Installer
from pxeforge.domain.mac import MacAddress
from pxeforge.render.answers import AnswersContext, render_answers, render_disks, render_early, render_late
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.erasure import Erasure, render_wipe
from pxeforge.render.menus import Menu, MenuKind, MenuProblem, render_menu
from pxeforge.services import answer_findings, disk_passphrases, images, late_snippets
from pxeforge.services.answers import answers_context, is_encrypted, kernel_args
from pxeforge.services.boot_menu import (
    ERASE,
    PLAN,
    Choice,
    Purpose,
    build_menu,
    choices_of,
    host_parameters,
)
from pxeforge.services.context import Context
from pxeforge.services.install_sources import source_of, template_dirs
from pxeforge.services.install_tokens import SEED_FILES, token_of
from pxeforge.services.problems import NotFound, Problem
from pxeforge.services.remembered import Remembered
from pxeforge.services.wire_hosts import WireHost
from pxeforge.store.tables import Host, Profile

HIDDEN = "0" * 32  # stands for a token in previews
MENUS = {
    "menu": MenuKind.IPXE, "menu.pxelinux": MenuKind.PXELINUX, "menu.lpxelinux": MenuKind.LPXELINUX,
    "menu.grub": MenuKind.GRUB,
}  # fmt: skip
KERNEL_ARGS = "kernel-args"


def render(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, what: str, tokens: dict[str, str],
    mac: MacAddress | None = None,
) -> str:  # fmt: skip
    """One text for one host; raises Problem with file and line, or with the linter's findings.

    `mac`: the NIC that netboots, where a menu asks for it; else the first one.
    """
    try:
        if what in MENUS:
            return _render_menu(ctx, host, layer, image, MENUS[what], tokens["answers"], mac)
        if what == KERNEL_ARGS:
            return _kernel_lines(_menu_of(ctx, host, layer, image, MenuKind.IPXE, tokens["answers"], mac))
        values = values_of(ctx, host, layer, image, what, tokens["installer"])
        dirs = template_dirs(ctx, values.source.installer)
        if what == "answers":
            return render_answers(str(layer["template"]), values, dirs)
        if what in SEED_FILES and values.source.installer is Installer.SUBIQUITY:
            return render_answers(f"{what}.j2", values, dirs)
        if what == "wipe" and ERASE in layer:
            return render_wipe(values, Erasure.parse(layer[ERASE]), dirs)
        renderer = {"early": render_early, "disks": render_disks, "late": render_late}.get(what)
        if renderer is None:
            raise NotFound(f"{what!r} cannot be rendered: use menu, kernel-args, answers, early, disks or late")
        return renderer(values, dirs)
    except (TemplateProblem, MenuProblem) as problem:
        raise Problem(str(problem)) from problem


def values_of(
    ctx: Context, host: Host | WireHost, layer: dict[str, Any], image: images.Image, what: str, token: str
) -> AnswersContext:
    parameters, passphrase = host_parameters(host, layer), None
    if is_encrypted(parameters):
        passphrase = disk_passphrases.HIDDEN if token == HIDDEN else disk_passphrases.reveal(ctx, host.id)
    return answers_context(
        parameters, hostname=host.name or "unnamed", suite=image.suite, addresses=ctx.addresses, token=token,
        agent_sha256=agent_digest(ctx), luks_passphrase=passphrase, source=source_of(ctx, image),
        late_snippets=late_snippets.of_host(ctx, host, layer) if what == "late" else (),
    )  # fmt: skip


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
    elif token == HIDDEN:
        tokens = {choice.attempt_id: HIDDEN for choice in choices}
    else:
        tokens = {choice.attempt_id: token_of(ctx, choice.attempt_id, "answers") for choice in choices}
    mac = mac or MacAddress.parse(host.macs[0])
    return build_menu(ctx, host, choices, timeout_s, kind, mac, tokens)


def _kernel_lines(menu: Menu) -> str:
    """The kernel command line of each entry that has one, below its title."""
    return "\n".join(f"# {one.id}  {one.title}\n{one.kernel_args}\n" for one in menu.entries if one.kernel_args)


def check_renders(ctx: Context, host: Host, profile: Profile, image: images.Image) -> None:
    """Everything the host would fetch, rendered and linted before it is armed; raises Problem."""
    parameters = host_parameters(host, profile.parameters)
    if not parameters["accounts"] and not parameters["root_password_hash"]:
        raise Problem(
            f"profile {profile.name} lets nobody log in: set an account, e.g. pxeforge profile set {profile.name} "
            "'accounts=[{name: ops, ssh_keys: [ssh-ed25519 …], sudo: true}]'"
        )
    layer = {**profile.parameters, "template": profile.template}
    check_texts(ctx, host, profile.name, layer, image, ("early", "disks", "late"))


def check_texts(
    ctx: Context, host: Host, profile: str, layer: dict[str, Any], image: images.Image, scripts: Sequence[str]
) -> None:
    """Menus, answers and these scripts, rendered and linted; raises Problem."""
    parameters, template = host_parameters(host, layer), str(layer["template"])
    tokens = {"answers": HIDDEN, "installer": HIDDEN}
    texts = {what: render(ctx, host, layer, image, what, tokens) for what in (*MENUS, "answers", *scripts)}
    source = source_of(ctx, image)
    args = kernel_args(
        parameters, hostname=host.name or "", addresses=ctx.addresses, token=HIDDEN, boot_mac=host.macs[0],
        source=source,
    )  # fmt: skip
    told = answer_findings.lint_answers("answers", texts["answers"], source, ask_programs=False)
    told += answer_findings.lint_args("kernel-args", args, source.installer)
    told += answer_findings.lint_menus(
        {"ipxe": texts["menu"], "pxelinux": texts["menu.pxelinux"], "grub": texts["menu.grub"]}, ask_programs=False
    )  # fmt: skip
    findings = answer_findings.errors_of(told)
    if findings and findings[0].file == "answers":
        values = values_of(ctx, host, layer, image, "answers", HIDDEN)
        dirs = template_dirs(ctx, source.installer)
        findings = answer_findings.with_origins(findings[:1], template, values, dirs)
    if findings:
        raise Problem(f"the answers of profile {profile} ({template}) would fail: {findings[0]}")


def agent_digest(ctx: Context) -> str | None:
    """SHA-256 of the agent that hosts fetch; None before the first start has packed it."""
    return _file_digest(ctx.data_dir / "agent" / "pxeforge-agent.pyz")


def _digest_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


_file_digest = Remembered(_digest_of)
