"""The page of one host: events by their source, the log that grows, two operators, power, and ways out of use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, events, host_overview, hosts, installer_log, power
from pxeforge.services.context import Context
from tests.conftest import FACTS

from .conftest import PASSWORD, Browser
from .test_pages import MAC, add, page, register


@pytest.fixture
def host_id(ctx: Context) -> str:
    return add(ctx)


def write_log(ctx: Context, host_id: str, text: str) -> None:
    path = installer_log.log_path(ctx, host_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(text)


def say(ctx: Context, host_id: str, source: str, message: str) -> None:
    with ctx.database.write() as session:
        events.record(session, ctx, host_id=host_id, source=source, kind="said", message=message)


# ------------------------------------------------------------------------------------------------ what it shows


def test_hardware_is_shown_in_groups_with_every_nic_once(browser: Browser, ctx: Context, host_id: str) -> None:
    disk = {"name": "sda", "size_bytes": 8 << 40, "rotational": True, "serial": "Z1", "model": "ST8", "system": True}
    nics = [{"name": "eno1", "mac": MAC, "addresses": ["192.0.2.21/24"], "link": True, "physical": True},
            {"name": "br0", "mac": "52:54:00:99:99:99", "addresses": [], "link": False, "physical": False}]  # fmt: skip
    heard = [{"nic": "eno1", "chassis": "52:54:00:aa:aa:aa", "system": "sw-rack1", "port": "ge-0/0/7"}]
    register(ctx, host_id, **{**FACTS, "disks": [disk], "nics": nics, "secure_boot": True, "neighbours": heard})
    text = page(browser, f"/hosts/{host_id}")
    for shown in (
        "HDD",
        "system</span>",
        "Secure Boot on",
        "eno1",
        "192.0.2.21/24",
        "br0",
        "virtual</span>",
        "no link",
        "at sw-rack1 ge-0/0/7",
    ):
        assert shown in text
    assert len(re.findall(rf'<li><span class="mono">{MAC}</span>', text)) == 1


def test_facts_of_any_shape_have_a_page(browser: Browser, ctx: Context, host_id: str) -> None:
    shapes: list[dict[str, Any]] = [
        {"nics": [1, {"mac": 5}, {"mac": MAC, "addresses": "x", "link": "up"}], "neighbours": "x"},
        {"disks": [{"name": None, "rotational": "yes", "removable": 3}], "cpu": {"flags": {"a": 1}}},
        {"nics": {"a": 1}, "secure_boot": "on", "cpu": [1], "neighbours": [{"nic": {}, "port": []}]},
    ]
    for facts in shapes:
        with ctx.database.write() as session:
            hosts.find(session, host_id).facts = facts
        page(browser, f"/hosts/{host_id}")


def test_events_can_be_chosen_by_their_source(browser: Browser, ctx: Context, host_id: str) -> None:
    say(ctx, host_id, "dhcp", "a DISCOVER came")
    say(ctx, host_id, "tftp", "a file was sent")
    everything = page(browser, f"/hosts/{host_id}")
    assert "a DISCOVER came" in everything
    assert "a file was sent" in everything
    only = page(browser, f"/hosts/{host_id}?source=tftp")
    assert "a DISCOVER came" not in only
    assert "a file was sent" in only
    assert f'hx-get="/hosts/{host_id}?source=tftp"' in only
    assert "Nothing from there yet" in page(browser, f"/hosts/{host_id}?source=agent")
    assert "a DISCOVER came" in page(browser, f"/hosts/{host_id}?source=nonsense&before=-4")


def test_older_events_are_on_further_pages_and_none_is_lost(browser: Browser, ctx: Context, host_id: str) -> None:
    many = host_overview.EVENTS_SHOWN + 40
    for number in range(many):
        say(ctx, host_id, "dhcp", f"event-{number}.")
    path, seen = f"/hosts/{host_id}?source=dhcp", []
    for _ in range(3):
        text = page(browser, path)
        seen += re.findall(r"event-(\d+)\.", text)
        older = re.search(r'rel="next" href="([^"#]+)', text)
        if older is None:
            break
        path = older[1].replace("&amp;", "&")
    assert [int(number) for number in seen] == list(reversed(range(many)))


def test_a_diagnosis_and_a_conflict_of_identities_are_told_with_what_helps(
    browser: Browser, ctx: Context, host_id: str
) -> None:
    other = add(ctx, "twin", "52:54:00:00:00:99")
    with ctx.database.write() as session:
        for one in (host_id, other):
            hosts.find(session, one).serial = "SAME123"
    text = page(browser, f"/hosts/{host_id}")
    assert 'class="note warn diagnosis"' in text
    assert f'href="/hosts/{other}"' in text


# ------------------------------------------------------------------------------------------------ the log


def test_the_log_page_goes_on_where_it_was(browser: Browser, ctx: Context, host_id: str) -> None:
    assert "Nothing was logged yet" in page(browser, f"/hosts/{host_id}/log")
    write_log(ctx, host_id, "1800000000.0 main-menu: first & <b>\n")
    text = page(browser, f"/hosts/{host_id}/log")
    assert "main-menu: first &amp; &lt;b&gt;" in text
    assert "Follow the whole log" in page(browser, f"/hosts/{host_id}")
    more = re.search(r'hx-get="(/hosts/\w+/log\?after=\d+)"', text)
    assert more
    swapped = {"HX-Request": "true"}
    assert browser.get(more[1], headers=swapped).status_code == 204
    write_log(ctx, host_id, "1800000001.0 main-menu: second\n")
    part = browser.get(more[1], headers=swapped).get_data(as_text=True)
    assert "second" in part
    assert "first" not in part
    assert 'id="more"' in part


def test_the_whole_file_is_for_operators(
    browser: Browser, ctx: Context, host_id: str, new_browser: Callable[[], Browser]
) -> None:
    assert browser.get(f"/hosts/{host_id}/log/installer.log").status_code == 404
    write_log(ctx, host_id, "1800000000.0 a: b\n")
    reply = browser.get(f"/hosts/{host_id}/log/installer.log")
    assert reply.get_data() == b"1800000000.0 a: b\n"
    assert "attachment" in reply.headers["Content-Disposition"]
    accounts.add(ctx, "eve", PASSWORD, role=UserRole.VIEWER, who="test")
    viewer = new_browser()
    viewer.login("eve")
    assert viewer.get(f"/hosts/{host_id}/log").status_code == 200
    assert viewer.get(f"/hosts/{host_id}/log/installer.log").status_code == 403


# ------------------------------------------------------------------------------------------------ changes


def test_the_second_of_two_operators_is_told_what_the_first_changed(
    browser: Browser, ctx: Context, host_id: str, new_browser: Callable[[], Browser]
) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="test")
    ann = new_browser()
    ann.login("ann")
    versions = [re.search(r'name="version" value="(\w+)"', page(one, f"/hosts/{host_id}")) for one in (browser, ann)]
    assert versions[0]
    assert versions[1]
    ann.post(f"/hosts/{host_id}/change", {"name": "db-01", "tags": "gold", "version": versions[1][1]})
    browser.post(f"/hosts/{host_id}/change", {"name": "db-01", "tags": "silver", "version": versions[0][1]})
    assert hosts.show(ctx, host_id)["tags"] == ["gold"]
    told = page(browser, f"/hosts/{host_id}")
    assert "is not as you saw it" in told
    assert "ann" in told
    again = re.search(r'name="version" value="(\w+)"', told)
    assert again
    browser.post(f"/hosts/{host_id}/change", {"name": "db-01", "tags": "silver", "version": again[1]})
    assert hosts.show(ctx, host_id)["tags"] == ["silver"]


def test_a_host_is_forgotten_only_after_the_question(browser: Browser, ctx: Context, host_id: str) -> None:
    path = f"/hosts/{host_id}/end/forget"
    assert MAC in page(browser, path)
    assert "Tick the box" in browser.post(path).get_data(as_text=True)
    assert hosts.show(ctx, host_id)["name"] == "db-01"
    assert browser.post(path, {"confirm": "yes"}).headers["Location"] == "/hosts"
    assert hosts.list_hosts(ctx) == []


@pytest.mark.parametrize("state", ["armed", "booting", "installing"])
def test_a_host_that_is_armed_is_not_forgotten_and_says_what_to_do(
    browser: Browser, ctx: Context, host_id: str, state: str
) -> None:
    with ctx.database.write() as session:
        hosts.find(session, host_id).state = state
    path = f"/hosts/{host_id}/end/forget"
    for answer in (browser.get(path), browser.post(path, {"confirm": "yes"})):
        assert answer.status_code in (303, 409)
    assert f"the host is {state}: disarm it first, then forget it" in page(browser, f"/hosts/{host_id}")
    assert hosts.show(ctx, host_id)["name"] == "db-01"


def test_a_host_is_retired_with_a_reason_and_taken_into_use_again(browser: Browser, ctx: Context, host_id: str) -> None:
    browser.post(f"/hosts/{host_id}/end/retire", {"confirm": "yes", "why": "broken board"})
    assert hosts.show(ctx, host_id)["state"] == "retired"
    text = page(browser, f"/hosts/{host_id}")
    assert "broken board" in text
    assert "Take into use again" in text
    assert "Retire…" not in text
    browser.post(f"/hosts/{host_id}/end/retire", {"confirm": "yes"})
    assert "cannot be dealt with like this" in page(browser, f"/hosts/{host_id}")
    browser.post(f"/hosts/{host_id}/end/revive", {"confirm": "yes"})
    assert hosts.show(ctx, host_id)["state"] == "known"


def test_disks_are_erased_by_serial_and_the_name_typed_once_more(
    browser: Browser, ctx: Context, host_id: str, profile: str
) -> None:
    disks = [
        {"name": "sda", "size_bytes": 8 << 30, "serial": "Z1"},
        {"name": "sdb", "size_bytes": 8 << 30, "serial": "Z2"},
    ]
    with ctx.database.write() as session:
        hosts.find(session, host_id).facts = {**FACTS, "disks": disks}
    path = f"/hosts/{host_id}/end/wipe"
    assert 'value="Z2"' in page(browser, path)
    form: dict[str, Any] = {"confirm": "yes", "disk": "Z2", "profile": profile, "for_s": "3600"}
    assert browser.post(path, {**form, "name": "db-02"}).headers["Location"] == path
    assert "confirmed by the name" in page(browser, path)
    assert hosts.show(ctx, host_id)["state"] == "known"
    browser.post(path, {**form, "name": "db-01"})
    assert hosts.show(ctx, host_id)["state"] == "armed"
    told = page(browser, f"/hosts/{host_id}")
    assert "erases Z2" in told
    assert "Armed to erase" in told


def test_an_unknown_way_out_of_use_has_no_page(browser: Browser, host_id: str) -> None:
    page(browser, f"/hosts/{host_id}/end/explode", 303)
    assert "there is no such page" in page(browser, f"/hosts/{host_id}")


# ------------------------------------------------------------------------------------------------ power


def test_a_host_without_power_settings_says_how_to_set_them(browser: Browser, host_id: str) -> None:
    assert f'href="/hosts/{host_id}/power-settings"' in page(browser, f"/hosts/{host_id}")
    assert browser.post(f"/hosts/{host_id}/power/off", {"confirm": "yes"}).status_code == 303
    assert 'class="note error"' in page(browser, f"/hosts/{host_id}")


def test_power_is_cut_only_after_the_question(browser: Browser, ctx: Context, host_id: str) -> None:
    asked = page(browser, f"/hosts/{host_id}/power/cycle")
    assert "loses power" in asked
    assert MAC in asked
    assert 'name="confirm"' in browser.post(f"/hosts/{host_id}/power/off").get_data(as_text=True)
    page(browser, f"/hosts/{host_id}/power/explode", 303)


IPMI = {"driver": "ipmi", "address": "10.9.0.17", "user": "ops", "cipher": "17", "fingerprint": "of redfish only"}


def test_an_admin_names_the_bmc_on_a_page_and_forgets_it_again(browser: Browser, ctx: Context, host_id: str) -> None:
    form = f"/hosts/{host_id}/power-settings"
    page(browser, form)
    assert browser.post(form, {**IPMI, "port": "6230", "password": "s3cret-BMC"}).status_code == 303
    found = power.describe(ctx, host_id)
    assert found["settings"] == {"driver": "ipmi", "address": "10.9.0.17", "user": "ops", "port": 6230, "cipher": 17}
    assert found["has_password"]
    shown = page(browser, form)
    assert 'value="10.9.0.17"' in shown
    assert "s3cret-BMC" not in shown
    assert browser.post(form, IPMI).status_code == 412  # whoever did not see these settings may not replace them
    seen = {"version": found["version"]}
    assert browser.post(form, {**IPMI, **seen}).status_code == 303  # without a password the one before stays
    assert "port" not in power.describe(ctx, host_id)["settings"]
    assert browser.post(f"{form}/forget").status_code == 303
    assert power.describe(ctx, host_id)["driver"] is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"password": ""}, "needs the BMC&#39;s password"),
        ({"port": "many"}, "port is a number"),
        ({"driver": "smoke"}, "is no power driver"),
        ({"driver": "command", "command": "pdu", "options": "outlet"}, "the option outlet has no value"),
    ],
)
def test_a_form_about_power_that_is_wrong_saves_nothing_and_keeps_what_was_typed(
    browser: Browser, ctx: Context, host_id: str, wrong: dict[str, str], says: str
) -> None:
    form = f"/hosts/{host_id}/power-settings"
    page(browser, form)
    answer = browser.post(form, {**IPMI, "password": "s3cret-BMC", **wrong})
    text = answer.get_data(as_text=True)
    assert answer.status_code == 400
    assert says in text
    assert 'value="10.9.0.17"' in text
    assert "s3cret-BMC" not in text
    assert power.describe(ctx, host_id)["driver"] is None


def test_an_operator_cannot_say_how_power_is_switched(browser: Browser, ctx: Context, host_id: str) -> None:
    accounts.add(ctx, "ops", PASSWORD, role=UserRole.OPERATOR, who="test")
    browser.login("ops")
    assert "An admin can name its BMC" in page(browser, f"/hosts/{host_id}")
    page(browser, f"/hosts/{host_id}/power-settings", 403)
    assert browser.post(f"/hosts/{host_id}/power-settings", {**IPMI, "password": "x"}).status_code == 403
    assert browser.post(f"/hosts/{host_id}/power-settings/forget").status_code == 403
