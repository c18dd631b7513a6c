"""Parameters of the steps that speak to a cloud's services: rabbitmq and keystone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from pxeforge.engine.secrets import SecretRef
from pxeforge.engine.step_fields import AbsolutePath, HttpUrl, OneLine, Params, Seconds, Text

Password = Annotated[str, StringConstraints(min_length=8)]
RabbitName = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f-][^\s\x00-\x1f]{0,127}$")]


class RabbitmqParams(Params):
    """A RabbitMQ virtual host, and a user of it with its password, tags and rights; or a policy.

    A user's password is checked by logging in with it. Virtual hosts, users and rights beyond these are left alone.
    """

    vhost: RabbitName = "/"
    user: RabbitName | None = None
    password: Password | None = None
    tags: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z_]+$")], ...] = ()
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"
    policy: RabbitName | None = None
    pattern: str | None = None
    definition: dict[OneLine, str | int | bool | tuple[str, ...]] = Field(default_factory=dict)
    apply_to: Literal["all", "queues", "exchanges"] = "all"
    priority: Annotated[int, Field(ge=0, le=255)] = 0

    @model_validator(mode="after")
    def _complete(self) -> RabbitmqParams:
        if (self.user is None) != (self.password is None):
            raise ValueError("a user needs a password, and a password a user")
        if (self.policy is None) != (self.pattern is None) or (self.policy is None) == bool(self.definition):
            raise ValueError("a policy needs its name (policy), a pattern and a definition")
        if self.user is None and self.policy is None:
            raise ValueError("name a user or a policy")
        return self


class KeystoneAuth(Params):
    """Who speaks to keystone; `url` is the address of the Identity API, like http://controller:5000/v3."""

    url: HttpUrl
    user: OneLine
    password: OneLine
    project: OneLine = "admin"
    user_domain: OneLine = "Default"
    project_domain: OneLine = "Default"
    ca_file: AbsolutePath | None = None


class KeystoneDomain(Params):
    name: OneLine
    description: str = ""


class KeystoneProject(Params):
    name: OneLine
    domain: OneLine = "Default"
    description: str = ""


class KeystoneUser(Params):
    """`secret` names a secret that is the password; it is generated at the first deploy."""

    name: OneLine
    password: Password | None = None
    secret: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")] | None = Field(None, exclude=True)
    domain: OneLine = "Default"
    email: OneLine | None = None

    @model_validator(mode="before")
    @classmethod
    def _password_of_secret(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("secret") is not None:
            if given.get("password") is not None:
                raise ValueError("give a user either a password or a secret")
            return {**given, "password": str(SecretRef(str(given["secret"])))}
        return given


class KeystoneGrant(Params):
    """A role for a user in a project, in a domain, or (`system: all`) in the system."""

    user: OneLine
    role: OneLine
    project: OneLine | None = None
    domain: OneLine | None = None
    system: Literal["all"] | None = None
    user_domain: OneLine = "Default"
    project_domain: OneLine = "Default"

    @model_validator(mode="after")
    def _one_place(self) -> KeystoneGrant:
        if sum(place is not None for place in (self.project, self.domain, self.system)) != 1:
            raise ValueError("a grant is in a project, in a domain or in the system: give one of them")
        return self


class KeystoneService(Params):
    """A service of the catalogue with its endpoints in the region."""

    name: OneLine
    type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-_]*$")]
    description: str = ""
    public: HttpUrl | None = None
    internal: HttpUrl | None = None
    admin: HttpUrl | None = None


class KeystoneParams(Params):
    """Domains, projects, roles, users, grants, services and endpoints of keystone, in one session.

    All is looked at first and changed only where it differs; what is not named is left alone. A password is checked by
    getting a token with it. A keystone that does not answer yet, or with 5xx, is waited for until deadline_s.
    """

    auth: KeystoneAuth
    region: OneLine = "RegionOne"
    domains: tuple[KeystoneDomain, ...] = ()
    projects: tuple[KeystoneProject, ...] = ()
    roles: tuple[OneLine, ...] = ()
    users: tuple[KeystoneUser, ...] = ()
    grants: tuple[KeystoneGrant, ...] = ()
    services: tuple[KeystoneService, ...] = ()
    deadline_s: Seconds = 120
    timeout_s: Seconds = 60

    @model_validator(mode="after")
    def _something(self) -> KeystoneParams:
        lists: tuple[tuple[Text | Params, ...], ...] = (
            *(self.domains, self.projects, self.roles, self.users, self.grants, self.services),
        )
        if not any(lists):
            raise ValueError("name domains, projects, roles, users, grants or services")
        return self
