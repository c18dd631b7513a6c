"""The plan: roles on hosts compiled to a graph of tasks with rendered steps. Pure; secrets stay references."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from pxeforge.engine.disk_needs import lacking_disks
from pxeforge.engine.document import WITHOUT_VALUE, in_words, shortly
from pxeforge.engine.graph import GraphProblem, TaskGraph
from pxeforge.engine.host_choice import few
from pxeforge.engine.host_values import common_values, host_view, no_disk, release_view
from pxeforge.engine.kept_things import wanted_by, without
from pxeforge.engine.layout import (
    NO_PLACE,
    Attachment,
    Layout,
    Place,
    attachments,
    chosen_disks,
    disk_problem,
    unknown_nics,
)
from pxeforge.engine.package_fix import with_fixes
from pxeforge.engine.plan_edges import Edges, losses_of, task_id
from pxeforge.engine.plan_nics import GivenAddresses, Networks, findings_of_nics
from pxeforge.engine.plan_pools import pool_clash
from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.planned_task import PlannedTask
from pxeforge.engine.release import Release, choose_release
from pxeforge.engine.rendering import Renderer
from pxeforge.engine.role_order import role_order
from pxeforge.engine.role_steps import RoleStep, beside
from pxeforge.engine.roles import Role, RoleTask
from pxeforge.engine.secrets import SecretProblem, secrets_in
from pxeforge.engine.step_types import checked_params
from pxeforge.engine.templates import Namespace, TemplateProblem
from pxeforge.engine.variables import Variable

__all__ = [
    "Plan", "PlanHost", "PlanProblem", "PlanServer", "PlannedTask", "compile_plan", "role_order",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanServer:
    """Where hosts reach the server on the boot network."""

    address: str
    boot_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHost:
    """A host as the compiler sees it; the first address is the one other hosts use. `variables` win over the plan's.

    `server`: where this host reaches it, if not where the others do. `removes`: roles to be taken from it.
    """

    host_id: str
    name: str
    roles: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    server: PlanServer | None = None
    removes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which they could run one by one, and all roles by host id, required ones too."""

    tasks: tuple[PlannedTask, ...]
    roles_by_host: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": [task.to_json() for task in self.tasks],
            "roles_by_host": {host_id: list(names) for host_id, names in self.roles_by_host.items()},
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything in the plan; equal input gives an equal digest."""
        total = hashlib.sha256(json.dumps({k: list(v) for k, v in self.roles_by_host.items()}).encode())
        for task in self.tasks:
            values = [
                task.id, task.host_id, task.steps, task.after, task.kind, task.timeout_s, task.resource, task.opens,
                task.may_lose, task.interrupts, task.retries,
            ]  # fmt: skip
            total.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
        return total.hexdigest()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of all secrets that any task needs."""
        return tuple(sorted({name for task in self.tasks for name in task.secrets}))

    def graph(self) -> TaskGraph:
        return TaskGraph(self.tasks)

    def only(self, keep: Callable[[PlannedTask], bool]) -> Plan:
        """These tasks alone; they wait for nothing that was left out."""
        kept = [task for task in self.tasks if keep(task)]
        known = {task.id for task in kept} | {barrier for task in kept for barrier in task.opens}
        return replace(
            self,
            tasks=tuple(replace(task, after=tuple(one for one in task.after if one in known)) for task in kept),
        )


_PROGRAMS = ("script", "playbook")  # of a step: whole files of its role
_ONE_VARIABLE = re.compile(r"\A\s*\{\{\s*vars\.\w+\s*\}\}\s*\Z")


class _FileProblem(TemplateProblem):
    """Of a template in a file of its own."""


def compile_plan(
    hosts: Sequence[PlanHost],
    roles: Mapping[str, Role],
    *,
    server: PlanServer,
    variables: Mapping[str, Any] | None = None,
    secret_names: Collection[str] = (),
    releases: Mapping[str, Release] | None = None,
    layout: Layout | None = None,
) -> Plan:
    """The plan for these hosts. `secret_names` are secrets beyond those that the roles declare.

    `releases`: the packs to choose from by each host's facts. `layout`: what a blueprint says of networks and losses.
    The order of `hosts` counts: `first(role:x)` is the first host that has the role. Raises PlanProblem.
    """
    given = _Given(hosts, roles, server, variables or {}, secret_names, releases or {}, layout or Layout())
    with _uncollected():
        return _Compiler(given).compile()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """A plan is a hundred thousand things that stay and hold no rings: looking for these takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Given:
    """What a plan is made of."""

    hosts: Sequence[PlanHost]
    roles: Mapping[str, Role]
    server: PlanServer
    variables: Mapping[str, Any]
    secret_names: Collection[str]
    releases: Mapping[str, Release]
    layout: Layout


class _Compiler:
    def __init__(self, given: _Given) -> None:
        hosts, roles = given.hosts, given.roles
        self._hosts, self._roles, self._server, self._variables = hosts, roles, given.server, given.variables
        self._releases, self._layout = given.releases, given.layout
        _check_hosts(hosts)
        self._holders = _holders(hosts, self._layout)
        self._given_addresses = GivenAddresses(self._holders)
        self._order = {host.host_id: role_order(host.roles, roles) for host in hosts}
        self._chosen = {
            host.host_id: choose_release(self._releases.values(), host.facts, self._layout.release) for host in hosts
        }
        self._removed = {host.host_id: self._removed_from(host) for host in hosts}
        self._check_variables()
        self._check_members()
        self._check_releases()
        self._attached = {host.host_id: self._attachments(host) for host in hosts}
        self._disks = {host.host_id: self._disks_of(host) for host in hosts}
        self._renderer = Renderer()
        groups = {name: [host for host in hosts if name in self._order[host.host_id]] for name in sorted(roles)}
        self._losses = losses_of(hosts, given.layout.tolerance, self._order)
        self._edges = Edges(roles, self._all_roles(), groups, self._losses)
        self._positions: dict[str, dict[str, int]] = {host.host_id: {} for host in hosts}
        for name, group in groups.items():
            for position, host in enumerate(group):
                self._positions[host.host_id][name] = position
        self._views = {host.host_id: self._view(host) for host in hosts}
        declared = {secret for role in roles.values() for secret in role.secrets}
        self._common = common_values(
            list(self._views.values()),
            {name: [self._views[host.host_id] for host in group] for name, group in groups.items()},
            given.layout,
            declared | set(given.secret_names),
        )
        self._network_steps = {
            name: found for name, role in roles.items()
            if (found := [step for task in role.tasks for step in task.steps if step.type == "network"])
        }  # fmt: skip
        self._shared_steps: dict[Hashable, dict[str, Any]] = {}
        self._secrets: dict[int, frozenset[str]] = {}  # by the identity of a step that the plan holds
        self._program_secrets: dict[str, frozenset[str]] = {}
        self._shared_releases: dict[str, Namespace] = {}
        self._shared_fixed: dict[str, Mapping[str, Role]] = {}

    def _all_roles(self) -> dict[str, tuple[str, ...]]:
        """By host: the roles that it keeps and those that are taken from it."""
        return {host_id: (*names, *self._removed[host_id]) for host_id, names in self._order.items()}

    def _removed_from(self, host: PlanHost) -> tuple[str, ...]:
        """The roles to be taken from the host, those first that stand on others. Raises PlanProblem."""
        for name in host.removes:
            above = [other for other in self._order[host.host_id] if name in self._roles[other].requires]
            if above or name in self._order[host.host_id]:
                why = f"role {above[0]} there requires it: remove that too" if above else "it is to have it too: decide"
                raise PlanProblem(f"role {name} cannot be taken from {host.name}: {why}")
            role = self._roles.get(name)
            if role is None or not any(task.kind == "remove" for task in role.tasks):
                raise PlanProblem(
                    f"role {name} cannot be taken from {host.name}: it has no `remove` tasks: add them or "
                    "`stays` to its role.yaml, or install the host anew"
                )
        order = role_order(host.removes, self._roles, going=True)
        return tuple(name for name in reversed(order) if name in host.removes)

    def _place(self, host: PlanHost) -> Place:
        return self._layout.places.get(host.host_id, NO_PLACE)

    def _attachments(self, host: PlanHost) -> dict[str, Attachment]:
        found = attachments(self._layout, self._place(host), host.name, host.addresses, host.facts)
        for name in self._order[host.host_id]:
            for purpose in self._roles[name].networks:
                problem = found[purpose].problem if purpose in found else f"nothing is known of network {purpose}"
                if problem is not None:
                    at = self._place(host).told_at("addresses" if "address" in problem else "nics", purpose)
                    raise PlanProblem(f"{at}role {name} needs network {purpose}: {problem}")
        return found

    def _disks_of(self, host: PlanHost) -> dict[str, str]:
        """The disks that the blueprint chose, by purpose; raises PlanProblem for a disk or nic that is not there."""
        names = self._order[host.host_id]
        lacking = lacking_disks(
            host.facts, {name: need for name in names if (need := self._roles[name].disks) is not None}
        )
        place = self._place(host)
        found, no_disks = chosen_disks(place, host.facts)
        if lacking is not None:
            raise PlanProblem(f"{place.told_at('roles')}host {host.name}: {lacking}")
        for key, problems in (("disks", no_disks), ("nics", unknown_nics(place, host.facts))):
            for purpose, problem in problems.items():
                raise PlanProblem(f"{place.told_at(key, purpose)}host {host.name}: {problem}")
        return found

    def _view(self, host: PlanHost) -> Namespace:
        host_id = host.host_id
        return host_view(
            host, self._order[host_id], self._attached[host_id], self._disks[host_id], self._place(host).zone,
            self._positions[host_id],
        )  # fmt: skip

    def _check_members(self) -> None:
        for name, role in self._roles.items():
            count = sum(name in names for names in self._order.values())
            problem = role.members.problem(count) if count else None
            if problem is not None:
                last = next(host for host in reversed(self._hosts) if name in self._order[host.host_id])
                at = self._place(last).told_at("roles")
                raise PlanProblem(f"{at}role {name} is on {count} hosts: {problem}")

    def _check_releases(self) -> None:
        """Services of two releases do not understand each other: known before the first of them is installed."""
        for name in (name for name, role in self._roles.items() if role.members.same_release):
            found: dict[str, list[str]] = {}
            for host in self._hosts:
                chosen = self._chosen[host.host_id]
                if name in self._order[host.host_id] and not isinstance(chosen, str):
                    found.setdefault(chosen.name, []).append(host.name)
            if len(found) > 1:
                told = "; ".join(f"{pack} on {few(names)}" for pack, names in sorted(found.items()))
                raise PlanProblem(
                    f"role {name} is on hosts of several releases ({told}): install all of them with one system, or "
                    "take the role from those of the other"
                )

    def _check_variables(self) -> None:
        declared = {name for role in self._roles.values() for name, item in role.variables.items() if not item.secret}
        for where, given in [("the plan", self._variables), *((host.name, host.variables) for host in self._hosts)]:
            for name in given:
                if name not in declared:
                    known = ", ".join(sorted(declared)) or "none"
                    raise PlanProblem(f"{where} sets variable {name}, which no role declares: known are {known}")

    def compile(self) -> Plan:
        tasks: dict[str, PlannedTask] = {}
        for host in self._hosts:
            values = self._values(host)
            kept = self._order[host.host_id]
            self._check_nics(host, values)
            fixed = self._fixed_roles(host)
            stays = [
                self._planned(host, fixed[name], task, values) for name in kept for task in fixed[name].tasks
                if task.kind != "remove"
            ]  # fmt: skip
            goes = [
                self._planned(host, fixed[name], task, values)
                for name in self._removed[host.host_id] for task in fixed[name].tasks if task.kind == "remove"
            ]  # fmt: skip
            tasks.update((each.id, each) for each in [*stays, *_sparing(goes, stays)])
        opened = self._edges.opened_by()
        for each, barriers in opened.items():
            tasks[each] = replace(tasks[each], opens=tuple(barriers))
        try:
            order = TaskGraph(tasks.values()).order
        except GraphProblem as problem:
            raise PlanProblem(str(problem)) from None
        return Plan(tuple(tasks[each] for each in order), dict(self._order))

    def _values(self, host: PlanHost) -> dict[str, Any]:
        """All that templates of this host get; a default may use host, groups, server and variables declared before."""
        settled: dict[str, Any] = {}
        server = host.server or self._server
        values = {
            **self._common, "host": self._views[host.host_id], "vars": Namespace("vars", settled),
            "server": Namespace("server", {"address": server.address, "boot_url": server.boot_url}),
            "release": self._release(host),
        }  # fmt: skip
        kept = self._order[host.host_id]
        for role_name in (*kept, *role_order(host.removes, self._roles, going=True)):
            role = self._roles[role_name]
            # What a role that goes once referred to may have gone already; a step that needs it says so.
            lenient = contextlib.nullcontext() if role_name in kept else contextlib.suppress(PlanProblem)
            for variable in role.variables.values():
                if not variable.secret and variable.name not in settled:
                    with lenient:
                        settled[variable.name] = self._variable(host, role, variable, values)
        return dict(values)  # settled: from here on the renderer may remember what they give

    def _check_nics(self, host: PlanHost, values: Mapping[str, Any]) -> None:
        """Before its tasks: what they would find out at run time, when the host may be cut off already."""
        roles = [self._roles[name] for name in self._order[host.host_id]]
        networks: Networks = []
        for step in (step for role in roles for step in self._network_steps.get(role.name, ())):
            with contextlib.suppress(TemplateProblem, SecretProblem, ValidationError):  # told with the step, below
                networks.append(checked_params("network", dict(self._renderer.data(step.params, values))))
        named = {
            variable.name: str(values["vars"][variable.name])
            for role in roles for variable in role.variables.values()
            if variable.names is not None and variable.name in values["vars"]
        }  # fmt: skip
        for finding in findings_of_nics(self._place(host), self._layout, host.facts, networks, named):
            raise PlanProblem(f"{self._told_at(host, *finding.path)}host {host.name}: {finding.text}")
        clash = self._given_addresses.clash(host.name, networks)
        if clash is not None:
            raise PlanProblem(
                f"{self._told_at(host, 'variables', 'nics')}host {host.name} is given the address {clash[0]}, which is "
                f"that of {clash[1]}: give it another, and where one rule is for several hosts write one for each"
            )

    def _told_at(self, host: PlanHost, *path: str | int) -> str:
        """`file:line: ` of what the blueprint says of this host or of all; of its rule else; '' without a blueprint."""
        place = self._place(host)
        of_all = self._layout.told_at(str(path[0]), str(path[1]), *path[2:]) if len(path) > 1 else ""
        of_host = any(rule.has(*path[:2]) for rule in place.rules)
        return place.told_at(*path) if of_host or not of_all else of_all

    def _fixed_roles(self, host: PlanHost) -> Mapping[str, Role]:
        """The roles with the fixes that the host's release has for them."""
        release = self._chosen[host.host_id]
        if isinstance(release, str):
            return self._roles
        if release.name not in self._shared_fixed:
            self._shared_fixed[release.name] = {
                name: with_fixes(role, release.fixes) for name, role in self._roles.items()
            }
        return self._shared_fixed[release.name]

    def _release(self, host: PlanHost) -> Namespace:
        chosen = self._chosen[host.host_id]
        if isinstance(chosen, str):
            return release_view(chosen, host.name)
        for name in self._order[host.host_id]:
            if name in chosen.lacks:
                raise PlanProblem(f"role {name} cannot be on {host.name} ({chosen.summary}): {chosen.lacks[name]}")
        if chosen.name not in self._shared_releases:
            self._shared_releases[chosen.name] = release_view(chosen, host.name)
        return self._shared_releases[chosen.name]

    def _variable(self, host: PlanHost, role: Role, variable: Variable, values: Mapping[str, Any]) -> Any:
        name = variable.name
        for given in (host.variables, self._variables):
            if name in given:
                value = given[name]
                break
        else:
            value = variable.default
            if value is None:
                at = self._place(host).told_at("variables")
                raise PlanProblem(
                    f"{at}role {role.name} on {host.name} needs variable {name}: set it ({variable.help})"
                )
            try:
                value = self._renderer.data(value, values)
            except (TemplateProblem, SecretProblem) as problem:
                at = self._place(host).told_at("roles") if getattr(problem, "lacking", False) else ""
                where = f"default of variable {name} of role {role.name}"
                raise PlanProblem(f"{at or f'{role.file}: '}{where} on {host.name}: {problem}") from None
        try:
            variable.check(value)
        except ValueError as error:
            at = self._told_at(host, "variables", name) if name in host.variables or name in self._variables else ""
            raise PlanProblem(f"{at}variable {name} on {host.name}: {error}") from None
        return value

    def _planned(self, host: PlanHost, role: Role, task: RoleTask, values: Mapping[str, Any]) -> PlannedTask:
        after = self._edges.after(host, role, task, self._removed[host.host_id])
        steps = [self._step(host, role, task, step, values) for step in task.steps]
        return PlannedTask(
            id=task_id(role.name, task.name, host),
            host_id=host.host_id,
            host_name=host.name,
            role=role.name,
            name=task.name,
            steps=steps,
            after=after,
            secrets=tuple(sorted({name for step in steps for name in self._secrets[id(step)]})),
            kind=task.kind,
            timeout_s=task.timeout_s,
            resource=task.resource,
            interrupts=task.interrupts,
            retries=task.retries,
            level=task.level,
            may_lose=self._losses[host.host_id],
        )

    def _step(
        self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The step of the plan; hosts for which it is the same have the same one, so it is to be read only."""
        try:
            key = None if step.type == "disk" else self._shared_key(role, step, values)
            if key is None:
                return self._made(host, role, task, step, values)
            if key not in self._shared_steps:
                self._shared_steps[key] = self._made(host, role, task, step, values)
            return self._shared_steps[key]
        except SecretProblem as problem:
            raise PlanProblem(f"{_place(host, role, task, step)}: {problem}") from None
        except TemplateProblem as problem:
            raise PlanProblem(self._lacking(host, role, task, step, problem)) from None
        except ValidationError as error:
            raise PlanProblem(self._invalid(host, role, task, step, error)) from None

    def _lacking(self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, problem: TemplateProblem) -> str:
        """What a template asks for in vain is missing in the blueprint; other faults are the template's own."""
        line = f"line {problem.line}: " if problem.line is not None and problem.line > 1 else ""
        at, place = self._place(host).told_at("roles"), _place(host, role, task, step)
        if problem.lacking and at:
            return f"{at}host {host.name}: {problem} (asked by {place})"
        name = step.params.get("template")
        if isinstance(problem, _FileProblem):
            file = beside(role.file, "templates", str(name))
            return f"{file}:{problem.line or 1}: {problem} (step {role.name}.{task.name}.{step.name} on {host.name})"
        return f"{place}: {line}{problem}"

    def _invalid(self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, error: ValidationError) -> str:
        """Where a variable of the blueprint holds the wrong value, its line comes first."""
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or step.type
        became = "" if isinstance(first["input"], Mapping | list | tuple) else f" became {shortly(first['input'])}"
        if first["type"] in WITHOUT_VALUE:
            became = f" is {WITHOUT_VALUE[first['type']]}"
        place = _place(host, role, task, step)
        for name, deeper in self._variables_behind(step, first["loc"]):
            if name in host.variables or name in self._variables:
                at = self._told_at(host, "variables", name, *deeper)
                if at:
                    return f"{at}variable {name}: {where}{became}: {in_words(first)} (used by {place})"
        return f"{place}: {where}{became}: {in_words(first)}"

    def _variables_behind(
        self, step: RoleStep, where: Sequence[str | int]
    ) -> Iterator[tuple[str, Sequence[str | int]]]:
        """The variables that a parameter is made of, with the place in each that this place in the step is."""
        source = step.params.get(str(where[0])) if where else None
        if source is None:
            return
        names = self._renderer.variables(source)
        whole = isinstance(source, str) and len(names) == 1 and _ONE_VARIABLE.match(source) is not None
        for name in names:
            yield name, where[1:] if whole else ()

    def _shared_key(self, role: Role, step: RoleStep, values: Mapping[str, Any]) -> Hashable | None:
        params = self._renderer.shared_key(step.params, values)
        template = step.params.get("template")
        if params is None or template is None:
            return params
        content = self._renderer.shared_key(role.templates[template], values)
        return None if content is None else (params, content)

    def _made(
        self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        params = dict(self._renderer.data(step.params, values))
        if "template" in params:
            params["content"] = self._file(role.templates[params.pop("template")], values)
        if "script" in params:
            params["script"] = role.checks[params["script"]]
        if step.type == "ansible" and "file" in params:
            params["playbook"] = role.playbooks[params.pop("file")]
        if step.type == "disk" and "disk" in params:  # by the purpose that the blueprint gives it
            params["disk"] = self._disk(host, str(params["disk"]))
        params = checked_params(step.type, params)
        if step.type == "disk":
            self._check_disk(host, role, task, step, str(params["disk"]))
        if step.type == "openstack":
            self._check_pools(host, role, task, step, params["resources"])
        secrets = self._secrets_of(params)
        if "restart_on" in params:
            place = _place(host, role, task, step)
            params["restart_on"] = [self._reference(role, task, text, place) for text in params["restart_on"]]
        made = {
            "name": step.name,
            "id": f"{role.name}.{task.name}.{step.name}",
            "type": step.type,
            "params": {key: value for key, value in params.items() if value is not None},
            **({"onlyif": step.onlyif} if step.onlyif else {}),
        }
        self._secrets[id(made)] = secrets
        return made

    def _file(self, source: str, values: Mapping[str, Any]) -> str:
        try:
            return self._renderer.text(source, values)
        except TemplateProblem as problem:
            raise _FileProblem(str(problem), problem.line, lacking=problem.lacking) from None

    def _secrets_of(self, params: Mapping[str, Any]) -> frozenset[str]:
        """Programs that go along are the same for all hosts and long: each is looked through once."""
        found = secrets_in({key: value for key, value in params.items() if key not in _PROGRAMS})
        for text in (params[key] for key in _PROGRAMS if params.get(key)):
            if text not in self._program_secrets:
                self._program_secrets[text] = secrets_in(text)
            found |= self._program_secrets[text]
        return found

    def _disk(self, host: PlanHost, named: str) -> str:
        if "=" in named:
            return named
        if named not in self._disks[host.host_id]:
            raise TemplateProblem(no_disk(host.name, named), lacking=True)
        return self._disks[host.host_id][named]

    def _check_disk(self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, selector: str) -> None:
        problem = disk_problem(selector, host.facts)
        if problem is not None:
            names = [name for name, _ in self._variables_behind(step, ("disk",))]
            at = next(filter(None, (self._told_at(host, "variables", name) for name in names)), "")
            place = _place(host, role, task, step)
            raise PlanProblem(f"{at}host {host.name}: {problem} (used by {place})")

    def _check_pools(
        self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, resources: Sequence[Mapping[str, Any]]
    ) -> None:
        holders = dict(self._holders)
        for other in self._hosts:
            for one in self._attached[other.host_id].values():
                if one.address is not None:
                    holders.setdefault(one.address, f"host {other.name}")
        clash = pool_clash(resources, holders)
        if clash is not None:
            index, sentence = clash
            names = [name for name, _ in self._variables_behind(step, ("resources",))]
            paths = ((name, index, "properties", "pools") for name in names)
            at = next(filter(None, (self._told_at(host, "variables", *path) for path in paths)), "")
            raise PlanProblem(f"{at}{sentence} (used by {_place(host, role, task, step)})")

    def _reference(self, role: Role, task: RoleTask, text: str, place: str) -> str:
        """`step` of this task, `task` of this role, `role.task` or `role.task.step`, written out in full."""
        parts = text.split(".")
        if len(parts) == 1 and text in {step.name for step in task.steps}:
            return f"{role.name}.{task.name}.{text}"
        if len(parts) == 1:
            parts = [role.name, text]
        other = self._roles.get(parts[0])
        found = next((item for item in other.tasks if item.name == parts[1]), None) if other else None
        if found is None or (len(parts) == 3 and parts[2] not in {step.name for step in found.steps}) or len(parts) > 3:
            raise PlanProblem(f"{place}: restart_on names {text}, which is no step or task: correct it")
        return ".".join(parts)


def _sparing(goes: Sequence[PlannedTask], stays: Sequence[PlannedTask]) -> list[PlannedTask]:
    """Tasks that remove roles from a host, less what its other roles have too."""
    if not goes:
        return []
    kept = wanted_by(step for task in stays for step in task.steps)
    left = [[one for step in task.steps if (one := without(step, kept)) is not None] for task in goes]
    return [replace(task, steps=steps) for task, steps in zip(goes, left, strict=True)]


def _place(host: PlanHost, role: Role, task: RoleTask, step: RoleStep) -> str:
    return f"{step.file or role.file}:{step.line}: step {role.name}.{task.name}.{step.name} on {host.name}"


def _check_hosts(hosts: Sequence[PlanHost]) -> None:
    for what, values in (("id", [host.host_id for host in hosts]), ("name", [host.name for host in hosts])):
        twice = {value for value in values if values.count(value) > 1} if len(set(values)) < len(values) else set()
        if twice:
            raise PlanProblem(f"two hosts have the {what} {min(twice)}: rename one of them")
    for host in hosts:
        if not host.roles and not host.removes:
            raise PlanProblem(f"host {host.name} has no role: give it one or leave it out of the plan")
        for address in host.addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise PlanProblem(f"host {host.name} has the address {address!r}, which is none: correct it") from None


def _holders(hosts: Sequence[PlanHost], layout: Layout) -> dict[str, str]:
    """Whose each address is, one host's or one VIP's: what others are told to go to must not depend on who answers
    first. Raises PlanProblem.
    """
    holder: dict[str, str] = {vip.address: f"VIP {vip.name}" for vip in layout.vips}
    for host in hosts:
        for address in host.addresses[:1]:
            other = holder.setdefault(address, f"host {host.name}")
            if other != f"host {host.name}":
                vip = layout.told_at("vips", other.removeprefix("VIP "), "address") if other.startswith("VIP ") else ""
                raise PlanProblem(
                    f"{vip}host {host.name} and {other} have the same address {address}: give one of them another; "
                    "where a host has a new one already, start its agent again, which then tells it"
                )
    return holder
