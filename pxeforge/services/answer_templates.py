"""The answer templates to choose from, by the family of installers that reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pxeforge.domain.installer import ENTERPRISE_LINUX, Installer
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage
from pxeforge.services.install_sources import FOLDERS

# How the names of those templates end that a profile can name.
_ENDINGS: Final = {
    Installer.DEBIAN: ".cfg.j2",
    Installer.ANACONDA: ".ks.j2",
    Installer.SUBIQUITY: "user-data.j2",
    Installer.AUTOYAST: ".xml.j2",
}
_PART: Final = re.compile(r"{%-?\s*(?:include|import|extends|from)\b(?P<names>.*?)-?%}", re.DOTALL)
_NAME: Final = re.compile(r"[\"']([\w./-]+\.j2)[\"']")


def templates(ctx: Context) -> dict[str, list[str]]:
    """The templates of each family that has any; parts that another template includes are left out."""
    found = {}
    for family, ending in _ENDINGS.items():
        texts = _texts(ctx.assets(FOLDERS[family]))
        parts = {part for text in texts.values() for names in _PART.findall(text) for part in _NAME.findall(names)}
        names = sorted(name for name in texts if name.endswith(ending) and name not in parts)
        if names:
            found[family.value] = names
    return found


def default_template(ctx: Context, image: ImportedImage) -> str | None:
    """The template that answers this installer, the distribution's own where there is one; None where there is none."""
    if image.installer is None:
        return None
    known = templates(ctx).get(image.installer.value, [])
    major = (image.release or "").partition(".")[0]
    starts = [f"{image.distribution}-{major}.", f"{image.distribution}{major}.", f"{image.distribution}."]
    if image.distribution in ENTERPRISE_LINUX:
        starts.append("enterprise-linux.")
    own = [name for start in starts for name in known if name.startswith(start)]
    return next(iter([*own, *known]), None)


def _texts(folders: tuple[Path, ...]) -> dict[str, str]:
    """By name; the operator's folder comes first and wins."""
    texts: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.j2")):
            try:
                texts.setdefault(path.name, path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                texts.setdefault(path.name, "")  # named all the same: the linter says what is wrong with it
    return texts
