"""The roles page: drafts are looked at before they are saved, and nobody overwrites what somebody else did."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import AgentCredential, Host

from .conftest import Browser

MAC, OTHER_MAC = "52:54:00:12:34:56", "52:54:00:12:34:57"
OWN_ROLE = """
name: {name}
summary: a role of ours
requires: []
conflicts: [{conflicts}]
{more}
variables: {{}}
tasks:
  - name: only
    steps:
      - packages: {{names: [hello]}}
"""


def add(ctx: Context, name: str = "db-01", mac: str = MAC, **kwargs: Any) -> str:
    return str(hosts.add(ctx, macs=[mac], name=name, who="test", **kwargs)["id"])


def register(ctx: Context, host_id: str, **facts: Any) -> None:
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        host.state, host.address, host.registered_at, host.facts = "registered", "192.0.2.21", ctx.clock(), facts
        session.add(AgentCredential(host_id=host_id, digest=host_id, issued_at=ctx.clock(), seen_at=ctx.clock()))


def own_role(ctx: Context, name: str, conflicts: str = "", more: str = "") -> None:
    folder = ctx.operator_dir / "roles" / name
    folder.mkdir(parents=True)
    (folder / "role.yaml").write_text(OWN_ROLE.format(name=name, conflicts=conflicts, more=more))


def page(browser: Browser, path: str = "/roles", status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status
    return response.get_data(as_text=True)


def hidden(text: str) -> dict[str, object]:
    """What the form on the page carries along."""
    found: dict[str, object] = {}
    for name in ("draft", "seen"):
        found[name] = [html.unescape(one) for one in re.findall(rf'name="{name}" value="([^"]*)"', text)]
    return found


def draft(browser: Browser, do: str, *chosen: str, before: str = "", **more: object) -> str:
    """The page after one more wish."""
    form = {**hidden(before), "host": list(chosen), "do": do, **more}
    response = browser.post("/roles/draft", form)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def save(browser: Browser, before: str, status: int = 303) -> str:
    response = browser.post("/roles", hidden(before))
    assert response.status_code == status
    return response.get_data(as_text=True)


def given(ctx: Context) -> dict[str, set[str]]:
    return {host["name"]: set(host["roles"]) for host in hosts.list_hosts(ctx)}


def test_roles_are_drafted_and_then_saved_in_one_go(browser: Browser, ctx: Context) -> None:
    one, two = add(ctx, "db-01", MAC, roles=["base"]), add(ctx, "db-02", OTHER_MAC)
    text = draft(browser, "give mariadb", one, two)
    text = draft(browser, f"take base {one}", before=text)
    assert "Not saved yet: 3 changes on 2 hosts" in text
    assert given(ctx) == {"db-01": {"base"}, "db-02": set()}
    save(browser, text)
    assert given(ctx) == {"db-01": {"mariadb"}, "db-02": {"mariadb"}}
    assert "Saved on 2 hosts: 2 given, 1 taken away." in page(browser)


def test_a_wish_taken_back_is_no_change(browser: Browser, ctx: Context) -> None:
    one = add(ctx, roles=["base"])
    text = draft(browser, "give base", one)
    assert "Not saved yet" not in text
    text = draft(browser, "take base", one)
    assert "Not saved yet: 1 change on 1 host" in text
    assert "Not saved yet" not in draft(browser, f"give base {one}", before=text)
    assert "Not saved yet" not in draft(browser, "discard", before=text)
    save(browser, draft(browser, "discard", before=text))
    assert "Nothing was changed." in page(browser)


def test_the_second_of_two_operators_is_told_and_loses_nothing(browser: Browser, ctx: Context) -> None:
    one, two = add(ctx, "db-01", MAC), add(ctx, "db-02", OTHER_MAC)
    mine = draft(browser, "give base", one, two)
    hosts.assign(ctx, [one], ["mariadb"], who="bob", known_roles=["mariadb"])
    told = save(browser, mine, status=412)
    assert "nothing was saved: the roles of db-01 (role mariadb assigned by bob) are not as you saw them" in told
    assert given(ctx) == {"db-01": {"mariadb"}, "db-02": set()}
    save(browser, told)
    assert given(ctx) == {"db-01": {"mariadb", "base"}, "db-02": {"base"}}


def test_a_host_that_is_forgotten_meanwhile_is_told(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    mine = draft(browser, "give base", one)
    hosts.forget(ctx, one, who="bob")
    save(browser, mine)
    assert "was forgotten meanwhile" in page(browser, "/hosts")


def test_the_plan_is_shown_before_anything_is_saved(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    register(ctx, one, disks=[], nics=[])
    text = draft(browser, "give mariadb", one)
    assert re.search(r"A deploy would then do \d+ tasks, \d+ of them on these hosts", text)
    assert "service-user" in text
    assert hosts.show(ctx, one)["roles"] == []


def test_what_comes_along_and_who_is_not_installed_is_said(browser: Browser, ctx: Context) -> None:
    add(ctx, roles=["mariadb"])
    text = page(browser)
    assert "base comes along: mariadb needs it" in text
    assert "not registered yet: install it first" in text


def test_a_conflict_is_shown_at_once_and_says_what_to_do(browser: Browser, ctx: Context) -> None:
    own_role(ctx, "galera", conflicts="mariadb")
    one = add(ctx, roles=["mariadb"])
    register(ctx, one, disks=[], nics=[])
    text = html.unescape(draft(browser, "give galera", one))
    assert "roles galera and mariadb cannot be on one host: give one of them to another host" in text
    assert "With this there is no plan" in text
    assert "Save all the same" in text


def test_missing_hardware_is_shown_at_once(browser: Browser, ctx: Context) -> None:
    own_role(ctx, "storage", more="disks: {count: 2, min_gb: 100}")
    one, two = add(ctx), add(ctx, "db-02", OTHER_MAC)
    register(ctx, one, disks=[{"name": "vda", "size_bytes": 10**12, "system": True}], nics=[])
    text = html.unescape(draft(browser, "give storage", one, two))
    assert "role storage needs 2 disks of at least 100 GB beside the system's, and 0 are left" in text
    assert "storage needs disks of its own, and this host's are not known before it is installed" in text


def test_a_role_whose_folder_is_gone_can_still_be_taken_away(browser: Browser, ctx: Context) -> None:
    one = add(ctx, roles=["vanished"])
    assert "there is no role vanished any more: take it away" in page(browser)
    save(browser, draft(browser, f"take vanished {one}"))
    assert hosts.show(ctx, one)["roles"] == []


def test_a_broken_role_is_told_with_its_reason_and_the_others_can_be_given(browser: Browser, ctx: Context) -> None:
    own_role(ctx, "ours")
    hosts.assign(ctx, [add(ctx)], ["ours"], who="ann", known_roles=["ours"])
    (ctx.operator_dir / "roles/ours/role.yaml").write_text("name: ours\nsumary: s\n")
    shown = html.unescape(page(browser))
    assert "The role ours is broken, and hosts cannot be given it: " in shown
    assert "role ours is broken: " in shown.partition("cannot be given it")[2]  # at the host that has it
    assert 'data-role="mariadb"' in shown


def groups_in(text: str) -> dict[str, list[str]]:
    """The names of the roles under each heading of the palette."""
    found: dict[str, list[str]] = {}
    title = ""
    pattern = r'<h2 id="group-\d+">([^<]+)</h2>|<summary>([^<]+) <span|data-role="([^"]+)"'
    for heading, summary, role in re.findall(pattern, text.partition('class="palette"')[2].partition('id="draft"')[0]):
        title = heading or summary or title
        found.setdefault(title, []).extend([role] if role else [])
    return found


def test_roles_in_use_come_first_and_those_that_only_come_along_are_folded(browser: Browser, ctx: Context) -> None:
    add(ctx, roles=["mariadb", "nova"])
    text = page(browser)
    groups = groups_in(text)
    assert list(groups) == ["In use", "Further roles", "Come along with others"]
    assert groups["In use"] == ["mariadb", "nova"]
    assert {"base", "keystone"} <= set(groups["Further roles"])
    assert {"cinder-settings", "cloud"} <= set(groups["Come along with others"])
    assert '<details class="role-group"' in text
    numbers = re.findall(
        r'<b>([^<]+)</b> <span class="dim">[^<]*</span><kbd class="end needs-js" hidden>(\d)</kbd>', text
    )
    assert numbers[:3] == [("mariadb", "1"), ("nova", "2"), ("base", "3")]
    assert len(numbers) == 9


def test_roles_are_filtered_by_name_and_words_also_without_javascript(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    text = draft(browser, "roles", before=draft(browser, "give base", one), role_filter="Cinder  volume")
    shown = [role for group in groups_in(text).values() for role in group]
    assert "cinder-lvm" in shown
    assert "mariadb" not in shown
    assert re.search(r'<details class="role-group" id="group-\d" open>', text)
    assert "Not saved yet: 1 change on 1 host" in text
    assert "No role fits “zzz”" in draft(browser, "roles", role_filter="zzz")


def test_hosts_of_a_draft_stay_in_it_when_the_filter_hides_them(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    add(ctx, "web-01", OTHER_MAC)
    text = draft(browser, "page 1", before=draft(browser, "give base", one), q="web")
    assert re.findall(r'id="pick-(\w+)"', text) != [one]
    assert "Not saved yet: 1 change on 1 host" in text
    save(browser, text)
    assert given(ctx)["db-01"] == {"base"}


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"do": "give base"}, "choose at least one host first"),
        ({"do": "give nonsense", "host": "x"}, "there is no role"),
        ({"draft": "nonsense"}, "the form is damaged"),
        ({"draft": ["+base x"] * 2001}, "at most"),
    ],
)
def test_a_form_that_makes_no_sense_says_so(browser: Browser, ctx: Context, form: dict[str, object], why: str) -> None:
    add(ctx)
    page(browser)
    assert browser.post("/roles/draft", form).status_code == 303
    assert why in page(browser)


def test_a_role_is_given_and_taken_on_the_host_page(browser: Browser, ctx: Context) -> None:
    one = add(ctx)
    browser.post(f"/hosts/{one}/assign", {"role": "base"})
    browser.post(f"/hosts/{one}/assign", {"role": "mariadb"})
    browser.post(f"/hosts/{one}/unassign", {"role": "base"})
    assert hosts.show(ctx, one)["roles"] == ["mariadb"]
