"""How one host is installed can be said on a page, by the API's rules, and what is lost is named."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts, profiles
from pxeforge.services.context import Context
from tests.conftest import FACTS

from .conftest import PASSWORD, Browser
from .test_pages import MAC, OTHER_MAC, add, page, register

DISKS = [
    {"name": "sda", "size_bytes": 8 << 40, "model": "ST8", "serial": "Z1"},
    {"name": "sdb", "size_bytes": 10**12, "model": "WD1", "serial": "Z2"},
]
HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture
def host_id(ctx: Context) -> str:
    found = str(hosts.add(ctx, macs=[MAC, OTHER_MAC], name="db-01", who="test")["id"])
    register(ctx, found, **{**FACTS, "disks": DISKS})
    return found


def path_of(host_id: str) -> str:
    return f"/hosts/{host_id}/settings"


def version_in(text: str) -> str:
    found = re.search(r'name="version" value="(\w+)"', text)
    assert found
    return found[1]


def save(browser: Browser, host_id: str, status: int = 303, **given: Any) -> str:
    """The form with what it held and what is given, as a browser sends it."""
    version = version_in(page(browser, path_of(host_id)))
    answer = browser.post(path_of(host_id), {"version": version, "loader": "auto", "wipe": "", **given})
    text = answer.get_data(as_text=True)
    assert answer.status_code == status, text
    return text


def test_the_page_that_arms_leads_to_where_the_disk_is_marked(
    browser: Browser, ctx: Context, host_id: str, profile: str
) -> None:
    asked = browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).get_data(as_text=True)
    assert "the installer will stop there until" in asked
    there = re.search(rf'href="({path_of(host_id)}[^"]*)"', asked)
    assert there
    assert "Everything on sda of db-01 (8.8 TB ST8) is lost" in page(browser, there[1])
    save(browser, host_id, wipe="some", wipe_disk="Z1")
    assert hosts.show(ctx, host_id)["settings"]["wipe"] == ["Z1"]
    again = browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).get_data(as_text=True)
    assert "Everything on that disk will be lost." in again


def test_everything_that_the_api_takes_is_saved_and_shown(
    browser: Browser, ctx: Context, host_id: str, profile: str
) -> None:
    save(
        browser, host_id, profile=profile, disk="serial=Z2", wipe="any", loader="ipxe",
        network_dns="10.0.0.2, 10.0.0.3", network_mtu="9000", network_domain="example.org",
        parameters="timezone: Europe/Vienna\nupdates: true",
    )  # fmt: skip
    found = hosts.show(ctx, host_id)
    assert found["loader"] == "ipxe"
    assert found["settings"] == {
        "profile": profile, "disk": "serial=Z2", "wipe": True,
        "network": {"dns": ["10.0.0.2", "10.0.0.3"], "mtu": 9000, "domain": "example.org"},
        "parameters": {"timezone": "Europe/Vienna", "updates": True},
    }  # fmt: skip
    card = page(browser, f"/hosts/{host_id}")
    for shown in ("serial=Z2", "overwritten", "ipxe", "timezone, updates", "dns, domain, mtu"):
        assert shown in card
    form = page(browser, path_of(host_id))
    for shown in ('value="10.0.0.2 10.0.0.3"', 'value="9000"', "timezone: Europe/Vienna", 'value="any" checked'):
        assert shown in form
    assert "that is sdb 1 TB Z2 as it stands" in form
    save(browser, host_id)  # everything left empty
    assert hosts.show(ctx, host_id)["settings"] == {}
    assert "nothing is set for it alone" in page(browser, f"/hosts/{host_id}")


def test_a_rack_stays_where_it_is(browser: Browser, ctx: Context, host_id: str) -> None:
    hosts.change(ctx, host_id, settings={"rack": {"name": "r1", "unit": 3}}, who="test")
    save(browser, host_id, disk="first")
    assert hosts.show(ctx, host_id)["settings"]["rack"]["name"] == "r1"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"disk": "the big one"}, "disk"),
        ({"wipe": "some"}, "mark the disks that may be overwritten"),
        ({"wipe": "perhaps"}, "choose one of the four"),
        ({"network_router": "here"}, "is not an IPv4 address"),
        ({"network_mtu": "large"}, "is not a number of bytes"),
        ({f"reserve_{MAC}": "192.0.2.5"}, "192.0.2.5"),
        ({"parameters": "timezone"}, "one `name: value` a line"),
        ({"parameters": "a: [b"}, "own parameters: line"),
        ({"parameters": "nothing: here"}, "unknown parameter"),
        ({"loader": "lilo"}, "is not a loader"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_saved(
    browser: Browser, ctx: Context, host_id: str, wrong: dict[str, str], says: str
) -> None:
    text = save(browser, host_id, 400, **{"network_domain": "kept.example", **wrong})
    assert "Nothing was saved:" in text
    assert says in text
    assert 'value="kept.example"' in text
    assert hosts.show(ctx, host_id)["settings"] == {}


def test_the_second_of_two_operators_is_told_and_keeps_what_was_typed(
    browser: Browser, ctx: Context, host_id: str
) -> None:
    version = version_in(page(browser, path_of(host_id)))
    hosts.change(ctx, host_id, settings={"wipe": False}, who="ann")
    form = {"version": version, "loader": "auto", "wipe": "any", "disk": "serial=Z2"}
    for _ in range(2):  # sending it again does not help: it has to be loaded again
        answer = browser.post(path_of(host_id), form)
        text = answer.get_data(as_text=True)
        assert answer.status_code == 412
        assert "ann" in text
        assert "Load it again" in text
        assert 'value="serial=Z2"' in text
        form["version"] = version_in(text)
    assert hosts.show(ctx, host_id)["settings"] == {"wipe": False}


def test_a_hash_in_the_parameters_is_neither_shown_nor_lost(browser: Browser, ctx: Context, host_id: str) -> None:
    hosts.change(ctx, host_id, settings={"parameters": {"root_password_hash": HASH}}, who="test")
    text = page(browser, path_of(host_id))
    assert HASH not in text
    mark = re.search(r"root_password_hash: (\(hidden \w+\))", text)
    assert mark
    save(browser, host_id, parameters=f"root_password_hash: {mark[1]}\ntimezone: UTC")
    assert hosts.show(ctx, host_id)["settings"]["parameters"] == {"root_password_hash": HASH, "timezone": "UTC"}


def test_disks_that_were_never_reported_are_marked_by_what_they_are_called(browser: Browser, ctx: Context) -> None:
    bare = add(ctx, name="bare-01", mac="52:54:00:00:00:09")
    save(browser, bare, wipe="some", wipe_more="Z9, /dev/vda")
    assert hosts.show(ctx, bare)["settings"]["wipe"] == ["Z9", "/dev/vda"]
    assert 'name="wipe_more" value="Z9 /dev/vda"' in page(browser, path_of(bare))


def test_the_intended_profile_is_the_one_offered_to_arm_with(
    browser: Browser, ctx: Context, host_id: str, profile: str
) -> None:
    profiles.clone(ctx, profile, "zz-meant", who="test")
    save(browser, host_id, profile="zz-meant")
    assert "<option selected>zz-meant</option>" in page(browser, f"/hosts/{host_id}")


def test_a_viewer_reads_it_and_cannot_change_it(browser: Browser, ctx: Context, host_id: str) -> None:
    save(browser, host_id, disk="serial=Z2")
    accounts.add(ctx, "eve", PASSWORD, role=UserRole.VIEWER, who="test")
    browser.login("eve")
    text = page(browser, f"/hosts/{host_id}")
    assert "serial=Z2" in text
    assert path_of(host_id) not in text
    page(browser, path_of(host_id), 403)
