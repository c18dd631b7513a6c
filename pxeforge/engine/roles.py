"""Roles from `<folder>/<name>/role.yaml`: what a host is to do, as variables, tasks and checks.

name: mariadb                     # the name of its folder
summary: one sentence
requires: [base]                  # these roles come first on the same host
conflicts: [postgresql]
disks: {count: 2, min_gb: 20}     # whole disks beside the system's own; checked when the plan is made
variables:
  mariadb_port: {type: int, default: 3306, help: "…"}
  mariadb_root: {secret: true, help: "…"}         # generated; in templates {{ secrets.mariadb_root }}
tasks:
  - name: install
    requires: []                  # same-host tasks: `task`, `role.task`; without this key: the task above,
                                  # or for the first task everything of the required roles
    after: ["role:x", "role:x.task", "first(role:x)"]    # tasks on other hosts too
    resource: mirror              # the deploy service may limit how many run at once
    timeout_s: 1800
    steps:
      - packages: {names: [mariadb-server]}
      - name: config
        file: {path: /etc/x, template: x.cnf}            # templates/x.cnf
      - unit: {name: mariadb, running: true, restart_on: [config]}   # step, task or role.task[.step]
verify:                           # real operations, after all tasks of this role and of those it requires
  - {name: round-trip, timeout_s: 60, steps: […]}
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pxeforge.engine.disk_needs import DiskNeed
from pxeforge.engine.document import Document, DocumentProblem, Finding, Location, findings_of, parse_document
from pxeforge.engine.step_types import STEP_TYPES
from pxeforge.engine.templates import TemplateEngine, TemplateProblem, is_template

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9\-]{0,62}$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_SELECTOR = re.compile(
    r"^(?P<first>first\()?role:(?P<role>[a-z][a-z0-9-]*)(?:\.(?P<task>[a-z][a-z0-9-]*))?(?(first)\))$"
)
_STEP_NAME = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
_KEPT = 256  # roles that were read lately
_DEFAULT_TIMEOUT_S = {"deploy": 1800.0, "verify": 120.0}


class RoleProblem(DocumentProblem):
    """One or more roles cannot be used; see `findings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A value that an operator may set; `default` None means that it must be set."""

    name: str
    type: Literal["string", "int", "bool", "list"]
    default: Any
    help: str
    secret: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Tasks on all hosts of a role, or on its first host only."""

    role: str
    task: str | None
    first: bool

    @classmethod
    def parse(cls, text: str) -> Selector:
        match = _SELECTOR.match(text)
        if match is None:
            raise ValueError("a selector is `role:x`, `role:x.task` or `first(role:x)`")
        return cls(match["role"], match["task"], match["first"] is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStep:
    """A step with parameters that are not rendered yet."""

    name: str
    type: str
    params: Mapping[str, Any]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTask:
    """Steps that one host does in one go; `requires` None stands for the order of the list."""

    name: str
    kind: Literal["deploy", "verify"]
    steps: tuple[RoleStep, ...]
    requires: tuple[str, ...] | None
    after: tuple[Selector, ...]
    resource: str | None
    timeout_s: float
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A checked role; `templates` maps the names of its templates to their text."""

    name: str
    summary: str
    requires: tuple[str, ...]
    conflicts: tuple[str, ...]
    variables: Mapping[str, Variable]
    tasks: tuple[RoleTask, ...]  # deploy tasks first, then verify tasks
    templates: Mapping[str, str]
    file: str
    disks: DiskNeed | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.variables.values() if variable.secret)


class _Raw(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RawVariable(_Raw):
    type: Literal["string", "int", "bool", "list"] = "string"
    default: Any = None
    help: str = ""
    secret: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> _RawVariable:
        if self.secret and (self.default is not None or self.type != "string"):
            raise ValueError("a secret is a generated string: remove its type and default")
        if self.default is not None and not (isinstance(self.default, str) and is_template(self.default)):
            require_type(self.type, self.default)
        return self


class _RawDisks(_Raw):
    count: Annotated[int, Field(ge=1, le=100)] = 1
    min_gb: Annotated[int, Field(ge=0)] = 1  # 10^9 bytes, as disks are sold


class _RawTask(_Raw):
    name: Name
    steps: Annotated[list[dict[str, Any]], Field(min_length=1)]
    requires: list[str] | None = None
    after: list[str] = []
    resource: Name | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = None


class _RawRole(_Raw):
    name: Name
    summary: Annotated[str, StringConstraints(min_length=1)]
    requires: list[Name] = []
    conflicts: list[Name] = []
    disks: _RawDisks | None = None
    variables: dict[VariableName, _RawVariable] = {}
    tasks: list[_RawTask] = []
    verify: list[_RawTask] = []


def require_type(type_name: str, value: object) -> None:
    """Raises ValueError with a sentence when the value has not the type of its variable."""
    accepted: dict[str, type] = {"string": str, "int": int, "bool": bool, "list": list}
    fits = isinstance(value, accepted[type_name]) and not (type_name == "int" and isinstance(value, bool))
    if not fits:
        raise ValueError(f"it must be of type {type_name}, not {value!r}")


def load_roles(folders: Iterable[Path]) -> dict[str, Role]:
    """All roles by name; a role in an earlier folder hides one of the same name in a later folder.

    Raises RoleProblem with all that is wrong in any of them.
    """
    roles: dict[str, Role] = {}
    findings: list[Finding] = []
    broken: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob("*/role.yaml")):
            name = path.parent.name
            if name in roles or name in broken:
                continue
            try:
                roles[name] = load_role(path)
            except DocumentProblem as problem:
                broken.add(name)
                findings.extend(problem.findings)
    findings.extend(_cross_findings(roles, broken))
    if findings:
        raise RoleProblem(findings)
    return dict(sorted(roles.items()))


def load_role(path: Path) -> Role:
    """One role from its role.yaml; raises RoleProblem."""
    templates_folder = path.parent / "templates"
    try:
        text = path.read_text(encoding="utf-8")
        templates = {
            file.relative_to(templates_folder).as_posix(): file.read_text(encoding="utf-8")
            for file in sorted(templates_folder.rglob("*"))
            if file.is_file()
        }
    except (OSError, UnicodeDecodeError) as error:
        raise RoleProblem(
            [Finding(str(path), 1, f"cannot be read ({error})", "make it a readable UTF-8 file")]
        ) from None
    return parse_role(text, str(path), path.parent.name, templates)


def parse_role(text: str, file: str, folder_name: str, templates: Mapping[str, str]) -> Role:
    """A role from the text of its role.yaml; raises RoleProblem."""
    return _parsed(text, file, folder_name, tuple(templates.items()))


@functools.lru_cache(maxsize=_KEPT)
def _parsed(text: str, file: str, folder_name: str, templates: tuple[tuple[str, str], ...]) -> Role:
    """Each text once: the pages ask for all roles with every list, and a role takes 20 ms."""
    try:
        document = parse_document(text, file)
    except DocumentProblem as problem:
        raise RoleProblem(problem.findings) from None
    try:
        raw = _RawRole.model_validate(document.data)
    except ValidationError as error:
        raise RoleProblem(findings_of(document, error)) from None
    return _RoleReader(document, dict(templates)).read(raw, folder_name)


class _RoleReader:
    """Turns one raw role into a Role and collects what is wrong with it."""

    def __init__(self, document: Document, templates: Mapping[str, str]) -> None:
        self._document = document
        self._templates = templates
        self._findings: list[Finding] = []
        self._engine = TemplateEngine()

    def read(self, raw: _RawRole, folder_name: str) -> Role:
        if raw.name != folder_name:
            self._wrong(("name",), f"the role is called {raw.name} in folder {folder_name}", "give both the same name")
        for name, source in self._templates.items():
            self._check_template((), f"template {name}", source)
        tasks = [self._task(task, "deploy", ("tasks", index)) for index, task in enumerate(raw.tasks)]
        tasks += [self._task(task, "verify", ("verify", index)) for index, task in enumerate(raw.verify)]
        if not tasks:
            self._wrong((), "the role has neither tasks nor verify", "add what it is to do")
        seen: set[str] = set()
        for task in tasks:
            if task.name in seen:
                self._findings.append(
                    Finding(self._document.file, task.line, f"task {task.name} is there twice", "rename one of them")
                )
            seen.add(task.name)
        if self._findings:
            raise RoleProblem(self._findings)
        return Role(
            name=raw.name,
            summary=raw.summary,
            requires=tuple(raw.requires),
            conflicts=tuple(raw.conflicts),
            variables={
                name: Variable(name=name, type=item.type, default=item.default, help=item.help, secret=item.secret)
                for name, item in raw.variables.items()
            },
            tasks=tuple(tasks),
            templates=dict(self._templates),
            file=self._document.file,
            disks=DiskNeed(count=raw.disks.count, min_bytes=raw.disks.min_gb * 10**9) if raw.disks else None,
        )

    def _wrong(self, at: Location, message: str, fix: str) -> None:
        self._findings.append(self._document.finding(at, message, fix))

    def _task(self, raw: _RawTask, kind: Literal["deploy", "verify"], at: Location) -> RoleTask:
        after = []
        for index, text in enumerate(raw.after):
            try:
                after.append(Selector.parse(text))
            except ValueError as error:
                self._wrong((*at, "after", index), f"{text!r} selects nothing", str(error))
        steps: list[RoleStep] = []
        for index, item in enumerate(raw.steps):
            step = self._step(item, (*at, "steps", index), {step.name for step in steps})
            if step is not None:
                steps.append(step)
        return RoleTask(
            name=raw.name,
            kind=kind,
            steps=tuple(steps),
            requires=None if raw.requires is None else tuple(raw.requires),
            after=tuple(after),
            resource=raw.resource,
            timeout_s=raw.timeout_s or _DEFAULT_TIMEOUT_S[kind],
            line=self._document.line(at),
        )

    def _step(self, item: Mapping[str, Any], at: Location, taken: set[str]) -> RoleStep | None:
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
        template = params.get("template")
        if isinstance(template, str) and template not in self._templates:
            known = ", ".join(self._templates) or "none"
            self._wrong(
                (*at, "template"), f"there is no template {template}", f"put it into templates/ (there: {known})"
            )
        self._check_strings(params, at)

    def _check_strings(self, value: Any, at: Location) -> None:
        if isinstance(value, str):
            self._check_template(at, "the value", value)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._check_strings(item, (*at, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._check_strings(item, (*at, index))

    def _check_template(self, at: Location, what: str, source: str) -> None:
        try:
            unknown = self._engine.names(source) - TEMPLATE_NAMES
        except TemplateProblem as problem:
            self._wrong(at, f"{what} is no template ({problem})", "correct it")
            return
        if unknown:
            fix = f"use {', '.join(sorted(TEMPLATE_NAMES))}"
            self._wrong(at, f"{what} asks for {', '.join(sorted(unknown))}, which no template gets", fix)


TEMPLATE_NAMES = frozenset({"host", "hosts", "groups", "vars", "server", "secrets", "range"})


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


def _cross_findings(roles: Mapping[str, Role], broken: set[str]) -> list[Finding]:
    """What is wrong between roles: names that do not exist, variables that two roles declare differently."""
    findings: list[Finding] = []
    owners: dict[str, Role] = {}
    known = set(roles) | broken
    for role in roles.values():
        mentioned = [*role.requires, *role.conflicts]
        for name in mentioned:
            if name not in known:
                findings.append(
                    Finding(role.file, 1, f"role {role.name} names role {name}", "no such role: add or drop it")
                )
        for task in role.tasks:
            for selector in task.after:
                other = roles.get(selector.role)
                if selector.role not in known:
                    message = f"task {task.name} waits for role {selector.role}"
                    findings.append(Finding(role.file, task.line, message, "no such role: add or drop it"))
                elif other and selector.task and selector.task not in {item.name for item in other.tasks}:
                    message = f"task {task.name} waits for {selector.role}.{selector.task}"
                    findings.append(Finding(role.file, task.line, message, "that role has no such task: correct it"))
        for variable in role.variables.values():
            owner = owners.setdefault(variable.name, role)
            if owner.variables[variable.name] != variable:
                message = f"variable {variable.name} differs from the one in role {owner.name}"
                findings.append(Finding(role.file, 1, message, "declare both alike or rename one"))
    return findings
