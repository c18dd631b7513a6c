"""Boot menus of one host: one model, rendered for iPXE, for PXELINUX and for GRUB."""

from __future__ import annotations

import enum
import functools
import hashlib
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
_MESSAGE: Final = "boot.msg.j2"  # what stands above the prompt
_PAUSES_S: Final = (4, 8, 12, 16, 24, 32)  # each up to twice as long: three minutes at most
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_.+~/-]*)?", re.ASCII)


class MenuProblem(ValueError):
    """The menu cannot be rendered safely; the message says which entry and why."""


class EntryKind(enum.Enum):
    """What an entry does."""

    LOCAL = "local"
    INSTALL = "install"  # an installer's kernel and initrd, for a rescue system too
    PROGRAM = "program"  # one file that needs no operating system


class MenuKind(enum.Enum):
    """The boot loader that reads the menu; the value is the template in boot_templates/."""

    IPXE = "menu.ipxe.j2"
    PXELINUX = "pxelinux.cfg.j2"
    LPXELINUX = "lpxelinux.cfg.j2"
    GRUB = "grub.cfg.j2"

    @property
    def is_for_pcs(self) -> bool:
        """Whether it runs on x86 processors only."""
        return self in (MenuKind.PXELINUX, MenuKind.LPXELINUX)


@functools.lru_cache(maxsize=256)  # a rack asks for the same files all the time
def _is_plain(path: str) -> bool:
    return _PATH.fullmatch(path) is not None and not any(part in (".", "..") for part in path.split("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuEntry:
    """One entry. Paths are relative to the boot URL (iPXE, lpxelinux, GRUB) and to the TFTP root (PXELINUX, GRUB).

    `efi_path` is what UEFI starts in the place of the kernel, where it needs another file than BIOS does.
    """

    id: str
    title: str
    kind: EntryKind
    kernel_path: str = ""
    efi_path: str = ""
    initrd_paths: tuple[str, ...] = ()
    kernel_args: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise MenuProblem(f"menu entry id {self.id!r} must be 1 to 32 letters, digits, _ or -")
        if self.kind is EntryKind.LOCAL:
            return
        for path in (self.kernel_path, self.efi_path or self.kernel_path, *self.initrd_paths):
            if not _is_plain(path):
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
    boot_root, url = grub_root(boot_url), boot_url.rstrip("/")
    context: dict[str, object] = {
        "menu": menu,
        "boot_url": url,
        "boot_root": boot_root,
        "http_root": grub_root(boot_url, by_http=True),
        "base": f"{url}/" if kind is MenuKind.LPXELINUX else "",
        "pauses_s": retry_pauses(menu.mac),
        "message": render_template(_MESSAGE, {"menu": menu}, dirs).splitlines() if menu.prompt else [],
    }
    text = render_template(kind.value, context, dirs)
    if kind.is_for_pcs:
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line.encode()) > MAX_APPEND_BYTES:
                raise MenuProblem(
                    f"line {number} of the {kind.name} menu has {len(line.encode())} bytes, "
                    f"{MAX_APPEND_BYTES} are read: shorten the kernel arguments"
                )
    return text


def retry_pauses(mac: MacAddress) -> tuple[int, ...]:
    """The seconds to wait after each failed download. They grow, and differ per host: a rack that was powered on at
    once does not come back at once to a server that was too busy.
    """
    spread = hashlib.sha256(mac.octets).digest()
    return tuple(base + byte % base for base, byte in zip(_PAUSES_S, spread, strict=False))


def render_grub_start(*, boot_url: str, dirs: Sequence[Path], by_http: bool = False) -> str:
    """The grub.cfg that all hosts share: Debian's signed GRUB looks for no file of the host's own.

    It sends the host to its own menu, at our address: GRUB takes the DHCP server for the boot server. `by_http`: GRUB
    came by UEFI HTTP Boot, and everything else comes that way too. Raises MenuProblem and TemplateProblem.
    """
    return render_template(_GRUB_START, {"boot_root": grub_root(boot_url, by_http=by_http)}, dirs)


def grub_root(boot_url: str, *, by_http: bool = False) -> str:
    """The boot server as GRUB names it, `tftp,IP` or `http,IP:port`; raises MenuProblem."""
    if not _URL.fullmatch(boot_url):
        raise MenuProblem(f"{boot_url!r} is not a boot URL like http://192.0.2.1:8080")
    url = urlsplit(boot_url)
    return f"http,{url.netloc}" if by_http else f"tftp,{url.hostname}"
