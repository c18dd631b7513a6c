"""Parameters of the openstack step: what a cloud is to have, by kind, name and properties."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pxeforge.engine.cloud_step_params import KeystoneAuth
from pxeforge.engine.step_fields import AbsolutePath, HttpUrl, OneLine, Params, Seconds, Sha256

Kind = Literal[
    "flavor", "image", "network", "subnet", "router", "router_interface", "security_group", "security_group_rule",
    "keypair", "aggregate", "volume_type", "volume", "quota", "compute_service", "network_agent",
]  # fmt: skip
# What services tell of themselves by their host's name: it can only be taken away.
_TOLD = frozenset({"compute_service", "network_agent"})
_NAMELESS = frozenset({"router_interface", "security_group_rule", "quota"})
# What each kind has to be told; the values that name other things are their names.
_NEEDED: dict[str, tuple[str, ...]] = {
    "flavor": ("ram", "vcpus", "disk"),
    "subnet": ("network", "cidr"),
    "router_interface": ("router", "subnet"),
    "security_group_rule": ("security_group", "direction"),
    "keypair": ("public_key",),
    "volume": ("size",),
    "quota": ("project",),
}


class OpenstackResource(Params):
    """One thing of a cloud. `file` is what an image consists of, or `url` with its `sha256`."""

    kind: Kind
    name: OneLine | None = None
    properties: dict[OneLine, Any] = Field(default_factory=dict)
    file: AbsolutePath | None = None
    url: HttpUrl | None = None
    sha256: Sha256 | None = None
    state: Literal["present", "absent"] = "present"

    @model_validator(mode="after")
    def _complete(self) -> OpenstackResource:
        if (self.name is None) != (self.kind in _NAMELESS):
            raise ValueError(f"a {self.kind} has {'no name' if self.kind in _NAMELESS else 'a name: give it'}")
        if self.state == "present":
            lacking = [key for key in _NEEDED.get(self.kind, ()) if key not in self.properties]
            if lacking:
                raise ValueError(f"a {self.kind} needs the properties {', '.join(lacking)}")
            if (self.file is not None) + (self.url is not None) != (self.kind == "image"):
                raise ValueError("an image needs `file` or `url`, and nothing else has one")
            if (self.url is None) != (self.sha256 is None):
                raise ValueError("an image by `url` needs the `sha256` of what is there")
        elif self.kind == "quota":
            raise ValueError("a quota cannot be absent: give it other values")
        if self.kind in _TOLD and (self.state != "absent" or set(self.properties) != {"binary"}):
            raise ValueError(f"a {self.kind} comes by itself: it can be absent only, with the property binary")
        return self


class OpenstackParams(Params):
    """Flavors, images, networks and more of a cloud, in one session, in the order of the list.

    Each is looked for by its name and changed only where a property differs; what cannot be changed (a flavor's
    memory, a subnet's range) is an error that says so. A volume (size in GB, type, image) is waited for; it grows,
    and never shrinks. `compute_service` and `network_agent` take the row of a program (property binary, like
    nova-compute) that ran on the host of this name. Services that do not answer yet are waited for until deadline_s;
    without resources nobody is asked.
    """

    auth: KeystoneAuth
    region: OneLine = "RegionOne"
    resources: tuple[OpenstackResource, ...]
    proxy: HttpUrl | None = None
    deadline_s: Seconds = 120
    timeout_s: Seconds = 60
