from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from pxeforge.engine.blueprint_picture import blueprint_svg
from pxeforge.engine.draw_blueprints import pictures
from tests.engine.test_blueprint import CLOUD, CLOUD_ROLES, cloud, parsed

TOP = Path(__file__).resolve().parents[2]
_SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return ["".join(item.itertext()) for item in ElementTree.fromstring(picture).iter(f"{_SVG}text")]


def test_a_picture_shows_networks_hosts_roles_and_vips() -> None:
    shown = texts(blueprint_svg(cloud(), CLOUD_ROLES))
    assert "10.42.0.0/24 · VLAN 10 · MTU 1500 · gateway 10.42.0.1 · pool 10.42.0.100 to 10.42.0.199" in shown
    assert "10.42.1.0/24 · for tunnel, storage" in shown
    assert "webVIP cloud 10.42.0.250" in shown  # its roles are the tip
    for text in ("name c1", "db", "zone az1", "disk objects: 20 GB or more", "2 hosts", "net", "provider"):
        assert text in shown


def test_each_rule_hangs_on_the_networks_that_it_needs() -> None:
    picture = ElementTree.fromstring(blueprint_svg(cloud(), CLOUD_ROLES))
    lines = sorted((float(line.get("x1") or 0) > 250, line.get("stroke")) for line in picture.iter(f"{_SVG}line"))
    api, data, provider = "#1f6feb", "#2da44e", "#bf8700"
    assert lines == [(False, api), (False, data), (False, provider), (True, api), (True, data)]


def test_without_networks_the_hosts_own_addresses_are_the_network() -> None:
    assert "the hosts' own addresses" in texts(blueprint_svg(parsed(), CLOUD_ROLES))


def test_what_a_blueprint_says_cannot_break_the_picture() -> None:
    picture = blueprint_svg(cloud(CLOUD.replace("summary: s", "summary: '<b> & \"x\"'")), CLOUD_ROLES)
    assert '<b> & "x"' in texts(picture)


def test_the_pictures_in_docs_are_up_to_date() -> None:
    drawn = pictures()
    told = "draw them anew: .venv/bin/python -m pxeforge.engine.draw_blueprints docs/pictures"
    there = {path.name: path.read_text(encoding="utf-8") for path in TOP.glob("docs/pictures/blueprint-*.svg")}
    assert there == drawn, told
