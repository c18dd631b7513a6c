"""What a host would be given, text by text, with what the linter says about its lines; and two of them compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select

from pxeforge.domain.installer import Installer
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import attempts, hosts, install_tokens, previews, profiles
from pxeforge.services.answer_findings import (
    FileFinding,
    lint_answers,
    lint_args,
    lint_menus,
    lint_shell,
    with_origins,
)
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide_text
from pxeforge.services.installer_questions import known_questions
from pxeforge.services.problems import Problem
from pxeforge.store.tables import Host

TEXTS: Final = {
    "answers": "Answers", "menu": "iPXE menu", "menu.pxelinux": "PXELINUX menu", "menu.lpxelinux": "lpxelinux menu",
    "menu.grub": "GRUB menu", "kernel-args": "Kernel arguments", "early": "Early script", "disks": "Disk script",
    "late": "Late script",
}  # fmt: skip
_MORE_TEXTS: Final = {Installer.SUBIQUITY: {name: name for name in install_tokens.SEED_FILES}}
_LOADERS: Final = {"menu": "ipxe", "menu.pxelinux": "pxelinux", "menu.grub": "grub"}  # as the linter calls them
_SCRIPTS: Final = frozenset({"early", "disks", "late"})
_SOURCE: Final = re.compile(r"host=(?P<host>[^,]+)(,(profile=(?P<of>[^,]+)|attempt=(?P<attempt>[^,]+)))?")
_SAMPLE: Final = re.compile(r"profile=(?P<profile>[^,]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whose text: a host's (as it is armed, for a profile, or of an earlier attempt), or a profile's for a sample host.

    As text: `host=n1`, `host=n1,profile=debian-13`, `host=n1,attempt=0123456789ab`, `profile=debian-13`.
    """

    host: str | None = None
    profile: str | None = None
    attempt: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Raises Problem."""
        if found := _SAMPLE.fullmatch(text):
            return cls(profile=found["profile"])
        if found := _SOURCE.fullmatch(text):
            return cls(host=found["host"], profile=found["of"], attempt=found["attempt"])
        raise Problem(f"{text!r} names no text: write host=NAME, host=NAME,profile=PROFILE or profile=PROFILE")

    def __str__(self) -> str:
        named = (("host", self.host), ("profile", self.profile), ("attempt", self.attempt))
        return ",".join(f"{key}={value}" for key, value in named if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A text without tokens and password hashes, and the findings of its lines."""

    source: Source
    title: str
    text: str
    findings: tuple[FileFinding, ...]


def preview(ctx: Context, source: Source, *, what: str) -> Preview:
    """Raises Problem, with file and line where a template does not render."""
    text = previews.preview(ctx, source.host, what=what, profile=source.profile, attempt=source.attempt)
    title, known = _told(ctx, source)
    found = tuple(sorted(_findings(ctx, source, what, text), key=lambda one: one.line))
    return Preview(source=source, title=title, text=hide_text(ctx, text, known), findings=found)


def texts_of(ctx: Context, source: Source) -> dict[str, str]:
    """The texts there are, with their titles: some installers ask for more than others."""
    try:
        basis = previews.basis(ctx, source.host, profile=source.profile, attempt=source.attempt)
    except Problem:
        return TEXTS
    return {**TEXTS, **_MORE_TEXTS.get(basis.source.installer, {})} if basis else TEXTS


def what_of(file: str) -> str:
    """Which text a finding is in, by the name of its file: `profile/p/answers`, `host/n1/menu.ipxe`."""
    name = file.rpartition("/")[2]
    by_loader = {f"menu.{loader}": what for what, loader in _LOADERS.items()}
    return by_loader.get(name, name if name in TEXTS else "answers")


def _findings(ctx: Context, source: Source, what: str, text: str) -> Iterator[FileFinding]:
    if what in _LOADERS:
        yield from lint_menus({_LOADERS[what]: text})
    elif what in _SCRIPTS:
        yield from lint_shell(what, text)
    elif what == "kernel-args":
        yield from _kernel_findings(ctx, source, text)
    elif what == "answers":
        basis = previews.basis(ctx, source.host, profile=source.profile, attempt=source.attempt)
        if basis is not None:
            told = lint_answers(what, text, basis.source, known_questions(basis.image))
            yield from with_origins(told, basis.template, basis.values, basis.dirs)


def _kernel_findings(ctx: Context, source: Source, text: str) -> Iterator[FileFinding]:
    """Each line for itself; those that begin with # are titles of menu entries."""
    basis = previews.basis(ctx, source.host, profile=source.profile, attempt=source.attempt)
    installer = basis.source.installer if basis else Installer.DEBIAN
    for number, line in enumerate(text.splitlines(), start=1):
        for one in lint_args("kernel-args", line, installer) if line and not line.startswith("#") else ():
            yield replace(one, line=number)


def compare(ctx: Context, left: Source, right: Source, *, what: str) -> tuple[Preview, Preview]:
    """Both texts; a host that is not armed is taken as it was armed last. Raises Problem."""
    return preview(ctx, _settled(ctx, left), what=what), preview(ctx, _settled(ctx, right), what=what)


def _settled(ctx: Context, source: Source) -> Source:
    if source.host is None or source.profile or source.attempt:
        return source
    found = hosts.show(ctx, source.host)
    if found["state"] in (HostState.ARMED.value, HostState.BOOTING.value) or found["attempt"] is None:
        return source
    return Source(host=source.host, attempt=found["attempt"]["id"])


def names_beside(ctx: Context, host_id: str, *, limit: int) -> list[str]:
    """Names of other hosts to compare with; more of them can be typed."""
    with ctx.database.read() as session:
        query = select(Host.name).where(Host.name.is_not(None), Host.id != host_id).order_by(Host.name).limit(limit)
        return [str(name) for name in session.scalars(query)]


def view(shown: Preview) -> dict[str, Any]:
    """As the API and the command line show it."""
    return {
        "source": str(shown.source), "title": shown.title, "text": shown.text,
        "findings": [
            {"line": one.line, "severity": one.severity.value, "message": one.message, "template": one.origin}
            for one in shown.findings
        ],
    }  # fmt: skip


def _told(ctx: Context, source: Source) -> tuple[str, dict[str, Any]]:
    """How the source is called, and the parameters that may hold secrets."""
    of_profile = profiles.show(ctx, source.profile)["parameters"] if source.profile else {}
    if source.host is None:
        return f"profile {source.profile}", {"profile": of_profile}
    host = hosts.show(ctx, source.host)
    known = {"profile": of_profile, "host": host["settings"]}
    if source.profile is None:
        known["attempts"] = attempts.layers(ctx, host["id"])
    name = host["name"] or next(iter(host["macs"]), host["id"])
    if source.profile:
        return f"{name} for {source.profile}", known
    if source.attempt is None:
        return f"{name} as it is armed", known
    one = attempts.show(ctx, host["id"], source.attempt)
    at = datetime.fromtimestamp(one["armed_at"], UTC).strftime("%Y-%m-%d %H:%M")
    return f"{name} for {one['profile']} as armed {at} UTC", known
