"""Lints everything a host would be given before it is given: a host's own texts, every profile for a sample host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pxeforge.render.environment import TemplateProblem
from pxeforge.render.lint_finding import Severity
from pxeforge.services import previews, profiles
from pxeforge.services.answer_findings import (
    FileFinding,
    lint_answers,
    lint_args,
    lint_menus,
    lint_shell,
    view,
    with_origins,
)
from pxeforge.services.context import Context
from pxeforge.services.installer_questions import known_questions
from pxeforge.services.problems import Problem

__all__ = ["FileFinding", "lint_answers", "lint_host", "lint_profile", "lint_profiles", "view"]

_SCRIPTS: Final = ("early", "disks", "late")
_MENUS: Final = {"ipxe": "menu", "pxelinux": "menu.pxelinux", "grub": "menu.grub"}


def lint_host(ctx: Context, text: str, *, profile: str | None = None) -> list[FileFinding]:
    """The texts of a host as it is armed, or as if for `profile`. Raises Problem where there are none."""
    from pxeforge.services import hosts

    found = hosts.show(ctx, text)
    return list(_lint(ctx, f"host/{found['name'] or found['id']}", text, profile))


def lint_profiles(ctx: Context) -> list[FileFinding]:
    """Every profile, rendered for a host that has nothing of its own."""
    return [finding for row in profiles.list_profiles(ctx) for finding in lint_profile(ctx, row["name"])]


def lint_profile(ctx: Context, name: str) -> list[FileFinding]:
    """One profile, rendered the same way; raises NotFound."""
    profile, base = profiles.show(ctx, name), f"profile/{name}"
    try:
        findings = list(_lint(ctx, base, None, name))
    except Problem as problem:
        return [FileFinding(base, 1, Severity.ERROR, str(problem))]
    effective: dict[str, Any] = profile["effective"]
    if not effective["accounts"] and not effective["root_password_hash"]:
        findings.append(FileFinding(base, 1, Severity.WARNING, "nobody could log in: hosts cannot be armed for it"))
    return findings


def _lint(ctx: Context, base: str, host: str | None, profile: str | None) -> Iterator[FileFinding]:
    try:
        basis = previews.basis(ctx, host, profile=profile)
        menus = {kind: previews.preview(ctx, host, what=what, profile=profile) for kind, what in _MENUS.items()}
        yield from lint_menus(menus, f"{base}/menu")
        if basis is None:
            return
        answers = previews.preview(ctx, host, what="answers", profile=profile)
        known = known_questions(basis.image)
        told = lint_answers(f"{base}/answers", answers, basis.source, known)
        yield from with_origins(told, basis.template, basis.values, basis.dirs)
        for number, args in enumerate(previews.preview(ctx, host, what="kernel-args", profile=profile).splitlines()):
            if args and not args.startswith("#") and number == 1:  # of a menu's entries the first is the install
                yield from lint_args(f"{base}/kernel-args", args, basis.source.installer)
        for what in _SCRIPTS:
            yield from lint_shell(f"{base}/{what}", previews.preview(ctx, host, what=what, profile=profile))
    except Problem as problem:
        if not isinstance(problem.__cause__, TemplateProblem):
            raise
        cause = problem.__cause__
        yield FileFinding(cause.template, cause.line or 1, Severity.ERROR, cause.message)
