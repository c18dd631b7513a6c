"""What roles ask of release packs is in each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pxeforge.engine.release import load_releases

TOP = Path(__file__).resolve().parents[2]
_ASKED = re.compile(r"""\brelease\.(packages|units|options)(?:\.([a-z_]+)|\[['"]([a-z0-9-]+)['"]\])""")
PACKS = load_releases([TOP / "releases"])


def asked() -> set[tuple[str, str, str]]:
    """Part, role and the file that asks."""
    files = [path for path in sorted((TOP / "roles").rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {
        (match[1], match[2] or match[3], path.relative_to(TOP).as_posix())
        for path in files
        for match in _ASKED.finditer(path.read_text(encoding="utf-8"))
    }


def test_roles_ask_release_packs() -> None:
    assert ("packages", "keystone", "roles/keystone/role.yaml") in asked()


@pytest.mark.parametrize("name", sorted(PACKS))
def test_a_pack_has_all_that_roles_ask_for(name: str) -> None:
    pack = PACKS[name]
    there = {"packages": pack.packages, "units": pack.units, "options": pack.options}
    missing = {(part, role, file) for part, role, file in asked() if role not in {*there[part], *pack.lacks}}
    assert not missing, f"add them to releases/{name}.yaml"
