"""The families of installers: each has its own form of answers, kernel arguments and syntax by release."""

from __future__ import annotations

import enum
from typing import Final


class Installer(enum.StrEnum):
    """The family of an installer: it decides the answers' form and the kernel's arguments."""

    DEBIAN = "debian-installer"
    ANACONDA = "anaconda"
    SUBIQUITY = "subiquity"
    AUTOYAST = "autoyast"


# Distributions whose release numbers are Red Hat's.
ENTERPRISE_LINUX: Final = ("centos", "rocky", "almalinux", "rhel")


def major(release: str | None) -> int | None:
    """`9` of `9.4`; None where the release is no number."""
    head = (release or "").partition(".")[0]
    return int(head) if head.isascii() and head.isdigit() else None
