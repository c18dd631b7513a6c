"""From a profile's parameters and a host to what the answer templates need; checked when they are set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pxeforge.domain.installer import Installer
from pxeforge.render.accounts import Account
from pxeforge.render.answers import AnswersContext, PowerAction, Upgrade
from pxeforge.render.disks import (
    DATA_LABELS,
    DiskLayout,
    DiskRule,
    Disks,
    ReservedDisk,
    parse_partitions,
    parse_reserve,
)
from pxeforge.render.install_source import InstallSource
from pxeforge.render.kernel_args import (
    KernelArgsProblem,
    anaconda_args,
    installer_args,
    rescue_preset,
    subiquity_args,
)
from pxeforge.render.kickstart import Release
from pxeforge.render.network import Network
from pxeforge.render.preset import static_network_preset
from pxeforge.render.repositories import Repository
from pxeforge.render.snippets import LateSnippet
from pxeforge.render.values import AnswersProblem
from pxeforge.services import budgets
from pxeforge.services.context import Addresses
from pxeforge.services.problems import Problem

# Every parameter of a profile, with its default. The reference page in docs/ is made from this table.
DEFAULTS: dict[str, Any] = {
    "accounts": [],  # [{name, password_hash, ssh_keys: […], sudo, groups: […]}]
    "root_password_hash": None,
    "disk": "first",  # first | serial=… | by-path=… | name=/dev/vda | size=20G..500G
    "wipe": False,  # true, or a list of serials that may be wiped though they carry data
    "keep_labels": list(DATA_LABELS),  # a disk that carries one of these is not wiped by `wipe: true`
    "reserved_disks": [],  # [{name, disk}]: neither chosen nor touched
    "layout": "plain",  # plain | lvm | raid1 | luks
    "mirror_disk": None,  # raid1: the second disk, as `disk`
    "partitions": [],  # [{mount, size, filesystem}]
    "volume_group": "vg0",
    "reserve": None,  # lvm, luks: 200G or 40% of the volume group stay free
    "filesystem": "ext4",
    "network": {},  # {nics, bonds, vlans, bridges, dns, search}; default: DHCP on the NIC that netboots
    "packages": ["openssh-server", "python3"],
    "tasks": ["standard", "ssh-server"],  # of tasksel
    "upgrade": "none",  # none | safe-upgrade | full-upgrade
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
    "mirror_proxy": None,  # HTTP proxy in front of the mirror, kept by the installed system
    "security_host": None,  # host[:port][/path] of the security mirror, without the last /debian-security
    "updates": False,  # the suite of stable updates as well
    "repositories": [],  # [{name, url, suite, components: […], key | key_url}]
    "udeb_suite": None,
    "allow_unauthenticated": False,  # unsigned udebs, for a lab only
    "light": False,  # the smallest Debian, for virtual hosts in a lab
    "late_snippets": [],  # [{name, text}], shell run in the new system's tree, each logged
    "extra_lines": [],
    "kernel_args": "",  # for the installer only
    "installed_kernel_args": "",  # kept by the installed system
    "console": None,  # e.g. ttyS0,115200n8
    "power_action": "reboot",  # reboot | poweroff
    "budgets": {},  # {name: seconds}: how long the parts of an install may take, where they differ
}
# Parameters whose worth hangs on `layout`, and what reads each of them alone.
_BOUND_TO_THE_LAYOUT: dict[str, Callable[[Any], object]] = {
    "mirror_disk": DiskRule.parse,
    "partitions": parse_partitions,
    "reserve": parse_reserve,
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
        if isinstance(default, dict) and not isinstance(value, dict):
            raise Problem(f"parameter {key} must be a mapping")
        if (isinstance(default, str) or default is None) and not isinstance(value, str | None):
            raise Problem(f"parameter {key} must be a text")
        if key == budgets.PARAMETER:
            budgets.check(value)
        if key == "wipe" and not isinstance(value, bool | list):
            raise Problem("parameter wipe must be true, false or a list of disk serials")
    merged = effective(parameters)
    answers_context(merged, hostname="probe", suite="probe", addresses=_PROBE, token="0" * 32, agent_sha256=None)
    kernel_args(merged, hostname="probe", addresses=_PROBE, token="0" * 32)


def check_host_parameters(parameters: Mapping[str, Any]) -> None:
    """The same for parameters that lie over a profile's: what hangs on its layout is checked when a host is armed."""
    loose = () if "layout" in parameters else _BOUND_TO_THE_LAYOUT
    check_parameters({key: value for key, value in parameters.items() if key not in loose})
    for key in loose:
        if parameters.get(key) is None:
            continue
        try:
            _BOUND_TO_THE_LAYOUT[key](parameters[key])
        except (AnswersProblem, TypeError, AttributeError) as problem:
            raise Problem(f"parameter {key} not usable: {problem}") from problem


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
    late_snippets: Sequence[LateSnippet] | None = None,
    luks_passphrase: str | None = None,
    source: InstallSource | None = None,
) -> AnswersContext:
    """Everything a template may use; `token` is the installer token of this attempt. Raises Problem.

    `late_snippets`: those of all sources; None: the profile's alone. `source` None: Debian's installer.
    """
    p, source = parameters, source or InstallSource()
    consoles = [f"console={p['console']}"] if p["console"] else []
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
            mirror_proxy=p["mirror_proxy"],
            security_host=p["security_host"],
            updates=p["updates"],
            repositories=tuple(Repository.parse(entry) for entry in p["repositories"]),
            disks=_disks(p),
            luks_passphrase=luks_passphrase,
            network=Network.parse(p["network"]),
            users=tuple(Account.parse(entry) for entry in p["accounts"]),
            root_password_hash=p["root_password_hash"],
            packages=tuple(dict.fromkeys([*p["packages"], "python3"])),  # the agent needs python3
            tasks=tuple(p["tasks"]),
            upgrade=Upgrade(p["upgrade"]),
            timezone=p["timezone"],
            ntp_server=p["ntp_server"],
            kernel_package=p["kernel_package"],
            late_snippets=tuple(late_snippets if late_snippets is not None else snippets_of(p)),
            power_action=PowerAction(p["power_action"]),
            light=p["light"],
            extra_lines=tuple(p["extra_lines"]),
            agent_sha256=agent_sha256,
            source=source,
            locale=p["locale"],
            keymap=p["keymap"],
            installed_args=" ".join([*consoles, *p["installed_kernel_args"].split()]),
            ubuntu_mirror=f"http://{p['mirror_host']}{p['mirror_directory']}" if p["mirror_host"] else None,
        )
    except (AnswersProblem, ValueError, TypeError, AttributeError) as problem:
        raise Problem(f"parameter not usable: {problem}") from problem


def is_encrypted(parameters: Mapping[str, Any]) -> bool:
    """Whether the install needs a passphrase for its disk."""
    return bool(parameters["layout"] == DiskLayout.LUKS.value)


def snippets_of(
    parameters: Mapping[str, Any], source: str = "profile", origin: str = ""
) -> tuple[LateSnippet, ...]:  # fmt: skip
    """The late snippets in parameters of a profile or host; raises AnswersProblem."""
    return tuple(LateSnippet.parse(entry, source, origin) for entry in parameters.get("late_snippets", ()))


def kernel_args(
    parameters: Mapping[str, Any], *, hostname: str, addresses: Addresses, token: str, boot_mac: str | None = None,
    source: InstallSource | None = None,
) -> str:  # fmt: skip
    """The installer's kernel command line; `token` opens the answers, `boot_mac` netboots. Raises Problem."""
    answers_url = f"{addresses.boot_url}/answers/{token}"
    if source is not None and source.installer is not Installer.DEBIAN:
        return _other_args(parameters, addresses, source, answers_url)
    try:
        static = Network.parse(parameters["network"]).static_address(boot_mac)
    except AnswersProblem as problem:
        raise Problem(f"parameter not usable: {problem}") from problem
    preset = static_network_preset(static) if static is not None else ()
    return _args(parameters, hostname, addresses, answers_url=answers_url, preset=preset)


def rescue_args(
    parameters: Mapping[str, Any], *, hostname: str, addresses: Addresses, suite: str,
    source: InstallSource | None = None,
) -> str:  # fmt: skip
    """The kernel command line of a rescue system: it fetches no answers and so needs no token. Raises Problem."""
    if source is not None and source.installer is not Installer.DEBIAN:
        return _other_args(parameters, addresses, source, None)
    mirror_host = parameters["mirror_host"] or f"{addresses.boot_address}:{addresses.boot_port}"
    directory = parameters["mirror_directory"]
    preset = rescue_preset(mirror_host=mirror_host, mirror_directory=directory, suite=suite)
    return _args(parameters, hostname, addresses, preset=preset)


def has_rescue(source: InstallSource) -> bool:
    """Whether the installer can be started as a rescue system."""
    return source.installer in (Installer.DEBIAN, Installer.ANACONDA)


def _other_args(
    p: Mapping[str, Any], addresses: Addresses, source: InstallSource, answers_url: str | None
) -> str:  # fmt: skip
    try:
        if source.installer is Installer.ANACONDA and source.tree_url is not None:
            return anaconda_args(
                answers_url=answers_url, tree_url=source.tree_url, keymap=p["keymap"], console=p["console"],
                level=Release.of(source.distribution, source.release).level, log_host=addresses.boot_address,
                extra=p["kernel_args"],
            )  # fmt: skip
        if source.installer is Installer.SUBIQUITY and source.live_image_url is not None and answers_url is not None:
            return subiquity_args(
                answers_url=answers_url, live_image_url=source.live_image_url, release=source.major or 0,
                console=p["console"], extra=p["kernel_args"], installed_extra=p["installed_kernel_args"],
            )  # fmt: skip
    except (KernelArgsProblem, AnswersProblem) as problem:
        raise Problem(f"kernel arguments not usable: {problem}") from problem
    if answers_url is None:
        raise Problem(f"the installer of {source.distribution} {source.release} cannot be started as a rescue system")
    raise Problem(
        f"the image of {source.distribution} {source.release} cannot be installed from: it has no installation tree "
        "or no live image, import its medium again"
    )


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


def _disks(p: Mapping[str, Any]) -> Disks:
    reserve_bytes, reserve_percent = parse_reserve(p["reserve"])
    return Disks(
        rule=DiskRule.parse(p["disk"]),
        wipe=p["wipe"] if isinstance(p["wipe"], bool) else tuple(map(str, p["wipe"])),
        keep_labels=tuple(map(str, p["keep_labels"])),
        reserved=tuple(ReservedDisk.parse(entry) for entry in p["reserved_disks"]),
        layout=DiskLayout(p["layout"]),
        mirror_rule=DiskRule.parse(p["mirror_disk"]) if p["mirror_disk"] else None,
        filesystem=p["filesystem"],
        partitions=parse_partitions(p["partitions"]),
        volume_group=p["volume_group"],
        reserve_bytes=reserve_bytes,
        reserve_percent=reserve_percent,
    )
