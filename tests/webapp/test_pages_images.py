"""The pages of images tell files and users, verify, and remove what nobody needs."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, arming, hosts, image_imports, images, install_ends, profiles
from pxeforge.services.context import Context
from pxeforge.services.image_store import load_image
from pxeforge.services.import_progress import ImportStage, Progress
from pxeforge.webapp.admin import create_admin
from tests.conftest import MAC, write_image

from .conftest import PASSWORD, Browser

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
    commands = text.partition('id="import-commands" tabindex="0">')[2].partition("</pre>")[0].splitlines()
    start = "pxeforge --data-dir DIR image import"  # the folder itself is not shown to everybody
    assert all(line.startswith(start) for line in commands)
    (debian,) = [line for line in commands if f"{start} debian-13 " in line]
    assert "here: 20250803" in debian
    assert any("memtest" in line and "here:" not in line for line in commands)
    assert any(line.startswith(f"{start} ubuntu-18.04 --from mirror --mirror URL") for line in commands)


def import_form(name: str) -> str:
    """The button that imports this image, as the page has it."""
    return f'<input type="hidden" name="name" value="{name}"><button'


def running(ctx: Context) -> image_imports.Wanted:
    taken = image_imports.take(ctx)
    assert taken is not None
    return taken


def test_without_images_the_page_offers_the_first_one(browser: Browser, ctx: Context) -> None:
    text = page(browser, "/images")
    assert "No images yet" in text
    assert ">Import debian-13</button>" in text
    assert "hx-trigger" not in text
    asked = browser.post("/images/import", {"name": "debian-13"})
    assert asked.status_code == 303
    text = page(browser, "/images")
    assert "The import of debian-13 was begun" in text
    assert "No images yet" not in text
    assert 'id="live" hx-get="/images" hx-trigger="every 2s"' in text
    assert "It begins once the imports before it are over" in text
    assert [row["asked_by"] for row in image_imports.list_imports(ctx)] == ["admin"]


def test_an_import_is_seen_as_it_goes_and_can_be_cancelled(browser: Browser, ctx: Context) -> None:
    browser.post("/images/import", {"name": "debian-13"})
    progress = Progress(stage=ImportStage.DOWNLOAD, done_bytes=12_000_000, total_bytes=48_000_000, note="pool/x.deb")
    image_imports.tell(ctx, running(ctx).id, progress)
    text = page(browser, "/images")
    assert 'downloads <span class="mono">pool/x.deb</span>: 12 MB of 48 MB' in text
    assert '<progress aria-label="debian-13" max="48000000" value="12000000"></progress>' in text
    assert 'aria-label="Import debian-13"' not in text
    browser.post("/images/import", {"name": "debian-13"})
    assert "debian-13 is being imported already" in page(browser, "/images")
    browser.post("/images/import/cancel", {"name": "debian-13"})
    text = page(browser, "/images")
    assert "The import of debian-13 was cancelled" in text
    assert "cancelled by admin" in text
    assert "<progress" not in text
    assert ">Try again</button>" in text


def test_a_failed_import_says_why_and_one_that_found_nothing_newer_too(
    browser: Browser, ctx: Context, profile: str
) -> None:
    browser.post("/images/import", {"name": "memtest"})
    image_imports.fail(ctx, running(ctx).id, "the mirror cannot be reached at http://m/ (<b>): is it up?")
    browser.post("/images/import", {"name": "debian-13"})
    image_imports.succeed(ctx, running(ctx).id, load_image(ctx.data_dir / "images/debian-13/20250803"))
    text = page(browser, "/images")
    assert "http://m/ (&lt;b&gt;): is it up?" in text
    assert "is the newest there is, and was here already" in text
    assert "hx-trigger" not in text


def test_a_mirror_that_the_settings_do_not_name_is_asked_for(browser: Browser, ctx: Context) -> None:
    text = page(browser, "/images")
    assert import_form("ubuntu-20.04") not in text
    assert "<code>[mirrors.ubuntu]</code>" in text
    browser.post("/images/import", {"name": "ubuntu-20.04"})
    assert "needs a mirror of ubuntu" in page(browser, "/images")
    browser.post("/images/import", {"name": "ubuntu-20.04", "mirror": "http://mirror.example/ubuntu"})
    assert "from http://mirror.example/ubuntu" in page(browser, "/images")


def test_images_of_mirrors_in_the_settings_have_a_button(ctx: Context) -> None:
    browser = Browser(create_admin(replace(ctx, mirrors=frozenset({"ubuntu"}))).test_client())
    browser.login()
    text = page(browser, "/images")
    assert import_form("ubuntu-20.04") in text
    assert "<code>[mirrors.ubuntu]</code>" not in text


def test_a_viewer_is_shown_imports_and_no_button(
    browser: Browser, ctx: Context, new_browser: Callable[[], Browser]
) -> None:
    browser.post("/images/import", {"name": "memtest"})
    for role, sees in ((UserRole.VIEWER, False), (UserRole.OPERATOR, True)):
        accounts.add(ctx, role.value, PASSWORD, role=role, who="test")
        one = new_browser()
        one.login(role.value)
        text = page(one, "/images")
        assert "asked for by admin" in text
        assert (import_form("debian-13") in text) is sees
        assert ('action="/images/import/cancel"' in text) is sees
        assert "Import from another mirror" not in text
