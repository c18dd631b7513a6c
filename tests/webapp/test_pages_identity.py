"""Identities are settled on pages: each change is asked for with the names of what is concerned, then done."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts, identity
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound

from .conftest import PASSWORD, Browser
from .test_pages import MAC, OTHER_MAC, add, page

THIRD = "52:54:00:00:00:99"


@pytest.fixture
def twins(ctx: Context) -> tuple[str, str]:
    """Two hosts that show one serial number."""
    both = add(ctx), add(ctx, "twin", THIRD, roles=["base"])
    with ctx.database.write() as session:
        for one in both:
            hosts.find(session, one).serial = "SAME123"
    return both


def links(browser: Browser, host_id: str) -> list[str]:
    found = re.findall(r'href="(/hosts/\w+/identity/[^"]+)"', page(browser, f"/hosts/{host_id}"))
    return [html.unescape(one) for one in found]


def there(browser: Browser, host_id: str, start: str) -> str:
    return next(one for one in links(browser, host_id) if start in one)


def do(browser: Browser, path: str, **given: Any) -> None:
    """What the form of that page sends."""
    text = page(browser, path)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    answer = browser.post(path.partition("?")[0], {**hidden, "confirm": "yes", **given})
    assert answer.status_code == 303, answer.get_data(as_text=True)


def test_two_records_of_one_host_are_merged_after_a_page_that_names_both(
    browser: Browser, ctx: Context, twins: tuple[str, str]
) -> None:
    path = there(browser, twins[1], "merge?other")
    assert path == f"/hosts/{twins[0]}/identity/merge?other={twins[1]}"
    asked = page(browser, path)
    for shown in ("db-01", "twin", MAC, THIRD, "SAME123", "base", "those of the other are lost"):
        assert shown in asked
    assert f'href="/hosts/{twins[1]}/identity/merge?other={twins[0]}"' in asked  # the other way round
    do(browser, path)
    assert sorted(hosts.show(ctx, "db-01")["macs"]) == sorted([MAC, THIRD])
    with pytest.raises(NotFound):
        hosts.show(ctx, "twin")
    assert "one host now" in page(browser, f"/hosts/{twins[0]}")


def test_nothing_happens_without_the_tick(browser: Browser, ctx: Context, twins: tuple[str, str]) -> None:
    path = there(browser, twins[0], "merge?other")
    page(browser, path)
    answer = browser.post(path.partition("?")[0], {"other": twins[1]})
    assert "Tick the box" in answer.get_data(as_text=True)
    assert len(hosts.list_hosts(ctx)) == 2


def test_a_conflict_is_accepted_as_it_is_and_no_longer_told(
    browser: Browser, ctx: Context, twins: tuple[str, str]
) -> None:
    path = there(browser, twins[1], "settle")
    assert "show one serial number" in page(browser, path)
    do(browser, path)
    assert identity.conflicts(ctx) == []
    assert "show one serial number" not in page(browser, f"/hosts/{twins[0]}").partition('id="timeline-title"')[0]
    page(browser, path, 303)  # there is none any more
    assert "this conflict is settled" in page(browser, f"/hosts/{twins[1]}")


def test_a_nic_that_another_host_reports_can_be_moved_to_it(browser: Browser, ctx: Context) -> None:
    one, two = add(ctx), hosts.add(ctx, macs=[THIRD, OTHER_MAC], name="two", who="test")["id"]
    with ctx.database.write() as session:
        identity.claimed(session, ctx, hosts.find(session, one), OTHER_MAC, hosts.find(session, two))
    path = there(browser, two, "nic-move?mac=")
    assert path.startswith(f"/hosts/{one}/")
    assert "two" in page(browser, path)
    do(browser, path)
    assert OTHER_MAC in hosts.show(ctx, one)["macs"]
    assert hosts.show(ctx, two)["macs"] == [THIRD]


def test_a_nic_is_added_and_removed_again(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    assert not any("nic-remove" in one for one in links(browser, host_id))  # the only one stays
    asks = page(browser, there(browser, host_id, "nic-add"))
    assert 'name="mac" required' in asks
    do(browser, f"/hosts/{host_id}/identity/nic-add?mac=5254.0000.0099")
    assert THIRD in hosts.show(ctx, host_id)["macs"]
    path = next(one for one in links(browser, host_id) if "nic-remove" in one and THIRD in one.replace("%3A", ":"))
    do(browser, path)
    assert hosts.show(ctx, host_id)["macs"] == [MAC]


def test_only_a_nic_of_this_very_host_is_removed(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    hosts.add(ctx, macs=[THIRD, OTHER_MAC], name="two", who="test")
    path = f"/hosts/{host_id}/identity/nic-remove"
    page(browser, f"/hosts/{host_id}")
    assert browser.post(path, {"mac": OTHER_MAC, "confirm": "yes"}).status_code == 303
    assert "is no NIC of this host" in page(browser, f"/hosts/{host_id}")
    assert OTHER_MAC in hosts.show(ctx, "two")["macs"]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nic-add?mac=nonsense", "is not a MAC address"),
        ("merge?other=nobody", "no host is known as"),
        ("explode", "there is no such page"),
    ],
)
def test_what_cannot_be_is_told(browser: Browser, ctx: Context, what: str, says: str) -> None:
    host_id = add(ctx)
    path, _, query = what.partition("?")
    page(browser, f"/hosts/{host_id}")
    field, _, value = query.partition("=")
    answer = browser.post(f"/hosts/{host_id}/identity/{path}", {field or "x": value, "confirm": "yes"})
    assert answer.status_code == 303
    text = html.unescape(browser.get(answer.headers["Location"], follow_redirects=True).get_data(as_text=True))
    assert says in text
    assert len(hosts.list_hosts(ctx)) == 1


def test_a_viewer_is_offered_none_of_it(browser: Browser, ctx: Context, twins: tuple[str, str]) -> None:
    accounts.add(ctx, "eve", PASSWORD, role=UserRole.VIEWER, who="test")
    browser.login("eve")
    assert links(browser, twins[0]) == []
    page(browser, f"/hosts/{twins[0]}/identity/merge?other={twins[1]}", 403)


def test_a_host_that_never_came_was_never_seen(browser: Browser, ctx: Context) -> None:
    text = page(browser, f"/hosts/{add(ctx)}")
    assert "First seen" not in text
    assert re.search(r"<dt>Last seen</dt><dd><span class=\"dim\">never</span>", text)


def test_health_is_in_the_menu(browser: Browser) -> None:
    assert re.search(r'<a href="/health" aria-current="page">', page(browser, "/health"))
    assert '<a href="/health">' in page(browser, "/settings")
