"""The rules page: a rule is tried before it is kept, and says in one sentence what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.services import hosts, rules
from pxeforge.services.context import Context
from pxeforge.store.tables import Host

from .conftest import Browser

RULE: dict[str, object] = {
    "name": "dell", "when": "vendor=Dell*\nmemory>=64G\nfirmware=bios | uefi-x64", "name_to": "node-{n:03}",
    "tags": "rack-a ssd",
}  # fmt: skip


def page(browser: Browser, path: str = "/rules") -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.get_data(as_text=True).replace("&#39;", "'").replace("&gt;", ">")


def send(browser: Browser, do: str, status: int, **more: object) -> str:
    response = browser.post("/rules", {**RULE, "do": do, **more})
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True).replace("&#39;", "'").replace("&gt;", ">")


@pytest.fixture
def dell(ctx: Context) -> str:
    host_id = str(hosts.add(ctx, macs=["52:54:00:12:34:56"], who="test")["id"])
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        host.facts, host.firmware = {"vendor": "Dell Inc.", "ram_bytes": 128 * 10**9}, "uefi-x64"
    return host_id


def test_trying_shows_what_would_change_and_changes_nothing(browser: Browser, ctx: Context, dell: str) -> None:
    page(browser)
    text = send(browser, "try", 200)
    assert "It would fit 1 host" in text
    assert "<b>node-001</b>" in text
    assert "<b>rack-a, ssd</b>" in text
    assert rules.list_rules(ctx) == []
    assert hosts.show(ctx, dell)["name"] is None


def test_a_near_miss_says_what_was_missed(browser: Browser, ctx: Context, dell: str) -> None:
    page(browser)
    text = send(browser, "try", 200, when="vendor=Dell*\nmemory>=256G")
    assert "It would fit 0 hosts" in text
    assert "1 host missed by one criterion" in text
    assert "memory is 128000000000, not >=256G" in text


def test_a_rule_is_kept_changed_moved_switched_and_removed(browser: Browser, ctx: Context) -> None:
    page(browser)
    send(browser, "add", 303)
    send(browser, "add", 303, name="other", when="mac=52:54:00", name_to="", tags="lab")
    (first, _second) = rules.list_rules(ctx)
    assert first["when"] == {"vendor": ["Dell*"], "memory": [">=64G"], "firmware": ["bios", "uefi-x64"]}
    assert first["set"] == {"name": "node-{n:03}", "tags": ["rack-a", "ssd"]}

    form = page(browser, "/rules/dell")
    assert "vendor=Dell*\nmemory>=64G\nfirmware=bios\nfirmware=uefi-x64</textarea>" in form
    send(browser, "change", 303, old_name="dell", name="dell2", when="vendor=Dell*", tags="")
    assert rules.show(ctx, "dell2")["set"] == {"name": "node-{n:03}"}
    assert rules.show(ctx, "dell2")["when"] == {"vendor": ["Dell*"]}

    browser.post("/rules/dell2/do", {"do": "down"})
    assert [one["name"] for one in rules.list_rules(ctx)] == ["other", "dell2"]
    browser.post("/rules/dell2/do", {"do": "off"})
    assert rules.show(ctx, "dell2")["enabled"] is False
    browser.post("/rules/dell2/do", {"do": "remove"})
    assert [one["name"] for one in rules.list_rules(ctx)] == ["other"]


def test_a_rule_is_applied_to_all_hosts_by_hand(browser: Browser, ctx: Context, dell: str) -> None:
    page(browser)
    send(browser, "add", 303)
    browser.post("/rules/dell/do", {"do": "apply"})
    assert hosts.show(ctx, dell)["name"] == "node-001"
    assert "1 host looked at, 1 changed." in page(browser)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"when": "nonsense"}, "'nonsense' is no criterion: write it like"),
        ({"when": "colour=red"}, "unknown criterion 'colour'"),
        ({"when": "memory>=lots"}, "is no number"),
        ({"when": ""}, "a rule needs a criterion"),
        ({"name_to": "", "tags": ""}, "a rule must give something"),
        ({"name": "a b"}, "is no name of a rule"),
        ({"unit": "3"}, "unit and height need a rack"),
    ],
)
def test_a_rule_that_means_nothing_is_told_and_the_form_keeps_what_was_written(
    browser: Browser, ctx: Context, wrong: dict[str, Any], why: str
) -> None:
    page(browser)
    text = send(browser, "add", 400, **wrong)
    assert why in text
    assert rules.list_rules(ctx) == []
    for field in ("name", "name_to"):
        assert f'value="{wrong.get(field, RULE[field])}"' in text


def test_an_action_that_there_is_not_is_refused(browser: Browser, ctx: Context) -> None:
    page(browser)
    send(browser, "add", 303)
    browser.post("/rules/dell/do", {"do": "fly"})
    assert "there is no such action" in page(browser)
