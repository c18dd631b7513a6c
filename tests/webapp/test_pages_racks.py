"""The rack page: hosts are drawn where they stand and placed by a form."""

from __future__ import annotations

import re

import pytest

from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.webapp.pages.racks import UNIT_PX, draw

from .conftest import Browser

MAC, OTHER_MAC = "52:54:00:12:34:56", "52:54:00:12:34:57"


def add(ctx: Context, name: str = "db-01", mac: str = MAC) -> str:
    return str(hosts.add(ctx, macs=[mac], name=name, who="test")["id"])


def page(browser: Browser, path: str = "/racks") -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.get_data(as_text=True)


def test_without_racks_and_hosts_the_page_says_what_to_do(browser: Browser) -> None:
    assert "No racks and no hosts yet" in page(browser)


def test_a_host_is_drawn_in_its_unit_with_its_state_in_words(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    hosts.change(ctx, one, settings={"rack": {"name": "r1", "unit": 3, "height": 2}}, who="test")
    text = page(browser)
    assert f'href="/hosts/{one}" id="box-{one}" class="box s-known"' in text
    assert 'aria-label="db-01, known, units 3 to 4"' in text
    assert "2 of 42 units taken" in text


def test_unit_one_is_at_the_floor_and_taken_units_are_not_free() -> None:
    host = {"unit": 1, "height": 2, "host": "a", "host_id": "a", "state": "known", "mac": None, "roles": []}
    drawing = draw({"rack": "r1", "height": 10, "note": "", "units": [host], "unplaced": []})
    (box,) = drawing.boxes
    assert box.y + box.height == 10 * UNIT_PX + 1
    assert [unit for unit, _y in drawing.free] == list(range(10, 2, -1))
    assert drawing.taken == 2


def test_hosts_are_placed_moved_and_taken_out_by_the_form(browser: Browser, ctx: Context) -> None:
    add(ctx)
    assert ">db-01</a>" in page(browser).partition("Without a place")[2]
    for unit in ("7", "8"):
        browser.post("/racks/place", {"host": "db-01", "rack": "r1", "unit": unit, "height": "1", "do": "place"})
        assert f"db-01 stands in r1 unit {unit} now" in page(browser)
        assert hosts.show(ctx, "db-01")["settings"]["rack"]["unit"] == int(unit)
    browser.post("/racks/place", {"host": "db-01", "do": "out"})
    assert "rack" not in hosts.show(ctx, "db-01")["settings"]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"host": "db-02", "rack": "r1", "unit": "3"}, "db-01 stands at r1 unit 3"),
        ({"host": "db-02", "rack": "", "unit": "3"}, "say which rack"),
        ({"host": "db-02", "rack": "r1", "unit": "x"}, "the unit is a whole number"),
        ({"host": "db-02", "rack": "r1", "unit": "43"}, "rack r1 has 42 units"),
        ({"host": "nobody", "rack": "r1", "unit": "9"}, "no host is known as"),
        ({"host": " "}, "say which host"),
    ],
)
def test_a_place_that_cannot_be_is_refused_with_the_reason(
    browser: Browser, ctx: Context, form: dict[str, object], why: str
) -> None:
    one = add(ctx)
    hosts.change(ctx, one, settings={"rack": {"name": "r1", "unit": 3}}, who="test")
    add(ctx, "db-02", OTHER_MAC)
    browser.post("/racks/place", {"do": "place", "height": "1", **form})
    assert why in page(browser).replace("&#39;", "'")
    assert "rack" not in hosts.show(ctx, "db-02")["settings"]


def test_a_rack_is_added_with_its_height_and_removed_when_empty(browser: Browser, ctx: Context) -> None:
    browser.post("/racks/set", {"name": "r7", "height": "12", "note": "row 3"})
    text = page(browser)
    assert "0 of 12 units taken" in text
    assert "row 3" in text
    browser.post("/racks/remove", {"name": "r7"})
    assert "units taken" not in page(browser)


def test_many_racks_are_read_page_by_page(browser: Browser, ctx: Context) -> None:
    for number in range(10):
        browser.post("/racks/set", {"name": f"r{number}", "height": "4"})
    assert len(re.findall(r"<svg viewBox", page(browser))) == 8
    assert len(re.findall(r"<svg viewBox", page(browser, "/racks?page=2"))) == 2
    assert len(re.findall(r"<svg viewBox", page(browser, "/racks?rack=r3"))) == 1
