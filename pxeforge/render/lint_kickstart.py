"""Finds what Red Hat's installer would refuse, ask about or take for something else: mistakes in kickstart files."""

from __future__ import annotations

import re
import shlex
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.installer import ENTERPRISE_LINUX, major
from pxeforge.render.accounts import is_crypt_hash
from pxeforge.render.lint_finding import Finding, by_line, error, warning

_SECTION = re.compile(r"%(packages|pre|post|pre-install|onerror|traceback|addon|anaconda|certificate)\b")
_SCRIPT: Final = ("%pre", "%post", "%pre-install", "%onerror", "%traceback")
_TEMPLATE_REST = re.compile(r"\{\{|\}\}|\{%|%\}")
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_ON_LINE = re.compile(r"^The following problem occurred on line \d+ of the kickstart file:\s*")
_WARNED_LINE = re.compile(r"Ignoring deprecated option on line \d+: ")
_MOST_FATAL: Final = 50
_ENDS: Final = ("reboot", "poweroff", "halt", "shutdown")
_SOURCES: Final = ("url", "cdrom", "nfs", "harddrive", "hmc", "ostreesetup", "ostreecontainer", "liveimg")
_LAYOUT: Final = ("part", "partition", "autopart", "volgroup", "mount", "btrfs")
_MADE_DEVICES: Final = ("--bondslaves", "--bridgeslaves", "--teamslaves", "--vlanid", "--interfacename")
# pykickstart warns by the warnings module, whose filters belong to the whole process.
_warnings_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Script:
    """A script inside a kickstart file; `line` is the one before its first."""

    line: int
    section: str
    interpreter: str
    text: str


@dataclass(slots=True)
class _Read:
    """What pykickstart made of the file."""

    findings: list[Finding]
    commands: list[tuple[int, list[str]]]


def syntax_of(distribution: str | None, release: str | None) -> str:
    """The syntax that pykickstart knows for a release: `RHEL9`, `F41`; the newest for one it does not know yet."""
    from pykickstart.version import versionMap

    prefix = "RHEL" if distribution in ENTERPRISE_LINUX else "F"
    numbers = [int(name.removeprefix(prefix)) for name in versionMap if re.fullmatch(rf"{prefix}[0-9]+", name)]
    wanted = major(release) if distribution in (*ENTERPRISE_LINUX, "fedora") else None
    return f"{prefix}{wanted if wanted in numbers else max(numbers)}"


def lint_kickstart(text: str, syntax: str) -> list[Finding]:
    """All findings of a rendered kickstart file, by line; `syntax` as `syntax_of` tells it.

    Nothing is fetched or included. Passwords are never repeated in a message.
    """
    lines = text.split("\n")
    closed, origins, missing_ends = _with_ends(lines)
    read = _read(closed, origins, syntax)
    findings = [*_characters(lines), *missing_ends, *read.findings]
    findings += [finding for check in _CHECKS for finding in check(read.commands)]
    findings += _headers(lines)
    findings += _left_out([args[0] for _, args in read.commands], lines)
    return by_line(findings)


def scripts_of(text: str) -> list[Script]:
    """The scripts in a kickstart file, whole or not."""
    found: list[Script] = []
    opened: tuple[int, list[str]] | None = None
    body: list[str] = []

    def close() -> None:
        if opened is not None and opened[1][0] in _SCRIPT:
            found.append(Script(opened[0], opened[1][0], _interpreter(opened[1]), "\n".join([*body, ""])))

    for number, line in enumerate(text.split("\n"), start=1):
        if _SECTION.match(line):
            close()
            opened, body = (number, line.split()), []
        elif line.split()[:1] == ["%end"]:
            close()
            opened, body = None, []
        elif opened is not None:
            body.append(line)
    close()
    return found


def _interpreter(header: Sequence[str]) -> str:
    for index, word in enumerate(header):
        if word.startswith("--interpreter="):
            return word.partition("=")[2]
        if word == "--interpreter" and index + 1 < len(header):
            return header[index + 1]
    return "/bin/sh"


def _characters(lines: list[str]) -> Iterator[Finding]:
    section = ""
    for number, line in enumerate(lines, start=1):
        header = _SECTION.match(line)
        section = header[0] if header else "" if line.startswith("%end") else section
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            yield error(number, "control character (a carriage return?): write plain lines")
        if _TEMPLATE_REST.search(line) and section not in _SCRIPT:
            yield error(number, "a template expression was not rendered")
        if section not in _SCRIPT and re.search(r"\s\?--", line):
            yield error(number, "'?--' glues a question mark to an option: write '--'")
        if not line.isascii() and section not in _SCRIPT and not line.lstrip().startswith("#"):
            odd = next(char for char in line if not char.isascii())
            what = "a no-break space" if odd == "\u00a0" else repr(odd)
            yield error(number, f"not ASCII ({what}): the installer would read it as a part of the word")


def _with_ends(lines: list[str]) -> tuple[list[str], list[int], list[Finding]]:
    """The lines with each section closed, the original line of each, and what had to be closed.

    Releases up to 5 needed no %end; without one the rest of the file is read as a part of the section.
    """
    closed: list[str] = []
    origins: list[int] = []
    findings: list[Finding] = []
    opened: tuple[int, str] | None = None
    for number, line in [*enumerate(lines, start=1), (len(lines), None)]:
        header = None if line is None else _SECTION.match(line)
        if opened is not None and (header or line is None):
            findings.append(error(opened[0], f"the section {opened[1]} has no %end"))
            closed.append("%end")
            origins.append(number)
        if line is None:
            break
        if header:
            opened = (number, header[0])
        elif line.split()[:1] == ["%end"]:
            opened = None
        closed.append(line)
        origins.append(number)
    return closed, origins, findings


def _read(lines: list[str], origins: list[int], syntax: str) -> _Read:
    """Reads the file as the installer does; what it would stop at is told and passed over."""
    fatal: list[Finding] = []
    lines = list(lines)
    for _ in range(_MOST_FATAL):
        read, stopped = _read_once(lines, origins, syntax)
        if stopped is None:
            break
        index, message = stopped
        fatal.append(error(origins[index], message))
        lines[index] = ""
    read.findings += fatal
    return read


def _read_once(lines: list[str], origins: list[int], syntax: str) -> tuple[_Read, tuple[int, str] | None]:
    """What was read, and at which line (index, message) the parser gave up."""
    from pykickstart.errors import KickstartError, KickstartParseWarning
    from pykickstart.parser import KickstartParser
    from pykickstart.version import makeVersion

    read = _Read([], [])
    told = list[warnings.WarningMessage]()

    def origin(number: int | None) -> int:
        return origins[min(max((number or 1) - 1, 0), len(origins) - 1)]

    class Reader(KickstartParser):  # type: ignore[misc] # pykickstart has no types
        def _tryFunc(self, fn: Callable[[], None]) -> None:  # noqa: N802 - pykickstart's names
            try:
                fn()
            except KickstartError as problem:
                read.findings.append(error(origin(problem.lineno), _sentence(str(problem.message or problem))))
            except Exception as problem:
                read.findings.append(error(origin(self.at), _sentence(str(problem) or type(problem).__name__)))

        def handleCommand(self, lineno: int, args: list[str]) -> Any:  # noqa: N802
            self.at = lineno
            read.commands.append((origin(lineno), list(args)))
            try:
                return super().handleCommand(lineno, args)
            finally:
                read.findings.extend(
                    warning(origin(lineno), _sentence(_WARNED_LINE.sub("", str(one.message))))
                    for one in told
                    if issubclass(one.category, KickstartParseWarning) and not _is_harmless(str(one.message))
                )
                told.clear()

    reader = Reader(
        makeVersion(syntax), followIncludes=False, errorsAreFatal=False, missingIncludeIsFatal=False,
        unknownSectionIsFatal=True,
    )  # fmt: skip
    reader.at = 1
    with _warnings_lock, warnings.catch_warnings(record=True) as caught:
        told = caught
        warnings.simplefilter("always")
        try:
            reader.readKickstartFromString("\n".join(lines))
        except KickstartError as problem:
            index = min(max((problem.lineno or 1) - 1, 0), len(lines) - 1)
            return read, (index, _sentence(str(problem.message or "the line cannot be read")))
        except ValueError as problem:  # shlex: quotes that are not closed
            return read, (_unreadable(lines), f"the line cannot be split into words: {_sentence(str(problem))}")
    return read, None


def _is_harmless(said: str) -> bool:
    """Each of two mirrored disks has a place for the boot loader of its own, which is no mount point."""
    return "mountpoint biosboot" in said or "mountpoint prepboot" in said


def _unreadable(lines: list[str]) -> int:
    """The first line whose quotes are not closed."""
    for index, line in enumerate(lines):
        try:
            shlex.split(line, comments=True)
        except ValueError:
            return index
    return 0


def _sentence(text: str) -> str:
    text = " ".join(_ON_LINE.sub("", text).split())
    return text[:1].lower() + text[1:].rstrip(".") if text[:2].istitle() else text.rstrip(".")


def _options(args: Sequence[str]) -> dict[str, str]:
    """`--name=value` and `--name value` as a table; a flag has an empty value."""
    found: dict[str, str] = {}
    for index, word in enumerate(args):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            follows = args[index + 1] if index + 1 < len(args) and not args[index + 1].startswith("--") else ""
            found[name] = value if equals else follows
    return found


def _passwords(commands: Sequence[tuple[int, list[str]]]) -> Iterator[Finding]:
    for line, args in commands:
        options = _options(args)
        if args[0] in ("rootpw", "sshpw") and not {"--lock", "--sshkey"} & set(options):
            yield from _hash(line, args[0], args[-1], is_hash="--iscrypted" in options)
        elif args[0] in ("user", "bootloader") and options.get("--password"):
            yield from _hash(
                line, f"the password of `{args[0]}`", options["--password"], is_hash="--iscrypted" in options
            )


def _hash(line: int, what: str, value: str, *, is_hash: bool) -> Iterator[Finding]:
    if not is_hash:
        yield error(line, f"{what} is in plain text: use --iscrypted with a hash ($6$…)")
    elif not is_crypt_hash(value) and not value.startswith("grub.pbkdf2."):
        yield error(line, f"{what} is no crypt hash of a good method ($6$…, $y$…)")


def _disks(commands: Sequence[tuple[int, list[str]]]) -> Iterator[Finding]:
    is_restricted = any(args[0] == "ignoredisk" and _options(args).get("--only-use") for _, args in commands)
    for line, args in commands:
        options = _options(args)
        wipes = args[0] == "clearpart" and {"--all", "--linux"} & set(options)
        if (wipes and not options.get("--drives") and not is_restricted) or (
            args[0] == "autopart" and not is_restricted and not _is_cleared_by_drive(commands)
        ):
            yield error(
                line,
                f"`{args[0]}` takes every disk it finds, also those of a SAN: name the one to install to with "
                "`ignoredisk --only-use=…` or `clearpart --drives=…`",
            )


def _is_cleared_by_drive(commands: Sequence[tuple[int, list[str]]]) -> bool:
    return any(args[0] == "clearpart" and _options(args).get("--drives") for _, args in commands)


def _interfaces(commands: Sequence[tuple[int, list[str]]]) -> Iterator[Finding]:
    for line, args in commands:
        options = _options(args) if args[0] == "network" else {}
        device = options.get("--device", "")
        if device in ("", "link", "bootif", "ibft") or _MAC.fullmatch(device) or set(options) & set(_MADE_DEVICES):
            continue
        yield warning(line, f"`network --device={device}`: the name differs per machine, use `link` or the MAC address")


def _first_boot(commands: Sequence[tuple[int, list[str]]]) -> Iterator[Finding]:
    for line, args in commands:
        if args[0] == "firstboot" and {"--enable", "--enabled", "--reconfig"} & set(args):
            yield error(line, "`firstboot --enable` asks its questions at the first start: use --disable")
        if args[0] == "interactive":
            yield error(line, "`interactive` makes the installer ask")


_CHECKS: Final = (_passwords, _disks, _interfaces, _first_boot)


def _headers(lines: Sequence[str]) -> Iterator[Finding]:
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words[:1] == ["%post"] and "--erroronfail" in words:
            yield error(number, "%post --erroronfail stops the whole install when a small thing fails: leave it out")
        if words[:1] == ["%include"] and len(words) > 1 and "://" in words[1]:
            yield warning(number, "%include from a server is not looked at here, and fetched without the host's token")


def _left_out(names: Sequence[str], lines: Sequence[str]) -> Iterator[Finding]:
    """What the installer would ask for at the console."""
    last = max(len(lines), 1)
    has_include = any(line.startswith("%include") for line in lines)
    if not set(names) & set(_ENDS):
        yield warning(last, "no reboot or poweroff: the installer waits for a key at its end")
    if not has_include and not set(names) & set(_LAYOUT):
        yield warning(last, "no disk layout (autopart, part): the installer will ask for one")
    if not has_include and not set(names) & set(_SOURCES):
        yield warning(last, "no installation source (url --url=…): only the kernel's command line names it")
    if "rootpw" not in names and "user" not in names:
        yield warning(last, "neither rootpw nor user: the installer will ask for a password")
