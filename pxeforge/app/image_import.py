"""The process of one import that somebody asked the server for: `python -m pxeforge.app.image_import ID`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from pxeforge.app.processes import die_with_parent, do_without_extras, settings_from_environment
from pxeforge.services.import_progress import ImportStage, Progress

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings
    from pxeforge.services.context import Context

_TELL_EVERY_S: Final = 1.0
_NICENESS: Final = 5  # hosts that boot come first


def carry_out(settings: Settings, import_id: str) -> None:
    """Does it, and writes down how it ended."""
    from pxeforge.app.assembly import open_context
    from pxeforge.app.imports import Wish, import_for
    from pxeforge.services import image_imports
    from pxeforge.services.image_store import ImportProblem
    from pxeforge.services.problems import Problem

    ctx = open_context(settings)
    wanted = image_imports.wanted(ctx, import_id)
    if wanted is None:
        return
    wish = Wish(name=wanted.name, source=wanted.source, mirror=wanted.mirror)
    try:
        if settings.mirror_offline and wanted.mirror is None:
            raise ImportProblem("the setting mirror_offline keeps the server from asking mirrors: change it first")
        image, _profile = import_for(ctx, settings, wish, wanted.actor, progress=_Teller(ctx, import_id))
    except (ImportProblem, Problem) as problem:
        image_imports.fail(ctx, import_id, str(problem))
    else:
        image_imports.succeed(ctx, import_id, image)
    ctx.database.close()


class _Teller:
    """Writes progress down once a second: downloads tell it for every few kilobytes."""

    def __init__(self, ctx: Context, import_id: str) -> None:
        self._ctx, self._id = ctx, import_id
        self._stage: ImportStage | None = None
        self._told_at = 0.0

    def __call__(self, progress: Progress) -> None:
        from pxeforge.services import image_imports
        from pxeforge.services.problems import StoreUnavailable

        now = time.monotonic()
        if progress.stage is self._stage and now - self._told_at < _TELL_EVERY_S:
            return
        self._stage, self._told_at = progress.stage, now
        with contextlib.suppress(StoreUnavailable):  # the next one may be written
            image_imports.tell(self._ctx, self._id, progress)


def main() -> None:
    from pxeforge.app import logs

    do_without_extras()
    settings = settings_from_environment()
    die_with_parent()
    os.nice(_NICENESS)
    logs.set_up(settings, "import")
    carry_out(settings, sys.argv[1])


if __name__ == "__main__":
    main()
