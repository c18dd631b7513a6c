"""The steps of roles, as they are written: one type each, with parameters that may hold templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from pxeforge.engine.document import Document, Finding, Location, findings_of
from pxeforge.engine.step_types import STEP_TYPES
from pxeforge.engine.templates import TemplateEngine, TemplateProblem, is_template

Files = Mapping[str, Mapping[str, str]]  # by folder beside role.yaml, then by name: the text
_STEP_NAME = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
TEMPLATE_NAMES = frozenset(
    {"at", "groups", "host", "hosts", "networks", "range", "release", "secrets", "server", "vars", "vips"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStep:
    """A step with parameters that are not rendered yet.

    `onlyif`: a shell command that asks on the host whether it is to be done there (for fixes of packages); `file`:
    where it stands, if not in its role's file.
    """

    name: str
    type: str
    params: Mapping[str, Any]
    line: int
    onlyif: str | None = None
    file: str | None = None


def read_steps(
    items: Sequence[Mapping[str, Any]], document: Document, at: Location
) -> tuple[list[RoleStep], list[Finding]]:
    """Steps that stand by themselves, without files beside them, and what is wrong in them."""
    findings: list[Finding] = []
    reader = StepReader(document, {}, findings)
    steps: list[RoleStep] = []
    for index, item in enumerate(items):
        step = reader.read(item, (*at, index), {step.name for step in steps})
        if step is not None:
            steps.append(step)
    return steps, findings


class StepReader:
    """Turns steps as they are written into RoleSteps; what is wrong goes into `findings`."""

    def __init__(self, document: Document, files: Files, findings: list[Finding]) -> None:
        self._document = document
        self._files = files
        self._findings = findings
        self._engine = TemplateEngine()

    def _wrong(self, at: Location, message: str, fix: str) -> None:
        self._findings.append(self._document.finding(at, message, fix))

    def read(self, item: Mapping[str, Any], at: Location, taken: set[str]) -> RoleStep | None:
        types = [key for key in item if key != "name"]
        if len(types) != 1 or types[0] not in STEP_TYPES:
            shown = ", ".join(types) or "nothing"
            fix = f"give it one of {', '.join(STEP_TYPES)}"
            self._wrong(at, f"a step has exactly one type, not {shown}", fix)
            return None
        step_type = types[0]
        params = item[step_type]
        if not isinstance(params, dict):
            self._wrong((*at, step_type), f"{step_type} has no parameters", "write them as `key: value`")
            return None
        self._check_params(step_type, params, (*at, step_type))
        name = item.get("name", _free_name(step_type, taken))
        if not isinstance(name, str) or not _STEP_NAME.match(name) or name in taken:
            self._wrong((*at, "name"), f"{name!r} cannot be the step's name", "use a-z, 0-9 and -, once in a task")
            return None
        return RoleStep(name=name, type=step_type, params=params, line=self._document.line(at))

    def _check_params(self, step_type: str, params: Mapping[str, Any], at: Location) -> None:
        try:
            STEP_TYPES[step_type].model_validate(dict(params))
        except ValidationError as error:
            # A value that is still a template gets its type when the plan is compiled, and is checked there.
            self._findings.extend(findings_of(self._document, error, at, _holds_template))
        self._check_file(params, "template", "templates", at)
        self._check_file(params, "script", "checks", at)
        if step_type == "ansible":
            self._check_file(params, "file", "playbooks", at)
        self._check_strings(params, at)

    def _check_file(self, params: Mapping[str, Any], key: str, folder: str, at: Location) -> None:
        name, there = params.get(key), self._files.get(folder, {})
        if isinstance(name, str) and name not in there:
            known = ", ".join(there) or "none"
            self._wrong((*at, key), f"there is no {key} {name}", f"put it into {folder}/ (there: {known})")

    def _check_strings(self, value: Any, at: Location) -> None:
        if isinstance(value, str):
            self.check_template(at, "the value", value)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._check_strings(item, (*at, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._check_strings(item, (*at, index))

    def check_file(self, name: str, source: str) -> None:
        """A template in a file of its own."""
        file = beside(self._document.file, "templates", name)
        for line, message, fix in self._wrong_in(source):
            self._findings.append(Finding(file, line, f"template {name} {message}", fix))

    def check_template(self, at: Location, what: str, source: str) -> None:
        for line, message, fix in self._wrong_in(source):
            where = f" (line {line} of it)" if line > 1 else ""
            self._wrong(at, f"{what} {message}{where}", fix)

    def _wrong_in(self, source: str) -> Iterator[tuple[int, str, str]]:
        try:
            unknown = self._engine.names(source) - TEMPLATE_NAMES
        except TemplateProblem as problem:
            yield problem.line or 1, f"is no template ({problem})", "correct it"
            return
        for name in sorted(unknown):
            fix = f"use {', '.join(sorted(TEMPLATE_NAMES))}"
            yield self._engine.line_of(source, name), f"asks for {name}, which no template gets", fix


def beside(role_file: str, folder: str, name: str) -> str:
    """A file of a role, by that of its role.yaml."""
    return str(PurePath(role_file).parent / folder / name)


def _holds_template(value: object) -> bool:
    if isinstance(value, str):
        return is_template(value)
    if isinstance(value, Mapping):
        return any(_holds_template(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_template(item) for item in value)


def _free_name(step_type: str, taken: set[str]) -> str:
    name, number = step_type, 2
    while name in taken:
        name, number = f"{step_type}-{number}", number + 1
    return name
