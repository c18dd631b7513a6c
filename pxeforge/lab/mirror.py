"""The Debian mirrors that apt on this machine is configured with, read at run time (no name is written anywhere)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable


class NoMirror(Exception):
    """apt's configuration names no Debian mirror; the message says what to do."""


def roots_of(uris: Iterable[str]) -> dict[str, str]:
    """First URL per repository root, e.g. `{"debian": "http://mirror/debian", "debian-security": ...}`."""
    roots: dict[str, str] = {}
    for uri in uris:
        url = uri.strip().rstrip("/")
        name = url.rsplit("/", 1)[-1]
        if url.startswith(("http://", "https://")) and name in ("debian", "debian-security"):
            roots.setdefault(name, url)
    return roots


def apt_mirrors() -> dict[str, str]:
    """Roots of apt's index targets; raises NoMirror when there is no `…/debian` among them."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoMirror(f"apt-get cannot list its mirrors ({error}): run this on Debian with a working apt") from error
    roots = roots_of(listed.split())
    if "debian" not in roots:
        raise NoMirror("apt's configuration names no mirror ending in /debian: add one to /etc/apt/sources.list.d")
    return roots


def debian_mirror() -> str:
    """Base URL of the main archive, without a slash at the end; raises NoMirror."""
    return apt_mirrors()["debian"]
