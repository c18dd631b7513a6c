"""python -m pxeforge.engine.draw_blueprints FOLDER: draws each shipped blueprint into FOLDER/blueprint-NAME.svg."""

from __future__ import annotations

import sys
from pathlib import Path

from pxeforge.assets import asset_dirs
from pxeforge.engine.blueprint import load_blueprint
from pxeforge.engine.blueprint_picture import blueprint_svg
from pxeforge.engine.document import DocumentProblem
from pxeforge.engine.roles import load_roles

_NOBODYS = Path("/nonexistent")  # an operator's own files are not drawn


def pictures() -> dict[str, str]:
    """By file name, the picture of each shipped blueprint; raises DocumentProblem for a faulty one."""
    roles = load_roles(asset_dirs("roles", _NOBODYS))
    found: dict[str, str] = {}
    for folder in asset_dirs("blueprints", _NOBODYS):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(f"blueprint-{path.stem}.svg", blueprint_svg(load_blueprint(path, roles), roles))
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pxeforge.engine.draw_blueprints FOLDER")
    folder = Path(sys.argv[1])
    try:
        drawn = pictures()
    except DocumentProblem as problem:
        sys.exit(str(problem))
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        (folder / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
