"""What docs/blueprints.md shows is what is read."""

from __future__ import annotations

import re
from pathlib import Path

from pxeforge.engine.blueprint import parse_blueprint
from pxeforge.engine.blueprint_form import RawBlueprint, RawRule
from pxeforge.engine.package_fix import with_fixes
from pxeforge.engine.release import parse_release
from pxeforge.engine.role_steps import TEMPLATE_NAMES
from pxeforge.engine.roles import Selector, load_roles

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs/blueprints.md").read_text(encoding="utf-8")
BLUEPRINT, PACK = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_blueprint_of_the_page_can_be_used() -> None:
    found = parse_blueprint(BLUEPRINT, "page", load_roles([TOP / "roles"]), [TOP / "blueprints"])
    assert [network.name for network in found.networks] == ["api", "data", "provider"]


def test_the_release_pack_of_the_page_fits_the_role_that_it_mends() -> None:
    release = parse_release(PACK, "page", "debian-12-zed")
    horizon = with_fixes(load_roles([TOP / "roles"])["horizon"], release.fixes)
    assert any(step.onlyif for task in horizon.tasks for step in task.steps)


def test_every_key_selector_and_name_is_told() -> None:
    table = {word for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for word in re.findall(r"`(.*?)`", row)}
    keys = {*RawBlueprint.model_fields, *RawRule.model_fields} - {
        "name",
        "summary",
        "release",
        "match",
        "count",
        "optional",
        "roles",
    }
    assert keys <= table
    assert {name.partition(".")[0] for name in table} >= TEMPLATE_NAMES - {"range"}
    selectors = [word for word in table if "role:" in word or word == "all"]
    assert {Selector.parse(text).way for text in selectors} == {"each", "first", "quorum", "all"}
