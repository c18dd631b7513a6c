"""How an import tells how far it is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class ImportStage(enum.Enum):
    """Where an import is."""

    INDEX = "index"  # what is signed: InRelease and Packages.xz, or the checksums beside an ISO
    DOWNLOAD = "download"
    CHECK = "check"  # the SHA256 of what the operator gave
    UNPACK = "unpack"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of progress; `done_bytes` of `total_bytes` in this stage, `note` is a short text for people."""

    stage: ImportStage
    done_bytes: int = 0
    total_bytes: int = 0
    note: str = ""


Tell = Callable[[Progress], None]
