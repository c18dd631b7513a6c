"""Which package mirrors stand behind /mirror: those of the settings, for Debian also apt's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.image_store import ImportProblem
from pxeforge.services.mirror_source import apt_mirror
from pxeforge.services.package_cache import PackageCache

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings


def open_cache(settings: Settings, *, for_hosts: bool = True) -> PackageCache:
    """Without any mirror for Debian the cache has the others; hosts then need a profile with a mirror of its own."""
    found = {name: Upstream(table.url, proxy=table.proxy or settings.mirror_proxy)
             for name, table in settings.mirrors.items()}  # fmt: skip
    if "debian" not in found:
        try:
            url = settings.mirror or apt_mirror().base_url
            found["debian"] = Upstream(url, proxy=settings.mirror_proxy)
        except ImportProblem as problem:
            structlog.get_logger().warning("no package mirror", reason=str(problem))
    return PackageCache(
        found, settings.data_dir / "cache", max_bytes=settings.cache_max_bytes,
        reserve_bytes=settings.cache_reserve_bytes, offline=settings.mirror_offline, for_hosts=for_hosts,
    )  # fmt: skip
