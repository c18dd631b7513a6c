"""Fills the package cache from the command line, beside a running server: both know of each other's downloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pxeforge.app.assembly import open_context
from pxeforge.app.upstream import open_cache
from pxeforge.services import prefetch
from pxeforge.services.cache_store import forget_missing, missing_files
from pxeforge.services.problems import Problem
from pxeforge.services.repository_paths import checked_path

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings


def prefetch_packages(
    settings: Settings,
    *,
    profile: str | None,
    blueprint: str | None = None,
    with_plan: bool = False,
    packages: Sequence[str] = (),
    missing: bool = False,
    dry_run: bool = False,
    tell: Callable[[int, int, str], None] = lambda _done, _all, _name: None,
) -> dict[str, Any]:
    """What is needed, what of it was missing, and what could not be had; raises Problem.

    `missing`: what was asked for in vain while upstream was away, instead of or besides a profile's needs.
    """
    cache = open_cache(settings, for_hosts=False)
    needs = prefetch.Needs()
    if missing:
        needs = prefetch.needs_of_missing(missing_files(settings.data_dir / "cache"))
    if profile is not None:
        ctx = open_context(settings, upgrade=True)
        found = prefetch.needs_of_profile(
            ctx, cache, profile, blueprint=blueprint, with_plan=with_plan, packages=packages
        )
        found.files |= needs.files
        needs = found
    lacking = prefetch.missing_of(cache, needs)
    problems = [] if dry_run else prefetch.fetch_missing(cache, needs, tell)
    if missing and not dry_run and not problems:
        forget_missing(settings.data_dir / "cache")
    return {
        "needed_files": len(needs.files),
        "needed_bytes": sum(size or 0 for size, _ in needs.files.values()),
        "missing": [{"name": name, "size_bytes": size} for name, size in sorted(lacking.items())],
        "missing_bytes": sum(size or 0 for size in lacking.values()),
        "notes": needs.notes,
        "problems": problems,
    }


def forget_file(settings: Settings, name: str) -> None:
    """Removes one file of the cache, so that it is fetched anew; raises Problem."""
    mirror, _, path = name.partition("/")
    cache = open_cache(settings, for_hosts=False)
    if mirror not in cache.names or not cache.store.forget(f"{mirror}/{checked_path(path)}"):
        raise Problem(f"there is no file {name} in the package cache: write it like debian/pool/main/…")
