"""What an image tells of the system that is installed from it: its installer, its release, where its packages lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pxeforge.domain.installer import Installer, major
from pxeforge.render.values import URL, WORD, check

_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSource:
    """`tree_url` has no last slash; `repositories` are folders of the tree with packages of their own (AppStream)."""

    installer: Installer = Installer.DEBIAN
    distribution: str = "debian"
    release: str = ""  # 13, 9.4, 24.04; empty: not known
    tree_url: str | None = None
    live_image_url: str | None = None  # squashfs or ISO that the installer fetches
    repositories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(WORD, "distribution", self.distribution, "a word like debian")
        check(WORD, "release", self.release or None, "a number like 9.4")
        check(URL, "tree_url", self.tree_url, "http://IP:port/path")
        check(URL, "live_image_url", self.live_image_url, "http://IP:port/path")
        for folder in self.repositories:
            check(_FOLDER, "repository of the tree", folder, "the name of a folder")

    @property
    def major(self) -> int | None:
        """`9` of `9.4`."""
        return major(self.release)
