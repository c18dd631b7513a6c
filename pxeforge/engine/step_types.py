"""The step types and their parameters: what a role may ask of a host, checked before any host sees it.

The agent (pxeforge/agent/) executes these; a test holds the two lists of types and parameters together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from pxeforge.engine.cloud_step_params import KeystoneParams, RabbitmqParams
from pxeforge.engine.host_step_params import (
    AnsibleParams,
    DiskParams,
    FetchParams,
    ModuleParams,
    RebootParams,
    UserParams,
)
from pxeforge.engine.network_step_params import NetworkParams
from pxeforge.engine.openstack_step_params import OpenstackParams
from pxeforge.engine.step_fields import (
    AbsolutePath,
    Account,
    EnvName,
    HostName,
    Mode,
    PackageName,
    Params,
    Port,
    Seconds,
    SqlHost,
    SqlName,
    Text,
    UnitName,
)


class PackagesParams(Params):
    """Debian packages that must be installed or absent; lists older than max_age_s are refreshed before installing.

    With `start: false` nothing is started by their installation (policy-rc.d, for that time only).
    """

    names: Annotated[tuple[PackageName, ...], Field(min_length=1)]
    start: bool = True
    state: Literal["present", "absent"] = "present"
    recommends: bool = False
    max_age_s: Seconds = 86400


class DebconfSelection(Params):
    """One answer for debconf, as in `debconf-set-selections`."""

    question: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9+.\-]*/[^\s]+$")]
    type: Literal["string", "boolean", "select", "multiselect", "note", "text", "password"]
    value: Text


class DebconfParams(Params):
    """Answers that a package's configuration finds."""

    package: PackageName
    selections: Annotated[tuple[DebconfSelection, ...], Field(min_length=1)]


class FileParams(Params):
    """A file with exactly this content, a directory, or nothing at that path."""

    path: AbsolutePath
    content: str | None = None
    template: str | None = None
    mode: Mode | None = None
    owner: Account = "root"
    group: Account = "root"
    backup: bool = False
    state: Literal["file", "directory", "absent"] = "file"

    @model_validator(mode="after")
    def _one_source(self) -> FileParams:
        given = (self.content is not None) + (self.template is not None)
        if given != (1 if self.state == "file" else 0):
            raise ValueError("give a file either content or template, and a directory or absent path neither")
        return self


class IniParams(Params):
    """Keys in sections of an INI file; everything else in it stays."""

    path: AbsolutePath
    settings: Annotated[dict[str, dict[str, Text]], Field(min_length=1)]
    mode: Mode | None = None


class LineParams(Params):
    """One line of a text file: the line `match` finds is replaced, or all that it finds are removed."""

    path: AbsolutePath
    line: str | None = None
    match: str | None = None
    state: Literal["present", "absent"] = "present"

    @model_validator(mode="after")
    def _complete(self) -> LineParams:
        if self.match is not None:
            try:
                re.compile(self.match)
            except re.error as error:
                raise ValueError(f"match is no regular expression ({error}): correct it") from None
        if self.state == "present" and self.line is None:
            raise ValueError("a line that is to be present needs `line`")
        if self.state == "absent" and (self.line is None) == (self.match is None):
            raise ValueError("to remove lines give either `line` or `match`")
        if self.line is not None and "\n" in self.line:
            raise ValueError("`line` is one line: use the block step for more")
        return self


class BlockParams(Params):
    """Lines between two marker comments in a text file; everything else in it stays."""

    path: AbsolutePath
    label: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]*$")]
    content: str | None = None
    template: str | None = None
    comment: Annotated[str, StringConstraints(pattern=r"^[#;!/\"\-]{1,2}$")] = "#"
    position: Literal["start", "end"] = "end"
    state: Literal["present", "absent"] = "present"

    @model_validator(mode="after")
    def _one_source(self) -> BlockParams:
        given = (self.content is not None) + (self.template is not None)
        if given != (1 if self.state == "present" else 0):
            raise ValueError("give a block either content or template, and an absent block neither")
        return self


class UnitParams(Params):
    """A systemd unit; it is restarted when one of the steps or tasks in restart_on changed something since."""

    name: UnitName
    running: bool | None = None
    enabled: bool | None = None
    restart_on: tuple[str, ...] = ()
    settle_s: Annotated[float, Field(ge=0, le=600)] = 8.0  # units that die at once look active for a moment

    @model_validator(mode="after")
    def _something(self) -> UnitParams:
        if self.running is None and self.enabled is None:
            raise ValueError("say whether the unit is to be running or enabled")
        if self.restart_on and self.running is not True:
            raise ValueError("restart_on needs `running: true`")
        return self


class CommandParams(Params):
    """A command that runs once: a guard (creates, unless, onlyif) or `always: true` is required."""

    argv: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    shell: str | None = None
    creates: AbsolutePath | None = None
    unless: str | None = None
    onlyif: str | None = None
    always: bool = False
    env: dict[EnvName, Text] = Field(default_factory=dict)
    stdin: str | None = None
    cwd: AbsolutePath = "/"
    timeout_s: Seconds = 600
    ok_codes: tuple[int, ...] = (0,)

    @model_validator(mode="after")
    def _guarded(self) -> CommandParams:
        if (self.argv is None) == (self.shell is None):
            raise ValueError("give either argv or shell")
        guarded = self.creates is not None or self.unless is not None or self.onlyif is not None
        if guarded == self.always:
            raise ValueError("give a guard (creates, unless or onlyif), or `always: true` without one")
        return self


class HostnameParams(Params):
    """The short host name, in the kernel and in /etc/hostname."""

    name: HostName


class SqlLogin(Params):
    """Who makes it, over the network: a user that may make databases and grant rights."""

    host: str
    port: Port = 3306
    user: SqlName
    password: str


class SqlParams(Params):
    """A MariaDB database, a user with its password, and what the user may do in the database.

    Without `login` it is made as root through the socket of the host's own server.
    """

    database: SqlName | None = None
    charset: SqlName = "utf8mb4"
    user: SqlName | None = None
    user_host: SqlHost = "%"
    password: Annotated[str, StringConstraints(min_length=8)] | None = None
    privileges: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z ]+$")], ...] = ("ALL PRIVILEGES",)
    login: SqlLogin | None = None

    @model_validator(mode="after")
    def _complete(self) -> SqlParams:
        if self.database is None and self.user is None:
            raise ValueError("name a database, a user or both")
        if (self.user is None) != (self.password is None):
            raise ValueError("a user needs a password, and a password a user")
        return self


class TcpTarget(Params):
    """A TCP port that must accept a connection."""

    host: str
    port: Port


class WaitParams(Params):
    """Waits until a port answers or a command succeeds; fails at the deadline."""

    tcp: TcpTarget | None = None
    argv: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    shell: str | None = None
    deadline_s: Seconds = 60
    interval_s: Seconds = 1

    @model_validator(mode="after")
    def _one_condition(self) -> WaitParams:
        if sum(condition is not None for condition in (self.tcp, self.argv, self.shell)) != 1:
            raise ValueError("give exactly one of tcp, argv and shell")
        return self


class ProbeParams(Params):
    """A real operation and what it must answer.

    `sql` scripts run one after another, each over a connection of its own. `script` names a Python file in the role's
    checks/ folder (in a plan it is the file's text): it runs by the host's python3 with `input` as JSON on standard
    input, exit code 0 is good, and the last line it prints is shown. `@@nonce@@` stands for a random value, the same
    within one execution of the step. Tried again until deadline_s.
    """

    argv: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    shell: str | None = None
    script: str | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    sql: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    host: str | None = None
    port: Port = 3306
    user: SqlName | None = None
    password: str | None = None
    database: SqlName | None = None
    expect: Text | None = None
    expect_match: str | None = None
    timeout_s: Seconds = 30
    deadline_s: Annotated[float, Field(ge=0, le=86400)] = 0
    interval_s: Seconds = 1

    @model_validator(mode="after")
    def _one_operation(self) -> ProbeParams:
        if sum(operation is not None for operation in (self.argv, self.shell, self.sql, self.script)) != 1:
            raise ValueError("give exactly one of argv, shell, script and sql")
        if self.input and self.script is None:
            raise ValueError("input belongs to script")
        if self.sql is None and (self.host or self.user or self.password or self.database):
            raise ValueError("host, user, password and database belong to sql")
        answers = (self.expect is not None) + (self.expect_match is not None)
        if answers > 1 or (answers == 0 and self.script is None):
            raise ValueError("say what the answer must be: give either expect or expect_match")
        if self.expect_match is not None:
            try:
                re.compile(self.expect_match)
            except re.error as error:
                raise ValueError(f"expect_match is no regular expression ({error}): correct it") from None
        return self


class SysctlParams(Params):
    """Kernel parameters, now and after a reboot (in /etc/sysctl.d/<name>.conf); without any, the file goes."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$")]
    settings: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+([./][A-Za-z0-9_\-]+)+$")], Text]


STEP_TYPES: Final[Mapping[str, type[Params]]] = {
    "packages": PackagesParams,
    "debconf": DebconfParams,
    "file": FileParams,
    "ini": IniParams,
    "line": LineParams,
    "block": BlockParams,
    "unit": UnitParams,
    "command": CommandParams,
    "hostname": HostnameParams,
    "sql": SqlParams,
    "wait": WaitParams,
    "probe": ProbeParams,
    "sysctl": SysctlParams,
    "module": ModuleParams,
    "fetch": FetchParams,
    "user": UserParams,
    "reboot": RebootParams,
    "disk": DiskParams,
    "network": NetworkParams,
    "ansible": AnsibleParams,
    "rabbitmq": RabbitmqParams,
    "keystone": KeystoneParams,
    "openstack": OpenstackParams,
}


def checked_params(step_type: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-ready parameters with all defaults filled in; raises pydantic.ValidationError, KeyError (unknown type)."""
    return STEP_TYPES[step_type].model_validate(dict(params)).model_dump(mode="json")
