"""Roles from `<folder>/<name>/role.yaml`: what a host is to do, as variables, tasks and checks.

name: mariadb                     # the name of its folder
summary: one sentence
requires: [base]                  # these roles come first on the same host
conflicts: [postgresql]
replaces: mysql                   # on a host that is given this role it is what others mean that require that one
disks: {count: 2, min_gb: 20}     # whole disks beside the system's own; checked when the plan is made
networks: [tunnel]                # purposes of networks that its hosts must be on
members: {min: 1, max: 7, odd: true}                  # how many hosts of a plan may have it; with same_release: true
                                  # only hosts of one release pack
variables:
  mariadb_port: {type: int, default: 3306, help: "…"}
  mariadb_root: {secret: true, help: "…"}         # generated; in templates {{ secrets.mariadb_root }}
  mariadb_log: {default: none, choices: [none, slow], help: "…"}  # also `pattern: "[a-z]+"` for strings, `min`, `max`
                                  # for numbers, and `names: nic` for what must be a NIC of the host
tasks:
  - name: install
    requires: []                  # same-host tasks: `task`, `role.task`; without this key: the task above,
                                  # or for the first task everything of the required roles
    after: ["role:x", "role:x.task", "first(role:x)"]    # tasks on other hosts too; also `quorum(2, role:x.task)`
                                  # (any two hosts), `all(role:x)` (though hosts of x may be lost), `all` (the
                                  # required roles on every host)
    resource: mirror              # the deploy service may limit how many run at once
    interrupts: tenants           # whom it cuts off when it changes something: tenants or nobody (the default)
    timeout_s: 1800
    retries: 2                    # tries after one that failed, each after a pause; 0 is the default
    steps:
      - packages: {names: [mariadb-server]}
      - name: config
        file: {path: /etc/x, template: x.cnf}            # templates/x.cnf
      - unit: {name: mariadb, running: true, restart_on: [config]}   # step, task or role.task[.step]
verify:                           # real operations, after all tasks of this role and of those it requires
  - name: round-trip
    timeout_s: 60
    level: 5                      # how much it proves: 0 runs, 1 answers, 3 reads, 4 heartbeats, 5 writes, 6 in use
    steps:
      - probe: {script: boot-vm.py, input: {…}}          # checks/boot-vm.py
keeps_vips: true                  # its hosts hold the VIPs of the blueprint and pass on what comes in there
remove: […]                       # tasks that take the role from a host, in this order
stays: one sentence               # what is left of it there all the same; with this alone, nothing needs to be done
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pxeforge.engine.disk_needs import DiskNeed
from pxeforge.engine.document import Document, DocumentProblem, Finding, Location, findings_of, parse_document
from pxeforge.engine.role_steps import Files, RoleStep, StepReader
from pxeforge.engine.variables import RawVariable, Variable

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9\-]{0,62}$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_SELECTOR = re.compile(
    r"^(?:(?P<way>first|all|quorum)\((?:(?<=quorum\()(?P<quorum>[1-9][0-9]{0,4}), ?)?)?"
    r"role:(?P<role>[a-z][a-z0-9-]*)(?:\.(?P<task>[a-z][a-z0-9-]*))?(?(way)\))$"
)
_KEPT = 256  # roles that were read lately
TaskKind = Literal["deploy", "verify", "remove"]
_DEFAULT_TIMEOUT_S: dict[TaskKind, float] = {"deploy": 1800.0, "verify": 120.0, "remove": 1800.0}


class RoleProblem(DocumentProblem):
    """One or more roles cannot be used; see `findings`."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Tasks on the hosts of a role; `role` None (the word `all`): the roles that the task's own role requires.

    `way`: "each" (of all hosts but those that may be lost), "all" (of all hosts), "first" (of the first host) or
    "quorum" (of any `quorum` hosts).
    """

    role: str | None
    task: str | None
    way: Literal["each", "all", "first", "quorum"] = "each"
    quorum: int = 0

    @classmethod
    def parse(cls, text: str) -> Selector:
        if text == "all":
            return cls(None, None, "all")
        match = _SELECTOR.match(text)
        if match is None or (match["way"] == "quorum") != (match["quorum"] is not None):
            raise ValueError(
                "a selector is `role:x`, `role:x.task`, `first(role:x)`, `all(role:x)`, `quorum(2, role:x)` or `all`"
            )
        way: Any = match["way"] or "each"
        return cls(match["role"], match["task"], way, int(match["quorum"] or 0))

    def __str__(self) -> str:
        tasks = "" if self.role is None else f"role:{self.role}" + (f".{self.task}" if self.task else "")
        if self.way == "each":
            return tasks
        count = f"{self.quorum}, " if self.way == "quorum" else ""
        return f"{self.way}({count}{tasks})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTask:
    """Steps that one host does in one go; `requires` None stands for the order of the list."""

    name: str
    kind: TaskKind
    steps: tuple[RoleStep, ...]
    requires: tuple[str, ...] | None
    after: tuple[Selector, ...]
    resource: str | None
    timeout_s: float
    line: int
    interrupts: Literal["tenants", "nobody"] = "nobody"
    retries: int = 0
    level: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """How many hosts of one plan may have a role, and whether all of them must have one release pack."""

    least: int = 1
    most: int | None = None
    odd: bool = False
    same_release: bool = False

    def problem(self, count: int) -> str | None:
        """What is wrong with so many hosts, and what to do; None for nothing."""
        if count < self.least:
            return f"it needs {self.least} or more: give it to more hosts"
        if self.most is not None and count > self.most:
            return f"it may be on {self.most} at most: take it from some"
        if self.odd and count % 2 == 0:
            return "an even number loses its majority with half of them: make it odd"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A checked role; `templates`, `checks` and `playbooks` map the names of its files to their text."""

    name: str
    summary: str
    requires: tuple[str, ...]
    conflicts: tuple[str, ...]
    variables: Mapping[str, Variable]
    tasks: tuple[RoleTask, ...]  # deploy tasks first, then verify tasks, then those that remove it
    templates: Mapping[str, str]
    file: str
    disks: DiskNeed | None = None
    checks: Mapping[str, str] = field(default_factory=dict)
    playbooks: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    members: Members = Members()
    replaces: str | None = None
    stays: str = ""
    keeps_vips: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.variables.values() if variable.secret)


class _Raw(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RawDisks(_Raw):
    count: Annotated[int, Field(ge=1, le=100)] = 1
    min_gb: Annotated[int, Field(ge=0)] = 1  # 10^9 bytes, as disks are sold


class _RawMembers(_Raw):
    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] | None = None
    odd: bool = False
    same_release: bool = False


class _RawTask(_Raw):
    name: Name
    steps: Annotated[list[dict[str, Any]], Field(min_length=1)]
    requires: list[str] | None = None
    after: list[str] = []
    resource: Name | None = None
    interrupts: Literal["tenants", "nobody"] = "nobody"
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = None
    retries: Annotated[int, Field(ge=0, le=20)] = 0
    level: Annotated[int, Field(ge=0, le=6)] | None = None


class _RawRole(_Raw):
    name: Name
    summary: Annotated[str, StringConstraints(min_length=1)]
    requires: list[Name] = []
    conflicts: list[Name] = []
    replaces: Name | None = None
    disks: _RawDisks | None = None
    variables: dict[VariableName, RawVariable] = {}
    tasks: list[_RawTask] = []
    verify: list[_RawTask] = []
    remove: list[_RawTask] = []
    stays: str = ""
    keeps_vips: bool = False
    networks: list[Name] = []
    members: _RawMembers = _RawMembers()


class Roles(dict[str, Role]):
    """Roles by name. `broken`: those of which a file cannot be used, with what is wrong in it."""

    def __init__(self, good: Mapping[str, Role], broken: Mapping[str, RoleProblem] = MappingProxyType({})) -> None:
        super().__init__(good)
        self.broken = broken


def load_roles(folders: Iterable[Path]) -> Roles:
    """All roles by name; a role in an earlier folder hides one of the same name in a later folder.

    Raises RoleProblem with all that is wrong in any of them.
    """
    roles = read_roles(folders)
    if roles.broken:
        raise RoleProblem([finding for problem in roles.broken.values() for finding in problem.findings])
    return roles


def read_roles(folders: Iterable[Path]) -> Roles:
    """The same, with those that are broken set aside: what does not use them goes on."""
    folders = tuple(folders)
    found = _loaded(folders, tuple(_stamps(folder) for folder in folders))
    return Roles(found, found.broken)


def absent(name: str, roles: Mapping[str, Role]) -> tuple[str, str]:
    """Why there is no such role among these, and what to do."""
    problem = roles.broken.get(name) if isinstance(roles, Roles) else None
    if problem is None:
        return f"there is no role {name}", f"choose from {', '.join(sorted(roles))}"
    more = f" (and {len(problem.findings) - 1} more)" if len(problem.findings) > 1 else ""
    return f"role {name} is broken", f"{problem.findings[0]}{more}"


_Stamps = tuple[tuple[str, int, int, int], ...]


def _stamps(folder: Path) -> _Stamps:
    """Path, inode, size and time of change of each file below: another one when anything was written there."""
    found: list[tuple[str, int, int, int]] = []
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    seen = entry.stat()
                    found.append((entry.path, seen.st_ino, seen.st_size, seen.st_ctime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=4)
def _loaded(folders: tuple[Path, ...], _as_of: tuple[_Stamps, ...]) -> Roles:
    """Read once while the files stay as they are: pages ask for all roles with every list."""
    by_folder: list[dict[str, Role]] = []
    broken: dict[str, list[Finding]] = {}
    seen: set[str] = set()
    for folder in folders:
        by_folder.append({})
        for path in sorted(folder.glob("*/role.yaml")):
            name = path.parent.name
            if name in seen:
                continue
            seen.add(name)
            try:
                by_folder[-1][name] = load_role(path)
            except DocumentProblem as problem:
                broken[name] = list(problem.findings)
    roles = {name: role for group in reversed(by_folder) for name, role in group.items()}
    for name, findings in _cross_findings(roles, seen).items():
        broken[name] = findings
        del roles[name]
    return Roles(dict(sorted(roles.items())), {name: RoleProblem(broken[name]) for name in sorted(broken)})


def load_role(path: Path) -> Role:
    """One role from its role.yaml; raises RoleProblem."""
    try:
        text = path.read_text(encoding="utf-8")
        templates = _texts(path.parent / "templates")
        checks = _texts(path.parent / "checks")
        playbooks = _texts(path.parent / "playbooks")
    except (OSError, UnicodeDecodeError) as error:
        raise RoleProblem(
            [Finding(str(path), 1, f"cannot be read ({error})", "make it a readable UTF-8 file")]
        ) from None
    return parse_role(text, str(path), path.parent.name, templates, checks, playbooks)


def _texts(folder: Path) -> dict[str, str]:
    """The text of each file in the folder, by its name there; none for what Python leaves beside scripts."""
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


_NO_FILES: Mapping[str, str] = {}


def parse_role(
    text: str,
    file: str,
    folder_name: str,
    templates: Mapping[str, str],
    checks: Mapping[str, str] = _NO_FILES,
    playbooks: Mapping[str, str] = _NO_FILES,
) -> Role:
    """A role from the text of its role.yaml; raises RoleProblem."""
    return _parsed(text, file, folder_name, *(tuple(files.items()) for files in (templates, checks, playbooks)))


_Files = tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=_KEPT)
def _parsed(text: str, file: str, folder_name: str, templates: _Files, checks: _Files, playbooks: _Files) -> Role:
    """Each text once: a role takes 20 ms, and an edit changes one of many."""
    try:
        document = parse_document(text, file)
    except DocumentProblem as problem:
        raise RoleProblem(problem.findings) from None
    try:
        raw = _RawRole.model_validate(document.data)
    except ValidationError as error:
        raise RoleProblem(findings_of(document, error)) from None
    files = {"templates": dict(templates), "checks": dict(checks), "playbooks": dict(playbooks)}
    return _RoleReader(document, files).read(raw, folder_name)


class _RoleReader:
    """Turns one raw role into a Role and collects what is wrong with it."""

    def __init__(self, document: Document, files: Files) -> None:
        self._document = document
        self._files = files
        self._findings: list[Finding] = []
        self._steps = StepReader(document, files, self._findings)

    def read(self, raw: _RawRole, folder_name: str) -> Role:
        if raw.name != folder_name:
            self._wrong(("name",), f"the role is called {raw.name} in folder {folder_name}", "give both the same name")
        for name, source in self._files.get("templates", {}).items():
            self._steps.check_file(name, source)
        tasks = [self._task(task, "deploy", ("tasks", index)) for index, task in enumerate(raw.tasks)]
        tasks += [self._task(task, "verify", ("verify", index)) for index, task in enumerate(raw.verify)]
        tasks += [self._task(task, "remove", ("remove", index)) for index, task in enumerate(raw.remove)]
        if raw.stays and not raw.remove:
            tasks.append(self._nothing_to_remove())
        if all(task.kind == "remove" for task in tasks):
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
            variables={name: item.variable(name) for name, item in raw.variables.items()},
            tasks=tuple(tasks),
            templates=dict(self._files.get("templates", {})),
            file=self._document.file,
            disks=DiskNeed(count=raw.disks.count, min_bytes=raw.disks.min_gb * 10**9) if raw.disks else None,
            checks=dict(self._files.get("checks", {})),
            playbooks=dict(self._files.get("playbooks", {})),
            networks=tuple(raw.networks),
            members=Members(
                least=raw.members.min,
                most=raw.members.max,
                odd=raw.members.odd,
                same_release=raw.members.same_release,
            ),
            replaces=raw.replaces,
            stays=raw.stays,
            keeps_vips=raw.keeps_vips,
        )

    def _nothing_to_remove(self) -> RoleTask:
        """A task without steps: the host is asked, so that it is known to be there, and the role is forgotten."""
        line = self._document.line(("stays",))
        return RoleTask(
            name="leave", kind="remove", steps=(), requires=None, after=(), resource=None,
            timeout_s=_DEFAULT_TIMEOUT_S["remove"], line=line,
        )  # fmt: skip

    def _wrong(self, at: Location, message: str, fix: str) -> None:
        self._findings.append(self._document.finding(at, message, fix))

    def _task(self, raw: _RawTask, kind: TaskKind, at: Location) -> RoleTask:
        after = []
        for index, text in enumerate(raw.after):
            try:
                after.append(Selector.parse(text))
            except ValueError as error:
                self._wrong((*at, "after", index), f"{text!r} selects nothing", str(error))
        steps: list[RoleStep] = []
        for index, item in enumerate(raw.steps):
            step = self._steps.read(item, (*at, "steps", index), {step.name for step in steps})
            if step is not None:
                steps.append(step)
        return RoleTask(
            name=raw.name,
            kind=kind,
            steps=tuple(steps),
            requires=None if raw.requires is None else tuple(raw.requires),
            after=tuple(after),
            resource=raw.resource,
            interrupts=raw.interrupts,
            retries=raw.retries,
            level=raw.level,
            timeout_s=raw.timeout_s or _DEFAULT_TIMEOUT_S[kind],
            line=self._document.line(at),
        )


def _cross_findings(roles: Mapping[str, Role], known: set[str]) -> dict[str, list[Finding]]:
    """What is wrong between roles, by the role that is to blame: names that do not exist (`known`: all that do), and
    variables that two roles declare differently. Of two the later one is to blame: an operator's, not a shipped one.
    """
    owners: dict[str, Role] = {}
    found: dict[str, list[Finding]] = {}
    for role in roles.values():
        findings = [*_wrong_names(role, roles, known)]
        for variable in role.variables.values():
            owner = owners.setdefault(variable.name, role)
            if owner.variables[variable.name] != variable:
                message = f"variable {variable.name} differs from the one in role {owner.name}"
                findings.append(Finding(role.file, 1, message, "declare both alike or rename one"))
        if findings:
            found[role.name] = findings
    return found


def _wrong_names(role: Role, roles: Mapping[str, Role], known: set[str]) -> Iterator[Finding]:
    for name in [*role.requires, *role.conflicts, *([role.replaces] if role.replaces else [])]:
        if name not in known:
            yield Finding(role.file, 1, f"role {role.name} names role {name}", "no such role: add or drop it")
    for task in role.tasks:
        for selector in task.after:
            if selector.role is None:
                continue
            other = roles.get(selector.role)
            if selector.role not in known:
                message = f"task {task.name} waits for role {selector.role}"
                yield Finding(role.file, task.line, message, "no such role: add or drop it")
            elif other and selector.task and selector.task not in {item.name for item in other.tasks}:
                message = f"task {task.name} waits for {selector.role}.{selector.task}"
                yield Finding(role.file, task.line, message, "that role has no such task: correct it")
