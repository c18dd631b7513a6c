"""The kernel command line of an installer: what it must know before it can fetch its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pxeforge.render.environment import kernel_line, kernel_word

# COMMAND_LINE_SIZE of the kernel on x86 is 2048 with the final NUL; PXELINUX adds BOOTIF= (27 bytes) and BOOT_IMAGE=.
MAX_ARGS_BYTES: Final = 1900
# Linux hands at most 32 unknown `name=value` words to init and panics at the next one (CONFIG_INIT_ENV_ARG_LIMIT).
MAX_INIT_WORDS: Final = 30
_KERNELS_OWN: Final = frozenset({"console", "mitigations", "root", "initrd", "panic", "BOOT_IMAGE"})


class KernelArgsProblem(ValueError):
    """The kernel command line cannot work; the message says which word or limit."""


def installer_args(
    *,
    answers_url: str | None,
    hostname: str,
    domain: str,
    language: str = "C",
    country: str = "US",
    locale: str = "C",
    keymap: str = "us",
    interface: str = "auto",
    log_host: str | None = None,
    frontend: str | None = "text",
    console: str | None = None,
    ipv6: bool = False,
    udeb_suite: str | None = None,
    allow_unauthenticated_udebs: bool = False,
    extra: str = "",
    installed_extra: str = "",
    preset: Sequence[str] = (),
) -> str:
    """One line: words for d-i, then `---`, then words that the installed system's boot loader keeps too.

    `console` (like `ttyS0,115200n8`) goes to both sides; `extra` only to d-i, `installed_extra` only behind `---`.
    `preset`: debconf questions answered here, `question=value`; without `answers_url` they are all that is answered.
    With `BOOTIF=` (added by the boot loader) `interface=auto` means the NIC that netbooted (netcfg(8)).
    Raises KernelArgsProblem.
    """
    words = [
        *(["auto=true"] if answers_url else []),
        "priority=critical",
        *([f"url={answers_url}"] if answers_url else []),
        *preset,
        # A name from DHCP beats get_hostname (alias hostname=) but not netcfg/hostname.
        f"hostname={hostname}",
        f"netcfg/hostname={hostname}",
        f"domain={domain}",
        # locale=C alone makes d-i ask for a country.
        f"language={language}",
        f"country={country}",
        f"locale={locale}",
        f"keymap={keymap}",
        f"interface={interface}",
    ]
    if log_host:
        words.append(f"log_host={log_host}")
    if frontend:
        words.append(f"DEBIAN_FRONTEND={frontend}")
    if not ipv6:
        words.append("ipv6.disable=1")  # else every start waits for a router advertisement
    if udeb_suite:
        words.append(f"mirror/udeb/suite={udeb_suite}")
    if allow_unauthenticated_udebs:
        words.append("debian-installer/allow_unauthenticated=true")
    consoles = [f"console={console}"] if console else []
    try:
        before = [*map(kernel_word, words + consoles), *kernel_line(extra).split()]
        after = [*map(kernel_word, consoles), *kernel_line(installed_extra).split()]
    except ValueError as error:
        raise KernelArgsProblem(str(error)) from None
    if "---" in before or "--" in before or "---" in after:
        raise KernelArgsProblem("do not write '---' in extra kernel arguments: it is added, once, at the right place")
    line = " ".join([*before, "---", *after])
    check_limits(line)
    return line


def rescue_preset(*, mirror_host: str, mirror_directory: str, suite: str) -> tuple[str, ...]:
    """What makes the installer a rescue system: it fetches its parts from the mirror, partitions nothing, and asks at
    the console what to do.
    """
    return (
        "rescue/enable=true",
        "mirror/country=manual",
        "mirror/protocol=http",
        f"mirror/http/hostname={mirror_host}",
        f"mirror/http/directory={mirror_directory}",
        "mirror/http/proxy=",
        f"mirror/suite={suite}",
    )


def anaconda_args(
    *,
    answers_url: str | None,
    tree_url: str,
    level: int,
    keymap: str = "us",
    log_host: str | None = None,
    console: str | None = None,
    extra: str = "",
) -> str:
    """One line for Red Hat's installer; `level` 6 is Enterprise Linux 6. Without `answers_url` its rescue system.

    Both find the NIC that netbooted by `BOOTIF=` (added by the boot loader), the older one if it is told to. What the
    installed system's boot loader is to keep stands in the kickstart file. Raises KernelArgsProblem.
    """
    if level <= 6:
        words = [f"ks={answers_url}"] if answers_url else ["rescue"]
        words += ["ksdevice=bootif", "ip=dhcp", "noipv6", f"repo={tree_url}/", "lang=en_US.UTF-8", f"keymap={keymap}"]
        words += [f"syslog={log_host}:514"] if log_host else []
    else:
        words = [f"inst.ks={answers_url}"] if answers_url else ["inst.rescue"]
        words += [f"inst.repo={tree_url}/", f"inst.stage2={tree_url}/", "ip=dhcp", "inst.text", f"inst.keymap={keymap}"]
        words += [f"inst.syslog={log_host}:514"] if log_host else []
    words += [f"console={console}"] if console else []
    return _line(words, extra, None)


def subiquity_args(
    *,
    answers_url: str,
    live_image_url: str,
    release: int,
    console: str | None = None,
    extra: str = "",
    installed_extra: str = "",
) -> str:
    """One line for Ubuntu's installer: words for it, then `---`, then what the installed system keeps.

    `answers_url` is the folder of user-data and meta-data, without its last slash. Releases before 24.04 know neither
    `iso-url` nor the network under the name `nocloud`; `url` would be read once more by cloud-init, hence
    cloud-config-url (cloud-init#6836). Raises KernelArgsProblem.
    """
    is_new = release >= 24
    image = [f"iso-url={live_image_url}"] if is_new else [f"url={live_image_url}"]
    source = "nocloud" if is_new else "nocloud-net"
    words = ["autoinstall", "ip=dhcp", *image, "cloud-config-url=/dev/null", f"ds={source};s={answers_url}/"]
    consoles = [f"console={console}"] if console else []
    return _line([*words, *consoles], extra, [*consoles, *installed_extra.split()])


def _line(words: Sequence[str], extra: str, installed: Sequence[str] | None) -> str:
    try:
        before = [*map(kernel_word, words), *kernel_line(extra).split()]
        after = [*map(kernel_word, installed or ())]
    except ValueError as error:
        raise KernelArgsProblem(str(error)) from None
    if {"---", "--"} & {*before, *after}:
        raise KernelArgsProblem("do not write '---' in extra kernel arguments: it is added, once, at the right place")
    line = " ".join([*before, *(["---", *after] if installed is not None else [])])
    check_limits(line)
    return line


def check_limits(line: str) -> None:
    """Raises KernelArgsProblem when the kernel would cut the line or panic on the number of words."""
    size = len(line.encode())
    if size > MAX_ARGS_BYTES:
        raise KernelArgsProblem(
            f"the kernel command line has {size} bytes, {MAX_ARGS_BYTES} are allowed: shorten the extra arguments"
        )
    count = init_words(line)
    if count > MAX_INIT_WORDS:
        raise KernelArgsProblem(
            f"the kernel command line has {count} words for the installer; the kernel panics above 32: "
            f"move some to the answer file (at most {MAX_INIT_WORDS})"
        )


def init_words(line: str) -> int:
    """How many `name=value` words the kernel does not know itself and keeps for init."""
    names = [word.partition("=")[0] for word in line.split() if "=" in word]
    return sum(1 for name in names if name not in _KERNELS_OWN and "." not in name)
