"""The plan: roles on hosts compiled to a graph of tasks with rendered steps. Pure; secrets stay references."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from pxeforge.engine.disk_needs import lacking_disks
from pxeforge.engine.graph import GraphProblem, TaskGraph
from pxeforge.engine.roles import Role, RoleStep, RoleTask, Selector, Variable, require_type
from pxeforge.engine.secrets import SecretProblem, SecretRef, secrets_in
from pxeforge.engine.step_types import checked_params
from pxeforge.engine.templates import Namespace, TemplateEngine, TemplateProblem, is_template


class PlanProblem(Exception):
    """Roles, hosts and variables do not make a plan; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanServer:
    """Where hosts reach the server on the boot network."""

    address: str
    boot_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHost:
    """A host as the compiler sees it; the first address is the one other hosts use. `variables` win over the plan's.

    `server`: where this host reaches it, if not where the others do.
    """

    host_id: str
    name: str
    roles: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    server: PlanServer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """What one host does in one go. `id` is `<role>.<task>@<host name>`; values of secrets are tokens in `steps`."""

    id: str
    host_id: str
    host_name: str
    role: str
    name: str
    steps: list[dict[str, Any]]  # {"name", "id": "role.task.step", "type", "params"}
    after: tuple[str, ...]
    secrets: tuple[str, ...]
    kind: Literal["deploy", "verify"]
    timeout_s: float
    resource: str | None

    @property
    def title(self) -> str:
        return f"{self.role}: {self.name.replace('-', ' ')}"


_TASK_FIELDS = tuple(item.name for item in fields(PlannedTask))


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which they could run one by one, and all roles by host id, required ones too."""

    tasks: tuple[PlannedTask, ...]
    roles_by_host: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": [
                {
                    **{name: getattr(task, name) for name in _TASK_FIELDS},
                    "after": list(task.after),
                    "secrets": list(task.secrets),
                }
                for task in self.tasks
            ],
            "roles_by_host": {host_id: list(names) for host_id, names in self.roles_by_host.items()},
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything in the plan; equal input gives an equal digest."""
        total = hashlib.sha256(json.dumps({k: list(v) for k, v in self.roles_by_host.items()}).encode())
        for task in self.tasks:
            values = [task.id, task.host_id, task.steps, task.after, task.kind, task.timeout_s, task.resource]
            total.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
        return total.hexdigest()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of all secrets that any task needs."""
        return tuple(sorted({name for task in self.tasks for name in task.secrets}))

    def graph(self) -> TaskGraph:
        return TaskGraph(self.tasks)


def role_order(names: Sequence[str], roles: Mapping[str, Role]) -> tuple[str, ...]:
    """The names and all roles they require, required ones first; raises PlanProblem (unknown, cycle, conflict)."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise PlanProblem(
                f"roles require each other: {' → '.join((*path, name))}: remove one of these requirements"
            )
        if name in order:
            return
        if name not in roles:
            raise PlanProblem(f"there is no role {name}: choose from {', '.join(sorted(roles))}")
        for required in roles[name].requires:
            visit(required, (*path, name))
        order.append(name)

    for name in names:
        visit(name, ())
    for name in order:
        for other in roles[name].conflicts:
            if other in order:
                raise PlanProblem(f"roles {name} and {other} cannot be on one host: give one of them to another host")
    return tuple(order)


def compile_plan(
    hosts: Sequence[PlanHost],
    roles: Mapping[str, Role],
    *,
    server: PlanServer,
    variables: Mapping[str, Any] | None = None,
    secret_names: Collection[str] = (),
) -> Plan:
    """The plan for these hosts. `secret_names` are secrets beyond those that the roles declare.

    The order of `hosts` counts: `first(role:x)` is the first host that has the role. Raises PlanProblem.
    """
    return _Compiler(hosts, roles, server, variables or {}, secret_names).compile()


class _Compiler:
    def __init__(
        self,
        hosts: Sequence[PlanHost],
        roles: Mapping[str, Role],
        server: PlanServer,
        variables: Mapping[str, Any],
        secret_names: Collection[str],
    ) -> None:
        self._hosts, self._roles, self._server, self._variables = hosts, roles, server, variables
        _check_hosts(hosts)
        self._order = {host.host_id: role_order(host.roles, roles) for host in hosts}
        self._used = {name for names in self._order.values() for name in names}
        self._check_variables()
        self._check_disks()
        declared = {secret for role in roles.values() for secret in role.secrets}
        self._engine = TemplateEngine()
        self._groups = {
            name: [host for host in hosts if name in self._order[host.host_id]] for name in sorted(self._roles)
        }
        views = {host.host_id: _host_view(host, self._order[host.host_id]) for host in hosts}
        self._views = views
        self._common = {
            "hosts": list(views.values()),
            "groups": Namespace(
                "groups", {name: [views[host.host_id] for host in group] for name, group in self._groups.items()}
            ),
            "secrets": Namespace("secrets", {name: SecretRef(name) for name in sorted(declared | set(secret_names))}),
        }
        self._shared_texts: dict[tuple[str, str], str] = {}  # by template and our address

    def _check_disks(self) -> None:
        for host in self._hosts:
            names = self._order[host.host_id]
            needs = {name: need for name in names if (need := self._roles[name].disks) is not None}
            lacking = lacking_disks(host.facts, needs)
            if lacking is not None:
                raise PlanProblem(f"host {host.name}: {lacking}")

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
            for role_name in self._order[host.host_id]:
                role = self._roles[role_name]
                for task in role.tasks:
                    planned = self._planned(host, role, task, values)
                    tasks[planned.id] = planned
        try:
            order = TaskGraph(tasks.values()).order
        except GraphProblem as problem:
            raise PlanProblem(str(problem)) from None
        return Plan(tuple(tasks[task_id] for task_id in order), dict(self._order))

    def _values(self, host: PlanHost) -> dict[str, Any]:
        """All that templates of this host get; a default may use host, groups, server and variables declared before."""
        settled: dict[str, Any] = {}
        server = host.server or self._server
        values = {
            **self._common, "host": self._views[host.host_id], "vars": Namespace("vars", settled),
            "server": Namespace("server", {"address": server.address, "boot_url": server.boot_url}),
        }  # fmt: skip
        for role_name in self._order[host.host_id]:
            role = self._roles[role_name]
            for variable in role.variables.values():
                if not variable.secret and variable.name not in settled:
                    settled[variable.name] = self._variable(host, role, variable, values)
        return values

    def _variable(self, host: PlanHost, role: Role, variable: Variable, values: Mapping[str, Any]) -> Any:
        name = variable.name
        for given in (host.variables, self._variables):
            if name in given:
                value = given[name]
                break
        else:
            value = variable.default
            if value is None:
                raise PlanProblem(f"role {role.name} on {host.name} needs variable {name}: set it ({variable.help})")
            try:
                value = self._rendered(value, values)
            except (TemplateProblem, SecretProblem) as problem:
                raise PlanProblem(f"{role.file}: default of variable {name} on {host.name}: {problem}") from None
        try:
            require_type(variable.type, value)
        except ValueError as error:
            raise PlanProblem(f"variable {name} on {host.name}: {error}") from None
        return value

    def _planned(self, host: PlanHost, role: Role, task: RoleTask, values: Mapping[str, Any]) -> PlannedTask:
        task_id = _task_id(role.name, task.name, host)
        steps = [self._step(host, role, task, step, values) for step in task.steps]
        return PlannedTask(
            id=task_id,
            host_id=host.host_id,
            host_name=host.name,
            role=role.name,
            name=task.name,
            steps=steps,
            after=self._after(host, role, task, task_id),
            secrets=tuple(sorted(secrets_in(steps))),
            kind=task.kind,
            timeout_s=task.timeout_s,
            resource=task.resource,
        )

    def _step(
        self, host: PlanHost, role: Role, task: RoleTask, step: RoleStep, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        place = f"{role.file}:{step.line}: step {role.name}.{task.name}.{step.name} on {host.name}"
        try:
            params = self._rendered(step.params, values)
            if "template" in params:
                params["content"] = self._text(role.templates[params.pop("template")], values)
            params = checked_params(step.type, params)
            secrets_in(params)
        except (TemplateProblem, SecretProblem) as problem:
            raise PlanProblem(f"{place}: {problem}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or step.type
            reason = first["msg"].removeprefix("Value error, ")
            raise PlanProblem(f"{place}: {where} became {first['input']!r}: {reason}") from None
        if "restart_on" in params:
            params["restart_on"] = [self._reference(role, task, text, place) for text in params["restart_on"]]
        return {
            "name": step.name,
            "id": f"{role.name}.{task.name}.{step.name}",
            "type": step.type,
            "params": {key: value for key, value in params.items() if value is not None},
        }

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

    def _rendered(self, value: Any, values: Mapping[str, Any]) -> Any:
        """JSON-like data with every template in it rendered; secret references become tokens."""
        if isinstance(value, str):
            if not is_template(value):
                return value
            return _plain(self._engine.evaluate(value, values))
        if isinstance(value, Mapping):
            return {
                (self._text(key, values) if is_template(key) else key): self._rendered(item, values)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._rendered(item, values) for item in value]
        return value

    def _text(self, source: str, values: Mapping[str, Any]) -> str:
        """A text that does not depend on the host (like the list of all hosts) is rendered once for all of them."""
        if self._engine.names(source) & {"host", "vars"}:
            return self._engine.render(source, values)
        key = (source, values["server"]["address"])
        if key not in self._shared_texts:
            self._shared_texts[key] = self._engine.render(source, values)
        return self._shared_texts[key]

    def _after(self, host: PlanHost, role: Role, task: RoleTask, task_id: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        if task.kind == "verify" and task.requires is None:
            for name in role_order((role.name,), self._roles):
                found.update(dict.fromkeys(_last_tasks(self._roles[name], host)))
        elif task.requires is None:
            found.update(dict.fromkeys(self._by_order(host, role, task)))
        else:
            for text in task.requires:
                found[self._same_host(host, role, text, task)] = None
        for selector in task.after:
            found.update(dict.fromkeys(self._selected(selector, task_id)))
        return tuple(found)

    def _by_order(self, host: PlanHost, role: Role, task: RoleTask) -> list[str]:
        deploy = [item for item in role.tasks if item.kind == "deploy"]
        position = deploy.index(task)
        if position > 0:
            return [_task_id(role.name, deploy[position - 1].name, host)]
        return [task_id for name in role.requires for task_id in _last_tasks(self._roles[name], host)]

    def _same_host(self, host: PlanHost, role: Role, text: str, task: RoleTask) -> str:
        role_name, _, task_name = text.rpartition(".")
        role_name = role_name or role.name
        there = role_name in self._order[host.host_id]
        if not there or task_name not in {item.name for item in self._roles[role_name].tasks}:
            raise PlanProblem(
                f"{role.file}:{task.line}: task {role.name}.{task.name} requires {text}, which is not on {host.name}:"
                f" correct the name or add the role to `requires`"
            )
        return _task_id(role_name, task_name, host)

    def _selected(self, selector: Selector, task_id: str) -> list[str]:
        role = self._roles.get(selector.role)
        if role is None:
            raise PlanProblem(f"{task_id} waits for role {selector.role}, which does not exist: correct the name")
        hosts = self._groups[selector.role][: 1 if selector.first else None]
        if selector.task is None:
            chosen = [before for host in hosts for before in _last_tasks(role, host)]
        elif selector.task in {item.name for item in role.tasks}:
            chosen = [_task_id(role.name, selector.task, host) for host in hosts]
        else:
            raise PlanProblem(
                f"{task_id} waits for {role.name}.{selector.task}, which does not exist: correct the name"
            )
        # `first(role:x.join)` on x.join itself lets the first host lead: it does not wait for itself.
        return [before for before in chosen if not (selector.first and before == task_id)]


def _task_id(role_name: str, task_name: str, host: PlanHost) -> str:
    return f"{role_name}.{task_name}@{host.name}"


def _last_tasks(role: Role, host: PlanHost) -> list[str]:
    """The deploy tasks of the role that no other deploy task of it waits for: after them, all are done."""
    deploy = [task for task in role.tasks if task.kind == "deploy"]
    waited_for: set[str] = set()
    for position, task in enumerate(deploy):
        if task.requires is not None:
            waited_for.update(text.rpartition(".")[2] for text in task.requires)
        elif position > 0:
            waited_for.add(deploy[position - 1].name)
    return [_task_id(role.name, task.name, host) for task in deploy if task.name not in waited_for]


def _check_hosts(hosts: Sequence[PlanHost]) -> None:
    for what, values in (("id", [host.host_id for host in hosts]), ("name", [host.name for host in hosts])):
        twice = {value for value in values if values.count(value) > 1} if len(set(values)) < len(values) else set()
        if twice:
            raise PlanProblem(f"two hosts have the {what} {min(twice)}: rename one of them")
    for host in hosts:
        if not host.roles:
            raise PlanProblem(f"host {host.name} has no role: give it one or leave it out of the plan")
        for address in host.addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise PlanProblem(f"host {host.name} has the address {address!r}, which is none: correct it") from None


def _host_view(host: PlanHost, roles: tuple[str, ...]) -> Namespace:
    values: dict[str, Any] = {
        "id": host.host_id,
        "name": host.name,
        "short_name": host.name.partition(".")[0],
        "addresses": list(host.addresses),
        "facts": host.facts,
        "roles": list(roles),
    }
    if host.addresses:  # without one, `host.address` is an error that names the host
        values["address"] = host.addresses[0]
    return Namespace(f"host {host.name}", values)


def _plain(value: Any) -> Any:
    """A value of an expression as JSON-like data."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, SecretRef):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TemplateProblem(f"the expression gives {value!r}: choose one of its values")
