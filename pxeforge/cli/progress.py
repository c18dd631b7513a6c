"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bar

from pxeforge.services.import_progress import Progress

_LINE_EVERY_S = 5.0


@contextlib.contextmanager
def printing_progress() -> Iterator[Callable[[Progress], None]]:
    """Gives a function that takes import_progress.Progress values."""
    if sys.stdout.isatty():
        with Bar(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda step: bar.update(
                task,
                description=step.note or step.stage.value,
                completed=step.done_bytes,
                total=step.total_bytes or None,
            )
        return
    last: dict[str, Any] = {"stage": None, "at": 0.0}

    def line(step: Progress) -> None:
        now = time.monotonic()
        if step.stage == last["stage"] and now - last["at"] < _LINE_EVERY_S:
            return
        last.update(stage=step.stage, at=now)
        share = f" {100 * step.done_bytes // step.total_bytes} %" if step.total_bytes and step.done_bytes else ""
        sys.stdout.write(f"{step.stage.value}{share} {step.note}".rstrip() + "\n")
        sys.stdout.flush()

    yield line
