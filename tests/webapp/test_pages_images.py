"""The pages of images tell files and users, verify, and remove what nobody needs."""

from __future__ import annotations

import hashlib
import html
import json
from pathlib import Path

from pxeforge.services import arming, hosts, images, install_ends, profiles
from pxeforge.services.context import Context
from tests.conftest import MAC, write_image

from .conftest import Browser

PATH = "/images/debian-13"


def page(browser: Browser, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def retell(folder: Path, **fields: object) -> None:
    manifest = folder / "image.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))


def test_the_page_shows_files_with_their_digests_and_no_place_on_the_disk(
    browser: Browser, ctx: Context, profile: str
) -> None:
    text = page(browser, PATH)
    assert hashlib.sha256(b"kernel").hexdigest() in text
    assert "signature" in text
    assert 'href="/profiles/debian-13"' in text
    assert str(ctx.data_dir) not in text


def test_an_image_that_nobody_vouches_for_is_marked(browser: Browser, ctx: Context) -> None:
    evil = "<script>alert(1)</script>"
    family = {"installer": "debian-installer", "distribution": evil, "release": evil, "tree": None, "live_image": None}
    folder = write_image(ctx.data_dir)
    retell(folder, **family, verified="unverified", sources={evil: evil}, kernel_version=evil)
    for path in ("/images", PATH):
        text = page(browser, path)
        assert "unverified" in text
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_verifying_tells_what_is_wrong_on_the_page(browser: Browser, ctx: Context, profile: str) -> None:
    assert "Every file is as it was imported" in browser.post(f"{PATH}/verify").get_data(as_text=True)
    (ctx.data_dir / "images/debian-13/20250803/linux").write_bytes(b"Kernel")
    told = browser.post(f"{PATH}/verify").get_data(as_text=True)
    assert "linux was changed" in told
    assert str(ctx.data_dir) not in told


def test_removing_asks_first_and_names_who_needs_it(browser: Browser, ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    asked = browser.post(f"{PATH}/remove").get_data(as_text=True)
    assert ">debian-13</a>" in asked
    assert ">n1</a>" in asked
    assert 'name="confirm"' not in asked
    browser.post(f"{PATH}/remove", {"confirm": "yes"})
    assert "remove the profile first" in page(browser, "/images")
    install_ends.disarm(ctx, "n1", who="test")
    profiles.remove(ctx, profile, who="test")
    assert 'name="confirm"' in browser.post(f"{PATH}/remove").get_data(as_text=True)
    assert images.list_images(ctx)
    browser.post(f"{PATH}/remove", {"confirm": "yes"})
    assert images.list_images(ctx) == []


def test_an_image_that_is_not_there_is_a_friendly_page(browser: Browser) -> None:
    assert "there is no image ghost" in page(browser, "/images/ghost", 404)
    browser.post("/images/ghost/verify")
    assert "there is no image ghost" in page(browser, "/images")


def test_what_can_be_imported_is_told_with_its_command(browser: Browser, ctx: Context, profile: str) -> None:
    text = html.unescape(page(browser, "/images"))
    commands = text.partition('id="import-commands">')[2].partition("</pre>")[0].splitlines()
    start = "pxeforge --data-dir DIR image import"  # the folder itself is not shown to everybody
    assert all(line.startswith(start) for line in commands)
    (debian,) = [line for line in commands if f"{start} debian-13 " in line]
    assert "here: 20250803" in debian
    assert any("memtest" in line and "here:" not in line for line in commands)
    assert any(line.startswith(f"{start} ubuntu-18.04 --from mirror --mirror URL") for line in commands)
