"""From a profile's parameters and a host to what the answer templates need; checked when they are set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pxeforge.render.answers import (
    Account,
    AnswersContext,
    AnswersProblem,
    DiskLayout,
    DiskRule,
    LateSnippet,
    PowerAction,
)
from pxeforge.render.kernel_args import KernelArgsProblem, installer_args, rescue_preset
from pxeforge.services.context import Addresses
from pxeforge.services.problems import Problem

# Every parameter of a profile, with its default. The reference page in docs/ is made from this table.
DEFAULTS: dict[str, Any] = {
    "accounts": [],  # [{name, password_hash, ssh_keys: […], sudo}]
    "root_password_hash": None,
    "disk": "first",  # first | serial=… | by-path=… | name=/dev/vda | size=20G..500G
    "wipe": False,  # true, or a list of serials that may be wiped though they carry data
    "layout": "plain",  # plain | lvm
    "filesystem": "ext4",
    "packages": ["openssh-server", "python3"],
    "kernel_package": None,
    "domain": None,  # default: the domain of `serve`, else "internal"
    "timezone": "UTC",
    "language": "C",
    "country": "US",
    "locale": "C",
    "keymap": "us",
    "ntp_server": None,
    "mirror_host": None,  # default: our own boot plane, which pulls through from the upstream mirror
    "mirror_directory": "/mirror/debian",
    "udeb_suite": None,
    "allow_unauthenticated": False,  # unsigned udebs, for a lab only
    "light": False,  # the smallest Debian, for virtual hosts in a lab
    "late_snippets": [],  # [{name, text}], shell run in the new system's tree, each logged
    "extra_lines": [],
    "kernel_args": "",  # for the installer only
    "installed_kernel_args": "",  # kept by the installed system
    "console": None,  # e.g. ttyS0,115200n8
    "power_action": "reboot",  # reboot | poweroff
}
_PROBE = Addresses(boot_address="192.0.2.1")  # RFC 5737: only to check that parameters can be rendered


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises Problem for an unknown key or a value that no answer file can hold."""
    unknown = set(parameters) - set(DEFAULTS)
    if unknown:
        raise Problem(f"unknown parameter {min(unknown)!r}: known are {', '.join(sorted(DEFAULTS))}")
    for key, value in parameters.items():
        default = DEFAULTS[key]
        if value is None and default is not None:
            raise Problem(f"parameter {key} must not be empty: its default is {default!r}")
        if isinstance(default, bool) and key != "wipe" and not isinstance(value, bool):
            raise Problem(f"parameter {key} must be true or false")
        if isinstance(default, list) and not isinstance(value, list):
            raise Problem(f"parameter {key} must be a list")
        if (isinstance(default, str) or default is None) and not isinstance(value, str | None):
            raise Problem(f"parameter {key} must be a text")
        if key == "wipe" and not isinstance(value, bool | list):
            raise Problem("parameter wipe must be true, false or a list of disk serials")
    merged = effective(parameters)
    answers_context(merged, hostname="probe", suite="probe", addresses=_PROBE, token="0" * 32, agent_sha256=None)
    kernel_args(merged, hostname="probe", addresses=_PROBE, token="0" * 32)


def effective(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with the layers laid over them, last one on top."""
    merged = dict(DEFAULTS)
    for layer in layers:
        merged.update(layer)
    return merged


def answers_context(
    parameters: Mapping[str, Any],
    *,
    hostname: str,
    suite: str,
    addresses: Addresses,
    token: str,
    agent_sha256: str | None,
) -> AnswersContext:
    """Everything a template may use; `token` is the installer token of this attempt. Raises Problem."""
    p = parameters
    try:
        return AnswersContext(
            hostname=hostname,
            domain=p["domain"] or "internal",
            mirror_host=p["mirror_host"] or f"{addresses.boot_address}:{addresses.boot_port}",
            mirror_directory=p["mirror_directory"],
            mirror_suite=suite,
            udeb_suite=p["udeb_suite"],
            allow_unauthenticated=p["allow_unauthenticated"],
            boot_url=addresses.boot_url,
            installer_url=f"{addresses.boot_url}/installer/{token}",
            disk_rule=DiskRule.parse(p["disk"]),
            wipe=p["wipe"] if isinstance(p["wipe"], bool) else tuple(map(str, p["wipe"])),
            disk_layout=DiskLayout(p["layout"]),
            fs=p["filesystem"],
            users=tuple(_account(entry) for entry in p["accounts"]),
            root_password_hash=p["root_password_hash"],
            packages=tuple(dict.fromkeys([*p["packages"], "python3"])),  # the agent needs python3
            timezone=p["timezone"],
            ntp_server=p["ntp_server"],
            kernel_package=p["kernel_package"],
            late_snippets=tuple(
                LateSnippet(**_named(entry, "late_snippets", {"name", "text"})) for entry in p["late_snippets"]
            ),
            power_action=PowerAction(p["power_action"]),
            light=p["light"],
            extra_lines=tuple(p["extra_lines"]),
            agent_sha256=agent_sha256,
        )
    except (AnswersProblem, ValueError, TypeError, AttributeError) as problem:
        raise Problem(f"parameter not usable: {problem}") from problem


def kernel_args(parameters: Mapping[str, Any], *, hostname: str, addresses: Addresses, token: str) -> str:
    """The installer's kernel command line; `token` opens the answers. Raises Problem."""
    return _args(parameters, hostname, addresses, answers_url=f"{addresses.boot_url}/answers/{token}")


def rescue_args(parameters: Mapping[str, Any], *, hostname: str, addresses: Addresses, suite: str) -> str:
    """The kernel command line of a rescue system: it fetches no answers and so needs no token. Raises Problem."""
    mirror_host = parameters["mirror_host"] or f"{addresses.boot_address}:{addresses.boot_port}"
    directory = parameters["mirror_directory"]
    preset = rescue_preset(mirror_host=mirror_host, mirror_directory=directory, suite=suite)
    return _args(parameters, hostname, addresses, preset=preset)


def _args(
    p: Mapping[str, Any], hostname: str, addresses: Addresses, *, answers_url: str | None = None,
    preset: tuple[str, ...] = (),
) -> str:  # fmt: skip
    try:
        return installer_args(
            answers_url=answers_url,
            preset=preset,
            hostname=hostname,
            domain=p["domain"] or "internal",
            language=p["language"],
            country=p["country"],
            locale=p["locale"],
            keymap=p["keymap"],
            log_host=addresses.boot_address,
            console=p["console"],
            udeb_suite=p["udeb_suite"],
            allow_unauthenticated_udebs=p["allow_unauthenticated"],
            extra=p["kernel_args"],
            installed_extra=p["installed_kernel_args"],
        )
    except KernelArgsProblem as problem:
        raise Problem(f"kernel arguments not usable: {problem}") from problem


def _account(entry: Any) -> Account:
    values = _named(entry, "accounts", {"name", "password_hash", "ssh_keys", "sudo"})
    return Account(**{**values, "ssh_keys": tuple(values.get("ssh_keys", ()))})


def _named(entry: Any, parameter: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(entry, dict) or "name" not in entry or not set(entry) <= keys:
        raise ValueError(f"each entry of {parameter} has {', '.join(sorted(keys))}")
    return entry
