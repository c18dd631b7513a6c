"""The list of hosts: filtered, sorted, paged, and what is done with many at once, without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, arming, hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Host

from .conftest import PASSWORD, Browser

MAC, OTHER_MAC = "52:54:00:12:34:56", "52:54:00:12:34:57"


def page(browser: Browser, path: str, status: int = 200, **headers: str) -> str:
    response = browser.get(path, headers=headers)
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def add(ctx: Context, name: str = "db-01", mac: str = MAC, **kwargs: Any) -> str:
    return str(hosts.add(ctx, macs=[mac], name=name, who="test", **kwargs)["id"])


def many(ctx: Context, count: int) -> list[str]:
    return [add(ctx, f"n{number:03}", f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}") for number in range(count)]


def names(text: str) -> list[str]:
    return re.findall(r'<td class="name"><a [^>]*>([^<]+)</a>', text)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"db-01", "web-01"}),
        ("state=known", {"db-01", "web-01"}),
        ("state=ready", set()),
        ("q=db-0", {"db-01"}),
        ("q=52-54-00-12-34-57", {"web-01"}),
        ("q=rack-a+web", {"web-01"}),
        ("q=nothing-like-it", set()),
        ("state=no-such-state", set()),
        ("tag=rack-a", {"web-01"}),
        ("tag=rack", set()),
        ("role=base", {"web-01"}),
        ("role=-", {"db-01"}),
        ("rack=r1", {"web-01"}),
        ("rack=-", {"db-01"}),
        ("firmware=bios", {"db-01"}),
        ("firmware=-", {"web-01"}),
        ("attention=1", set()),
        ("sort=nonsense&page=0&size=7", {"db-01", "web-01"}),
    ],
)
def test_the_list_can_be_filtered(browser: Browser, ctx: Context, query: str, shown: set[str]) -> None:
    one = add(ctx, "db-01", MAC)
    two = add(ctx, "web-01", OTHER_MAC, tags=["rack-a"], roles=["base"])
    hosts.change(ctx, two, settings={"rack": {"name": "r1", "unit": 3}}, who="test")
    with ctx.database.write() as session:
        session.get_one(Host, one).firmware = "bios"
    assert set(names(page(browser, f"/hosts?{query}"))) == shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", ["a", "b", "c"]), ("sort=name&down=1", ["c", "b", "a"]), ("sort=serial", ["b", "c", "a"])],
)
def test_the_list_is_sorted_and_who_has_no_such_value_comes_last(
    browser: Browser, ctx: Context, query: str, expected: list[str]
) -> None:
    for number, name in enumerate("abc"):
        add(ctx, name, f"52:54:00:00:00:{number:02x}")
    with ctx.database.write() as session:
        for name, serial in (("b", "S1"), ("c", "S2")):
            hosts.find(session, name).serial = serial
    assert names(page(browser, f"/hosts?{query}")) == expected


def test_a_long_list_is_read_page_by_page(browser: Browser, ctx: Context) -> None:
    many(ctx, 55)
    first = page(browser, "/hosts?size=50")
    assert len(names(first)) == 50
    assert "1–50 of 55" in first
    found = re.search(r'rel="next" href="([^"]+)"', first)
    assert found
    assert names(page(browser, found[1].replace("&amp;", "&"))) == [f"n{number:03}" for number in range(50, 55)]
    assert "There is no such page" in page(browser, "/hosts?page=9")


def test_the_columns_are_chosen_and_kept(browser: Browser, ctx: Context) -> None:
    add(ctx)
    assert ">Serial</th>" not in re.sub(r"<a [^>]*>|<span.*?</span>|</a>", "", page(browser, "/hosts"))
    browser.post("/hosts/columns", {"column": ["serial", "no-such"], "next": "/hosts?q=db"})
    text = re.sub(r"<a [^>]*>|<span.*?</span>|</a>", "", page(browser, "/hosts"))
    assert ">Serial</th>" in text
    assert ">Address</th>" not in text


def test_a_list_on_which_nothing_happened_is_not_sent_again(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    found = re.search(r'data-seen="([^"]+)"', page(browser, "/hosts"))
    assert found
    asks = {"HX-Request": "true", "X-Seen": found[1]}
    assert browser.get("/hosts", headers=asks).status_code == 204
    hosts.change(ctx, host_id, tags=["new"], who="test")
    assert "new" in page(browser, "/hosts", **asks)


def test_roles_and_tags_are_given_and_taken_in_bulk(browser: Browser, ctx: Context) -> None:
    chosen = many(ctx, 3)[:2]
    for do, more in (("give", {"new_role": "base"}), ("tag", {"tags": "ssd rack-a"}), ("untag", {"tags": "ssd"})):
        assert browser.post("/hosts/do", {"host": chosen, "do": do, **more}).status_code == 303
    told = {host["name"]: (host["roles"], host["tags"]) for host in hosts.list_hosts(ctx)}
    assert told == {"n000": (["base"], ["rack-a"]), "n001": (["base"], ["rack-a"]), "n002": ([], [])}
    browser.post("/hosts/do", {"host": chosen[:1], "do": "take", "new_role": "base"})
    assert hosts.show(ctx, chosen[0])["roles"] == []


def test_all_that_fit_the_filter_are_chosen_at_once_also_those_on_other_pages(browser: Browser, ctx: Context) -> None:
    many(ctx, 60)
    browser.post("/hosts/do", {"all": "1", "q": "n0", "size": "50", "do": "tag", "tags": "mine"})
    assert sum("mine" in host["tags"] for host in hosts.list_hosts(ctx)) == 60


def test_a_bulk_edit_changes_all_or_none(browser: Browser, ctx: Context) -> None:
    chosen = many(ctx, 2)
    browser.post("/hosts/do", {"host": [*chosen, "nobody"], "do": "tag", "tags": "mine"})
    text = page(browser, "/hosts")
    assert "Nothing was changed" in text
    assert "no host is known as" in text
    assert not any(host["tags"] for host in hosts.list_hosts(ctx))


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"do": "give", "new_role": "base"}, "choose at least one host"),
        ({"do": "give", "host": "x"}, "choose a role"),
        ({"do": "tag", "host": "x", "tags": " "}, "write at least one tag"),
        ({"do": "fly", "host": "x"}, "there is no such action"),
    ],
)
def test_a_bulk_action_without_all_it_needs_says_so(
    browser: Browser, ctx: Context, form: dict[str, object], why: str
) -> None:
    add(ctx)
    assert browser.post("/hosts/do", form).status_code == 303
    assert why in page(browser, "/hosts")


def test_deleting_many_asks_first_and_then_tells_who_refused(browser: Browser, ctx: Context) -> None:
    chosen = many(ctx, 3)
    with ctx.database.write() as session:
        session.get_one(Host, chosen[0]).state = "installing"
    asked = browser.post("/hosts/do", {"host": chosen, "do": "forget"})
    assert "Delete 3 hosts?" in asked.get_data(as_text=True)
    assert len(hosts.list_hosts(ctx)) == 3
    browser.post("/hosts/do", {"host": chosen, "do": "forget", "confirm": "yes"})
    assert [host["name"] for host in hosts.list_hosts(ctx)] == ["n000"]
    text = page(browser, "/hosts")
    assert "2 hosts deleted" in text
    assert "installing" in text


def test_arming_many_names_their_disks_first_and_one_refusal_stops_no_other(
    browser: Browser, ctx: Context, profile: str
) -> None:
    chosen = many(ctx, 3)
    with ctx.database.write() as session:
        session.get_one(Host, chosen[0]).facts = {"disks": [{"name": "vda", "serial": "S77", "size_bytes": 10**12}]}
    asked = browser.post("/hosts/do", {"host": chosen, "do": "arm", "profile": profile, "for_s": "3600"})
    assert "S77" in asked.get_data(as_text=True)
    with ctx.database.write() as session:
        session.get_one(Host, chosen[1]).state = "installing"
    browser.post("/arm", {"host": chosen, "profile": profile, "for_s": "3600", "confirm": "yes"})
    assert [host["state"] for host in hosts.list_hosts(ctx)] == ["armed", "installing", "armed"]
    assert "2 hosts are armed" in page(browser, "/hosts")


def test_disarming_many_is_confirmed(browser: Browser, ctx: Context, profile: str) -> None:
    chosen = many(ctx, 2)
    for one in chosen:
        arming.arm(ctx, one, profile=profile, who="test")
    assert "Disarm 2 hosts?" in browser.post("/hosts/do", {"host": chosen, "do": "disarm"}).get_data(as_text=True)
    browser.post("/hosts/do", {"host": chosen, "do": "disarm", "confirm": "yes"})
    assert {host["state"] for host in hosts.list_hosts(ctx)} == {"known"}


def test_hosts_are_retired_together_after_a_question(browser: Browser, ctx: Context) -> None:
    chosen = many(ctx, 2)
    assert "Retire 2 hosts?" in browser.post("/hosts/do", {"host": chosen, "do": "retire"}).get_data(as_text=True)
    browser.post("/hosts/do", {"host": chosen, "do": "retire", "confirm": "yes"})
    assert {host["state"] for host in hosts.list_hosts(ctx)} == {"retired"}


def test_a_viewer_sees_the_hosts_and_no_button_that_changes_them(
    ctx: Context, new_browser: Callable[[], Browser]
) -> None:
    accounts.add(ctx, "vera", PASSWORD, role=UserRole.VIEWER, who="test")
    add(ctx)
    viewer = new_browser()
    viewer.login("vera")
    text = page(viewer, "/hosts")
    assert "db-01" in text
    assert "bulk-actions" not in text
    assert viewer.post("/hosts/do", {"host": "db-01", "do": "forget", "confirm": "yes"}).status_code in (303, 403)
    assert len(hosts.list_hosts(ctx)) == 1


def test_a_page_of_two_hundred_hosts_is_lighter_than_300_kb(browser: Browser, ctx: Context) -> None:
    with ctx.database.write() as session:
        disks = [{"name": f"nvme{one}n1", "size_bytes": 1_920_000_000_000} for one in range(4)]
        facts = {"cpu": {"count": 64}, "ram_bytes": 1 << 38, "vendor": "Dell Inc.", "product": "R650", "disks": disks}
        for number in range(200):
            mac = f"52:54:00:00:00:{number:02x}"
            host = hosts.put(
                session, ctx, [MacAddress.parse(mac)], name=f"compute-node-{number:04}", who="test",
                tags=["rack-a", "production", "ssd"], roles=["base", "mariadb"],
            )  # fmt: skip
            host.facts = facts
    assert len(page(browser, "/hosts?size=200").encode()) < 300_000
