"""Faults of packages and their remedies, as data in release packs, put into the tasks of the roles concerned.

fixes:
  - name: apache-without-ssl
    summary: one sentence, what goes wrong without it
    role: horizon
    after: install                        # the task of the role whose last steps the remedy becomes; or `before:` one
    detects: {command: "test -e /x"}      # exit code 0: the fault is there. Or a file, by a shell pattern, and if
                                          # `match` is given a line in it: {file: "/etc/x/*.conf", match: "^Listen"}
    remedy:                               # steps as in roles; done only where the fault is found
      - command: {argv: [a2dissite, -q, default-ssl], always: true}
    until: {package: openstack-dashboard-apache, version: "4:1"}      # from this version on nobody looks for the fault
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pxeforge.engine.document import Document, Finding, Location
from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.role_steps import RoleStep, read_steps
from pxeforge.engine.roles import Name, Role, RoleTask
from pxeforge.engine.step_fields import PackageName

FilePattern = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_.@+:/*?\-\[\]]+$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+:~\-]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFix:
    """One fault and its remedy. `detects` is a shell command; exit code 0: the fault is there."""

    name: str
    summary: str
    role: str
    task: str
    first: bool  # whether the remedy goes before the task's own steps
    detects: str
    remedy: tuple[RoleStep, ...]
    package: str
    fixed_in: str
    file: str
    line: int

    @property
    def guard(self) -> str:
        """The shell command that asks, on a host, whether the remedy is to be done there."""
        installed = f"$(dpkg-query -W -f '${{Version}}' {self.package} 2>/dev/null)"
        older = f'dpkg --compare-versions "{installed}" lt-nl {shlex.quote(self.fixed_in)}'
        return f"{older} && {{ {self.detects}\n}}"


class _Raw(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RawDetects(_Raw):
    command: Annotated[str, StringConstraints(min_length=1)] | None = None
    file: FilePattern | None = None
    match: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> RawDetects:
        if (self.command is None) == (self.file is None):
            raise ValueError("give either command or file")
        if self.match is not None:
            if self.file is None:
                raise ValueError("match belongs to file")
            try:
                re.compile(self.match)
            except re.error as error:
                raise ValueError(f"match is no regular expression ({error}): correct it") from None
        return self

    def as_command(self) -> str:
        if self.command is not None:
            return self.command
        if self.match is not None:
            return f"grep -Eqs -e {shlex.quote(self.match)} -- {self.file}"
        return f"ls -d -- {self.file} >/dev/null 2>&1"


class RawUntil(_Raw):
    package: PackageName
    version: Version


class RawFix(_Raw):
    name: Name
    summary: Annotated[str, StringConstraints(min_length=1)]
    role: Name
    after: Name | None = None
    before: Name | None = None
    detects: RawDetects
    remedy: Annotated[list[dict[str, Any]], Field(min_length=1)]
    until: RawUntil

    @model_validator(mode="after")
    def _one_place(self) -> RawFix:
        if (self.after is None) == (self.before is None):
            raise ValueError("name a task of the role, either by after or by before")
        return self


def read_fixes(raws: Sequence[RawFix], document: Document) -> tuple[tuple[PackageFix, ...], list[Finding]]:
    """The fixes of a release pack, and what is wrong in their steps."""
    fixes: list[PackageFix] = []
    findings: list[Finding] = []
    for index, raw in enumerate(raws):
        at: Location = ("fixes", index)
        if raw.name in {fix.name for fix in fixes}:
            findings.append(document.finding((*at, "name"), f"fix {raw.name} is there twice", "rename one of them"))
        steps, wrong = read_steps(raw.remedy, document, (*at, "remedy"))
        findings += wrong
        fixes.append(
            PackageFix(
                name=raw.name, summary=raw.summary, role=raw.role, task=str(raw.after or raw.before),
                first=raw.before is not None, detects=raw.detects.as_command(), remedy=tuple(steps),
                package=raw.until.package, fixed_in=raw.until.version, file=document.file, line=document.line(at),
            )
        )  # fmt: skip
    return tuple(fixes), findings


def with_fixes(role: Role, fixes: Iterable[PackageFix]) -> Role:
    """The role with the remedies that belong to it among its steps; raises PlanProblem for a task that it has not."""
    tasks = list(role.tasks)
    for fix in fixes:
        if fix.role != role.name:
            continue
        at = next((index for index, task in enumerate(tasks) if task.name == fix.task), None)
        if at is None:
            known = ", ".join(task.name for task in role.tasks)
            raise PlanProblem(
                f"{fix.file}:{fix.line}: fix {fix.name} is for task {role.name}.{fix.task}, which does not exist: "
                f"choose from {known}"
            )
        tasks[at] = _fixed(tasks[at], fix)
    return replace(role, tasks=tuple(tasks))


def _fixed(task: RoleTask, fix: PackageFix) -> RoleTask:
    remedy = tuple(
        replace(step, name=f"fix-{fix.name}-{step.name}"[:63], onlyif=fix.guard, file=fix.file) for step in fix.remedy
    )
    return replace(task, steps=(*remedy, *task.steps) if fix.first else (*task.steps, *remedy))


def past_fixes(fixes: Iterable[PackageFix], versions: Mapping[str, str]) -> list[str]:
    """A sentence for each fix that nobody needs any more with these versions of packages (as a mirror offers them)."""
    from debian.debian_support import Version as DebianVersion

    return [
        f"fix {fix.name} is no longer needed: {fix.package} is {versions[fix.package]}, and {fix.fixed_in} is enough: "
        f"take it out of {fix.file}:{fix.line}"
        for fix in fixes
        if fix.package in versions and DebianVersion(versions[fix.package]) >= DebianVersion(fix.fixed_in)
    ]
