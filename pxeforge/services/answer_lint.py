"""Lints answers before a machine reads them: files, a host's own answers, every profile for a sample host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.render.answers import render_answers
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.lint import Severity, lint_kernel_args, lint_preseed
from pxeforge.services import hosts, images, installs, profiles
from pxeforge.services.answers import answers_context, effective, kernel_args
from pxeforge.services.answers_check import BINARY, AnswersCheckProblem, debconf_complaints
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem

SAMPLE_NAME: Final = "sample"
_TOKEN: Final = "0" * 32
_DEBCONF_LINE = re.compile(r"\bline (\d+)\b")
_APPEND = re.compile(r"^\s*append\s+(?:initrd=\S+\s+)?(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A finding and the file it is in; `line` counts from 1."""

    file: str
    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity.value}: {self.message}"


def lint_answers(file: str, text: str) -> list[FileFinding]:
    """Our own findings of a preseed file and, where debconf is installed, what debconf itself says."""
    own = [FileFinding(file, found.line, found.severity, found.message) for found in lint_preseed(text)]
    told = {found.line for found in own}
    return sorted([*own, *(one for one in _debconf(file, text) if one.line not in told)], key=lambda one: one.line)


def _debconf(file: str, text: str) -> Iterable[FileFinding]:
    try:
        complaints = debconf_complaints(text) or []
    except AnswersCheckProblem as problem:
        yield FileFinding(file, 1, Severity.WARNING, str(problem))
        return
    for said in complaints:
        line = _DEBCONF_LINE.search(said)
        severity = Severity.ERROR if said.startswith("error") else Severity.WARNING
        yield FileFinding(file, int(line[1]) if line else 1, severity, f"{BINARY}: {said.partition(': ')[2] or said}")


def lint_host(ctx: Context, text: str, *, profile: str | None = None) -> list[FileFinding]:
    """The answers and kernel arguments of a host as it is armed, or as if for `profile`. Raises Problem."""
    found = hosts.show(ctx, text)
    base = f"host/{found['name'] or found['id']}"
    try:
        answers = installs.preview(ctx, text, what="answers", profile=profile)
        menu = installs.preview(ctx, text, what="menu.pxelinux", profile=profile)
    except Problem as problem:
        if isinstance(problem.__cause__, TemplateProblem):
            return [_of_template(problem.__cause__)]
        raise
    args = _APPEND.search(menu)
    return [*lint_answers(f"{base}/answers", answers), *(_lint_args(base, args[1]) if args else ())]


def lint_profiles(ctx: Context) -> list[FileFinding]:
    """Every profile, rendered for a host that has nothing of its own."""
    return [finding for view in profiles.list_profiles(ctx) for finding in _lint_profile(ctx, view)]


def _lint_profile(ctx: Context, view: dict[str, Any]) -> list[FileFinding]:
    base, parameters = f"profile/{view['name']}", effective(view["parameters"])
    try:
        values = answers_context(
            parameters, hostname=SAMPLE_NAME, suite=images.newest(ctx, view["image"]).suite, addresses=ctx.addresses,
            token=_TOKEN, agent_sha256=installs.agent_digest(ctx),
        )  # fmt: skip
        answers = render_answers(view["template"], values, ctx.assets("preseed"))
        args = kernel_args(parameters, hostname=SAMPLE_NAME, addresses=ctx.addresses, token=_TOKEN)
    except TemplateProblem as problem:
        return [_of_template(problem)]
    except Problem as problem:
        return [FileFinding(base, 1, Severity.ERROR, str(problem))]
    findings = [*lint_answers(f"{base}/answers", answers), *_lint_args(base, args)]
    if not parameters["accounts"] and not parameters["root_password_hash"]:
        findings.append(FileFinding(base, 1, Severity.WARNING, "nobody could log in: hosts cannot be armed for it"))
    return findings


def _of_template(problem: TemplateProblem) -> FileFinding:
    return FileFinding(problem.template, problem.line or 1, Severity.ERROR, problem.message)


def _lint_args(base: str, args: str) -> Iterable[FileFinding]:
    return [FileFinding(f"{base}/kernel-args", one.line, one.severity, one.message) for one in lint_kernel_args(args)]


def view(finding: FileFinding) -> dict[str, Any]:
    """The finding as the API and the command line show it."""
    return {
        "file": finding.file, "line": finding.line, "severity": finding.severity.value, "message": finding.message,
    }  # fmt: skip
