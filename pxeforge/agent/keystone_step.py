"""The keystone step: domains, projects, roles, users, grants, services and endpoints, by one walk that looks first."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.keystone_session import KeystoneSession
from pxeforge.agent.session_step import SessionStep

_INTERFACES = ("public", "internal", "admin")


class KeystoneStep(SessionStep):
    """What is there and not named is left alone."""

    type = "keystone"
    parameters = frozenset(
        {
            *("auth", "region", "domains", "projects", "roles", "users", "grants", "services"),
            *("deadline_s", "timeout_s"),
        }
    )

    def walk(self, session: KeystoneSession, *, apply: bool) -> list[str]:
        return _Walk(session, self.params, apply=apply).all()


class _Walk:
    """One walk through all that is asked for. Ids of what is still to be made are None where nothing is applied."""

    def __init__(self, session: KeystoneSession, params: Mapping[str, Any], *, apply: bool) -> None:
        self._session, self._params, self._apply = session, params, apply
        self._todo: list[str] = []
        self._ids: dict[tuple[str, ...], str | None] = {}
        self._announced: set[tuple[str, ...]] = set()  # to be made by this walk, where nothing is applied

    def all(self) -> list[str]:
        params = self._params
        for domain in params.get("domains") or []:
            self._domain(domain)
        for project in params.get("projects") or []:
            self._project(project)
        for role in params.get("roles") or []:
            self._role(role)
        for user in params.get("users") or []:
            self._user(user)
        for grant in params.get("grants") or []:
            self._grant(grant)
        for service in params.get("services") or []:
            self._service(service)
        return self._todo

    def _domain(self, domain: Mapping[str, Any]) -> None:
        wanted = {"description": domain.get("description", ""), "enabled": True}
        self._made_so("domain", ("domain", domain["name"]), {}, domain["name"], wanted)

    def _project(self, project: Mapping[str, Any]) -> None:
        domain = project.get("domain", "Default")
        wanted = {"description": project.get("description", ""), "enabled": True}
        key = ("project", domain, project["name"])
        self._made_so("project", key, {"domain_id": self._id_of("domain", domain)}, project["name"], wanted)

    def _role(self, name: str) -> None:
        self._made_so("role", ("role", name), {}, name, {})

    def _user(self, user: Mapping[str, Any]) -> None:
        domain = user.get("domain", "Default")
        domain_id = self._id_of("domain", domain)
        wanted: dict[str, Any] = {"enabled": True}
        if user.get("email") is not None:
            wanted["email"] = user["email"]
        key = ("user", domain, user["name"])
        secret = {"password": user["password"]} if user.get("password") is not None else {}
        made = self._made_so("user", key, {"domain_id": domain_id}, user["name"], wanted, only_new=secret)
        if made or not secret or domain_id is None:
            return
        if not self._session.accepts_password(user["name"], domain_id, user["password"]):
            self._todo.append(f"set the password of user {user['name']}")
            if self._apply:
                self._session.identity("PATCH", f"/users/{self._ids[key]}", {"user": secret})

    def _made_so(
        self,
        kind: str,
        key: tuple[str, ...],
        within: Mapping[str, str | None],
        name: str,
        wanted: Mapping[str, Any],
        only_new: Mapping[str, Any] | None = None,
    ) -> bool:
        """Makes it or changes what differs; True when it was not there."""
        found = None
        if None not in within.values():  # else its domain is still to be made, and it cannot be there either
            found = self._find(kind, name, within)
        self._ids[key] = str(found["id"]) if found else None
        if found is None:
            self._todo.append(f"create {kind} {name}")
            self._announced.add(key)
            if self._apply:
                body = {"name": name, **within, **wanted, **(only_new or {})}
                _, answer = self._session.identity("POST", f"/{kind}s", {kind: body})
                self._ids[key] = str(answer[kind]["id"])
            return True
        differing = {item: value for item, value in wanted.items() if (found.get(item) or "") != value}
        if differing:
            self._todo.append(f"set {', '.join(sorted(differing))} of {kind} {name}")
            if self._apply:
                self._session.identity("PATCH", f"/{kind}s/{found['id']}", {kind: differing})
        return False

    def _find(self, kind: str, name: str, within: Mapping[str, str | None]) -> dict[str, Any] | None:
        query = urllib.parse.urlencode({"name": name, **within})
        _, answer = self._session.identity("GET", f"/{kind}s?{query}")
        # Names are compared by the database, which may take A for a.
        found = [one for one in _list_of(answer, f"{kind}s") if str(one.get("name", "")).lower() == name.lower()]
        return next((one for one in found if one["name"] == name), found[0] if found else None)

    def _id_of(self, kind: str, name: str, domain: str | None = None) -> str | None:
        """The id; None when this walk is going to make it. Raises StepFailed when there is none."""
        key = (kind, name) if domain is None else (kind, domain, name)
        if key not in self._ids:
            within: dict[str, str | None] = {} if domain is None else {"domain_id": self._id_of("domain", domain)}
            found = None if None in within.values() else self._find(kind, name, within)
            if found is None and None not in within.values():
                raise StepFailed(f"keystone has no {kind} {name}: name it in {kind}s, here or in an earlier step")
            self._ids[key] = str(found["id"]) if found else None
        return self._ids[key]

    def _grant(self, grant: Mapping[str, Any]) -> None:
        user_id = self._id_of("user", grant["user"], grant.get("user_domain") or "Default")
        role_id = self._id_of("role", grant["role"])
        place, words, known = "/system", "the system", True
        if grant.get("project") is not None:
            project_id = self._id_of("project", grant["project"], grant.get("project_domain") or "Default")
            place, words, known = f"/projects/{project_id}", f"project {grant['project']}", project_id is not None
        elif grant.get("domain") is not None:
            domain_id = self._id_of("domain", grant["domain"])
            place, words, known = f"/domains/{domain_id}", f"domain {grant['domain']}", domain_id is not None
        path = f"{place}/users/{user_id}/roles/{role_id}"
        if known and user_id is not None and role_id is not None:
            status, _ = self._session.identity("HEAD", path, accept=(404,))
            if status != 404:
                return
        self._todo.append(f"grant {grant['role']} to {grant['user']} in {words}")
        if self._apply:
            self._session.identity("PUT", path)

    def _service(self, service: Mapping[str, Any]) -> None:
        name, kind = service["name"], service["type"]
        _, answer = self._session.identity("GET", f"/services?{urllib.parse.urlencode({'type': kind})}")
        found = next((one for one in _list_of(answer, "services") if one.get("name") == name), None)
        wanted = {"description": service.get("description", ""), "enabled": True}
        service_id = str(found["id"]) if found else None
        if found is None:
            self._todo.append(f"create service {name} ({kind})")
            if self._apply:
                body = {"name": name, "type": kind, **wanted}
                _, answer = self._session.identity("POST", "/services", {"service": body})
                service_id = str(answer["service"]["id"])
        else:
            differing = {item: value for item, value in wanted.items() if (found.get(item) or "") != value}
            if differing:
                self._todo.append(f"set {', '.join(sorted(differing))} of service {name}")
                if self._apply:
                    self._session.identity("PATCH", f"/services/{service_id}", {"service": differing})
        self._endpoints(service, service_id)

    def _endpoints(self, service: Mapping[str, Any], service_id: str | None) -> None:
        wanted = {interface: service[interface] for interface in _INTERFACES if service.get(interface)}
        if not wanted:
            return
        region = self._params.get("region", "RegionOne")
        self._region(region)
        listed: list[dict[str, Any]] = []
        if service_id is not None:
            query = urllib.parse.urlencode({"service_id": service_id, "region_id": region})
            listed = _list_of(self._session.identity("GET", f"/endpoints?{query}")[1], "endpoints")
        for interface, url in wanted.items():
            found = next((one for one in listed if one.get("interface") == interface), None)
            if found is not None and found.get("url") == url and found.get("enabled", True):
                continue
            self._todo.append(f"{'set' if found else 'create'} the {interface} endpoint of {service['name']}")
            if not self._apply:
                continue
            if found is not None:
                change = {"url": url, "enabled": True}
                self._session.identity("PATCH", f"/endpoints/{found['id']}", {"endpoint": change})
            else:
                body = {"interface": interface, "url": url, "service_id": service_id, "region_id": region}
                self._session.identity("POST", "/endpoints", {"endpoint": body})

    def _region(self, region: str) -> None:
        key = ("region", region)
        if key in self._announced or self._ids.get(key):
            return
        status, _ = self._session.identity("GET", f"/regions/{urllib.parse.quote(region, safe='')}", accept=(404,))
        self._ids[key] = region
        if status == 404:
            self._todo.append(f"create region {region}")
            self._announced.add(key)
            if self._apply:
                self._session.identity("POST", "/regions", {"region": {"id": region}})


def _list_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """The rows of a list that keystone gives; raises StepFailed."""
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise StepFailed(f"keystone's list of {key} cannot be read: is the address that of the Identity API?")
    return [one for one in found if isinstance(one, dict) and "id" in one]
