"""Renders what the installer of one host asks for: its preseed file and the early, disks and late scripts."""

from __future__ import annotations

import dataclasses
import enum
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pxeforge.render.environment import render_template

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(_LABEL)
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST_PORT = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ABSOLUTE = re.compile(r"(/[A-Za-z0-9._+~-]+)+/?")
_URL = re.compile(r"http://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_CRYPT = re.compile(r"\$(6|5|y|gy|7|2[aby])\$[A-Za-z0-9./$=,+-]{8,256}")
_SSH_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]{16,}( [^\x00-\x1f\x7f]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DEVICE_WORD = re.compile(r"[A-Za-z0-9_.:/+ @=-]{1,200}")


class AnswersProblem(ValueError):
    """A value cannot go into an answer file; the message names the field and says what is expected."""


class DiskRuleKind(enum.Enum):
    """How the install disk is named."""

    FIRST = "first"  # first disk that is not removable, in the installer's order
    SERIAL = "serial"  # serial number or WWN as udev or sysfs tells it
    BY_PATH = "by-path"  # a name in /dev/disk/by-path
    NAME = "name"  # a device like /dev/vda, for virtual disks without serial
    SIZE = "size"  # first disk that is not removable and between min_bytes and max_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRule:
    """Which disk to install to. `min_bytes`/`max_bytes` (None: no limit) are checked for every kind."""

    kind: DiskRuleKind = DiskRuleKind.FIRST
    value: str = ""
    min_bytes: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        needs_value = self.kind in (DiskRuleKind.SERIAL, DiskRuleKind.BY_PATH, DiskRuleKind.NAME)
        if needs_value and not _DEVICE_WORD.fullmatch(self.value):
            raise AnswersProblem(f"disk rule {self.kind.value} needs a value, not {self.value!r}")
        if not needs_value and self.value:
            raise AnswersProblem(f"disk rule {self.kind.value} takes no value, not {self.value!r}")
        if self.kind is DiskRuleKind.NAME and not self.value.startswith("/dev/"):
            raise AnswersProblem(f"disk rule name needs a device like /dev/vda, not {self.value!r}")
        if self.kind is DiskRuleKind.SIZE and self.min_bytes is None and self.max_bytes is None:
            raise AnswersProblem("disk rule size needs a smallest or a largest size")
        if (self.min_bytes or 0) < 0 or (self.max_bytes is not None and self.max_bytes < (self.min_bytes or 0)):
            raise AnswersProblem("disk rule: the largest size is below the smallest")

    @classmethod
    def parse(cls, text: str) -> DiskRule:
        """Reads `first`, `serial=…`, `by-path=…`, `name=/dev/vda`, `size=20G..500G` (either side may be missing)."""
        kind, _, value = text.strip().partition("=")
        if kind == "size":
            low, dots, high = value.partition("..")
            if not dots:
                raise AnswersProblem(f"disk rule {text!r}: write size=MIN..MAX, for example size=20G..500G")
            return cls(kind=DiskRuleKind.SIZE, min_bytes=_size_bytes(low), max_bytes=_size_bytes(high))
        try:
            return cls(kind=DiskRuleKind(kind), value=value)
        except AnswersProblem:
            raise
        except ValueError:
            kinds = ", ".join(kind.value for kind in DiskRuleKind)
            raise AnswersProblem(f"unknown disk rule {text!r}: use one of {kinds}") from None


def _size_bytes(text: str) -> int | None:
    """`20G` as bytes (powers of 1000, as disks are sold); empty is None."""
    if not text:
        return None
    match = re.fullmatch(r"([0-9]{1,12})([MGT]?)B?", text.strip(), re.ASCII)
    if match is None:
        raise AnswersProblem(f"{text!r} is not a disk size: write it like 20G")
    return int(match[1]) * {"": 1, "M": 10**6, "G": 10**9, "T": 10**12}[match[2]]


class DiskLayout(enum.Enum):
    """How the install disk is divided (partman's recipe `atomic`: all files in one partition)."""

    PLAIN = "plain"
    LVM = "lvm"


class PowerAction(enum.Enum):
    """What the installer does at its end."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the installed system. Without `password_hash` (crypt format) only ssh keys let it in."""

    name: str
    password_hash: str | None = None
    ssh_keys: tuple[str, ...] = ()
    sudo: bool = False

    def __post_init__(self) -> None:
        _check(_USER, "user name", self.name, "letters, digits, _ and -")
        if self.name == "root":
            raise AnswersProblem("root is not an account to create: use root_password_hash")
        _check_hash(f"password of user {self.name}", self.password_hash)
        for key in self.ssh_keys:
            _check(_SSH_KEY, f"ssh key of user {self.name}", key, "one line like 'ssh-ed25519 AAAA… comment'")


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSnippet:
    """A piece of shell (busybox sh, new system in $TARGET) run at the end of the install; may fail without harm."""

    name: str
    text: str

    def __post_init__(self) -> None:
        _check(_NAME, "late snippet name", self.name, "letters, digits, _ . -")
        if "\0" in self.text:
            raise AnswersProblem(f"late snippet {self.name} holds a NUL")


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
    security_host: str | None = None  # mirror of the security suite; None: not configured by d-i
    disk_rule: DiskRule = dataclasses.field(default_factory=DiskRule)
    wipe: bool | tuple[str, ...] = False  # True: any data; else serials (or by-path names) that may be wiped
    disk_layout: DiskLayout = DiskLayout.PLAIN
    fs: str = "ext4"
    users: tuple[Account, ...] = ()
    root_password_hash: str | None = None  # None: root has no password
    packages: tuple[str, ...] = ("openssh-server", "python3")
    timezone: str = "UTC"
    ntp_server: str | None = None  # asked once, during the install
    kernel_package: str | None = None  # None: d-i chooses
    late_snippets: tuple[LateSnippet, ...] = ()
    power_action: PowerAction = PowerAction.POWEROFF
    light: bool = False  # smallest udeb set, minbase, eatmydata: for virtual machines in a lab
    extra_lines: tuple[str, ...] = ()  # further preseed lines, each whole
    agent_sha256: str | None = None  # hex digest of <boot_url>/agent/pxeforge-agent.pyz; None: no agent (late fails)
    register_args: tuple[str, ...] = ()  # further words for `pxeforge-agent.pyz register`

    def __post_init__(self) -> None:
        _check(_HOSTNAME, "hostname", self.hostname, "one label of lower case letters, digits and -")
        _check(_DOMAIN, "domain", self.domain, "labels joined by dots")
        _check(_HOST_PORT, "mirror_host", self.mirror_host, "host or host:port")
        _check(_URL, "installer_url", self.installer_url, "http://IP:port/installer/TOKEN")
        _check(_URL, "boot_url", self.boot_url, "http://IP:port")
        _check(_ABSOLUTE, "mirror_directory", self.mirror_directory, "a path like /debian")
        _check(_WORD, "mirror_suite", self.mirror_suite, "a word like trixie")
        _check(_WORD, "udeb_suite", self.udeb_suite, "a word like trixie")
        _check(_HOST_PORT, "security_host", self.security_host, "host or host:port")
        _check(_WORD, "fs", self.fs, "a word like ext4")
        _check(_TIMEZONE, "timezone", self.timezone, "a name like Europe/Berlin")
        _check(_HOST_PORT, "ntp_server", self.ntp_server, "a host")
        _check(_PACKAGE, "kernel_package", self.kernel_package, "a package name")
        _check(_SHA256, "agent_sha256", self.agent_sha256, "64 hex digits")
        _check_hash("root_password_hash", self.root_password_hash)
        for package in self.packages:
            _check(_PACKAGE, "packages", package, "package names")
        for serial in self.wipe if isinstance(self.wipe, tuple) else ():
            _check(_DEVICE_WORD, "wipe", serial, "serial numbers")
        for line in self.extra_lines:
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line) or line.endswith("\\"):
                raise AnswersProblem(f"extra_lines: {line!r} must be one whole preseed line")
        _check_unique("user", [user.name for user in self.users])
        _check_unique("late snippet", [snippet.name for snippet in self.late_snippets])

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
            "jitter_s": zlib.crc32(self.hostname.encode()) % 7,  # a rack must not retry in step
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


def is_crypt_hash(text: str) -> bool:
    """Whether the text looks like crypt(5) output of a method that is still good (no DES, no MD5)."""
    return _CRYPT.fullmatch(text) is not None


def _check_hash(field: str, value: str | None) -> None:
    """Never shows the value: it may be the plain password."""
    if value is not None and not is_crypt_hash(value):
        raise AnswersProblem(f"{field} must be a hash ($6$…, $y$…), not plain text: make one with mkpasswd")


def _check_unique(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise AnswersProblem(f"a {what} is there twice: {', '.join(names)}")


def _check(pattern: re.Pattern[str], field: str, value: str | None, expected: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise AnswersProblem(f"{field}: {value!r} is not {expected}")
