"""Power, rack and profile of many hosts on the list of hosts; power only after a page that names them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from werkzeug.test import TestResponse

from pxeforge.services import hosts, power
from pxeforge.services.context import Context

from .conftest import Browser
from .test_pages import add, page

SWITCH = "#!/bin/sh\ncase $1 in status) cat {0}/$2;; *) echo $1 >{0}/$2;; esac\n"


@pytest.fixture
def rack(ctx: Context) -> list[str]:
    """Three hosts that are off: two that a command of the operator's switches, and one without power settings."""
    program, states = ctx.data_dir / "switch", ctx.data_dir / "states"
    program.write_text(SWITCH.format(states))
    program.chmod(0o755)
    states.mkdir()
    ctx.operator_dir.mkdir(exist_ok=True)
    argv = "\n".join(f"{what} = {[str(program), what, '{outlet}']!r}" for what in ("on", "off", "status"))
    (ctx.operator_dir / "power.toml").write_text(f"[commands.switch]\n{argv}\n")
    found = []
    for number in range(3):
        found.append(add(ctx, f"n{number}", f"52:54:00:00:00:0{number}"))
        (states / str(number)).write_text("off")
        if number < 2:
            settings = {
                "driver": "command",
                "command": "switch",
                "options": {"outlet": str(number)},
                "netboot": "always",
            }
            power.set_power(ctx, found[-1], settings, password=None, who="root")
    return found


def state(ctx: Context, number: int) -> str:
    return (ctx.data_dir / "states" / str(number)).read_text().strip()


def over(browser: Browser, answer: TestResponse) -> str:
    """The page of the order that the answer leads to, once it has ended; until then it refreshes itself."""
    path, end = answer.headers["Location"], time.monotonic() + 30
    assert path.startswith("/power-orders/")
    while time.monotonic() < end:
        text = page(browser, path)
        if 'hx-trigger="every 2s"' not in text:
            return text
        time.sleep(0.05)
    raise AssertionError(text)


def switch(browser: Browser, **form: Any) -> str:
    browser.get("/hosts")
    return over(browser, browser.post("/hosts/do", {"do": "power", "confirm": "yes", **form}))


def do(browser: Browser, status: int = 303, **form: Any) -> str:
    browser.get("/hosts")
    answer = browser.post("/hosts/do", form)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def test_the_bar_offers_power_rack_and_profile(browser: Browser, ctx: Context, rack: list[str]) -> None:
    text = page(browser, "/hosts")
    for value in ("power", "place", "unplace", "meant", "unmeant"):
        assert f'name="do" value="{value}"' in text
    assert '<option value="soft-off">' in text


def test_nothing_is_switched_before_a_page_has_named_the_hosts(browser: Browser, ctx: Context, rack: list[str]) -> None:
    asked = do(browser, 200, do="power", power="on", host=rack)
    assert "Switch on: 2 hosts?" in asked
    assert re.search(r"Left out[^<]*: n2\.", asked)
    assert state(ctx, 0) == "off"
    chosen = re.findall(r'name="host" value="(\w+)"', asked)
    assert chosen == rack[:2]
    text = switch(browser, power="on", host=chosen)
    assert [state(ctx, number) for number in range(3)] == ["on", "on", "off"]
    assert "2 of 2 are over" in text
    assert text.count('<span class="badge s-done">done</span>') == 2
    assert "n1 was switched on" in text


def test_a_host_that_installs_is_left_alone_unless_it_is_said_so(
    browser: Browser, ctx: Context, rack: list[str]
) -> None:
    with ctx.database.write() as session:
        hosts.find(session, rack[0]).state = "installing"
    for number in range(2):
        (ctx.data_dir / "states" / str(number)).write_text("on")
    asked = do(browser, 200, do="power", power="off", host=rack[:2])
    assert "n0 is installing" in asked
    assert 'name="force"' in asked
    told = switch(browser, power="off", host=rack[:2])
    assert [state(ctx, number) for number in range(2)] == ["on", "off"]
    assert "n1 was switched off" in told
    assert "n0 is installing" in told
    switch(browser, power="off", host=rack[:1], force="yes")
    assert state(ctx, 0) == "off"


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"do": "power", "power": "explode"}, "choose what to do with their power"),
        ({"do": "place", "new_rack": " "}, "name a rack"),
        ({"do": "place", "new_rack": "a rack"}, "is no name of a rack"),
        ({"do": "meant", "new_profile": "no-such"}, "no-such"),
        ({"do": "meant"}, "there is no profile yet"),
    ],
)
def test_what_is_missing_is_told(browser: Browser, ctx: Context, form: dict[str, str], why: str) -> None:
    host_id = add(ctx)
    do(browser, host=host_id, **form)
    assert why in page(browser, "/hosts")
    assert hosts.show(ctx, host_id)["settings"] == {}


def test_none_that_can_be_switched_is_said(browser: Browser, ctx: Context, rack: list[str]) -> None:
    asked = do(browser, 200, do="power", power="on", host=rack[2])
    assert "Left out" in asked
    assert 'name="confirm"' not in asked
    do(browser, do="power", power="on", host=rack[2], confirm="yes")
    assert "none of these hosts can be switched like this" in page(browser, "/hosts")


def test_many_are_put_into_a_rack_and_those_inside_keep_their_unit(
    browser: Browser, ctx: Context, rack: list[str]
) -> None:
    hosts.change(ctx, rack[0], settings={"rack": {"name": "r1", "unit": 7}}, who="test")
    do(browser, do="place", new_rack="r1", host=rack)
    places = [hosts.show(ctx, one)["settings"]["rack"] for one in rack]
    assert [(one["name"], one["unit"]) for one in places] == [("r1", 7), ("r1", None), ("r1", None)]
    assert "r1 is now the rack of 2 hosts" in page(browser, "/hosts")
    do(browser, do="place", new_rack="r1", host=rack)
    assert "stood in r1 already" in page(browser, "/hosts")
    do(browser, do="unplace", host=rack[:2])
    assert ["rack" in hosts.show(ctx, one)["settings"] for one in rack] == [False, False, True]


def test_many_are_meant_for_a_profile(browser: Browser, ctx: Context, rack: list[str], profile: str) -> None:
    do(browser, do="meant", new_profile=profile, host=rack[:2])
    assert [hosts.show(ctx, one)["settings"].get("profile") for one in rack] == [profile, profile, None]
    do(browser, do="unmeant", host=rack[:1])
    assert "profile" not in hosts.show(ctx, rack[0])["settings"]


def test_hosts_are_armed_and_netbooted_in_one_go(browser: Browser, ctx: Context, rack: list[str], profile: str) -> None:
    asked = do(browser, 200, do="arm", profile=profile, for_s="3600", host=rack)
    assert re.search(r'name="boot_now" value="yes"> Then netboot 2 hosts of them at once', asked)
    form = {"host": rack, "profile": profile, "for_s": "3600", "what": "install", "confirm": "yes", "boot_now": "yes"}
    answer = browser.post("/arm", form)
    assert [hosts.show(ctx, one)["state"] for one in rack] == ["armed"] * 3
    told = page(browser, answer.headers["Location"])
    assert "3 hosts are armed for" in told
    assert "1 of them cannot be started from here" in told
    assert "2 of 2 are over" in over(browser, answer)
    assert [state(ctx, number) for number in range(3)] == ["on", "on", "off"]


def test_arming_alone_switches_nothing(browser: Browser, ctx: Context, rack: list[str], profile: str) -> None:
    page(browser, "/hosts")
    browser.post("/arm", {"host": rack, "profile": profile, "for_s": "3600", "what": "install", "confirm": "yes"})
    assert [hosts.show(ctx, one)["state"] for one in rack] == ["armed"] * 3
    assert state(ctx, 0) == "off"


def test_no_netboot_is_offered_where_nothing_can_be_switched(
    browser: Browser, ctx: Context, rack: list[str], profile: str
) -> None:
    assert "boot_now" not in do(browser, 200, do="arm", profile=profile, for_s="3600", host=rack[2])
