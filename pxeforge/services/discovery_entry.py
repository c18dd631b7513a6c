"""The line of a menu that starts the discovery image: its files and the words of its kernel's command line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from pxeforge.render.menus import EntryKind, MenuEntry
from pxeforge.services.context import Context
from pxeforge.services.remembered import Remembered

DISCOVERY_IMAGE: Final = "discovery"
KERNEL: Final = "kernel"
INITRD: Final = "initrd.img"
_CONSOLES: Final = ("tty0", "ttyS0,115200n8")


def discovery_entry(ctx: Context, number: str, image: str, token: str, settings: dict[str, Any]) -> MenuEntry:
    """`image` is name/version, `settings` those of the host: its console counts here too."""
    console = (settings.get("parameters") or {}).get("console")
    words = [
        f"pxeforge.url={ctx.addresses.boot_url}/discovery/{token}", f"pxeforge.agent={_agent_sha256(ctx)}", "panic=60",
        *(f"console={one}" for one in ((console,) if console else _CONSOLES)),
    ]  # fmt: skip
    return MenuEntry(
        id=number, title="Report the hardware", kind=EntryKind.INSTALL, kernel_path=f"images/{image}/{KERNEL}",
        initrd_paths=(f"images/{image}/{INITRD}",), kernel_args=" ".join(words),
    )  # fmt: skip


def _agent_sha256(ctx: Context) -> str:
    return _digest(ctx.data_dir / "agent" / "pxeforge-agent.pyz") or "0"


def _read(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


_digest = Remembered(_read)
