"""Profiles are made, cloned, edited and removed on their pages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, arming, hosts, install_ends, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from tests.conftest import ACCOUNT, MAC, write_image

from .conftest import Browser

PATH = "/profiles/debian-13"


def page(browser: Browser, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def seen(browser: Browser, path: str = PATH) -> str:
    found = re.search(r'name="version" value="(\w+)"', page(browser, path))
    assert found
    return found[1]


def test_a_profile_is_made_from_an_image(browser: Browser, ctx: Context) -> None:
    write_image(ctx.data_dir)
    write_image(ctx.data_dir, "7.20", {"memtest.bin": b"b"}, name="memtest")
    offered = re.findall(r"<option>([^<]+)</option>", page(browser, "/profiles"))
    assert offered == ["debian-13"]
    made = browser.post("/profiles", {"name": "storage", "image": "debian-13"})
    assert made.headers["Location"] == "/profiles/storage"
    assert profiles.show(ctx, "storage")["image"] == "debian-13"


@pytest.mark.parametrize("name", ["", "Up", "a b", "../x", "<script>"])
def test_an_odd_name_is_refused(browser: Browser, ctx: Context, profile: str, name: str) -> None:
    browser.post("/profiles", {"name": name, "image": "debian-13"})
    assert "is not a profile name" in page(browser, "/profiles")
    browser.post(f"{PATH}/clone", {"name": name})
    assert "is not a profile name" in page(browser, PATH)
    assert [row["name"] for row in profiles.list_profiles(ctx)] == ["debian-13"]


def test_a_clone_has_the_same_parameters(browser: Browser, ctx: Context, profile: str) -> None:
    assert browser.post(f"{PATH}/clone", {"name": "copy"}).headers["Location"] == "/profiles/copy"
    one, two = profiles.show(ctx, "debian-13"), profiles.show(ctx, "copy")
    assert {key: one[key] for key in ("image", "template", "parameters")} == {
        key: two[key] for key in ("image", "template", "parameters")
    }
    browser.post(f"{PATH}/clone", {"name": "copy"})
    assert "there is a profile copy already" in page(browser, PATH)


def test_parameters_are_saved_and_set_back(browser: Browser, ctx: Context, profile: str) -> None:
    form = {"version": seen(browser), "p_timezone": "Europe/Vienna", "p_packages": "[htop]", "p_light": "true"}
    assert browser.post(PATH, form).status_code == 303
    saved = profiles.show(ctx, "debian-13")["parameters"]
    assert saved == {"accounts": [ACCOUNT], "timezone": "Europe/Vienna", "packages": ["htop"], "light": True}
    browser.post(PATH, {"version": seen(browser), "p_timezone": "", "p_light": ""})
    assert profiles.show(ctx, "debian-13")["parameters"] == {"accounts": [ACCOUNT], "packages": ["htop"]}


def test_an_error_stands_at_its_field_and_nothing_is_saved(browser: Browser, ctx: Context, profile: str) -> None:
    before = profiles.show(ctx, "debian-13")
    form = {"version": seen(browser), "p_disk": "nonsense<script>", "p_timezone": "Europe/Vienna"}
    response = browser.post(PATH, form)
    text = response.get_data(as_text=True)
    assert response.status_code == 400
    assert re.search(r'id="e-disk">unknown disk rule', text)
    assert 'value="nonsense&lt;script&gt;"' in text
    assert 'value="Europe/Vienna"' in text
    assert "<script>" not in text
    assert profiles.show(ctx, "debian-13") == before


def test_what_somebody_else_saved_meanwhile_is_not_overwritten_unseen(
    browser: Browser, ctx: Context, profile: str
) -> None:
    stale = seen(browser)
    profiles.change(ctx, "debian-13", parameters={"timezone": "Asia/Tokyo"}, who="other")
    response = browser.post(PATH, {"version": stale, "p_keymap": "de"})
    assert response.status_code == 400
    assert "Somebody has changed this profile" in response.get_data(as_text=True)
    assert profiles.show(ctx, "debian-13")["parameters"].get("keymap") is None


def test_image_and_template_are_chosen_from_what_there_is(browser: Browser, ctx: Context, profile: str) -> None:
    text = page(browser, PATH)
    assert '<optgroup label="debian-installer">' in text
    assert "<option selected>debian.cfg.j2</option>" in text
    assert "accounts.cfg.j2" not in text
    write_image(ctx.data_dir, name="debian-12")
    browser.post(PATH, {"version": seen(browser), "image": "debian-12", "template": "debian.cfg.j2"})
    assert profiles.show(ctx, "debian-13")["image"] == "debian-12"


def test_the_linter_speaks_on_the_page_and_on_the_page_of_all(browser: Browser, ctx: Context, profile: str) -> None:
    assert "Nothing to complain about" in page(browser, PATH)
    profiles.change(ctx, "debian-13", parameters={"extra_lines": ["d-i netcfg/enable boolean maybe"]}, who="test")
    for path in (PATH, "/lint"):
        text = page(browser, path)
        assert "netcfg/enable is a boolean" in text
        found = re.search(r'href="(/profiles/debian-13/preview\?what=answers)#L(\d+)"', text)
        assert found
        assert f'<li id="L{found[2]}" class="told">' in page(browser, found[1])


def test_a_profile_without_its_image_has_a_page_that_says_so(browser: Browser, ctx: Context) -> None:
    profiles.create(ctx, "lost", image="gone", parameters={"accounts": [ACCOUNT]}, who="test")
    assert "there is no image gone" in page(browser, "/profiles/lost")
    assert "gone (not imported)" in page(browser, "/profiles/lost")
    assert "there is no image gone" in page(browser, "/lint")
    assert "there is no image gone" in page(browser, "/profiles/lost/preview")


def test_removing_asks_first_and_names_who_is_armed(browser: Browser, ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    assert ">n1</a>" in page(browser, PATH)
    asked = browser.post(f"{PATH}/remove").get_data(as_text=True)
    assert ">n1</a>" in asked
    assert 'name="confirm"' not in asked
    browser.post(f"{PATH}/remove", {"confirm": "yes"})
    assert "disarm it first" in page(browser, PATH)
    install_ends.disarm(ctx, "n1", who="test")
    assert 'name="confirm"' in browser.post(f"{PATH}/remove").get_data(as_text=True)
    assert profiles.show(ctx, "debian-13")
    browser.post(f"{PATH}/remove", {"confirm": "yes"})
    with pytest.raises(NotFound):
        profiles.show(ctx, "debian-13")


def test_a_profile_that_is_not_there_is_a_friendly_page(browser: Browser) -> None:
    for path in ("/profiles/ghost", "/profiles/ghost/preview"):
        assert "there is no profile" in page(browser, path, 404)


def test_who_only_reads_sees_no_button_that_would_be_refused(
    new_browser: Callable[[], Browser], ctx: Context, profile: str
) -> None:
    accounts.add(ctx, "reader", "a long password", role=UserRole.VIEWER, who="test")
    host_id = hosts.add(ctx, macs=[MAC], name="n1", roles=["base"], who="test")["id"]
    reader = new_browser()
    reader.login("reader", "a long password")
    for path in (PATH, "/profiles", "/images/debian-13", "/images", f"/hosts/{host_id}", "/hosts", "/lint", "/plan"):
        posting = re.findall(r'<form method="post" action="([^"]+)"', page(reader, path))
        assert set(posting) <= {"/logout", PATH, "/arm", "/hosts/columns"}, path
        assert not re.search(r"<button[^>]*>(Save|Arm|Remove|Clone|Verify now|Make it)", page(reader, path)), path
    assert reader.post(PATH, {"version": seen(reader), "p_timezone": "Asia/Tokyo"}).status_code == 403
    assert "timezone" not in profiles.show(ctx, "debian-13")["parameters"]
