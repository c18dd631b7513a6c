"""The openstack step: what a cloud is to have (flavors, images, networks …), by one walk that looks first."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.fetch_step import receive
from pxeforge.agent.keystone_session import KeystoneSession
from pxeforge.agent.session_step import SessionStep
from pxeforge.agent.step import Finding

_IMAGE_WAIT_S = 120.0
_PIECE_BYTES = 1 << 20
_DOWNLOADS = "/var/lib/pxeforge-agent"  # images are large, and /tmp may be memory
_FROM = "pxeforge_sha256"  # property of an image that came from an address
_VOLUME_WAIT_S = 600  # an image may have to be copied
_SERVICE_IDS = {"X-OpenStack-Nova-API-Version": "2.53"}  # from here on they are the same in all cells
_PENDING = "(to be made)"  # the id of what an earlier resource of a dry walk would make


@dataclass(frozen=True)
class _Kind:
    """How an API speaks of one kind of thing."""

    service: str
    path: str
    singular: str
    plural: str
    # Properties that name other things: {property: (its key in the API, kind)}.
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)  # our word: the API's
    changeable: frozenset[str] = frozenset()
    method: str = "PUT"
    scoped: bool = False  # names are unique within our project only


_NET = "network"
_KINDS: Mapping[str, _Kind] = {
    "flavor": _Kind("compute", "/flavors", "flavor", "flavors", aliases={"public": "os-flavor-access:is_public"}),
    "image": _Kind("image", "/v2/images", "image", "images", method="PATCH"),
    "network": _Kind(
        _NET, "/v2.0/networks", "network", "networks",
        aliases={
            "external": "router:external", "type": "provider:network_type",
            "physical_network": "provider:physical_network", "segment": "provider:segmentation_id",
        },
        changeable=frozenset({"shared", "router:external", "admin_state_up", "mtu", "description"}),
    ),
    "subnet": _Kind(
        _NET, "/v2.0/subnets", "subnet", "subnets", references={"network": ("network_id", "network")}, scoped=True,
        aliases={"dhcp": "enable_dhcp", "dns": "dns_nameservers", "gateway": "gateway_ip", "pools": "allocation_pools"},
        changeable=frozenset({"enable_dhcp", "dns_nameservers", "gateway_ip", "allocation_pools", "host_routes"}),
    ),
    "router": _Kind(_NET, "/v2.0/routers", "router", "routers", scoped=True),
    "security_group": _Kind(
        _NET, "/v2.0/security-groups", "security_group", "security_groups", scoped=True,
        changeable=frozenset({"description"}),
    ),
    "keypair": _Kind("compute", "/os-keypairs", "keypair", "keypairs"),
    "aggregate": _Kind(
        "compute", "/os-aggregates", "aggregate", "aggregates", aliases={"zone": "availability_zone"},
        changeable=frozenset({"availability_zone"}),
    ),
    "volume": _Kind(
        "volumev3", "/volumes", "volume", "volumes", references={"image": ("imageRef", "image")},
        aliases={"type": "volume_type", "zone": "availability_zone"}, changeable=frozenset({"description"}),
    ),
    "volume_type": _Kind(
        "volumev3", "/types", "volume_type", "volume_types", aliases={"public": "os-volume-type-access:is_public"},
        changeable=frozenset({"description"}),
    ),
}  # fmt: skip


class OpenstackStep(SessionStep):
    """What is there and not named is left alone."""

    type = "openstack"
    parameters = frozenset({"auth", "region", "resources", "proxy", "deadline_s", "timeout_s"})

    def check(self) -> Finding:
        return super().check() if self.params["resources"] else Finding(False, [])

    def walk(self, session: KeystoneSession, *, apply: bool) -> list[str]:
        walk = _Walk(self, session, apply=apply)
        for resource in self.params["resources"]:
            walk.visit(resource)
        return walk.todo


class _Walk:
    """One walk through all that is asked for; `todo` tells what differs (with `apply`: what was changed)."""

    def __init__(self, step: OpenstackStep, session: KeystoneSession, *, apply: bool) -> None:
        self._step, self._session, self._apply = step, session, apply
        self._region = str(step.params.get("region", "RegionOne"))
        self._pending: set[tuple[str, str]] = set()  # to be made by this walk, where nothing is applied
        self.todo: list[str] = []

    def visit(self, resource: Mapping[str, Any]) -> None:
        kind, name = str(resource["kind"]), resource.get("name")
        special = {
            "router_interface": self._router_interface,
            "security_group_rule": self._security_group_rule,
            "quota": self._quota,
            "compute_service": self._compute_service,
            "network_agent": self._network_agent,
        }.get(kind)
        if special is not None:
            special(resource)
            return
        there = self._find(kind, str(name))
        if resource.get("state", "present") == "absent":
            if there is not None:
                self._do(f"delete {kind} {name}", "DELETE", kind, f"/{self._key(kind, there)}")
                if kind == "volume" and self._apply:
                    self._wait_deleted(str(name), str(there["id"]))
            return
        body = self._wanted(kind, resource)
        if there is None:
            self._create(kind, str(name), body, resource)
        else:
            self._adjust(kind, str(name), there, body, resource)

    # ------------------------------------------------------------------ what most kinds have in common

    def _create(self, kind: str, name: str, body: dict[str, Any], resource: Mapping[str, Any]) -> None:
        self._pending.add((kind, name))
        members, specs = body.pop("hosts", None), body.pop("extra_specs", None)
        if kind == "image":
            self._create_image(name, body, resource)
            return
        made = self._do(f"create {kind} {name}", "POST", kind, "", {_KINDS[kind].singular: {"name": name, **body}})
        if made is not None:
            self._add_parts(kind, name, made[_KINDS[kind].singular], members, specs)
            if kind == "volume":
                self._wait_usable(name, str(made["volume"]["id"]))

    def _adjust(
        self, kind: str, name: str, there: Mapping[str, Any], body: dict[str, Any], resource: Mapping[str, Any]
    ) -> None:
        """Changes what may be changed; raises StepFailed where what differs may not."""
        if kind == "image":
            self._compare_image(name, there, resource)
            return
        if kind == "volume":
            self._adjust_volume(name, there, body)
        members, specs = body.pop("hosts", None), body.pop("extra_specs", None)
        gateway = body.pop("external_gateway_info", None)
        spec = _KINDS[kind]
        differing = {key: value for key, value in body.items() if not _same(there.get(key), value)}
        fixed = sorted(key for key in differing if key not in spec.changeable)
        if fixed:
            seen = ", ".join(f"{key} is {there.get(key)!r}, not {differing[key]!r}" for key in fixed)
            raise StepFailed(f"{kind} {name} cannot be changed ({seen}): delete it first, or name another one")
        if (
            gateway is not None
            and (there.get("external_gateway_info") or {}).get("network_id") != gateway["network_id"]
        ):
            differing["external_gateway_info"] = gateway
        if differing:
            words = f"change {', '.join(sorted(differing))} of {kind} {name}"
            self._do(words, spec.method, kind, f"/{self._key(kind, there)}", {spec.singular: differing})
        self._add_parts(kind, name, there, members, specs)

    def _add_parts(self, kind: str, name: str, there: Mapping[str, Any], members: Any, specs: Any) -> None:
        """Hosts of an aggregate; extra specs of flavors and volume types."""
        for host in members or []:
            if host not in (there.get("hosts") or []):
                body = {"add_host": {"host": host}}
                self._do(f"add {host} to aggregate {name}", "POST", kind, f"/{there['id']}/action", body)
        if specs:
            spec_path = f"/{there['id']}/{'os-extra_specs' if kind == 'flavor' else 'extra_specs'}"
            held = (self._call("GET", kind, spec_path) or {}).get("extra_specs") or {}
            wanted = {str(key): str(value) for key, value in specs.items()}
            if any(held.get(key) != value for key, value in wanted.items()):
                self._do(f"set extra specs of {kind} {name}", "POST", kind, spec_path, {"extra_specs": wanted})

    def _wanted(self, kind: str, resource: Mapping[str, Any]) -> dict[str, Any]:
        """The properties in the API's words, names of other things replaced by their ids."""
        spec = _KINDS[kind]
        body: dict[str, Any] = {}
        for key, value in (resource.get("properties") or {}).items():
            if key in spec.references:
                api_key, other = spec.references[key]
                body[api_key] = self._id_of(other, str(value))
            elif kind == "router" and key == "external_network":
                body["external_gateway_info"] = {"network_id": self._id_of("network", str(value))}
            else:
                body[spec.aliases.get(key, key)] = value
        if kind == "subnet":
            body.setdefault("ip_version", 6 if ":" in str(body.get("cidr", "")) else 4)
            pools = body.get("allocation_pools")
            if pools:
                body["allocation_pools"] = [_pool(item) for item in pools]
        return body

    def _id_of(self, kind: str, name: str) -> str:
        there = self._find(kind, name)
        if there is not None:
            return str(there["id"])
        if (kind, name) in self._pending and not self._apply:
            return _PENDING
        raise StepFailed(f"there is no {kind} {name}: make it first, above what needs it")

    def _find(self, kind: str, name: str) -> dict[str, Any] | None:
        """The one with this name; raises StepFailed when there are several."""
        spec = _KINDS[kind]
        found = []
        for item in self._listed(kind, name):
            item = item.get("keypair", item) if kind == "keypair" else item
            mine = not spec.scoped or item.get("project_id", item.get("tenant_id")) == self._session.project_id
            if item.get("name") == name and mine:
                found.append(item)
        if len(found) > 1:
            raise StepFailed(f"{len(found)} times there is a {kind} {name}: rename or delete all but one")
        return found[0] if found else None

    def _listed(self, kind: str, name: str) -> list[dict[str, Any]]:
        spec = _KINDS[kind]
        path = ""
        if spec.service in (_NET, "image"):
            path = "?" + urllib.parse.urlencode({"name": name})
        elif kind == "flavor":
            path = "/detail?is_public=None"
        elif kind == "volume_type":
            path = "?is_public=None"
        elif kind == "volume":
            path = "/detail?" + urllib.parse.urlencode({"name": name})
        answer = self._call("GET", kind, path)
        listed = answer.get(spec.plural) if isinstance(answer, dict) else None
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise StepFailed(f"the {spec.service} service does not list its {spec.plural}: is that its address?")
        return listed

    @staticmethod
    def _key(kind: str, there: Mapping[str, Any]) -> str:
        return urllib.parse.quote(str(there["name"] if kind == "keypair" else there["id"]), safe="")

    # ------------------------------------------------------------------ images

    def _create_image(self, name: str, body: dict[str, Any], resource: Mapping[str, Any]) -> None:
        url = resource.get("url")
        if url is None:
            # Where nothing is applied, the file may still be to be built.
            self._upload(name, body, self._file(resource) if self._apply else None)
        elif not self._apply:
            self._upload(name, body, None)
        else:
            body = {**body, _FROM: str(resource["sha256"])}
            folder = self._step.execution.path(_DOWNLOADS)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix="pxeforge-image-") as file:
                proxy = str(self._step.params.get("proxy") or "")
                receive(str(url), str(resource["sha256"]), file, self._step.execution, proxy)
                file.flush()
                self._upload(name, body, Path(file.name))

    def _upload(self, name: str, body: dict[str, Any], content: Path | None) -> None:
        made = self._do(f"upload image {name}", "POST", "image", "", {"name": name, **_image_defaults(body)})
        if made is None:
            return
        address = self._address("image") + f"/{made['id']}"
        try:
            self._session.request("PUT", f"{address}/file", content)
            self._wait_active(name, address)
        except BaseException:
            self._session.request("DELETE", address, accept=(404,))  # half an image would be found next time
            raise

    def _wait_active(self, name: str, address: str) -> None:
        for _ in range(int(_IMAGE_WAIT_S)):
            _, image = self._session.request("GET", address)
            if image.get("status") == "active":
                return
            if image.get("status") in ("killed", "deleted"):
                break
            self._step.execution.pause(1)
        raise StepFailed(f"image {name} did not become active: it is {image.get('status')}")

    def _compare_image(self, name: str, there: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        if there.get("status") != "active":
            raise StepFailed(f"image {name} is {there.get('status')}, not active: delete it")
        if resource.get("url") is not None:
            if there.get(_FROM) != resource["sha256"]:
                raise StepFailed(f"image {name} is not the one of {resource['url']}: delete it, or name another one")
            return
        digest = hashlib.sha512()
        with self._file(resource).open("rb") as file:
            for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
                digest.update(piece)
        if there.get("os_hash_algo") == "sha512" and there.get("os_hash_value") != digest.hexdigest():
            raise StepFailed(
                f"image {name} has another content than {resource['file']}: delete it, or name another one"
            )

    def _file(self, resource: Mapping[str, Any]) -> Path:
        path = self._step.execution.path(str(resource["file"]))
        try:
            path.open("rb").close()
        except OSError as error:
            raise StepFailed(f"{resource['file']} cannot be read: {error.strerror}") from None
        return path

    # ------------------------------------------------------------------ volumes

    def _wait_usable(self, name: str, identity: str) -> None:
        """Until cinder has made it, or made it larger."""
        status = "not there"
        for _ in range(_VOLUME_WAIT_S):
            status = str(self._call("GET", "volume", f"/{identity}")["volume"].get("status"))
            if status in ("available", "in-use"):
                return
            if status.startswith("error"):
                break
            self._step.execution.pause(1)
        raise StepFailed(f"volume {name} is {status}: look into cinder's logs, and delete it before the next try")

    def _wait_deleted(self, name: str, identity: str) -> None:
        address = f"{self._address('volume')}/{identity}"
        for _ in range(_VOLUME_WAIT_S):
            status, answer = self._session.request("GET", address, accept=(404,))
            if status == 404:
                return
            if str(answer["volume"].get("status")).startswith("error"):
                break
            self._step.execution.pause(1)
        raise StepFailed(f"cinder does not delete volume {name}: its logs say why")

    def _adjust_volume(self, name: str, there: Mapping[str, Any], body: dict[str, Any]) -> None:
        """What it was made of is history; a size can only grow."""
        if str(there.get("status")).startswith("error"):
            raise StepFailed(f"volume {name} is {there.get('status')}: delete it")
        body.pop("imageRef", None)
        size, now = int(body.pop("size")), int(there.get("size") or 0)
        if size < now:
            raise StepFailed(f"volume {name} has {now} GB and cannot shrink to {size}: give it {now} or more")
        if size > now:
            words = f"extend volume {name} to {size} GB"
            self._do(words, "POST", "volume", f"/{there['id']}/action", {"os-extend": {"new_size": size}})
            if self._apply:
                self._wait_usable(name, str(there["id"]))

    # ------------------------------------------------------------------ kinds without names

    def _router_interface(self, resource: Mapping[str, Any]) -> None:
        properties = resource["properties"]
        router, subnet = str(properties["router"]), str(properties["subnet"])
        router_id, subnet_id = self._id_of("router", router), self._id_of("subnet", subnet)
        wanted = resource.get("state", "present") == "present"
        there = False
        if _PENDING not in (router_id, subnet_id):
            query = urllib.parse.urlencode({"device_id": router_id})
            ports = self._network_get(f"/v2.0/ports?{query}")["ports"]
            there = any(fixed.get("subnet_id") == subnet_id for port in ports for fixed in port.get("fixed_ips") or [])
        if there != wanted:
            verb = "add" if wanted else "remove"
            words = f"{verb} subnet {subnet} {'to' if wanted else 'from'} router {router}"
            path = f"/{router_id}/{verb}_router_interface"
            self._do(words, "PUT", "router", path, {"subnet_id": subnet_id})

    def _security_group_rule(self, resource: Mapping[str, Any]) -> None:
        properties = dict(resource["properties"])
        group = str(properties.pop("security_group"))
        group_id = self._id_of("security_group", group)
        wanted = {"ethertype": "IPv4", **properties}
        rules: list[dict[str, Any]] = []
        if group_id != _PENDING:
            rules = self._network_get(f"/v2.0/security-groups/{group_id}")["security_group"]["security_group_rules"]
        keys = {"direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix"}
        there = [rule for rule in rules if all(_same(rule.get(key), wanted.get(key)) for key in keys)]
        words = f"rule {' '.join(str(wanted[key]) for key in sorted(wanted))} of security group {group}"
        base = self._session.endpoint(_NET, self._region) + "/v2.0/security-group-rules"
        if resource.get("state", "present") == "present" and not there:
            body = {"security_group_rule": {"security_group_id": group_id, **wanted}}
            self._do_at(f"add {words}", "POST", base, body)
        elif resource.get("state", "present") == "absent":
            for rule in there:
                self._do_at(f"remove {words}", "DELETE", f"{base}/{rule['id']}")

    def _quota(self, resource: Mapping[str, Any]) -> None:
        """Of a project, in compute, networking and volumes: each service takes the words it knows."""
        properties = dict(resource["properties"])
        project = str(properties.pop("project"))
        _, answer = self._session.identity("GET", "/projects?" + urllib.parse.urlencode({"name": project}))
        if not answer["projects"]:
            raise StepFailed(f"there is no project {project}: make it first")
        project_id = answer["projects"][0]["id"]
        sets = f"/os-quota-sets/{project_id}"
        for service, path in (("compute", sets), (_NET, f"/v2.0/quotas/{project_id}"), ("volumev3", sets)):
            if not properties:
                return
            try:
                address = self._session.endpoint(service, self._region) + path
            except StepFailed:
                if service != "volumev3":
                    raise
                break  # a cloud without volumes
            key = "quota" if service == _NET else "quota_set"
            _, now = self._session.request("GET", address)
            known = {name: value for name, value in properties.items() if name in now[key]}
            differing = {name: value for name, value in known.items() if not _same(now[key][name], value)}
            for name in known:
                properties.pop(name)
            if differing:
                self._do_at(f"set quota {', '.join(sorted(differing))} of {project}", "PUT", address, {key: differing})
        if properties:
            raise StepFailed(f"no service knows the quota {', '.join(sorted(properties))}: correct it")

    # ------------------------------------------------------------------ services that are no more

    def _compute_service(self, resource: Mapping[str, Any]) -> None:
        """With nova-compute nova takes the host out of its cell, aggregates and placement too; not while it has VMs."""
        address = self._session.endpoint("compute", self._region) + "/os-services"
        self._take_away(resource, address, "services", _SERVICE_IDS)

    def _network_agent(self, resource: Mapping[str, Any]) -> None:
        self._take_away(resource, self._session.endpoint(_NET, self._region) + "/v2.0/agents", "agents", {})

    def _take_away(self, resource: Mapping[str, Any], address: str, key: str, headers: Mapping[str, str]) -> None:
        host, binary = str(resource["name"]), str(resource["properties"]["binary"])
        query = urllib.parse.urlencode({"host": host, "binary": binary})
        _, answer = self._session.request("GET", f"{address}?{query}", headers=headers)
        for row in answer[key]:
            self._do_at(f"forget {binary} on {host}", "DELETE", f"{address}/{row['id']}", headers=headers)

    # ------------------------------------------------------------------ requests

    def _do(self, words: str, method: str, kind: str, path: str, body: Any = None) -> Any:
        return self._do_at(words, method, self._address(kind) + path, body)

    def _do_at(
        self, words: str, method: str, address: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Notes the change, and makes it where changes are applied; the answer, None where they are not."""
        self.todo.append(words)
        if not self._apply:
            return None
        _, answer = self._session.request(method, address, body, headers=headers)
        return answer

    def _call(self, method: str, kind: str, path: str) -> Any:
        return self._session.request(method, self._address(kind) + path)[1]

    def _network_get(self, path: str) -> Any:
        return self._session.request("GET", self._session.endpoint(_NET, self._region) + path)[1]

    def _address(self, kind: str) -> str:
        spec = _KINDS[kind]
        base = self._session.endpoint(spec.service, self._region)
        # Some catalogues have the version in the address.
        version = "/" + spec.path.split("/")[1]
        if version in ("/v2", "/v2.0") and base.endswith(version):
            base = base[: -len(version)]
        return base + spec.path


def _image_defaults(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"container_format": "bare", "disk_format": "raw", **body}


def _pool(item: Any) -> dict[str, str]:
    """`192.0.2.10-192.0.2.20`, or the API's own form."""
    if isinstance(item, Mapping):
        return {"start": str(item["start"]), "end": str(item["end"])}
    start, dash, end = str(item).partition("-")
    if not dash:
        raise StepFailed(f"{item!r} is no pool of addresses, like 192.0.2.10-192.0.2.20: correct it")
    return {"start": start.strip(), "end": end.strip()}


def _same(now: Any, wanted: Any) -> bool:
    """APIs answer numbers as text at times, and lists in their own order."""
    if isinstance(wanted, bool) or isinstance(now, bool) or wanted is None or now is None:
        return bool(now == wanted)
    if isinstance(wanted, list | tuple) and isinstance(now, list | tuple):
        return sorted(map(str, now)) == sorted(map(str, wanted))
    return str(now) == str(wanted)
