"""Which package mirror stands behind /mirror: the setting, or the one this computer's apt uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pxeforge.services.image_import import ImportProblem, apt_mirror
from pxeforge.services.mirror import Mirror

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings


def open_mirror(settings: Settings) -> Mirror | None:
    """None where none is configured; hosts then need a profile with a mirror of its own."""
    try:
        upstream = settings.mirror or apt_mirror().base_url
    except ImportProblem as problem:
        structlog.get_logger().warning("no package mirror", reason=str(problem))
        return None
    return Mirror(upstream, settings.data_dir / "cache")
