"""Boot menus of one host: one model, rendered for iPXE, for PXELINUX and for GRUB."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pxeforge.domain.mac import MacAddress
from pxeforge.render.environment import kernel_line, render_template
from pxeforge.render.kernel_args import KernelArgsProblem, check_limits

LOCAL_ID: Final = "100"  # the number of "boot from the local disk" in every menu
MAX_APPEND_BYTES: Final = 2046  # PXELINUX cuts a longer configuration line
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.+~-]+(/[A-Za-z0-9_.+~-]+)*", re.ASCII)
_GRUB_START: Final = "grub-start.cfg.j2"
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_.+~/-]*)?", re.ASCII)


class MenuProblem(ValueError):
    """The menu cannot be rendered safely; the message says which entry and why."""


class EntryKind(enum.Enum):
    """What an entry does."""

    LOCAL = "local"
    INSTALL = "install"


class MenuKind(enum.Enum):
    """The boot loader that reads the menu; the value is the template in boot_templates/."""

    IPXE = "menu.ipxe.j2"
    PXELINUX = "pxelinux.cfg.j2"
    GRUB = "grub.cfg.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuEntry:
    """One entry. Paths are relative to the boot URL (iPXE) and to the TFTP root (PXELINUX, GRUB)."""

    id: str
    title: str
    kind: EntryKind
    kernel_path: str = ""
    initrd_paths: tuple[str, ...] = ()
    kernel_args: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise MenuProblem(f"menu entry id {self.id!r} must be 1 to 32 letters, digits, _ or -")
        if self.kind is EntryKind.LOCAL:
            return
        for path in (self.kernel_path, *self.initrd_paths):
            if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
                raise MenuProblem(f"menu entry {self.id}: {path!r} is not a plain relative path")
        try:
            check_limits(kernel_line(self.kernel_args))
        except KernelArgsProblem as error:
            raise MenuProblem(f"menu entry {self.id}: {error}") from None
        except ValueError as error:
            raise MenuProblem(f"menu entry {self.id}: {error}") from None


LOCAL_ENTRY: Final = MenuEntry(id=LOCAL_ID, title="Boot from the local disk", kind=EntryKind.LOCAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """The menu of one host. `prompt` False boots the default entry at once; True asks for `timeout_s` (0: for ever).

    An entry of kind LOCAL is added (number 100) when there is none.
    """

    host_name: str
    mac: MacAddress
    entries: tuple[MenuEntry, ...]
    default_id: str = LOCAL_ID
    timeout_s: int = 0
    prompt: bool = False

    def __post_init__(self) -> None:
        if not any(entry.kind is EntryKind.LOCAL for entry in self.entries):
            object.__setattr__(self, "entries", (*self.entries, LOCAL_ENTRY))
        ids = [entry.id for entry in self.entries]
        if len(set(ids)) != len(ids):
            raise MenuProblem(f"menu entries must have different ids: {', '.join(ids)}")
        if self.default_id not in ids:
            raise MenuProblem(f"the default entry {self.default_id!r} is not in the menu: {', '.join(ids)}")
        if not 0 <= self.timeout_s <= 3500:  # PXELINUX keeps 1/10 s in 16 bits
            raise MenuProblem(f"the menu timeout must be 0 to 3500 seconds, not {self.timeout_s}")

    @property
    def local_id(self) -> str:
        """The id of the first entry that boots the local disk."""
        return next(entry.id for entry in self.entries if entry.kind is EntryKind.LOCAL)


def local_menu(host_name: str, mac: MacAddress) -> Menu:
    """The menu of a host that is not armed: the local disk, at once."""
    return Menu(host_name=host_name, mac=mac, entries=(LOCAL_ENTRY,))


def armed_menu(host_name: str, mac: MacAddress, install: MenuEntry) -> Menu:
    """The menu of an armed, unattended host: the install entry at once, the local disk beside it."""
    return Menu(host_name=host_name, mac=mac, entries=(install, LOCAL_ENTRY), default_id=install.id)


def render_menu(kind: MenuKind, menu: Menu, *, boot_url: str, dirs: Sequence[Path]) -> str:
    """The menu as text. `boot_url` is `http://IP:port` without a last slash (PXELINUX loads by TFTP and ignores it).

    Raises MenuProblem (unsafe URL, APPEND line too long) and TemplateProblem.
    """
    root = grub_root(boot_url)
    text = render_template(kind.value, {"menu": menu, "boot_url": boot_url.rstrip("/"), "root": root}, dirs)
    if kind is MenuKind.PXELINUX:
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line.encode()) > MAX_APPEND_BYTES:
                raise MenuProblem(
                    f"line {number} of the PXELINUX menu has {len(line.encode())} bytes, {MAX_APPEND_BYTES} are read: "
                    "shorten the kernel arguments"
                )
    return text


def render_grub_start(*, boot_url: str, dirs: Sequence[Path]) -> str:
    """The grub.cfg that all hosts share: Debian's signed GRUB looks for no file of the host's own.

    It sends the host to its own menu, at our address: GRUB takes the DHCP server for the boot server.
    Raises MenuProblem and TemplateProblem.
    """
    return render_template(_GRUB_START, {"root": grub_root(boot_url)}, dirs)


def grub_root(boot_url: str) -> str:
    """The TFTP server of `http://IP:port` as a device of GRUB: `(tftp,IP)`; raises MenuProblem.

    Not HTTP: GRUB 2.12 knows `Content-Length` in this spelling only, our HTTP server writes it in lower case, and
    GRUB then waits for ever.
    """
    if not _URL.fullmatch(boot_url):
        raise MenuProblem(f"{boot_url!r} is not a boot URL like http://192.0.2.1:8080")
    return f"(tftp,{urlsplit(boot_url).hostname})"
