"""Finds the files that are not Python: templates, web pages, roles. Operator first, then wheel, then checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ASSET_KINDS: Final = ("boot_templates", "preseed", "kickstart", "autoinstall", "web", "roles", "blueprints", "releases")
OPERATOR_ROOT: Final = Path("/etc/pxeforge")
_PACKAGE: Final = Path(__file__).resolve().parent


class AssetMissing(LookupError):
    """No place has the asset; the message names all places that were searched."""


def asset_dirs(kind: str, operator_dir: Path | None = None) -> tuple[Path, ...]:
    """The folders to search for `kind`, first wins; a folder need not exist.

    `operator_dir` replaces `/etc/pxeforge/<kind>`. Raises ValueError for a kind that is not in ASSET_KINDS.
    """
    if kind not in ASSET_KINDS:
        raise ValueError(f"unknown kind of asset {kind!r}: use one of {', '.join(ASSET_KINDS)}")
    places = [operator_dir if operator_dir is not None else OPERATOR_ROOT / kind, _PACKAGE / "_assets" / kind]
    checkout = _PACKAGE.parent
    # Beside an installed package lie other people's packages: only a checkout has pyproject.toml there.
    if (checkout / "pyproject.toml").is_file():
        places.append(checkout / kind)
    return tuple(places)


def find_asset(kind: str, name: str, operator_dir: Path | None = None) -> Path:
    """The first file or folder `name` (relative, e.g. `static/app.css`) of that kind; raises AssetMissing."""
    places = asset_dirs(kind, operator_dir)
    relative = Path(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise AssetMissing(f"{name!r} is not a name inside {kind}: write it relative and without '..'")
    for place in places:
        if (place / relative).exists():
            return place / relative
    raise AssetMissing(f"{kind}/{name} was not found in any of: {', '.join(map(str, places))}")
