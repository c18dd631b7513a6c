"""The first page: what a new server needs next, and how the hosts stand."""

from __future__ import annotations

import re
from typing import Any

from pxeforge.services import events, hosts, identity
from pxeforge.services.context import Context
from pxeforge.store.tables import Host, Run, RunTask

from .conftest import Browser

MAC, OTHER_MAC = "52:54:00:12:34:56", "52:54:00:12:34:57"


def page(browser: Browser, **headers: str) -> str:
    response = browser.get("/", headers=headers)
    assert response.status_code == 200
    return response.get_data(as_text=True)


def steps(text: str) -> list[str]:
    return re.findall(r'<li class="(done|next|later)">', text)


def test_a_new_server_says_what_to_do_next(browser: Browser, ctx: Context) -> None:
    text = page(browser)
    assert "pxeforge image import debian-13" in text
    assert steps(text) == ["next", "later", "later", "later", "later"]


def test_each_step_that_is_done_shows_the_next_one(browser: Browser, ctx: Context, profile: str) -> None:
    assert steps(page(browser)) == ["done", "done", "next", "later", "later"]
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    assert steps(page(browser)) == ["done", "done", "done", "next", "later"]


def test_the_first_steps_are_gone_once_a_host_is_ready(browser: Browser, ctx: Context) -> None:
    host_id = hosts.add(ctx, macs=[MAC], name="n1", who="test")["id"]
    with ctx.database.write() as session:
        session.get_one(Host, host_id).state = "ready"
    assert steps(page(browser)) == []


def test_states_are_counted_and_lead_to_the_list(browser: Browser, ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    hosts.add(ctx, macs=[OTHER_MAC], name="n2", who="test")
    text = re.sub(r"\s+", " ", page(browser))
    assert 'href="/hosts?state=known"><b>2</b> <span>known</span>' in text


def test_an_armed_host_is_under_way_with_what_was_said_last(
    browser: Browser, ctx: Context, armed: dict[str, Any]
) -> None:
    with ctx.database.write() as session:
        events.record(
            session, ctx, host_id=armed["id"], source="http", kind="menu", message="menu fetched by <b>n1</b>"
        )
    text = page(browser)
    assert f'id="boot-{armed["id"]}"' in text
    assert "menu fetched by &lt;b&gt;n1&lt;/b&gt;" in text
    assert 'aria-label="step 1 of 5"' in text


def test_runs_are_shown_with_how_far_they_are(browser: Browser, ctx: Context) -> None:
    with ctx.database.write() as session:
        session.add(Run(id="r1", kind="deploy", state="running", started_by="ann", created_at=ctx.clock()))
        session.flush()
        for number, over in enumerate((1.0, None, None)):
            session.add(
                RunTask(id=f"t{number}", run_id="r1", planned_id="p", position=number, host_id="h", role="base",
                        name="x", state="ok" if over else "pending", finished_at=over)
            )  # fmt: skip
    assert "1 of 3 tasks, by ann" in page(browser)


def test_two_hosts_with_one_identity_need_attention(browser: Browser, ctx: Context) -> None:
    ids = [hosts.add(ctx, macs=[mac], name=name, who="test")["id"] for mac, name in ((MAC, "n1"), (OTHER_MAC, "n2"))]
    with ctx.database.write() as session:
        for host_id in ids:
            session.get_one(Host, host_id).uuid = "4c4c4544-0042-3010-8052-b4c04f4d3732"
    (conflict,) = identity.conflicts(ctx)
    assert conflict["sentence"] in page(browser).replace("&#39;", "'").replace("&#34;", '"')
    assert set(re.findall(r">(n[12])</a>", browser.get("/hosts?attention=1").get_data(as_text=True))) == {"n1", "n2"}


def test_what_is_wrong_with_the_server_is_said(browser: Browser) -> None:
    assert "<b>children:</b> pxeforge serve is not running" in page(browser)


def test_light_or_dark_is_chosen_without_javascript_and_kept(browser: Browser) -> None:
    assert 'data-theme="system"' in page(browser)
    assert browser.post("/theme", {"theme": "dark", "next": "/hosts"}).headers["Location"] == "/hosts"
    assert 'data-theme="dark"' in page(browser)
    browser.post("/theme", {"theme": "<script>", "next": "//evil.example"})
    text = page(browser)
    assert "choose one of system, light, dark" in text
    assert 'data-theme="dark"' in text


def test_the_menu_marks_where_one_is(browser: Browser, ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    for path in ("/", "/hosts", "/hosts/n1", "/roles", "/racks", "/rules", "/audit"):
        text = browser.get(path).get_data(as_text=True)
        (current,) = re.findall(r'<a href="([^"]+)" aria-current="page">', text.partition("<main")[0])
        assert path.startswith(current)
        assert (current == "/") == (path == "/")
