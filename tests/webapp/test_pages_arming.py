"""Arming for a rescue system, a memory test or a menu says what happens to which machine, then does it."""

from __future__ import annotations

import re

import pytest

from pxeforge.services import attempts, hosts, profiles
from pxeforge.services.context import Context
from pxeforge.store.tables import Host
from tests.conftest import ACCOUNT, MAC, write_image

from .conftest import Browser

OTHER_MAC = "52:54:00:12:34:57"


@pytest.fixture(autouse=True)
def _host(ctx: Context, profile: str) -> None:
    profiles.create(ctx, "other", image=profile, parameters={"accounts": [ACCOUNT], "disk": "serial=S1"}, who="test")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    with ctx.database.write() as session:
        disks = [
            {"name": "sda", "size_bytes": 10**12, "serial": "S1"},
            {"name": "sdb", "size_bytes": 1, "serial": "S2"},
        ]
        hosts.find(session, "n1").facts = {"disks": disks}


def memtest(ctx: Context) -> None:
    write_image(ctx.data_dir, "7.20", {"memtest.bin": b"b", "memtest.efi": b"e"}, name="memtest")


def ask(browser: Browser, **form: object) -> str:
    response = browser.post("/arm", {"host": "n1", "for_s": "3600", **form})
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def confirm(browser: Browser, asked: str) -> None:
    """Presses the button of the page that asked, as a browser would."""
    names = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked)
    form: dict[str, object] = {"confirm": "yes"}
    for name, value in names:
        if name != "csrf_token":
            form[name] = [*form.get(name, []), value]  # type: ignore[misc]
    assert browser.post("/arm", form).status_code == 303


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_the_page_of_choices_offers_all_that_can_be_armed(browser: Browser, ctx: Context) -> None:
    text = browser.get("/arm/choose?host=n1&from=host").get_data(as_text=True)
    assert re.findall(r'name="what" value="(\w+)"', text) == ["install", "menu", "rescue", "memtest"]
    assert MAC in text
    assert '<a href="/images">Import the image memtest</a>' in text
    memtest(ctx)
    assert "Import the image memtest" not in browser.get("/arm/choose?host=n1").get_data(as_text=True)


def test_several_hosts_come_from_the_list(browser: Browser, ctx: Context) -> None:
    hosts.add(ctx, macs=[OTHER_MAC], name="n2", who="test")
    text = browser.post("/arm/choose", {"host": ["n1", "n2"]}).get_data(as_text=True)
    assert MAC in text
    assert OTHER_MAC in text
    browser.post("/arm/choose")
    assert "choose at least one host" in browser.get("/hosts").get_data(as_text=True)


def test_a_rescue_system_is_armed_after_a_word_that_no_disk_is_touched(browser: Browser, ctx: Context) -> None:
    asked = ask(browser, what="rescue", rescue_profile="other")
    assert MAC in asked
    assert "no disk is touched" in asked
    assert "debian-13/20250803" in asked
    assert "Will be overwritten" not in asked
    assert state(ctx) == "known"
    confirm(browser, asked)
    assert state(ctx) == "armed"
    [one] = attempts.of_host(ctx, "n1")
    assert (one["purpose"], one["profile"]) == ("rescue", "other")
    host_id = hosts.show(ctx, "n1")["id"]
    page = browser.get(f"/hosts/{host_id}").get_data(as_text=True)
    assert "starts the rescue system, once" in page
    browser.post(f"/hosts/{host_id}/disarm")
    assert state(ctx) == "known"


def test_a_memory_test_needs_its_image(browser: Browser, ctx: Context) -> None:
    assert browser.post("/arm", {"host": "n1", "what": "memtest", "confirm": "yes"}).status_code == 303
    assert "pxeforge image import memtest" in browser.get("/hosts").get_data(as_text=True)
    assert state(ctx) == "known"
    memtest(ctx)
    asked = ask(browser, what="memtest")
    assert MAC in asked
    assert "no disk is touched" in asked
    confirm(browser, asked)
    assert attempts.of_host(ctx, "n1")[0]["purpose"] == "memtest"


def test_a_menu_names_the_disks_of_each_of_its_profiles_and_keeps_their_order(browser: Browser, ctx: Context) -> None:
    asked = ask(browser, what="menu", menu_profile=["other", "debian-13", ""], timeout_s="45")
    assert re.findall(r"<b>Install ([\w-]+)</b>", asked) == ["other", "debian-13"]
    assert re.findall(r"Will be overwritten:</b> <span class=\"mono\">(\w+)</span>", asked) == ["sda"]
    assert "the rule chooses one of them" in asked
    assert "Without a choice the local disk boots" in asked
    confirm(browser, asked)
    with ctx.database.read() as session:
        host = session.get_one(Host, hosts.show(ctx, "n1")["id"])
        [menu] = attempts.layers(ctx, host.id)[:1]
    plans = [one["boot"] for one in attempts.layers(ctx, host.id) if "boot" in one]
    assert menu is not None
    [plan] = plans
    assert plan["timeout_s"] == 45
    assert [(one["number"], one["profile"]) for one in plan["choices"]][:2] == [("1", "other"), ("2", "debian-13")]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"what": "menu"}, "there is no profile to arm for"),
        ({"what": "rescue", "rescue_profile": ""}, "there is no profile to arm for"),
        ({"what": "menu", "menu_profile": ["other", "other"]}, "different profiles"),
        ({"what": "menu", "menu_profile": ["other"], "timeout_s": "4"}, "5 to 3500 seconds"),
        ({"what": "menu", "menu_profile": ["other"], "timeout_s": "soon"}, "5 to 3500"),
        ({"what": "format", "profile": "other"}, "say what to arm the host for"),
        ({"what": "rescue", "rescue_profile": "ghost"}, "there is no profile"),
    ],
)
def test_a_refused_arming_says_why(browser: Browser, ctx: Context, form: dict[str, object], sentence: str) -> None:
    assert browser.post("/arm", {"host": "n1", **form, "confirm": "yes"}).status_code == 303
    assert sentence in browser.get("/hosts").get_data(as_text=True)
    assert state(ctx) == "known"


def test_a_disk_that_is_reserved_for_a_role_is_named_as_spared(browser: Browser, ctx: Context) -> None:
    profiles.change(
        ctx, "debian-13", parameters={"reserved_disks": [{"name": "ceph", "disk": "serial=S2"}]}, who="test"
    )
    asked = ask(browser, profile="debian-13")
    spared = asked.partition("Reserved and left alone")[2]
    assert "sdb" in spared
    assert "sda" not in spared.partition("</ul>")[0]


def test_both_disks_of_a_mirror_are_named(browser: Browser, ctx: Context) -> None:
    parameters = {"layout": "raid1", "disk": "serial=S1", "mirror_disk": "serial=S2"}
    profiles.change(ctx, "debian-13", parameters=parameters, who="test")
    asked = ask(browser, profile="debian-13")
    assert re.findall(r"Will be overwritten:</b> <span class=\"mono\">(\w+)</span>", asked) == ["sda", "sdb"]


def test_what_a_disk_says_about_itself_is_never_markup(browser: Browser, ctx: Context) -> None:
    evil = "<script>alert(1)</script>"
    with ctx.database.write() as session:
        disk = {"name": evil, "size_bytes": 1, "serial": evil, "model": evil, "by_path": evil}
        hosts.find(session, "n1").facts = {"disks": [disk]}
    for form in ({"profile": "debian-13"}, {"what": "menu", "menu_profile": ["other", "debian-13"]}):
        asked = ask(browser, **form)
        assert evil not in asked
        assert "&lt;script&gt;" in asked


def test_what_arming_would_refuse_is_said_before(browser: Browser, ctx: Context) -> None:
    profiles.change(ctx, "other", parameters={"extra_lines": ["d-i netcfg/enable boolean maybe"]}, who="test")
    asked = ask(browser, profile="other")
    assert "It cannot be armed: the answers of profile other" in asked
    assert 'name="confirm"' not in asked
    assert 'name="confirm"' in ask(browser, profile="debian-13")


def test_a_warning_is_told_before_and_after_arming(browser: Browser, ctx: Context) -> None:
    with ctx.database.write() as session:
        hosts.find(session, "n1").facts = {"ram_bytes": 400 << 20}
    asked = ask(browser, profile="debian-13")
    assert "it may stop in the middle" in asked
    confirm(browser, asked)
    assert "it may stop in the middle" in browser.get("/hosts").get_data(as_text=True)
