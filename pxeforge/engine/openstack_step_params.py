"""Parameters of the openstack step: what a cloud is to have, by kind, name and properties."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pxeforge.engine.cloud_step_params import KeystoneAuth
from pxeforge.engine.step_fields import AbsolutePath, OneLine, Params, Seconds

Kind = Literal[
    "flavor", "image", "network", "subnet", "router", "router_interface", "security_group", "security_group_rule",
    "keypair", "aggregate", "volume_type", "volume", "quota",
]  # fmt: skip
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
    """One thing of a cloud. `file` is what an image consists of."""

    kind: Kind
    name: OneLine | None = None
    properties: dict[OneLine, Any] = Field(default_factory=dict)
    file: AbsolutePath | None = None
    state: Literal["present", "absent"] = "present"

    @model_validator(mode="after")
    def _complete(self) -> OpenstackResource:
        if (self.name is None) != (self.kind in _NAMELESS):
            raise ValueError(f"a {self.kind} has {'no name' if self.kind in _NAMELESS else 'a name: give it'}")
        if self.state == "present":
            lacking = [key for key in _NEEDED.get(self.kind, ()) if key not in self.properties]
            if lacking:
                raise ValueError(f"a {self.kind} needs the properties {', '.join(lacking)}")
            if (self.file is None) != (self.kind != "image"):
                raise ValueError("an image needs `file`, and nothing else has one")
        elif self.kind == "quota":
            raise ValueError("a quota cannot be absent: give it other values")
        return self


class OpenstackParams(Params):
    """Flavors, images, networks and more of a cloud, in one session, in the order of the list.

    Each is looked for by its name and changed only where a property differs; what cannot be changed (a flavor's
    memory, a subnet's range) is an error that says so. A volume (size in GB, type, image) is waited for; it grows, and
    never shrinks. Services that do not answer yet are waited for until deadline_s; without resources nobody is asked.
    """

    auth: KeystoneAuth
    region: OneLine = "RegionOne"
    resources: tuple[OpenstackResource, ...]
    deadline_s: Seconds = 120
    timeout_s: Seconds = 60
