"""Renders what the installer of one host asks for: its preseed file and the early, disks and late scripts."""

from __future__ import annotations

import dataclasses
import enum
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pxeforge.domain.installer import Installer
from pxeforge.render.accounts import Account, check_hash
from pxeforge.render.autoinstall import autoinstall_variables
from pxeforge.render.disks import Disks
from pxeforge.render.environment import render_template
from pxeforge.render.install_source import InstallSource
from pxeforge.render.kickstart import kickstart_variables
from pxeforge.render.network import Network
from pxeforge.render.networkd import networkd_files, resolv_conf
from pxeforge.render.partman import FIRMWARE_MB, partman_plan
from pxeforge.render.repositories import Repository
from pxeforge.render.snippets import LateSnippet
from pxeforge.render.values import (
    ABSOLUTE,
    DOMAIN,
    HOST_PATH,
    HOST_PORT,
    HOSTNAME,
    LOCALE,
    PACKAGE,
    RPM_PACKAGE,
    SHA256,
    TIMEZONE,
    URL,
    WEB_URL,
    WORD,
    AnswersProblem,
    check,
    check_unique,
)

_PASSPHRASE: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


class PowerAction(enum.Enum):
    """What the installer does at its end."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"


class Upgrade(enum.Enum):
    """What happens to packages that the base system brought, where newer ones are at hand."""

    NONE = "none"
    SAFE = "safe-upgrade"
    FULL = "full-upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersContext:
    """All that the templates in preseed/ may use; every field is a template variable of the same name.

    Raises AnswersProblem when a value could not be written into the files as one value.
    """

    hostname: str  # one label
    domain: str
    mirror_host: str  # host or host:port, as d-i's mirror/http/hostname takes it
    installer_url: str  # http://IP:8080/installer/<token>, no last slash
    boot_url: str  # http://IP:8080, no last slash
    mirror_directory: str = "/debian"
    mirror_suite: str = "trixie"
    udeb_suite: str | None = None  # another suite for udebs only (an overlay)
    allow_unauthenticated: bool = False  # for an unsigned overlay in a lab; d-i then checks no signature at all
    mirror_proxy: str | None = None  # http://host:port/, for the installer and the installed system
    security_host: str | None = None  # what stands before /debian-security; None: not configured by d-i
    updates: bool = False  # the suite of stable updates
    disks: Disks = dataclasses.field(default_factory=Disks)
    network: Network = dataclasses.field(default_factory=Network)
    luks_passphrase: str | None = dataclasses.field(default=None, repr=False)
    repositories: tuple[Repository, ...] = ()
    users: tuple[Account, ...] = ()
    root_password_hash: str | None = None  # None: root has no password
    packages: tuple[str, ...] = ("openssh-server", "python3")
    tasks: tuple[str, ...] = ("standard", "ssh-server")  # of tasksel
    upgrade: Upgrade = Upgrade.NONE
    timezone: str = "UTC"
    ntp_server: str | None = None  # asked once, during the install
    kernel_package: str | None = None  # None: d-i chooses
    late_snippets: tuple[LateSnippet, ...] = ()
    power_action: PowerAction = PowerAction.POWEROFF
    light: bool = False  # smallest udeb set, minbase, eatmydata: for virtual machines in a lab
    extra_lines: tuple[str, ...] = ()  # further lines of a preseed or kickstart file, each whole
    agent_sha256: str | None = None  # hex digest of <boot_url>/agent/pxeforge-agent.pyz; None: no agent (late fails)
    register_args: tuple[str, ...] = ()  # further words for `pxeforge-agent.pyz register`
    source: InstallSource = dataclasses.field(default_factory=InstallSource)
    locale: str = "C"
    keymap: str = "us"
    installed_args: str = ""  # kernel arguments that the installed system keeps
    ubuntu_mirror: str | None = None  # URI of a mirror of Ubuntu; None: what the medium holds has to do

    def __post_init__(self) -> None:
        check(HOSTNAME, "hostname", self.hostname, "one label of lower case letters, digits and -")
        check(DOMAIN, "domain", self.domain, "labels joined by dots")
        check(HOST_PORT, "mirror_host", self.mirror_host, "host or host:port")
        check(URL, "installer_url", self.installer_url, "http://IP:port/installer/TOKEN")
        check(URL, "boot_url", self.boot_url, "http://IP:port")
        check(ABSOLUTE, "mirror_directory", self.mirror_directory, "a path like /debian")
        check(WORD, "mirror_suite", self.mirror_suite, "a word like trixie")
        check(WORD, "udeb_suite", self.udeb_suite, "a word like trixie")
        check(WEB_URL, "mirror_proxy", self.mirror_proxy, "http://host:port/")
        check(HOST_PATH, "security_host", self.security_host, "host, host:port or host:port/path")
        for task in self.tasks:
            check(PACKAGE, "tasks", task, "task names")
        if self.luks_passphrase is not None and not _PASSPHRASE.fullmatch(self.luks_passphrase):
            raise AnswersProblem("luks_passphrase must be 16 to 128 of A-Z, a-z, 0-9, _ and -")
        check(TIMEZONE, "timezone", self.timezone, "a name like Europe/Berlin")
        check(HOST_PORT, "ntp_server", self.ntp_server, "a host")
        check(PACKAGE, "kernel_package", self.kernel_package, "a package name")
        check(SHA256, "agent_sha256", self.agent_sha256, "64 hex digits")
        check_hash("root_password_hash", self.root_password_hash)
        # Parameters are checked before anybody knows for which system: then either form will do.
        is_debian = self.source.release and self.source.installer is not Installer.ANACONDA
        for package in self.packages:
            check(PACKAGE if is_debian else RPM_PACKAGE, "packages", package, "package names")
        for line in self.extra_lines:
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line) or line.endswith("\\"):
                raise AnswersProblem(f"extra_lines: {line!r} must be one whole preseed line")
        check_unique("user", [user.name for user in self.users])
        check_unique("repository", [repository.name for repository in self.repositories])
        check_unique("late snippet", [snippet.label for snippet in self.late_snippets])
        check(LOCALE, "locale", self.locale, "a name like en_US.UTF-8")
        check(WORD, "keymap", self.keymap, "a word like us")
        check(WEB_URL, "ubuntu_mirror", self.ubuntu_mirror, "http://host/path")
        self._family_variables()

    def variables(self) -> dict[str, object]:
        """The template variables: the fields, and what follows from them."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        # d-i can create one user itself; it is there even when the late script cannot be fetched.
        first = next((user for user in self.users if user.password_hash), None)
        sudo = ("sudo",) if any(user.sudo for user in self.users) else ()
        return {
            **values,
            "installer_user": first,
            "all_packages": tuple(dict.fromkeys((*self.packages, *sudo))),
            "partman": partman_plan(self.disks),
            "firmware_mb": FIRMWARE_MB,
            "resolv_conf": resolv_conf(self.network),
            "network_files": networkd_files(self.network),
            "jitter_s": zlib.crc32(self.hostname.encode()) % 7,  # a rack must not retry in step
            **self._family_variables(),
        }

    def _family_variables(self) -> Mapping[str, object]:
        """What only the templates of this installer use; raises AnswersProblem for what it cannot do."""
        more = _FAMILIES.get(self.source.installer)
        return more(self) if more is not None else {}


_FAMILIES: Final[Mapping[Installer, Callable[[AnswersContext], Mapping[str, object]]]] = {
    Installer.ANACONDA: kickstart_variables,
    Installer.SUBIQUITY: autoinstall_variables,
}


def render_answers(template: str, context: AnswersContext, dirs: Sequence[Path]) -> str:
    """The preseed file, from a template like `debian.cfg.j2` in `dirs`. Raises TemplateProblem."""
    return render_template(template, context.variables(), dirs)


def render_early(context: AnswersContext, dirs: Sequence[Path]) -> str:
    """The script behind `<installer_url>/early`, run when d-i has read its answers. Raises TemplateProblem."""
    return render_template("early.sh.j2", context.variables(), dirs)


def render_disks(context: AnswersContext, dirs: Sequence[Path]) -> str:
    """The disk guard behind `<installer_url>/disks`, run before the first disk is opened. Raises TemplateProblem."""
    return render_template("disks.sh.j2", context.variables(), dirs)


def render_late(context: AnswersContext, dirs: Sequence[Path]) -> str:
    """The script behind `<installer_url>/late`, run in d-i when /target is complete. Raises TemplateProblem."""
    return render_template("late.sh.j2", context.variables(), dirs)
