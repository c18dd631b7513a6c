"""Renders the script that erases disks: those that were named by their serials, and no others."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pxeforge.render.answers import AnswersContext, PowerAction
from pxeforge.render.environment import render_template
from pxeforge.render.values import AnswersProblem

MOST_DISKS: Final = 256
# What a disk may call itself: printable, no path (a device's name may be another disk at the next boot).
_SERIAL = re.compile(r"[A-Za-z0-9][ -.0-~]{0,127}", re.ASCII)


class AfterWipe(enum.Enum):
    """What the host is once its disks are erased."""

    KNOWN = "known"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What is erased and how. Raises AnswersProblem."""

    serials: tuple[str, ...]
    overwrite: bool = False  # every byte, not only what leads to data
    power: PowerAction = PowerAction.POWEROFF
    after: AfterWipe = AfterWipe.KNOWN

    def __post_init__(self) -> None:
        if not self.serials or len(self.serials) > MOST_DISKS:
            raise AnswersProblem(f"name 1 to {MOST_DISKS} disks by their serials")
        if len(set(self.serials)) != len(self.serials):
            raise AnswersProblem("a disk is named twice")
        for serial in self.serials:
            if not _SERIAL.fullmatch(serial) or serial != serial.strip():
                raise AnswersProblem(
                    f"{serial!r} is not the serial of a disk (a path is none): see `pxeforge host show`"
                )

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> Erasure:
        """From what `plain()` gave."""
        return cls(
            serials=tuple(plain["serials"]), overwrite=bool(plain["overwrite"]), power=PowerAction(plain["power"]),
            after=AfterWipe(plain["after"]),
        )  # fmt: skip

    def words(self) -> str:
        word = "disk" if len(self.serials) == 1 else f"{len(self.serials)} disks"
        return f"{word} {', '.join(self.serials)}"

    def plain(self) -> dict[str, Any]:
        return {
            "serials": list(self.serials), "overwrite": self.overwrite, "power": self.power.value,
            "after": self.after.value,
        }  # fmt: skip


def render_wipe(context: AnswersContext, erasure: Erasure, dirs: Sequence[Path]) -> str:
    """The script behind `<installer_url>/wipe`, run before the partitioner opens a disk. Raises TemplateProblem."""
    return render_template("wipe.sh.j2", {**context.variables(), "erasure": erasure}, dirs)
