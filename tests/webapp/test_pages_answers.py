"""Previews and comparisons: everything is shown, nothing secret, nothing as markup."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from pxeforge.services import arming, attempts, hosts, profiles
from pxeforge.services.answer_preview import TEXTS
from pxeforge.services.context import Context
from tests.conftest import ACCOUNT, MAC, Clock

from .conftest import Browser

EVIL = "<script>alert(1)</script>"
HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture(autouse=True)
def _hosts(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    hosts.add(ctx, macs=["52:54:00:12:34:99"], name="n2", who="test")
    profiles.create(
        ctx, "other", image=profile, who="test",
        parameters={"accounts": [{**ACCOUNT, "password_hash": HASH}], "timezone": "Europe/Vienna"},
    )  # fmt: skip


def page(browser: Browser, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def shown(text: str) -> str:
    """The words of a page without its markup."""
    return re.sub(r"<[^>]+>", "", text)


@pytest.mark.parametrize("what", list(TEXTS))
def test_each_text_can_be_looked_at_before_arming(browser: Browser, what: str) -> None:
    for path in (f"/hosts/n1/preview?what={what}&profile=other", f"/profiles/other/preview?what={what}"):
        text = page(browser, path)
        assert '<li id="L1"' in text
        assert HASH not in text


def test_what_an_operator_wrote_is_never_markup(browser: Browser, ctx: Context) -> None:
    snippets = [{"name": "evil", "text": f"echo '{EVIL}'\n"}]
    profiles.change(
        ctx, "other", parameters={"late_snippets": snippets, "extra_lines": [f"d-i a/b string {EVIL}"]}, who="t"
    )
    left, right = quote("host=n1,profile=other"), quote("host=n1,profile=debian-13")
    pages = [
        f"/hosts/n1/preview?profile=other&what={what}" for what in ("answers", "late")
    ] + [f"/diff?left={left}&right={right}&what={what}" for what in ("answers", "late")]  # fmt: skip
    for path in [*pages, "/profiles", "/profiles/other", "/lint"]:
        text = page(browser, path)
        assert EVIL not in text
    assert EVIL.replace("<", "&lt;").replace(">", "&gt;") in shown(page(browser, pages[0]))


def test_strange_questions_are_answered_with_a_sentence(browser: Browser) -> None:
    for path in (
        f"/hosts/n1/preview?profile={quote(EVIL)}",
        f"/hosts/n1/preview?attempt={quote(EVIL)}",
        f"/diff?left=host%3Dn1,profile%3Dother&right={quote('host=n1,profile=' + EVIL)}",
    ):
        text = page(browser, path)
        assert 'class="note error"' in text
        assert EVIL not in text
    for path in ("/diff", f"/diff?left={quote(EVIL)}&right=x"):
        text = page(browser, path, 400)
        assert "names no text" in text
        assert EVIL not in text


def test_two_profiles_are_compared_for_one_host(browser: Browser) -> None:
    left, right = quote("host=n1,profile=debian-13"), quote("host=n1,profile=other")
    text = page(browser, f"/diff?left={left}&right={right}&what=answers")
    assert "<mark>UTC</mark>" in text
    assert "<mark>Europe/Vienna</mark>" in text
    assert "n1 for debian-13" in text
    assert "equal lines" in text
    assert HASH not in text


def test_two_hosts_are_compared_by_a_name_that_was_typed(browser: Browser) -> None:
    text = page(browser, f"/diff?left={quote('host=n1,profile=other')}&right_host=52-54-00-12-34-99&what=answers")
    assert "<mark>n1</mark>" in text
    assert "<mark>n2</mark>" in text
    assert "no host is known as" in page(browser, f"/diff?left={quote('host=n1,profile=other')}&right_host=ghost", 404)


def test_what_a_host_was_armed_with_is_compared_with_now(browser: Browser, ctx: Context, clock: Clock) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    clock.now += 60
    arming.arm(ctx, "n1", profile="other", who="test")
    host_id = hosts.show(ctx, "n1")["id"]
    now, before = attempts.of_host(ctx, "n1")
    offered = re.findall(r'<option value="host=(\w+),attempt=(\w+)">', page(browser, f"/hosts/{host_id}/preview"))
    assert offered == [(host_id, now["id"]), (host_id, before["id"])]
    text = page(browser, f"/hosts/{host_id}")
    found = re.search(r'href="(/diff\?[^"]+)"', text)
    assert found
    changes = page(browser, found[1].replace("&amp;", "&"))
    assert "<mark>UTC</mark>" in changes
    assert "<mark>Europe/Vienna</mark>" in changes


def test_equal_texts_are_told_to_be_equal(browser: Browser) -> None:
    same = quote("profile=other")
    assert "Both are the same" in page(browser, f"/diff?left={same}&right={same}&what=late")
